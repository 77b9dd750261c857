"""Taggers with one softmax over 18 classes and silence per track: scenes to tags."""

from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from s5cli.errors import InputError
from s5cli.labels import N_CLASSES, N_SLOTS
from s5cli.scene import N_CHANNELS, Floats, Scene, Tags, by_length


class TrackNetwork(Protocol):
    """A network from waveforms [b, c, t] to logits [b, s, 19]."""

    @property
    def nparams(self) -> int: ...

    def __call__(self, waveform: Tensor) -> Tensor: ...

    def to(self, device: torch.device) -> Self: ...

    def eval(self) -> Self: ...


class TrackTagger:
    """Scenes to the class probabilities of every track.

    Scenes of equal length share a forward pass, at most `max_batch` of them at once: the stems of a whole batch may
    come in one call. With one channel it hears channel 0, so that single-channel stems can be tagged too.
    """

    def __init__(
        self, network: TrackNetwork, device: str | torch.device = "cpu", channels: int = N_CHANNELS, max_batch: int = 16
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self.channels = channels
        self.max_batch = max_batch
        self.nparams = network.nparams

    def __call__(self, scenes: Sequence[Scene]) -> Tags:
        """Tags [b, s, 19] in the order of the scenes; none for none.

        Raises:
            InputError: a scene has fewer channels than the network hears.
        """
        logits = np.zeros((len(scenes), N_SLOTS, N_CLASSES + 1))
        waveforms = [self._waveform(scene) for scene in scenes]
        for rows in by_length(waveforms, range(len(waveforms)), self.max_batch):
            logits[rows] = self._forward(torch.stack([waveforms[row] for row in rows]))
        return Tags(softmax(logits))

    def exercise(self, scene: Scene) -> None:
        """One forward pass of one clip."""
        self([scene])

    def _waveform(self, scene: Scene) -> Tensor:
        if scene.audio.shape[0] < self.channels:
            raise InputError(f"{scene.name}: this tagger needs {self.channels} channels, not {scene.audio.shape[0]}")
        return scene.audio[: self.channels]

    @torch.inference_mode()
    def _forward(self, waveform: Tensor) -> Floats:
        logits: Floats = self.network(waveform.to(self.device, torch.float32)).cpu().double().numpy()
        return logits


def softmax(logits: Floats) -> Floats:
    """exp(x) / Σ exp(x) over the last axis, in float64.

    >>> softmax(np.array([[1000.0, 1000.0]]))
    array([[0.5, 0.5]])
    """
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
