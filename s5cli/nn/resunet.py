"""ResUNetK: a residual U-Net that separates three queried slots at once (DCASE 2026 Task 4 baseline).

The module tree carries the official checkpoint's key names. The same body serves the compact configuration: a patch
stem instead of full resolution, spatial features instead of magnitudes, a condition that does not depend on the order
of the slots, and bins that are shared out among the slots (`nn/share.py`) instead of a polar mask per slot and channel.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s5cli.nn.ears import Clues, Ears, ears_state
from s5cli.nn.efficientat import RATE_HZ
from s5cli.nn.film import Shifts
from s5cli.nn.share import Field, ShareHead

_FLOOR = 1e-10
LEVELS = 6
_TIME_STEP = 2 ** (LEVELS - 1)  # the sixth level halves frequency only


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


@dataclass(frozen=True)
class Spectrum:
    """A mixture's spectrum, also in polar form; cos and sin are 0 where the spectrum is."""

    complex: Tensor  # [b, m, n, f]
    magnitude: Tensor  # at least 1e-5

    @property
    def cos(self) -> Tensor:
        return self.complex.real / self.magnitude

    @property
    def sin(self) -> Tensor:
        return self.complex.imag / self.magnitude


class ResUNetK(nn.Module):
    """Mixture [b, 4, t] and query [b, 54] (3 slots × 18 classes) to one waveform a slot, [b, 3, t].

    A slot whose 18 values are all zero is exactly zero, and costs neither mask nor inverse transform.
    Needs t > n_fft / 2.
    """

    Config = ResUNetConfig
    core = "base"  # see `s5cli.nn.core`
    stored_constants = (r"^base\.i?stft\.",)

    def __init__(self, config: ResUNetConfig) -> None:
        super().__init__()
        self.config = config
        polar = config.mask == "polar"
        maps = config.channels if config.features == "magnitude" else 3 * config.channels - 2
        d, width, bins = config.condition_width, config.widths[0], config.patch_frames * config.patch_bins
        self.base = UNet(maps, config.slots * config.channels * 3 * bins if polar else width, config)
        self.label_embedding = nn.Sequential(
            nn.Linear(config.slots * config.classes if polar else config.classes, d), nn.LayerNorm(d), nn.ReLU(),
            nn.Linear(d, d), nn.LayerNorm(d), nn.ReLU(),
        )  # fmt: skip
        self.film = Shifts(d, shift_places(config.widths))
        if not polar:
            self.head = ShareHead(width, bins, config.slots, config.classes, config.refined)
        if config.ears:
            self.ears = Ears(width, config.classes, config.ears)
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        n = config.n_fft  # the official code counts the fixed transform kernels that it stores, too
        self.nparams = sum(p.numel() for p in self.parameters()) + 2 * (n // 2 + 1) * n + 2 * n * n

    window: Tensor

    @classmethod
    def grown(cls, tensors: Mapping[str, Tensor], config: ResUNetConfig) -> dict[str, Tensor]:
        """The state that training begins with: a separator without ears, if given, and an EfficientAT's body as ears.

        What they lack is fresh. The weights of anything else are left as they are, for the strict load to refuse.
        """
        if "classifier.5.weight" not in tensors:
            return dict(tensors)
        own = {name: t for name, t in tensors.items() if not name.startswith(("features.", "classifier."))}
        ears = {f"ears.{name}": t for name, t in ears_state(tensors).items()}
        return cls(config).state_dict() | own | ears

    def prepare(self) -> None:
        """Gives the network its inference form, in which it cannot be trained or saved any more."""
        from s5cli.nn.prepared import prepare  # it builds on this file

        prepare(self.base)

    def forward(self, mixture: Tensor, query: Tensor) -> Tensor:
        level = self.level(mixture)
        spectrum = self.analyse(mixture / level)
        slots = query.view(-1, self.config.slots, self.config.classes)
        polar = self.config.mask == "polar"
        shifts = self.film(self.label_embedding(query if polar else slots.sum(dim=1)))
        clues = self.clues(mixture, spectrum) if self.config.ears else None
        maps = self.base(self.grow(self.features(spectrum)), shifts, clues.maps if clues else None)
        field = self.field(spectrum, clues) if clues and self.config.refined else None
        shares = None if polar else self.head(maps, slots, field)
        waveform = mixture.new_zeros(*slots.shape[:2], mixture.shape[-1])
        for row, asked in enumerate((slots.sum(dim=-1) != 0).tolist()):
            if places := [slot for slot, is_asked in enumerate(asked) if is_asked]:
                x = spectrum.complex[row]
                separated = (
                    self.polar_mask(x, maps[row], places)
                    if shares is None
                    else self.shared_out(x, shares.mask[row, places], shares.lean[row, places])
                )
                waveform[row, places] = self.synthesise(separated, mixture.shape[-1])
        return waveform * level

    def level(self, mixture: Tensor) -> Tensor:
        """What the input is divided by: 1 as published; with spatial features the RMS of channel 0, [b, 1, 1]."""
        if self.config.features == "magnitude":
            return mixture.new_ones(())
        return mixture[:, :1].square().mean(dim=-1, keepdim=True).sqrt().clamp_min(1e-6)

    def analyse(self, mixture: Tensor) -> Spectrum:
        n_fft, hop = self.config.n_fft, self.config.hop_samples
        spectrum = torch.stft(mixture.flatten(0, 1), n_fft, hop, window=self.window, center=True, return_complex=True)
        spectrum = spectrum.transpose(1, 2).unflatten(0, mixture.shape[:2])  # [b, m, n, f]
        magnitude = (spectrum.real.square() + spectrum.imag.square()).clamp_min(_FLOOR).sqrt()
        return Spectrum(spectrum, magnitude)

    def features(self, spectrum: Spectrum) -> Tensor:
        if self.config.features == "magnitude":
            return self.normalise(spectrum.magnitude)
        return torch.cat([self.normalise(spectrum.magnitude.log()), self.directions(spectrum)], dim=1)

    def normalise(self, maps: Tensor) -> Tensor:
        """BatchNorm per frequency bin."""
        out: Tensor = self.base.bn0(maps.transpose(1, 3)).transpose(1, 3)
        return out

    @staticmethod
    def directions(spectrum: Spectrum) -> Tensor:
        """Active and reactive intensity over energy, [b, 2 (m − 1), n, f], each within ±1."""
        x = spectrum.complex
        energy = spectrum.magnitude.square().sum(dim=1, keepdim=True) / 2
        intensity = x[:, :1].conj() * x[:, 1:] / energy
        return torch.cat([intensity.real, intensity.imag], dim=1)

    def clues(self, mixture: Tensor, spectrum: Spectrum) -> Clues:
        """What the ears say of channel 0, on the grid of patches."""
        c = self.config
        frames = spectrum.magnitude.shape[2] + -spectrum.magnitude.shape[2] % (_TIME_STEP * c.patch_frames)
        grid = (frames // c.patch_frames, c.n_fft // 2 // c.patch_bins)
        band_hz = c.patch_bins * RATE_HZ / c.n_fft
        clues: Clues = self.ears(mixture[:, 0], grid, c.patch_frames * c.hop_samples, band_hz)
        return clues

    def field(self, spectrum: Spectrum, clues: Clues) -> Field:
        """Intensity and level of each patch, and the ears' classes."""
        x = self.patches(spectrum.complex)  # [b, m, p, n, f]
        energy = (x.real.square() + x.imag.square()).sum(dim=(1, 2))[:, None] / 2
        intensity = (x[:, :1].conj() * x[:, 1:]).real.sum(dim=2)
        return Field(intensity / energy.clamp_min(1e-8), energy.sqrt(), clues.sounds)

    def grow(self, maps: Tensor) -> Tensor:
        """Zero frames up to whole patches of 32, after normalising; the last bin goes."""
        multiple = _TIME_STEP * self.config.patch_frames
        return F.pad(maps[..., :-1], (0, 0, 0, -maps.shape[-2] % multiple))

    def shrink(self, maps: Tensor, frames: int) -> Tensor:
        """Padded frames off, one zero bin on: the inverse of `grow`."""
        return F.pad(maps[..., :frames, :], (0, 1))

    def polar_mask(self, spectrum: Tensor, masks: Tensor, places: list[int]) -> Tensor:
        """One clip [m, n, f] times masks [s · m · 3, n, f] of the slots in `places`: [a, n, f].

        Sigmoid magnitude and a phase rotation per channel, channels mixed by one 1×1 convolution. The last bin's phase
        has norm 0, so its output is the convolution's bias alone, as published.
        """
        n, out = spectrum.shape[1], self.base.out_conv
        gain, real, imag = masks[:, :n].unflatten(0, (-1, self.config.channels, 3))[places].float().unbind(dim=2)
        real, imag = real.tanh(), imag.tanh()
        norm = (real.square() + imag.square()).sqrt().clamp_min(_FLOOR)
        gain = gain.sigmoid() * out.weight.view(-1, 1, 1) / norm
        rotated = (spectrum[:, :, :-1] * torch.complex(gain * real, gain * imag)).sum(dim=1)
        bias = torch.as_tensor(out.bias)
        mixed: Tensor = F.pad(rotated, (0, 1)) + torch.complex(bias, bias)
        return mixed

    def shared_out(self, spectrum: Tensor, mask: Tensor, lean: Tensor) -> Tensor:
        """Shares [a, p, n, f] of the bins of one clip's beams, which lean towards the slots' directions: [a, n, f]."""
        x = self.patches(spectrum)  # [m, p, n, f]
        beam = x[0] + sum(lean[:, axis, None] * x[1 + axis] for axis in range(3))
        return self.unpatched(mask * beam, spectrum.shape[1])

    def patches(self, maps: Tensor) -> Tensor:
        """[…, n, f] to […, p, n, f]: the p bins of each patch side by side, padded as the network sees them."""
        frames, bins = self.config.patch_frames, self.config.patch_bins
        grown = self.grow(maps).unflatten(-2, (-1, frames)).unflatten(-1, (-1, bins))
        patches: Tensor = grown.movedim((-3, -1), (-4, -3)).flatten(-4, -3)
        return patches

    def unpatched(self, patches: Tensor, frames: int) -> Tensor:
        """The inverse of `patches`."""
        maps = patches.unflatten(-3, (self.config.patch_frames, self.config.patch_bins)).movedim((-4, -3), (-3, -1))
        return self.shrink(maps.flatten(-2).flatten(-3, -2), frames)

    def synthesise(self, spectrum: Tensor, t: int) -> Tensor:
        """Inverse STFT of [a, n, f] to [a, t]."""
        n_fft, hop = self.config.n_fft, self.config.hop_samples
        waveform: Tensor = torch.istft(spectrum.mT, n_fft, hop, window=self.window, center=True, length=t)
        return waveform
