"""SR-CorrNet: correlations of neighbouring frames and bins in, filters over them out (arXiv:2603.29097).

As published it separates blindly; with labels it extracts what is asked for (Ku, Jeong & Park, DCASE 2026), and `fold`
puts neighbouring bins together, which makes it small. With `fold` 1 and the blind split the module tree carries the
public checkpoints' key names.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s5cli.nn.network import Network
from s5cli.nn.query_split import Asked, BlindSplit, LabelSplit
from s5cli.nn.slot_mixer import SlotMixer
from s5cli.nn.taps import Taps, compressed, correlations, filtered, in_bands, mean_level
from s5cli.nn.tf_block import TFBlock, norm
from s5cli.nn.transform import Kind, Transform

MARGIN = 2  # frames on either side that the two convolutions of the embedding look at
_RENAMED = {
    r"^_orig_mod\.": "", r"^input_layer\.": "encoder.", r"^mask_estim\.": "filter_estim.",
    r"^mask_estim_aux\.": "filter_estim_aux.", r"\.frame_wise_block\.": ".freq_block.",
    r"\.freq_wise_block\.": ".time_block.", r"\.block\.ega\.": ".block.sa.",
}  # fmt: skip
_LEAST = 1e-8  # level of digital silence
_AT_ONCE = 2**18  # numbers that make filters: they fit a CPU's cache
_AT_ONCE_ON_GPU = 2**28


@dataclass(frozen=True)
class SRCorrNetConfig:
    """The defaults are the full label-queried separator."""

    channels: int = 4
    taps_frame: tuple[int, int] = (3, 3)  # before, after
    taps_bin: tuple[int, int] = (1, 1)  # below, above
    width: int = 128
    hidden: int = 256  # of the feed-forwards along time and frequency
    slot_hidden: int = 512  # of the one between slots
    heads: int = 4
    kernel: int = 5
    encoder_blocks: int = 2
    decoder_blocks: int = 4
    fold: int = 1  # bins side by side in one band of the maps
    n_fft: int = 1024
    hop_samples: int = 256
    stft: Kind = "centred"
    split: Literal["labels", "blind"] = "labels"
    auxiliary: bool = True  # whether there are filter estimators before the decoder blocks, for training
    outputs: int = 1  # 1, or one a microphone
    reference: int = 0  # channel that the others are correlated with, and whose level the input is divided by
    gain: Literal["level", "projection"] = "level"  # how the estimates' level is restored
    slots: int = 3
    classes: int = 18
    label_samples: int = 1280  # that each label of what sounds when holds for
    labels_of: Literal["slot", "class"] = "slot"  # whether slots of one class have labels of their own

    @property
    def taps(self) -> Taps:
        return Taps(*self.taps_frame, *self.taps_bin)

    @property
    def bins(self) -> int:
        return self.n_fft // 2 + 1

    @property
    def bands(self) -> int:
        """Bins of the maps."""
        return -(-self.bins // self.fold)


class Embedding(nn.Module):
    """Correlations [b, n, f, d] to maps [b, n, f', c], with the position of each band added."""

    def __init__(self, config: SRCorrNetConfig) -> None:
        super().__init__()
        self.fold, self.missing = config.fold, config.bands * config.fold - config.bins
        features = 2 * config.channels * config.taps.number
        wide = (4 if config.fold == 1 else 2) * config.width
        kernel = (3, max(3, 2 * config.fold - 1))
        padding = (1, max(1, config.fold - 1))
        self.embed = nn.Sequential(
            nn.Conv2d(features, wide, kernel, stride=(1, config.fold), padding=padding),
            nn.SiLU(),
            nn.Conv2d(wide, config.width, 3, padding=1),
        )
        self.layer_norm = norm(config.width)
        self.register_buffer("places", frequency_places(config.bands, config.width), persistent=False)

    places: Tensor

    def forward(self, features: Tensor) -> Tensor:
        maps = self.embed[2](self.embed[1](self.folded(features)))
        out: Tensor = self.layer_norm(maps.permute(0, 2, 3, 1)) + self.places
        return out

    def folded(self, features: Tensor) -> Tensor:
        """The first convolution, [b, n, f, d] to [b, 2 c or 4 c, n, f'].

        With a fold of r its 2 r − 1 bins are those of two neighbouring bands but one. A convolution over bands, each
        with all that its bins hold, does the same at several times the speed.
        """
        r, first = self.fold, self.embed[0]
        if r == 1:
            out: Tensor = first(features.permute(0, 3, 1, 2))
            return out
        bands = F.pad(features, (0, 0, r, self.missing)).unflatten(2, (-1, r)).flatten(3)  # [b, n, 1 + f', r d]
        kernel = F.pad(first.get_parameter("weight"), (1, 0)).unflatten(3, (2, r)).permute(0, 4, 1, 2, 3).flatten(1, 2)
        return F.conv2d(F.pad(bands, (0, 0, 0, 0, 1, 1)).permute(0, 3, 1, 2), kernel, first.get_parameter("bias"))


def frequency_places(bands: int, width: int) -> Tensor:
    """Sines, then cosines of each band's number, [f, c].

    >>> frequency_places(2, 4)
    tensor([[0.0000e+00, 0.0000e+00, 1.0000e+00, 1.0000e+00],
            [8.4147e-01, 1.0000e-04, 5.4030e-01, 1.0000e+00]])
    """
    half = width // 2
    scale = torch.exp(-torch.arange(half).double() * math.log(10_000) / (half - 1))
    angles = torch.arange(bands)[:, None] * scale
    return torch.cat([angles.sin(), angles.cos()], dim=-1).float()


class Mask(nn.Module):
    """A published name around a linear map."""

    def __init__(self, width: int, n_out: int) -> None:
        super().__init__()
        self.net = nn.Linear(width, n_out)


class FilterEstimator(nn.Module):
    """Maps [u, n, f', c] to filters over neighbours, and what they make of these."""

    def __init__(self, config: SRCorrNetConfig) -> None:
        super().__init__()
        self.shape = (config.fold, config.outputs, config.channels * config.taps.number, 3)
        self.mask = Mask(config.width, math.prod(self.shape))

    def forward(self, maps: Tensor, neighbours: tuple[Tensor, Tensor]) -> Tensor:
        """[u, o, n, f' r] complex. A few frames at a time, or there would be more numbers than in all maps together."""
        n_most = _AT_ONCE if maps.device.type == "cpu" else _AT_ONCE_ON_GPU
        n_frames = max(1, n_most // (maps[:, 0, :, 0].numel() * self.mask.net.out_features))
        parts = zip(*(each.split(n_frames, dim=1) for each in (maps, *neighbours)), strict=True)
        return torch.cat([filtered(self.filters(part), (real, imag)) for part, real, imag in parts], dim=2)

    def filters(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Real and imaginary part, [u, n, f', o, m w, r] each."""
        # one product for each of the three numbers of a tap, with bins last: what follows is done on whole vectors
        weight = self.mask.net.weight.view(*self.shape, -1).permute(3, 1, 2, 0, 4).flatten(1, 3)
        bias = self.mask.net.bias.view(self.shape).permute(3, 1, 2, 0).flatten(1)
        r, o, n_taps, _ = self.shape
        size, real, imag = (
            F.linear(maps, w, b).float().unflatten(-1, (o, n_taps, r)) for w, b in zip(weight, bias, strict=True)
        )
        size = F.softplus(size)
        return size * tanh(real), size * tanh(imag)


def tanh(x: Tensor) -> Tensor:
    """The same as `x.tanh()`, at a third of its time on CPUs."""
    return 2 * torch.sigmoid(2 * x) - 1


@dataclass(frozen=True)
class Heard:
    """A clip or what there is of it: everything that is as in the whole, whichever stretch is worked on."""

    spectrum: Tensor  # [b, m, n, f]
    level: Tensor  # [b, f], of the reference channel
    scale: Tensor  # [b, 1, 1], what the waveforms were divided by


class SRCorrNet(Network):
    """Mixtures [b, m, t] and what is asked to waveforms [b, s, t]; slots that ask for nothing are exactly zero."""

    Config = SRCorrNetConfig
    stored_constants = (r"\.rope\.freqs$",)

    def __init__(self, config: SRCorrNetConfig) -> None:
        super().__init__()
        self.config = config
        c = config
        block = (c.width, c.hidden, c.heads, c.kernel)
        self.transform = Transform(c.stft, c.n_fft, c.hop_samples)
        self.encoder = Embedding(c)
        self.enc_block = nn.ModuleList(TFBlock(*block) for _ in range(c.encoder_blocks))
        self.dec_block = nn.ModuleList(TFBlock(*block) for _ in range(c.decoder_blocks))
        self.dec_cs = nn.ModuleList(SlotMixer(c.width, c.slot_hidden, c.heads) for _ in range(c.decoder_blocks))
        self.spk_split = BlindSplit(c.width, c.slots) if c.split == "blind" else LabelSplit(c.width, c.classes, c.slots)
        self.filter_estim = FilterEstimator(c)
        self.filter_estim_aux = nn.ModuleList(FilterEstimator(c) for _ in range(c.decoder_blocks * c.auxiliary))
        self.layernorm = nn.LayerNorm(c.width)

    @staticmethod
    def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Names of the release's older files in those of its newer ones.

        >>> list(SRCorrNet.renamed({"_orig_mod.enc_block.0.frame_wise_block.block.ega.block.qkv.weight": Tensor()}))
        ['enc_block.0.freq_block.block.sa.block.qkv.weight']
        """
        return {newer(name): value for name, value in tensors.items()}

    # --- the whole clip ------------------------------------------------------------------------------------------

    def forward(self, waveform: Tensor, classes: Tensor, activity: Tensor) -> Tensor:
        """Of classes [b, s], negative where nothing is asked, and activities [b, s, n] by frame of the spectrum."""
        return self.with_stages(waveform, classes, activity)[0]

    def with_stages(self, waveform: Tensor, classes: Tensor, activity: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The waveforms, and for training those that the auxiliary filters make before each decoder block."""
        asked = Asked.of(classes, activity)
        if not len(asked.classes):  # training goes on with a gradient of zero
            nothing = 0 * self.layernorm.weight.sum()
            return waveform.new_zeros(len(waveform), self.config.slots, waveform.shape[-1]) + nothing, []
        heard = self.hear(waveform)
        encoded = self.encode(self.embed(heard))
        stages = self.decode(self.split(encoded, asked), asked.counts)
        neighbours = self.neighbours(heard, asked.clip)
        spectra = [self.filter_estim(stages[-1], neighbours)]
        if self.training:
            pairs = zip(self.filter_estim_aux, stages, strict=False)
            spectra += [estimate(maps, neighbours) for estimate, maps in pairs]
        found = [self.sounded(spectrum, heard, waveform, asked) for spectrum in spectra]
        waveforms = [self.placed(each, asked) for each in found]
        return waveforms[0], waveforms[1:]

    def n_frames(self, n_samples: int) -> int:
        """Frames of a waveform of that length."""
        return self.transform.n_frames(n_samples)

    # --- parts of the way ----------------------------------------------------------------------------------------

    def hear(self, waveform: Tensor) -> Heard:
        """The spectrum of a waveform of unit level."""
        scale = self.scale(waveform.float())
        spectrum = self.transform(waveform.float() / scale)
        return Heard(spectrum, mean_level(spectrum[:, self.config.reference]), scale)

    def scale(self, waveform: Tensor) -> Tensor:
        """Standard deviations: of every channel as published, else of the reference channel for all, [b, 1 or m, 1]."""
        if self.config.stft == "centred":
            waveform = waveform[:, self.config.reference, None]
        return waveform.std(dim=-1, keepdim=True) + _LEAST

    def embed(self, heard: Heard, first: int = 0, last: int | None = None) -> Tensor:
        """Maps of frames first … last − 1, [b, n, f', c], as they are in the maps of the whole clip."""
        n_frames = heard.spectrum.shape[2]
        last = n_frames if last is None else last
        begin, end = max(0, first - MARGIN), min(n_frames, last + MARGIN)
        with torch.no_grad():
            even = compressed(heard.spectrum)
            neighbours = self.config.taps.of(even, begin, end)
            features = correlations(even[:, self.config.reference, begin:end], neighbours, heard.level)
        maps: Tensor = self.encoder(features)
        return maps[:, first - begin : last - begin]

    def encode(self, maps: Tensor) -> Tensor:
        for block in self.enc_block:
            maps, _ = block(maps)
        return maps

    def split(self, encoded: Tensor, asked: Asked) -> Tensor:
        """Maps of the slots that are asked, [u, n, f', c]."""
        slots = self.spk_split(encoded, asked) if self.config.split == "labels" else self.spk_split(encoded)
        out: Tensor = self.layernorm(slots)
        return out

    def decode(self, maps: Tensor, counts: Sequence[int]) -> list[Tensor]:
        """Maps before each block and after the last."""
        stages = [maps]
        for block, mixer in zip(self.dec_block, self.dec_cs, strict=True):
            stages.append(mixer(block(stages[-1])[0], counts))
        return stages

    def neighbours(self, heard: Heard, clip: Tensor, first: int = 0, last: int | None = None) -> tuple[Tensor, Tensor]:
        """What the filters of each slot are applied to; `clip` says whose slot it is, [u]."""
        parts = in_bands(self.config.taps.of(heard.spectrum, first, last), self.config.fold)
        return parts[0][clip], parts[1][clip]

    def sounded(self, spectrum: Tensor, heard: Heard, waveform: Tensor, asked: Asked) -> Tensor:
        """Spectra [u, 1, n, f] as waveforms [u, t] at the mixture's level."""
        estimate = self.transform.inverse(spectrum[:, 0, :, : self.config.bins], waveform.shape[-1])
        if self.config.gain == "level":
            return estimate * heard.scale[asked.clip, 0]
        return estimate * projected_gain(waveform[asked.clip, self.config.reference], estimate)

    def placed(self, waveforms: Tensor, asked: Asked) -> Tensor:
        """Those that are asked, [u, t], in their slots, [b, s, t]."""
        out = waveforms.new_zeros(len(asked.counts), self.config.slots, waveforms.shape[-1])
        return out.index_put((asked.clip, asked.slot), waveforms)


def newer(name: str) -> str:
    """A name of an older file of the release as newer ones have it; newer names stay."""
    for pattern, replacement in _RENAMED.items():
        name = re.sub(pattern, replacement, name)
    return name


def projected_gain(mixture: Tensor, estimate: Tensor) -> Tensor:
    """What brings estimates of any level nearest to the mixture, within 0 … 4: [u, t] each to [u, 1]."""
    inner = (mixture * estimate).sum(dim=-1, keepdim=True)
    return (inner / estimate.square().sum(dim=-1, keepdim=True).clamp_min(1e-12)).clamp(0, 4)
