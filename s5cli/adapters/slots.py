"""Separators that are asked for several slots at once: scenes and queries to one waveform a slot."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from s5cli.adapters.part import Adapter
from s5cli.labels import N_CLASSES, N_SLOTS
from s5cli.scene import Ints, Queries, Scene, by_length


class SlotSeparator(Adapter):
    """Scenes and their queries to waveforms [s, t] on the adapter's device.

    The network takes waveforms [b, 4, t] and label vectors [b, s·18], and leaves unused slots exactly 0: [b, s, t].

    All slots of scenes of one length take one forward pass, at most `max_batch` scenes at once; a clip that asks for
    nothing takes none.
    """

    def __init__(self, network: Any, device: str | torch.device = "cpu", max_batch: int = 16) -> None:
        super().__init__(network, device)
        self.max_batch = max_batch

    def __call__(self, scenes: Sequence[Scene], queries: Queries) -> list[Tensor]:
        """One [s, t] tensor per scene, in their order.

        Raises:
            ValueError: not one list of queries per scene.
        """
        if len(scenes) != len(queries.classes):
            raise ValueError(f"{len(scenes)} scenes but queries for {len(queries.classes)}")
        slots = queries.classes.shape[1]
        stems = [torch.zeros(slots, scene.audio.shape[-1], device=self.device) for scene in scenes]
        vectors = label_vectors(queries.classes).to(self.device)
        asking = np.flatnonzero(queries.active.any(axis=1)).tolist()
        for rows in by_length([scene.audio for scene in scenes], asking, self.max_batch):
            waveform = torch.stack([scenes[row].audio for row in rows]).to(self.device, torch.float32)
            for row, waveforms in zip(rows, self._forward(waveform, vectors[rows]), strict=True):
                stems[row] = waveforms
        return stems

    def exercise(self, scene: Scene) -> None:
        """One forward pass of one clip with all slots asked."""
        self([scene], Queries(np.arange(N_SLOTS)[None], np.ones((1, N_SLOTS))))

    @torch.inference_mode()
    def _forward(self, waveform: Tensor, label_vector: Tensor) -> Tensor:
        out: Tensor = self.network(waveform, label_vector).float()
        return out


def label_vectors(classes: Ints | Tensor) -> Tensor:
    """What a separator is asked: per slot an 18-wide one-hot vector, zeros where EMPTY. Shapes: [b, s] to [b, s·18].

    >>> label_vectors(np.array([[15, 7, -1]])).nonzero()[:, 1]
    tensor([15, 25])
    """
    asked = torch.as_tensor(classes)[:, :, None]
    return (asked == torch.arange(N_CLASSES, device=asked.device)).float().flatten(1)
