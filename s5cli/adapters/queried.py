"""Taggers that say what sounds when, and separators that are asked for it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from s5cli.adapters.part import Adapter, heard, most_numbers
from s5cli.adapters.tracks import softmax
from s5cli.labels import N_CLASSES, N_SLOTS
from s5cli.nn.blocks import PRESETS, in_blocks
from s5cli.nn.label_frames import held, interpolated
from s5cli.nn.sr_corrnet import SRCorrNet
from s5cli.scene import EMPTY, N_CHANNELS, Floats, Ints, Scene, Tracks, by_length


class WhenTagger(Adapter):
    """Scenes to tracks and what sounds when; scenes of one length share a forward pass.

    The network's `heard` takes waveforms [b, m, t] to logits of tracks [b, s, 19] and of frames, [b, n, 18] or
    [b, s, n, 18], of `frame_samples` each.
    """

    def __init__(self, network: Any, device: str | torch.device = "cpu", max_batch: int = 16) -> None:
        super().__init__(network, device)
        self.max_batch, self.frame_samples = max_batch, int(network.frame_samples)

    def __call__(self, scenes: Sequence[Scene]) -> Tracks:
        """In the order of the scenes; of shorter ones the last frame is repeated.

        Raises:
            InputError: a scene has fewer channels than the network hears.
        """
        waveforms = [heard(scene, self.network.channels) for scene in scenes]
        logits = np.zeros((len(scenes), N_SLOTS, N_CLASSES + 1))
        frames: dict[int, Floats] = {}
        for rows in by_length(waveforms, range(len(waveforms)), self.max_batch, most_numbers(self.device)):
            logits[rows], found = self._forward(torch.stack([waveforms[row] for row in rows]))
            frames |= dict(zip(rows, found, strict=True))
        n_most = max((found.shape[1] for found in frames.values()), default=0)
        activity = np.zeros((len(scenes), N_SLOTS, n_most, N_CLASSES))
        for row, found in frames.items():
            activity[row] = np.pad(found, ((0, 0), (0, n_most - found.shape[1]), (0, 0)), mode="edge")
        return Tracks(softmax(logits), activity)

    def exercise(self, scene: Scene) -> None:
        """One forward pass of one clip."""
        self([scene])

    @torch.inference_mode()
    def _forward(self, waveform: Tensor) -> tuple[Floats, Floats]:
        logits, frames = self.network.heard(waveform.to(self.device, torch.float32))
        if frames.ndim == 3:  # the same for all tracks
            frames = frames[:, None].expand(-1, logits.shape[1], -1, -1)
        return logits.double().cpu().numpy(), torch.sigmoid(frames.double()).cpu().numpy()


class QueriedSeparator(Adapter):
    """Scenes, classes and what sounds when to waveforms [s, t]; clips that ask for nothing take no forward pass."""

    network: SRCorrNet

    def __init__(self, network: SRCorrNet, device: str | torch.device = "cpu", max_batch: int = 4) -> None:
        super().__init__(network, device)
        self.max_batch = max_batch

    def __call__(
        self,
        scenes: Sequence[Scene],
        classes: Ints,
        activity: Floats,
        frame_samples: int,
        preset: str = "full",
        remembers: bool = True,
    ) -> list[Tensor]:
        """One [s, t] tensor per scene. `activity` is [b, s, n], each frame as long as `frame_samples` says.

        `preset` names the windows along time, see `s5cli.nn.blocks`; `remembers`: past keys and values are kept.
        """
        stems = [torch.zeros(classes.shape[1], scene.audio.shape[-1], device=self.device) for scene in scenes]
        asking = np.flatnonzero((classes != EMPTY).any(axis=1)).tolist()
        window = PRESETS[preset]
        for rows in by_length([scene.audio for scene in scenes], asking, self.max_batch):
            waveform = torch.stack([scenes[row].audio[:N_CHANNELS] for row in rows]).to(self.device, torch.float32)
            wanted = torch.as_tensor(classes[rows], device=self.device)
            labels = self.labels(activity[rows], self.network.n_frames(waveform.shape[-1]), frame_samples)
            with torch.inference_mode():
                if window is None:
                    found = self.network(waveform, wanted, labels)
                else:
                    found = in_blocks(self.network, waveform, wanted, labels, window, remembers)
            for row, waveforms in zip(rows, found.float(), strict=True):
                stems[row] = waveforms
        return stems

    def labels(self, activity: Floats, n_frames: int, frame_samples: int) -> Tensor:
        """Activities [..., n] by frame of the network's spectrum: held where they are 0 or 1, else interpolated."""
        given = torch.as_tensor(activity, dtype=torch.float32, device=self.device)
        onto = held if ((activity == 0) | (activity == 1)).all() else interpolated
        return onto(given, n_frames, self.network.config.hop_samples, frame_samples)

    def exercise(self, scene: Scene) -> None:
        """One forward pass of one clip with all slots asked."""
        self([scene], np.arange(N_SLOTS)[None], np.ones((1, N_SLOTS, 1)), scene.audio.shape[-1])
