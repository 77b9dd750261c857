"""What a separated object is, from its feature map: the class decoder, and the dual-path classifier.

Two small convolutional branches read a map [n, d, f, t], one along time and one along frequency. The class decoder
(2025) makes logits of them. The dual-path classifier (2026) joins the time branch with features that a pretrained
network made of the separated waveform, and says class by class how near the object is in angle.

Source: DeepASA's ClassNet (arXiv:2509.17247); "Sound Separation and Classification with Object and Semantic Guidance"
(arXiv:2509.15899), of which no layers are published: fusion, widths and pooling are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s5cli.nn.arcface import CosineHead

Pools = tuple[tuple[int, int], ...]
Paths = Literal["both", "object", "semantic"]
_TIME_POOLS: Pools = ((2, 5), (2, 1), (2, 1), (2, 1), (2, 1), (2, 1), (1, 1))
_FREQUENCY_POOLS: Pools = ((4, 5), (4, 4))
_FREQUENCY_FRAMES = 10  # time steps that are left of the frequency branch
_MIN_VARIANCE = 1e-5


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of the branches; the defaults are the published ones. Pools are (frequency, time)."""

    maps: int = 64
    bins: int = 641
    classes: int = 18
    time_pools: Pools = _TIME_POOLS
    frequency_pools: Pools = _FREQUENCY_POOLS
    hidden: int = 320  # of the layer ahead of each recurrent network
    recurrent: int = 128  # per direction
    mlp: int = 128
    features: int = 3840  # of the semantic path
    embedding: int = 256
    paths: Paths = "both"

    @property
    def time_rows(self) -> int:
        """Frequency rows that are left of the time branch."""
        return pooled(self.bins, [pool for pool, _ in self.time_pools])


def pooled(size: int, pools: Sequence[int]) -> int:
    """
    >>> pooled(641, (2, 2, 2, 2, 2, 2, 1))
    10
    """
    for pool in pools:
        size //= pool
    return size


def fewer_pools(bins: int, least: int = 8) -> Pools:
    """The published time pools without those that would leave fewer rows than `least`.

    >>> fewer_pools(81)
    ((2, 5), (2, 1), (2, 1), (1, 1), (1, 1), (1, 1), (1, 1))
    """
    kept, rows = [], bins
    for frequency, time in _TIME_POOLS:
        frequency = frequency if rows // frequency >= least else 1
        rows //= frequency
        kept.append((frequency, time))
    return tuple(kept)


def stages(maps: int, pools: Pools) -> nn.Sequential:
    """3×3 convolution, GroupNorm over all channels, Mish, maximum pool."""
    return nn.Sequential(*(
        nn.Sequential(nn.Conv2d(maps, maps, 3, padding=1), nn.GroupNorm(1, maps), nn.Mish(), nn.MaxPool2d(pool))
        for pool in pools
    ))  # fmt: skip


class TimeBranch(nn.Module):
    """Object maps [n, d, f, t] to a vector for every fifth frame, [n, t / 5, hidden]."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.cnn = stages(config.maps, config.time_pools)
        self.linear = nn.Linear(config.maps * config.time_rows, config.hidden)

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.linear(self.cnn(maps).flatten(1, 2).transpose(1, 2))
        return out


class FrequencyBranch(nn.Module):
    """Object maps [n, d, f, t] to one vector, [n, 2 × recurrent]."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.cnn = stages(config.maps, config.frequency_pools)
        self.linear = nn.Linear(config.maps * _FREQUENCY_FRAMES, config.hidden)
        self.gru = recurrent(config.hidden, config.recurrent)

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.cnn(maps)
        maps = F.adaptive_avg_pool2d(maps, (maps.shape[2], _FREQUENCY_FRAMES))
        rows = self.linear(maps.transpose(1, 2).flatten(2))  # [n, f, hidden]
        out: Tensor = self.gru(rows)[0].mean(dim=1)
        return out


def recurrent(width: int, hidden: int) -> nn.GRU:
    return nn.GRU(width, hidden, num_layers=2, bidirectional=True, batch_first=True)


