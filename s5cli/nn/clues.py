"""What a target-extraction network is told beside its input: classes for the whole clip, features frame by frame.

Source: "A Multi-Stage Separation-and-Classification Framework Guided by Complementary Acoustic-to-Semantic Clues"
(arXiv:2606.24512). What it leaves open is ours: widths, and the residual form h + (γ h + β).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResFilm(nn.Linear):
    """A scale and a shift of every channel from an embedding [b, e], the identity before it has learned anything."""

    def __init__(self, embedding: int, width: int) -> None:
        super().__init__(embedding, 2 * width)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, embedding: Tensor) -> Tensor:
        """Gains and shifts, [b, 1, 2 d]; or [b, n, 2 d] of an embedding [b, n, e] that differs from frame to frame."""
        told = super().forward(embedding)
        return told[:, None] if told.ndim == 2 else told


def modulated(x: Tensor, told: Tensor) -> Tensor:
    """Maps [b, n, f, d] with the gains and shifts of a `ResFilm`."""
    gain, shift = told[:, :, None].chunk(2, dim=-1)
    return x + gain * x + shift


class FrameClue(nn.Module):
    """Frame features of every slot [b, s, m, e] to one sequence [b, n, s × width], slots side by side.

    Features of another rate than the network's frames are interpolated; those of the same rate are taken one by one.
    """

    def __init__(self, features: int, slots: int, width: int, recurrent: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.proj = nn.Linear(features, width)
        self.rnn = nn.LSTM(slots * width, slots * width, batch_first=True) if recurrent else None

    def forward(self, features: Tensor, frames: int) -> Tensor:
        if features.shape[2] != frames:
            apart = features.flatten(0, 1).transpose(1, 2)
            features = F.interpolate(apart, frames, mode="linear").transpose(1, 2).unflatten(0, features.shape[:2])
        heard = features.abs().amax(dim=-1, keepdim=True) > 0  # zeros say nothing, whatever the norm makes of them
        side_by_side: Tensor = (self.proj(self.norm(features)) * heard).transpose(1, 2).flatten(2)
        if self.rnn is None:
            return side_by_side
        out: Tensor = self.rnn(side_by_side)[0]
        return out


class Clues(nn.Module):
    """One-hot classes of all slots [b, s k], and frame features where the network takes them, for every block."""

    def __init__(
        self, classes: int, slots: int, embedding: int, width: int, blocks: int, features: int, recurrent: bool
    ) -> None:
        super().__init__()
        self.class_embed = nn.Linear(classes, embedding)
        self.film = nn.ModuleList(ResFilm(embedding, width) for _ in range(blocks))
        self.tfilm = nn.ModuleList(ResFilm(slots * embedding, width) for _ in range(blocks)) if features else None
        self.frames = FrameClue(features, slots, embedding, recurrent) if features else None

    def forward(self, classes: Tensor, features: Tensor | None, frames: int) -> tuple[Tensor, ...]:
        """What each block is told, side by side [b, blocks, n, 2 d]: of the classes, and of frames if there are any."""
        embedding = self.class_embed(classes)
        told = torch.stack([film(embedding) for film in self.film], dim=1)
        if self.tfilm is None or self.frames is None or features is None:
            return (told,)
        heard = self.frames(features, frames)
        return told, torch.stack([film(heard) for film in self.tfilm], dim=1)
