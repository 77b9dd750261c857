"""DeFT-Mamba: every sound of a scene at once, or three sounds that are meant.

Spectra of all channels become one feature map; blocks of attention and Mamba-2 work on it along frequency and along
time; a convolution splits it into objects (three foreground sounds, two interferers, noise), each of which is decoded
into a spectrum of channel 0. Module names are those of the DeepASA family's checkpoints.

Source: "Self-Guided Target Sound Extraction and Classification Through Universal Sound Separation Model and Multiple
Clues" (arXiv:2509.13741); "A Multi-Stage Separation-and-Classification Framework …" (arXiv:2606.24512).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s5cli.nn.class_decoder import ClassDecoder, DecoderConfig, DualPath, Said, fewer_pools
from s5cli.nn.clues import Clues, modulated
from s5cli.nn.deft_block import Block, BlockConfig
from s5cli.nn.network import Network

_EPS = 1e-6
_SHORTEST_FRAMES = 20
_LOG_MEAN, _LOG_SCALE = -3.0, 3.0  # about what log-magnitudes of scenes at one level have


@dataclass(frozen=True)
class DeftConfig(BlockConfig):
    """The defaults are the published networks. What differs from them for the compact ones:

    patch_frames, patch_bins: the first layer makes one vector of a patch of bins, the last ones a patch of a vector.
    features: "spatial" are log-magnitudes and FOA intensities, "complex" real and imaginary parts.
    output: "map" is a complex spectrum, "share" a share of each bin of a beam, shares of all objects summing to 1.
    """

    blocks: int = 6
    n_fft: int = 1280
    hop_samples: int = 640
    patch_frames: int = 1
    patch_bins: int = 1
    object_kernel: int = 3
    features: Literal["complex", "spatial"] = "complex"
    output: Literal["map", "share"] = "map"
    channels: int = 4
    foreground: int = 3
    interference: int = 2
    classes: int = 18
    classifier: Literal["none", "decoder", "dual"] = "none"
    classifier_hidden: int = 320
    classifier_recurrent: int = 128
    embedding: int = 256
    semantic_features: int = 3840
    paths: Literal["both", "object", "semantic"] = "both"
    class_width: int = 64
    frame_features: int = 0  # of the frame clue; 0: there is none
    frame_rnn: Literal["none", "lstm"] = "none"

    @property
    def objects(self) -> int:
        return self.foreground + self.interference + 1

    @property
    def bins(self) -> int:
        """Frequency rows of the feature map."""
        return -(-(self.n_fft // 2 + 1) // self.patch_bins)

    @property
    def patch(self) -> tuple[int, int]:
        return self.patch_frames, self.patch_bins

    @property
    def mixture_maps(self) -> int:
        """2 m of real and imaginary parts; or m log-magnitudes, 2 (m − 1) intensities and two of the frequency."""
        return 2 * self.channels if self.features == "complex" else 3 * self.channels

    @property
    def decoder(self) -> DecoderConfig:
        """Fewer pools where patches leave fewer rows."""
        config = DecoderConfig(
            self.width, self.bins, self.classes, hidden=self.classifier_hidden, recurrent=self.classifier_recurrent,
            features=self.semantic_features, embedding=self.embedding, paths=self.paths,
        )  # fmt: skip
        if self.patch == (1, 1):
            return config
        return replace(config, time_pools=fewer_pools(self.bins), frequency_pools=((4, 5), (1, 1)))


class Separated(NamedTuple):  # training frameworks look into tuples, not into frozen dataclasses
    """What one pass finds."""

    waveforms: Tensor  # [b, o, t]: foreground, interference, noise
    objects: Tensor  # [b, s, d, n, f], feature maps of the foreground


class Blocks(nn.ModuleList):
    """Maps [b, n, f, d] through all blocks; before each they are modulated by what it is told, [b, blocks, n, 2 d]."""

    for_onnx = False  # a scan looks at its numbers, and loops over as many chunks as there are

    def forward(self, x: Tensor, *told: Tensor) -> Tensor:
        for number, block in enumerate(self):
            for clue in told:
                x = modulated(x, clue[:, number])
            x = block(x)
        return x

    @property
    def regions(self) -> list[tuple[nn.Module, str]]:
        """What is compiled: a half block, through which groups of sequences go one after the other."""
        return [(block, "half_block") for block in self]


class DeftMamba(Network):
    """The backbone: maps of spectra to objects, and these to waveforms."""

    Config = DeftConfig
    core = "blocks"  # see `s5cli.nn.core`

    def __init__(self, config: DeftConfig, enrolments: int = 0) -> None:
        super().__init__()
        self.config = config
        c, maps = config, config.mixture_maps + 2 * enrolments
        first = (
            nn.Conv2d(maps, c.width, 3, padding=1) if c.patch == (1, 1) else nn.Conv2d(maps, c.width, c.patch, c.patch)
        )
        self.up_conv = nn.Sequential(first, nn.GroupNorm(1, c.width))
        self.blocks = Blocks(Block(c) for _ in range(c.blocks))
        many = c.objects * c.width
        self.object_conv = nn.Sequential(
            nn.Conv2d(c.width, many, c.object_kernel, padding=c.object_kernel // 2), nn.Mish(), nn.GroupNorm(1, many)
        )
        self.audio_conv, self.interf_conv, self.noise_conv = (self.audio_decoder() for _ in range(3))
        if c.output == "share":
            self.lean_conv = nn.Conv2d(c.width, c.channels - 1, 1)
        if c.classifier == "decoder":
            self.SED_decoder = ClassDecoder(c.decoder)
        if c.classifier == "dual":
            self.dpc = DualPath(c.decoder)
        self.register_buffer("window", torch.hann_window(c.n_fft), persistent=False)

    window: Tensor

    @classmethod
    def grown(cls, tensors: Mapping[str, Tensor], config: DeftConfig) -> dict[str, Tensor]:
        """The state that training begins with: all that a network of the family has under the same name and shape.

        New input maps of the first convolution begin at zero: an extractor that grows out of a universal separator is
        deaf to the clues that this did not know, and gives back what it gives, in the same slots.
        """
        given, state = dict(current_names(tensors)), cls(config).state_dict()
        for name, own in state.items():
            found = given.get(name)
            if found is not None and found.shape == own.shape:
                state[name] = found
            elif found is not None and name == "up_conv.0.weight" and found.shape[1] < own.shape[1]:
                state[name] = torch.cat([found, torch.zeros_like(own[:, found.shape[1] :])], dim=1)
        return state

    def audio_decoder(self) -> nn.Module:
        """Object maps to spectra, or to the logits of shares."""
        outputs = 2 if self.config.output == "map" else 1
        if self.config.patch == (1, 1):
            return nn.Conv2d(self.config.width, outputs, 3, padding=1)
        return nn.Conv2d(self.config.width, outputs * math.prod(self.config.patch), 1)

    # --- spectra ------------------------------------------------------------------------------------------------------

    def analyse(self, waveform: Tensor) -> Tensor:
        """[b, m, t] to complex [b, m, n, f]; silence follows a clip that is shorter than what the classifiers pool."""
        c = self.config
        shortest = _SHORTEST_FRAMES * c.patch_frames * c.hop_samples
        flat = F.pad(waveform, (0, max(0, shortest - waveform.shape[-1]))).flatten(0, 1)
        spectrum = torch.stft(flat, c.n_fft, c.hop_samples, window=self.window, center=True, return_complex=True)
        out: Tensor = spectrum.transpose(1, 2).unflatten(0, waveform.shape[:2])
        return out

    def synthesise(self, spectrum: Tensor, t: int) -> Tensor:
        """[b, o, n, f] to [b, o, t]."""
        c = self.config
        if spectrum.is_meta:  # `istft` looks at numbers; where there are none only shapes are asked for
            return spectrum.real.new_empty(*spectrum.shape[:2], t)
        flat = spectrum.flatten(0, 1).transpose(1, 2)
        waveform = torch.istft(flat, c.n_fft, c.hop_samples, window=self.window, center=True, length=t)
        out: Tensor = waveform.unflatten(0, spectrum.shape[:2])
        return out

    def level(self, spectrum: Tensor) -> Tensor:
        """What a mixture's spectra [b, m, n, f] are divided by, [b, 1, 1, f]: channel 0's mean magnitude over time.

        With spatial features it is the same for all bins, so that a sound's colour is left.
        """
        over = (2,) if self.config.features == "complex" else (2, 3)
        return spectrum[:, :1].abs().mean(dim=over, keepdim=True) + _EPS

    def mixture_features(self, spectrum: Tensor) -> Tensor:
        """Maps of a normalised mixture [b, m, n, f]: [b, maps, n, f]."""
        if self.config.features == "complex":
            return torch.view_as_real(spectrum).movedim(-1, 2).flatten(1, 2)
        magnitude = spectrum.abs()
        energy = magnitude.square().sum(dim=1, keepdim=True) / 2 + _EPS
        intensity = spectrum[:, :1].conj() * spectrum[:, 1:] / energy
        place = torch.linspace(-1, 1, spectrum.shape[-1], device=spectrum.device)
        rows = torch.stack([place, torch.cos(2 * math.pi * place)])[None, :, None]
        rows = rows.expand(len(spectrum), -1, spectrum.shape[2], -1)
        return torch.cat([logarithm(magnitude), intensity.real, intensity.imag, rows], dim=1)

    def enrolment_features(self, enrolments: Tensor, mixture: Tensor) -> Tensor:
        """Maps of normalised enrolments [b, s, n, f], two of each; spatial: log-magnitude, and part of channel 0."""
        if self.config.features == "complex":
            return torch.view_as_real(enrolments).movedim(-1, 2).flatten(1, 2)
        reference = mixture[:, :1]
        part = (reference.conj() * enrolments).real / (reference.abs().square() + _EPS)
        return torch.stack([logarithm(enrolments.abs()), part.clamp(-1, 2)], dim=2).flatten(1, 2)

    # --- maps ---------------------------------------------------------------------------------------------------------

    def patched(self, maps: Tensor) -> Tensor:
        """Maps [..., n, f] with zeros up to whole patches."""
        frames, bins = self.config.patch
        return F.pad(maps, (0, -maps.shape[-1] % bins, 0, -maps.shape[-2] % frames))

    def objects(self, maps: Tensor, told: Sequence[Tensor] = ()) -> Tensor:
        """Maps [b, maps, n, f], and what the blocks are told, to objects [b, o, d, n', f'], of n' by f' patches."""
        x = self.blocks(self.up_conv(self.patched(maps)).permute(0, 2, 3, 1).contiguous(), *told)
        out: Tensor = self.object_conv(x.permute(0, 3, 1, 2)).unflatten(1, (self.config.objects, -1))
        return out

    def spectra(self, objects: Tensor, mixture: Tensor) -> Tensor:
        """Objects [b, o, d, n', f'] to complex spectra [b, o, n, f] of a normalised mixture [b, m, n, f]."""
        c = self.config
        kinds = objects.split([c.foreground, c.interference, 1], dim=1)
        decoders = (self.audio_conv, self.interf_conv, self.noise_conv)
        parts = [
            decoder(kind.flatten(0, 1)).unflatten(0, kind.shape[:2])
            for decoder, kind in zip(decoders, kinds, strict=True)
        ]
        maps = self.unpatched(torch.cat(parts, dim=1).float(), mixture.shape[2:])  # [b, o, outputs, n, f]
        if c.output == "map":
            return torch.complex(maps[:, :, 0], maps[:, :, 1])
        share = maps[:, :, 0].softmax(dim=1)
        beams = self.beams(objects[:, : c.foreground], mixture)
        others = mixture[:, :1].expand(-1, c.interference + 1, -1, -1)
        return share * torch.cat([beams, others], dim=1)

    def unpatched(self, maps: Tensor, size: Sequence[int]) -> Tensor:
        """[b, o, outputs × patch, n', f'] to [b, o, outputs, n, f]."""
        frames, bins = self.config.patch
        apart: Tensor = maps.unflatten(2, (-1, frames, bins)).permute(0, 1, 2, 5, 3, 6, 4)
        return apart.flatten(5, 6).flatten(3, 4)[..., : size[0], : size[1]]

    def beams(self, objects: Tensor, mixture: Tensor) -> Tensor:
        """Channel 0 and what each foreground object adds to it of the others, a beam a patch: [b, s, n, f]."""
        frames, bins = self.config.patch
        lean = self.lean_conv(objects.flatten(0, 1)).float().tanh().unflatten(0, objects.shape[:2])
        grid = torch.view_as_real(self.patched(mixture)).unflatten(3, (-1, bins)).unflatten(2, (-1, frames))
        beam = grid[:, None, 0]
        for axis in range(lean.shape[2]):
            beam = beam + lean[:, :, axis, :, None, :, None, None] * grid[:, None, 1 + axis]
        whole = torch.view_as_complex(beam.flatten(4, 5).flatten(2, 3).contiguous())
        return whole[..., : mixture.shape[2], : mixture.shape[3]]

    def separated(self, objects: Tensor, spectrum: Tensor, level: Tensor, t: int) -> Separated:
        waveforms = self.synthesise(level * self.spectra(objects, spectrum), t)
        return Separated(waveforms, objects[:, : self.config.foreground])

    def said(self, separated: Separated, features: Tensor | None = None, paths: str | None = None) -> Said:
        """What the network's own classifier says of the foreground, slot by slot: [b s, …].

        `features` are semantic features [b s, m, e] of the separated waveforms, for a dual-path classifier; `paths` are
        those of its paths that count, if not as its configuration has it.
        """
        maps = separated.objects.flatten(0, 1).transpose(2, 3)  # [b s, d, f, n]
        out: Said = self.SED_decoder(maps) if self.config.classifier == "decoder" else self.dpc(maps, features, paths)
        return out


def logarithm(magnitude: Tensor) -> Tensor:
    return (torch.log(magnitude + 1e-5) - _LOG_MEAN) / _LOG_SCALE


class UniversalSeparator(DeftMamba):
    """Mixture [b, 4, t] to three foreground sounds, two interferers and noise, whatever they are."""

    def forward(self, mixture: Tensor) -> Separated:
        spectrum = self.analyse(mixture)
        level = self.level(spectrum)
        spectrum = spectrum / level
        return self.separated(self.objects(self.mixture_features(spectrum)), spectrum, level, mixture.shape[-1])


class TargetExtractor(DeftMamba):
    """Mixture, and per slot an enrolment, a class and frame features, to the sounds that are meant, slot by slot."""

    def __init__(self, config: DeftConfig) -> None:
        super().__init__(config, enrolments=config.foreground)
        c = config
        self.clues = Clues(
            c.foreground * c.classes, c.foreground, c.class_width, c.width, c.blocks, c.frame_features,
            c.frame_rnn == "lstm",
        )  # fmt: skip

    def forward(
        self, mixture: Tensor, enrolments: Tensor, classes: Tensor, features: Tensor | None = None
    ) -> Separated:
        """Mixture [b, 4, t], enrolments [b, s, t], one-hot classes [b, s k], frame features [b, s, n, e] or None.

        A slot without class has zeros, and so has a slot without frame features.
        """
        spectrum = self.analyse(mixture)
        level = self.level(spectrum)
        spectrum, enrolled = spectrum / level, self.analyse(enrolments) / level
        maps = torch.cat([self.mixture_features(spectrum), self.enrolment_features(enrolled, spectrum)], dim=1)
        frames = -(-maps.shape[2] // self.config.patch_frames)
        told = self.clues(classes, features, frames)
        return self.separated(self.objects(maps, told), spectrum, level, mixture.shape[-1])


def current_names(tensors: Mapping[str, Tensor]) -> Iterable[tuple[str, Tensor]]:
    """Tensors of a DeepASA-family checkpoint under the names in use: wrapper prefix off, older names renewed."""
    for name, tensor in tensors.items():
        name = name.removeprefix("arch.")
        for old, new in (("obj_conv.", "object_conv."), ("noise_conv_.", "noise_conv.")):
            name = new + name.removeprefix(old) if name.startswith(old) else name
        yield name, tensor
