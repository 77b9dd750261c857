"""ResUNetK: a residual U-Net that separates three queried slots at once (DCASE 2026 Task 4 baseline).

The module tree carries the official checkpoint's key names. The same body serves the compact configuration: a patch
stem instead of full resolution, spatial features instead of magnitudes, a condition that does not depend on the order
of the slots, and bins that are shared out among the slots (`nn/share.py`) instead of a polar mask per slot and channel.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s5cli.nn.apart import apart
from s5cli.nn.ears import Clues, Ears, ears_state
from s5cli.nn.efficientat import RATE_HZ
from s5cli.nn.film import Shifts
from s5cli.nn.prepared import prepare
from s5cli.nn.share import Field, ShareHead
from s5cli.nn.unet import LEVELS, ResUNetConfig, UNet, shift_places
from s5cli.nn.wiener import wiener

_FLOOR = 1e-10
_STRIP_FRAMES = 32  # of masks, on a CPU
_TIME_STEP = 2 ** (LEVELS - 1)  # the sixth level halves frequency only


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
                if shares is None:
                    separated = self.polar_mask(x, maps[row], places)
                else:
                    mask = shares.mask[row, places]
                    separated = self.shared_out(x, mask, shares.lean[row, places])
                    separated = self.postprocessed(x, separated, mask, slots[row, places])
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
        out: Clues = self.ears(mixture[:, 0], grid, c.patch_frames * c.hop_samples, band_hz)
        return out

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

        On a CPU in strips of frames, whose dozen steps stay in the cache.
        """
        n = spectrum.shape[1]
        size = _STRIP_FRAMES if spectrum.device.type == "cpu" else n
        strips = zip(spectrum.split(size, dim=1), masks[:, :n].split(size, dim=1), strict=True)
        return torch.cat([self.masked(x, mask, places) for x, mask in strips], dim=1)

    def masked(self, spectrum: Tensor, masks: Tensor, places: list[int]) -> Tensor:
        """Sigmoid magnitude and a phase rotation per channel, channels mixed by one 1×1 convolution.

        The last bin's phase has norm 0, so its output is the convolution's bias alone, as published.
        """
        out, slots = self.base.out_conv, masks.unflatten(0, (-1, self.config.channels, 3))
        gain, real, imag = (slots if len(places) == len(slots) else slots[places]).float().unbind(dim=2)
        real, imag = real.tanh(), imag.tanh()
        norm = (real.square() + imag.square()).sqrt().clamp_min(_FLOOR)
        gain = gain.sigmoid() * out.weight.view(-1, 1, 1) / norm
        rotated = (spectrum[:, :, :-1] * torch.complex(gain * real, gain * imag)).sum(dim=1)
        bias = torch.as_tensor(out.bias)
        return F.pad(rotated, (0, 1)) + torch.complex(bias, bias)

    def shared_out(self, spectrum: Tensor, mask: Tensor, lean: Tensor) -> Tensor:
        """Shares [a, p, n, f] of the bins of one clip's beams, which lean towards the slots' directions: [a, n, f]."""
        x = self.patches(spectrum)  # [m, p, n, f]
        beam = x[0] + sum(lean[:, axis, None] * x[1 + axis] for axis in range(3))
        return self.unpatched(mask * beam, spectrum.shape[1])

    def postprocessed(self, spectrum: Tensor, separated: Tensor, mask: Tensor, query: Tensor) -> Tensor:
        """Stems [a, n, f] of one clip, with their masks [a, p, n, f] and query [a, k]; as they are while it learns."""
        if self.training or not (self.config.apart or self.config.wiener):
            return separated
        mask = self.unpatched(mask, spectrum.shape[1])
        if self.config.apart:
            separated, mask = self.told_apart(spectrum, separated, mask, query.argmax(dim=-1))
        if self.config.wiener:
            separated = (separated + mask.sqrt() * wiener(spectrum, mask)) / 2
        return separated

    def told_apart(self, spectrum: Tensor, separated: Tensor, mask: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Stems and masks [a, n, f]; those of one class are shares of channel 0 by direction."""
        for label in classes.unique().tolist():
            of_one = (classes == label).nonzero()[:, 0]
            if len(of_one) > 1:
                together = mask[of_one].sum(dim=0)
                shares = together * apart(spectrum, together, len(of_one), self.config.apart)
                mask = mask.index_copy(0, of_one, shares)
                separated = separated.index_copy(0, of_one, shares * spectrum[0])
        return separated, mask

    def patches(self, maps: Tensor) -> Tensor:
        """[…, n, f] to […, p, n, f]: the p bins of each patch side by side, padded as the network sees them."""
        frames, bins = self.config.patch_frames, self.config.patch_bins
        grown = self.grow(maps).unflatten(-2, (-1, frames)).unflatten(-1, (-1, bins))
        out: Tensor = grown.movedim((-3, -1), (-4, -3)).flatten(-4, -3)
        return out

    def unpatched(self, patches: Tensor, frames: int) -> Tensor:
        """The inverse of `patches`."""
        maps = patches.unflatten(-3, (self.config.patch_frames, self.config.patch_bins)).movedim((-4, -3), (-3, -1))
        return self.shrink(maps.flatten(-2).flatten(-3, -2), frames)

    def synthesise(self, spectrum: Tensor, t: int) -> Tensor:
        """Inverse STFT of [a, n, f] to [a, t]."""
        n_fft, hop = self.config.n_fft, self.config.hop_samples
        return torch.istft(spectrum.mT, n_fft, hop, window=self.window, center=True, length=t)
