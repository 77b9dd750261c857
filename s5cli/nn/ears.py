"""Clues for a separator from a tagger that has heard AudioSet: what sounds when, and maps of what it sees.

All but the body's last layer is frozen: it never learns from the recordings that a separator learns from, so that its
maps are as good on others.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s5cli.nn.body_tagger import from_audioset
from s5cli.nn.efficientat import HOP_SAMPLES, ROWS, KaldiMel, body, body_sizes, mel_position, scaled

_LEVEL = 0.05  # standard deviation that the body is used to
_CONTEXT_FRAMES = 7  # AudioSet's classes want about two seconds
_STAGES = {3: 4, 6: 8, 12: 16, 15: 32}  # blocks of the body whose maps are used, and how many mel bands and hops apart
_LAST = max(_STAGES)
_RANGE = 6.0  # logits beyond this say nothing more


@dataclass(frozen=True)
class Clues:
    """What the ears say of a mixture, on the separator's grid of patches."""

    maps: Tensor  # [b, width, n, f]
    sounds: Tensor  # [b, k, n] within ±1: whether each class is heard around a patch


class Ears(nn.Module):
    """Waveforms [b, t] at 32 kHz to clues on a grid of patches of `frames` × `hop` samples and `bands` bands."""

    def __init__(self, width: int, classes: int, body_width: float = 0.4) -> None:
        super().__init__()
        maps, hidden = body_sizes(body_width)
        self.to_mel = KaldiMel()
        self.body = body(body_width)
        self.trunk = nn.Linear(maps, hidden)
        self.classes = nn.Linear(hidden, classes)
        for p in self.body[:-1].parameters():
            p.requires_grad_(False)
        sizes = {stage: scaled(ROWS[stage - 1], body_width).n_out for stage in _STAGES}
        self.norms = nn.ModuleDict({str(stage): nn.BatchNorm2d(n) for stage, n in sizes.items()})
        self.looks = nn.ModuleDict({str(stage): nn.Conv2d(n, width, 1) for stage, n in sizes.items()})

    def train(self, mode: bool = True) -> "Ears":
        """The body's batch statistics stay as they were released."""
        super().train(mode)
        self.body.eval()
        return self

    def forward(self, waveform: Tensor, grid: tuple[int, int], patch_samples: int, band_hz: float) -> Clues:
        """`grid` is the number of patches in time and of bands."""
        stages, grids = self.seen(waveform), (grid, patch_samples, band_hz)
        looked = {number: self.looks[str(number)](self.norms[str(number)](seen)) for number, seen in stages.items()}
        maps = torch.stack([self.placed(look, _STAGES[number], *grids) for number, look in looked.items()]).sum(dim=0)
        with full_precision(waveform.device.type):
            sounds = self.sounds(self.body[-1](stages[_LAST].float()).mean(dim=2))
        return Clues(maps, between(sounds, hops(grid[0], patch_samples, waveform.device) / _STAGES[_LAST], 2))

    @staticmethod
    def placed(maps: Tensor, apart: int, grid: tuple[int, int], patch_samples: int, band_hz: float) -> Tensor:
        """Maps [b, c, mel, n] of every `apart`-th mel band and hop, on the grid: [b, c, *grid]."""
        bands = mel_position((torch.arange(grid[1], device=maps.device) + 0.5) * band_hz)
        in_bands = between(maps, bands / apart, 2)
        return between(in_bands, hops(grid[0], patch_samples, maps.device) / apart, 3).transpose(2, 3)

    @torch.no_grad()
    def seen(self, waveform: Tensor) -> dict[int, Tensor]:
        """Maps [b, c, mel, n] of the stages."""
        with full_precision(waveform.device.type):
            level = waveform.square().mean(dim=-1, keepdim=True).sqrt().clamp_min(1e-6)
            maps = self.to_mel((waveform * (_LEVEL / level)).float())[:, None]
            x, stages = maps.contiguous(memory_format=torch.channels_last), {}
            for number, block in enumerate(list(self.body)[:-1]):
                x = block(x)
                if number in _STAGES:
                    stages[number] = x
            return stages

    def sounds(self, features: Tensor) -> Tensor:
        """Frame features [b, d, n] to what each class sounds like there, [b, k, n] within ±1."""
        half = _CONTEXT_FRAMES // 2
        around = F.avg_pool1d(features, _CONTEXT_FRAMES, 1, half, count_include_pad=False).transpose(1, 2)
        logits = self.classes(F.hardswish(self.trunk(around))).transpose(1, 2)
        out: Tensor = logits.clamp(-_RANGE, _RANGE) / _RANGE
        return out


def hops(patches: int, patch_samples: int, device: torch.device) -> Tensor:
    """Where patches of two frames are centred, in the body's hops."""
    return (torch.arange(patches, device=device) + 0.25) * (patch_samples / HOP_SAMPLES)


def full_precision(device: str) -> AbstractContextManager[object]:
    """No autocast, on devices that have it: the logarithm of a mel map needs all bits."""
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def ears_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The frozen part of the state, out of an EfficientAT's."""
    given = from_audioset(tensors)
    names = {"head.trunk.": "trunk.", "head.frames.": "classes.", "body.": "body."}
    return {
        name.replace(old, new, 1): value
        for name, value in given.items()
        for old, new in names.items()
        if name.startswith(old)
    }


def between(values: Tensor, at: Tensor, dim: int) -> Tensor:
    """Values at places between the indices of a dimension, by straight lines; the ends go on.

    >>> between(torch.tensor([[0.0, 1.0, 4.0]]), torch.tensor([0.5, 1.5, 9.0]), 1)
    tensor([[0.5000, 2.5000, 4.0000]])
    """
    at = at.clamp(0, values.shape[dim] - 1)
    low = at.floor().long()
    high = (low + 1).clamp_max(values.shape[dim] - 1)
    shape = [1] * values.dim()
    shape[dim] = -1
    weight = (at - low).to(values.dtype).view(shape)
    return torch.lerp(values.index_select(dim, low), values.index_select(dim, high), weight)
