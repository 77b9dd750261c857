"""One class for one stem, and an energy that tells stems of no class: M2D-SC, and the same head on given features.

Source: "Self-Guided Target Sound Extraction and Classification Through Universal Sound Separation Model and Multiple
Clues" (arXiv:2509.13741): ArcFace on M2D, of which the last two blocks learn. The head's width is ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from s5cli.nn.arcface import CosineHead
from s5cli.nn.m2d import Encoder, M2DConfig, M2DTagger1ch
from s5cli.nn.network import Network


@dataclass(frozen=True)
class StemHeadConfig:
    features: int = 768
    embedding: int = 512
    classes: int = 18
    peaks: bool = False  # whether the maximum over time stands beside the mean


class StemHead(Network):
    """Features [n, m, e] of stems to scaled cosines of every class, [n, k]."""

    Config = StemHeadConfig
    core = None  # it is a head alone

    def __init__(self, config: StemHeadConfig) -> None:
        super().__init__()
        self.config = config
        wide = config.features * (2 if config.peaks else 1)
        self.norm = nn.BatchNorm1d(wide, affine=False)
        self.embed = nn.Linear(wide, config.embedding)
        self.cosine = CosineHead(config.embedding, config.classes)

    def forward(self, features: Tensor) -> Tensor:
        pooled = features.mean(dim=1)
        if self.config.peaks:
            pooled = torch.cat([pooled, features.amax(dim=1)], dim=-1)
        out: Tensor = self.cosine(self.embed(self.norm(pooled)))
        return out


@dataclass(frozen=True)
class M2DStemConfig(M2DConfig):
    embedding: int = 512
    classes: int = 18
    own_encoder: ClassVar[bool] = True  # it hears waveforms


class M2DStemClassifier(Encoder):
    """Stems [n, t] to scaled cosines of every class, [n, k]."""

    Config = M2DStemConfig
    core = M2DTagger1ch.core
    stored_constants = M2DTagger1ch.stored_constants

    def __init__(self, config: M2DStemConfig) -> None:
        super().__init__(config)
        self.embed = nn.Linear(config.feature_width, config.embedding)
        self.cosine = CosineHead(config.embedding, config.classes)

    def forward(self, waveform: Tensor) -> Tensor:
        out: Tensor = self.cosine(self.embed(self.head_norm(super().forward(waveform).mean(dim=1))))
        return out

    @classmethod
    def grown(cls, tensors: Mapping[str, Tensor], config: M2DStemConfig) -> dict[str, Tensor]:
        """The state that training begins with: the M2D of a tagger, or of an encoder alone."""
        given = {name[name.find("backbone.") :]: tensor for name, tensor in tensors.items() if "backbone." in name}
        return {name: given.get(name, own) for name, own in cls(config).state_dict().items()}


class M2DFrames(M2DTagger1ch):
    """A 1-channel tagger of which only M2D is asked: a vector for each 0.16 s, all bands side by side."""

    def forward(self, waveform: Tensor, reference: Tensor | None = None) -> Tensor:
        """[n, t] to [n, columns, bands × width]; `reference` is not used."""
        chunks = [self.backbone(chunk) for chunk in self.chunks(waveform)]
        return torch.cat([tokens.transpose(1, 2).flatten(2) for tokens in chunks], dim=1)
