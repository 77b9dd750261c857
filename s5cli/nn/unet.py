"""The separator's body: a residual U-Net whose every block is shifted by the query (DCASE 2026 Task 4 baseline).

The module tree carries the official checkpoint's key names.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 6


@dataclass(frozen=True)
class ResUNetConfig:
    """The defaults are the official separator."""

    widths: tuple[int, ...] = (32, 64, 128, 256, 384, 384)
    condition_width: int = 512
    n_fft: int = 1024
    hop_samples: int = 160
    patch_frames: int = 1
    patch_bins: int = 1
    features: Literal["magnitude", "spatial"] = "magnitude"
    mask: Literal["polar", "share"] = "polar"
    ears: float = 0.0  # width of a frozen tagger's body that gives clues (`nn/ears.py`); 0: none
    refined: bool = False  # shares are corrected by where they come from
    apart: float = 0.0  # how sharply slots of one class are told apart by direction, once trained; 0: not at all
    wiener: bool = False  # whether, once trained, stems are averaged with those of a filter over channels
    channels: int = 4
    slots: int = 3
    classes: int = 18


class ResBlock(nn.Module):
    """BN + shift, LeakyReLU, 3×3, twice; plus the input, or a 1×1 of it where the width changes."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(n_in)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()

    def forward(self, x: Tensor, beta1: Tensor, beta2: Tensor) -> Tensor:
        y = self.conv1(F.leaky_relu(self.bn1(x) + beta1, 0.01))
        y = self.conv2(F.leaky_relu(self.bn2(y) + beta2, 0.01))
        out: Tensor = y + self.shortcut(x)
        return out


class EncoderBlock(nn.Module):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv_block1 = ResBlock(n_in, n_out)

    def forward(self, x: Tensor, shifts: Mapping[str, Tensor], place: str) -> Tensor:
        out: Tensor = self.conv_block1(
            x, shifts[f"{place}->conv_block1->beta1"], shifts[f"{place}->conv_block1->beta2"]
        )
        return out


class DecoderBlock(nn.Module):
    def __init__(self, n_in: int, n_out: int, upsample: tuple[int, int]) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(n_in)
        self.bn2 = nn.BatchNorm2d(n_in)  # stored in the official checkpoint and unused
        self.conv1 = nn.ConvTranspose2d(n_in, n_out, upsample, stride=upsample, bias=False)
        self.conv_block2 = ResBlock(2 * n_out, n_out)

    def forward(self, x: Tensor, skip: Tensor, shifts: Mapping[str, Tensor], place: str) -> Tensor:
        up = self.conv1(F.leaky_relu(self.bn1(x) + shifts[f"{place}->beta1"], 0.01))
        beta1, beta2 = (shifts[f"{place}->conv_block2->beta{i}"] for i in (1, 2))
        out: Tensor = self.conv_block2(torch.cat([up, skip], dim=1), beta1, beta2)
        return out


class UNet(nn.Module):
    """Feature maps [b, maps, n, f] and shifts to output maps [b, outputs, n, f]; n a multiple of 32, f of 64."""

    outside_core = ("bn0", "out_conv")  # used before and after it
    is_prepared = False  # see `s5cli.nn.prepared`

    def __init__(self, maps: int, outputs: int, config: ResUNetConfig) -> None:
        super().__init__()
        w = config.widths
        patch = (config.patch_frames, config.patch_bins)
        self.bn0 = nn.BatchNorm2d(config.n_fft // 2 + 1)
        self.pre_conv = nn.Conv2d(maps, w[0], patch, stride=patch)
        for i, (n_in, n_out) in enumerate(zip((w[0], *w[:-1]), w, strict=True), 1):
            self.add_module(f"encoder_block{i}", EncoderBlock(n_in, n_out))
        self.conv_block7a = EncoderBlock(w[-1], w[-1])
        for i, (n_in, n_out) in enumerate(zip((w[-1], *w[:0:-1]), w[::-1], strict=True), 1):
            self.add_module(f"decoder_block{i}", DecoderBlock(n_in, n_out, (1 if i == 1 else 2, 2)))
        self.after_conv = nn.Conv2d(w[0], outputs, 1)
        if config.mask == "polar":
            self.out_conv = nn.Conv2d(config.channels, 1, 1)

    def forward(self, maps: Tensor, shifts: Mapping[str, Tensor], clues: Tensor | None = None) -> Tensor:
        if len(maps) > 1 and self.is_prepared and maps.device.type == "cpu" and not is_recorded():
            return torch.cat([self.forward(*clip) for clip in alone(maps, shifts, clues)])  # one fills the cache
        x, skips = self.pre_conv(maps), []
        if clues is not None:
            x = x + clues
        for i in range(1, LEVELS + 1):
            skips.append(getattr(self, f"encoder_block{i}")(x, shifts, f"encoder_block{i}"))
            x = F.avg_pool2d(skips[-1], (1 if i == LEVELS else 2, 2))
        x = self.conv_block7a(x, shifts, "conv_block7a")
        for i in range(1, LEVELS + 1):
            x = getattr(self, f"decoder_block{i}")(x, skips.pop(), shifts, f"decoder_block{i}")
        out: Tensor = self.after_conv(x)
        return out


def is_recorded() -> bool:
    """Whether PyTorch exports or compiles what is computed, for sizes that nobody knows yet."""
    if torch.compiler.is_compiling():  # asked first, as the other question cannot be compiled
        return True
    is_traced: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return is_traced


def alone(
    maps: Tensor, shifts: Mapping[str, Tensor], clues: Tensor | None
) -> Iterator[tuple[Tensor, dict[str, Tensor], Tensor | None]]:
    """Each clip of a batch as a batch of one."""
    for row in range(len(maps)):
        one = slice(row, row + 1)
        yield maps[one], {at: shift[one] for at, shift in shifts.items()}, None if clues is None else clues[one]


def shift_places(widths: tuple[int, ...]) -> dict[str, int]:
    """Every place that takes a shift, in the official order, with its channels.

    The two-level `decoder_block*->beta2` are stored in the official checkpoint and unused.
    """
    places: dict[str, int] = {}
    encoders = [(f"encoder_block{i}", n) for i, n in enumerate(zip((widths[0], *widths[:-1]), widths, strict=True), 1)]
    for name, (n_in, n_out) in [*encoders, ("conv_block7a", (widths[-1], widths[-1]))]:
        places |= {f"{name}->conv_block1->beta1": n_in, f"{name}->conv_block1->beta2": n_out}
    for i, (n_in, n_out) in enumerate(zip((widths[-1], *widths[:0:-1]), widths[::-1], strict=True), 1):
        name = f"decoder_block{i}"
        places |= {f"{name}->beta1": n_in, f"{name}->beta2": n_in}
        places |= {f"{name}->conv_block2->beta1": 2 * n_out, f"{name}->conv_block2->beta2": n_out}
    return places