def mlp(width: int, hidden: int, outputs: int, between: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), between, nn.Linear(hidden, outputs))


class StatisticsPool(nn.Module):
    """Mean and standard deviation over time, weighted by attention: [n, t, d] to [n, 2 d].

    Source: attentive statistics pooling (Okabe et al., Interspeech 2018).
    """

    def __init__(self, width: int, hidden: int = 64) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.linear2(torch.tanh(self.linear1(x))).softmax(dim=1)
        mean = (weight * x).sum(dim=1)
        variance = (weight * x.square()).sum(dim=1) - mean.square()
        return torch.cat([mean, variance.clamp_min(_MIN_VARIANCE).sqrt()], dim=-1)


class LogitPool(StatisticsPool):
    """The same of logits, and a linear layer back to logits."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.linear3 = nn.Linear(2 * classes, classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear3(super().forward(x))
        return out


class Said(NamedTuple):
    """What a classifier says of objects."""

    logits: Tensor  # [n, k]
    active: Tensor  # [n], logit of not being silent


class ClassDecoder(nn.Module):
    """Object maps [n, d, f, t] to classes: frame logits pooled over time plus logits of the frequency branch."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        c, wide = config, 2 * config.recurrent
        self.cnn_t, self.cnn = stages(c.maps, c.time_pools), stages(c.maps, c.frequency_pools)
        self.Linear_t = nn.Linear(c.maps * c.time_rows, c.hidden)
        self.Linear = nn.Linear(c.maps * _FREQUENCY_FRAMES, c.hidden)
        self.rnn_t, self.freq_gru = recurrent(c.hidden, c.recurrent), recurrent(c.hidden, c.recurrent)
        self.sed_t = mlp(wide, c.mlp, c.classes, nn.Identity())  # no activation between, as published
        self.sed = mlp(wide, c.mlp, c.classes, nn.Identity())
        self.onoff = mlp(wide, c.mlp, 1, nn.Mish())
        self.asp = LogitPool(c.classes)

    def forward(self, maps: Tensor) -> Said:
        along, across = self.cnn_t(maps), self.cnn(maps)
        across = F.adaptive_avg_pool2d(across, (across.shape[2], _FREQUENCY_FRAMES))
        frames = self.rnn_t(self.Linear_t(along.flatten(1, 2).transpose(1, 2)))[0]
        whole = self.freq_gru(self.Linear(across.transpose(1, 2).flatten(2)))[0].mean(dim=1)
        logits = self.asp(self.sed_t(frames)) + self.sed(whole)
        return Said(logits, self.onoff(frames.mean(dim=1))[:, 0])


class DualPath(nn.Module):
    """Object maps [n, d, f, t] and semantic features [n, m, e] of the same objects to classes and silence."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.along, self.across = TimeBranch(config), FrequencyBranch(config)
        self.semantic = nn.Sequential(nn.LayerNorm(config.features), nn.Linear(config.features, config.hidden))
        self.fusion = nn.Linear(2 * config.hidden, config.hidden)
        wide = 2 * config.recurrent
        self.gru = recurrent(config.hidden, config.recurrent)
        self.pool = StatisticsPool(wide)
        self.embed = nn.Linear(3 * wide, config.embedding)
        self.cosine = CosineHead(config.embedding, config.classes)
        self.onoff = mlp(3 * wide, config.mlp, 1, nn.Mish())

    def forward(self, maps: Tensor, features: Tensor, paths: str | None = None) -> Said:
        paths = paths or self.config.paths
        p = self.along(maps)
        q = F.interpolate(self.semantic(features).transpose(1, 2), p.shape[1], mode="linear").transpose(1, 2)
        if paths == "object":
            q = torch.zeros_like(q)
        if paths == "semantic":
            p = torch.zeros_like(p)
        frames = self.gru(self.fusion(torch.cat([p, q], dim=-1)))[0]
        across = self.across(maps)
        if paths == "semantic":
            across = torch.zeros_like(across)
        both = torch.cat([self.pool(frames), across], dim=-1)
        return Said(self.cosine(self.embed(both)), self.onoff(both)[:, 0])
