"""Taggers with one softmax over 18 classes and silence per track: scenes to tags."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from s5cli.adapters.part import Adapter, heard, most_numbers
from s5cli.labels import N_CLASSES, N_SLOTS
from s5cli.scene import N_CHANNELS, Floats, Scene, Tags, by_length


class TrackTagger(Adapter):
    """Scenes to the class probabilities of every track, of which the network gives logits: [b, c, t] to [b, s, 19].

    Scenes of equal length share a forward pass, at most `max_batch` of them at once, and on a CPU fewer where they are
    long: the stems of a whole batch may come in one call. With one channel it hears channel 0, so that single-channel
    stems can be tagged too.
    """

    def __init__(
        self, network: Any, device: str | torch.device = "cpu", channels: int = N_CHANNELS, max_batch: int = 16
    ) -> None:
        super().__init__(network, device)
        self.channels, self.max_batch = channels, max_batch

    def __call__(self, scenes: Sequence[Scene]) -> Tags:
        """Tags [b, s, 19] in the order of the scenes; none for none.

        Raises:
            InputError: a scene has fewer channels than the network hears.
        """
        logits = np.zeros((len(scenes), N_SLOTS, N_CLASSES + 1))
        waveforms = [heard(scene, self.channels) for scene in scenes]
        for rows in by_length(waveforms, range(len(waveforms)), self.max_batch, most_numbers(self.device)):
            logits[rows] = self._forward(torch.stack([waveforms[row] for row in rows]))
        return Tags(softmax(logits))

    def exercise(self, scene: Scene) -> None:
        """One forward pass of one clip."""
        self([scene])

    @torch.inference_mode()
    def _forward(self, waveform: Tensor) -> Floats:
        out: Floats = self.network(waveform.to(self.device, torch.float32)).cpu().double().numpy()
        return out


def softmax(logits: Floats) -> Floats:
    """exp(x) / Σ exp(x) over the last axis, in float64.

    >>> softmax(np.array([[1000.0, 1000.0]]))
    array([[0.5, 0.5]])
    """
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
