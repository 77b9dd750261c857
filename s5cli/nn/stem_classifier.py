"""One class for one stem, and an energy that tells stems of no class: M2D-SC, and the same head on given features.

Source: "Self-Guided Target Sound Extraction and Classification Through Universal Sound Separation Model and Multiple
Clues" (arXiv:2509.13741): ArcFace on M2D, of which the last two blocks learn. The head's width is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from s5cli.nn.arcface import CosineHead


@dataclass(frozen=True)
class StemHeadConfig:
    features: int = 768
    embedding: int = 512
    classes: int = 18
    peaks: bool = False  # whether the maximum over time stands beside the mean


class StemHead(nn.Module):
    """Features [n, m, e] of stems to scaled cosines of every class, [n, k]."""

    Config = StemHeadConfig

    def __init__(self, config: StemHeadConfig) -> None:
        super().__init__()
        self.config = config
        wide = config.features * (2 if config.peaks else 1)
        self.norm = nn.BatchNorm1d(wide, affine=False)
        self.embed = nn.Linear(wide, config.embedding)
        self.cosine = CosineHead(config.embedding, config.classes)

    @property
    def nparams(self) -> int:
        """All parameters."""
        return sum(p.numel() for p in self.parameters())

    def forward(self, features: Tensor) -> Tensor:
        pooled = features.mean(dim=1)
        if self.config.peaks:
            pooled = torch.cat([pooled, features.amax(dim=1)], dim=-1)
        out: Tensor = self.cosine(self.embed(self.norm(pooled)))
        return out
