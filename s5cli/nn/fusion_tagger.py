"""Which classes are there, and when: M2D's columns and fPaSST's frames of every channel, fused.

Sources: "Extending SR-CorrNet to label-queried target sound extraction" (Ku, Jeong & Park, DCASE 2026) for what is
fused; DCASE 2026 Task 4 baseline (arXiv:2604.00776) for the head's layers, which are applied frame by frame here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from s5cli.nn.fpasst import FPaSST, FPaSSTConfig
from s5cli.nn.half_rate import HalfRate
from s5cli.nn.m2d import Encoder, M2DConfig
from s5cli.nn.network import Network


@dataclass(frozen=True)
class FusionTaggerConfig:
    channels: int = 4
    width: int = 768  # of both backbones
    depth: int = 12
    heads: int = 12
    fused: int = 768
    columns: Literal["mean", "stack"] = "mean"  # what becomes of the five patches of M2D's columns
    track_width: int = 1024
    hidden: int = 512
    tracks: int = 3
    outputs: int = 19


class Columns(Encoder):
    """M2D at 32 kHz, one vector each 160 ms: waveforms [b, t] to [b, n, d]."""

    def __init__(self, config: FusionTaggerConfig) -> None:
        stacked = config.columns == "stack"
        super().__init__(M2DConfig(width=config.width, depth=config.depth, heads=config.heads, stacked=stacked))
        del self.head_norm  # it has no place in this tagger's checkpoints

    def sequence(self, tokens: Tensor) -> Tensor:
        return super().sequence(tokens) if self.config.stacked else tokens.mean(dim=1)


class Projection(nn.Sequential):
    """Linear, layer norm, ReLU."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(nn.Linear(n_in, n_out), nn.LayerNorm(n_out), nn.ReLU())


class FrameHead(nn.Module):
    """Frames [b, n, d] to logits of each track by clip, [b, s, k], and by frame, [b, n, s, k]."""

    def __init__(self, n_in: int, config: FusionTaggerConfig) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(n_in, affine=False)
        self.trunk = Projection(n_in, config.tracks * config.track_width)
        self.frames = nn.ModuleList(self.classifier(config) for _ in range(config.tracks))
        self.clip = nn.ModuleList(self.classifier(config) for _ in range(config.tracks))

    @staticmethod
    def classifier(config: FusionTaggerConfig) -> nn.Sequential:
        return nn.Sequential(
            Projection(config.track_width, config.hidden), nn.Linear(config.hidden, config.outputs)
        )  # fmt: skip

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        tracks = self.trunk(self.norm(features.transpose(1, 2)).transpose(1, 2)).chunk(len(self.frames), dim=-1)
        frames = [head(track) for head, track in zip(self.frames, tracks, strict=True)]
        clip = [head(track.mean(dim=1)) for head, track in zip(self.clip, tracks, strict=True)]
        return torch.stack(clip, dim=1), torch.stack(frames, dim=2)


class FusionTagger(Network):
    """Waveforms [b, 4, t] at 32 kHz to logits of the tracks, [b, 3, 19]."""

    Config = FusionTaggerConfig
    frame_samples = 1280

    def __init__(self, config: FusionTaggerConfig) -> None:
        super().__init__()
        self.config, self.channels = config, config.channels
        self.m2d = Columns(config)
        self.to_half_rate = HalfRate()
        self.passt = FPaSST(FPaSSTConfig(width=config.width, depth=config.depth, heads=config.heads))
        n_column = config.width * (5 if config.columns == "stack" else 1)
        self.m2d_projection = Projection(config.channels * n_column, config.fused)
        self.passt_projection = Projection(config.channels * config.width, config.fused)
        self.head = FrameHead(2 * config.fused, config)

    @classmethod
    def grown(cls, tensors: Mapping[str, Tensor], config: FusionTaggerConfig) -> dict[str, Tensor]:
        """The state that training begins with: M2D of an official tagger, fPaSST of its public file, or of both.

        What neither holds is drawn afresh.
        """
        named = {own(name): value for name, value in tensors.items()}
        fresh = cls(config).state_dict()
        taken = {name: value for name, value in named.items() if name in fresh and value.shape == fresh[name].shape}
        return {**fresh, **taken}

    def forward(self, waveform: Tensor) -> Tensor:
        return self.tracked(waveform)[0]

    def heard(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the tracks [b, s, 19], and of a class against silence in every frame of 40 ms, [b, s, n, 18]."""
        clip, frames = self.tracked(waveform)
        return clip, (frames[..., :-1] - frames[..., -1:]).transpose(1, 2)

    def tracked(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the tracks of clips [b, s, 19] and of frames [b, n, s, 19]."""
        columns = self.m2d_projection(self.beside(self.m2d, waveform))
        frames = self.passt_projection(self.beside(self.passt, self.to_half_rate(waveform)))
        of_frame = torch.arange(frames.shape[1], device=frames.device) // 4
        aligned = columns[:, of_frame.clamp_max(columns.shape[1] - 1)]
        out: tuple[Tensor, Tensor] = self.head(torch.cat([aligned, frames], dim=-1))
        return out

    @staticmethod
    def beside(backbone: nn.Module, waveform: Tensor) -> Tensor:
        """Features of all channels side by side: [b, m, t] to [b, n, m d]."""
        b, m = waveform.shape[:2]
        out: Tensor = backbone(waveform.flatten(0, 1)).unflatten(0, (b, m)).transpose(1, 2).flatten(2)
        return out


def own(name: str) -> str:
    """A name of an official tagger or of fPaSST's file as this tagger's own.

    >>> own("model.backbone.cls_token"), own("model.m2d.backbone.cls_token"), own("model.conv_in_1.bias")
    ('m2d.backbone.cls_token', 'm2d.backbone.cls_token', 'passt.conv_in_1.bias')
    """
    inner = name.removeprefix("model.")
    if inner.removeprefix("m2d.").startswith("backbone."):
        return f"m2d.{inner.removeprefix('m2d.')}"
    return f"passt.{inner}" if name.startswith("model.") else name
