"""EfficientAT: MobileNetV3 taggers of 527 AudioSet classes, mn04 to mn40, by their width.

The module tree carries the key names of the official release files, so that they load strictly; the front end is
computed. Written from the papers and from numbers.

Source: "Efficient Large-Scale Audio Tagging via Transformer-to-CNN Knowledge Distillation" (Schmid, Koutini, Widmer,
ICASSP 2023); MobileNetV3 (Howard et al., ICCV 2019); squeeze and excitation (Hu et al., CVPR 2018).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s5cli.nn.network import Network

RATE_HZ = 32_000
_N_FFT = 1024
_WINDOW_SAMPLES = 800
HOP_SAMPLES = 320
_N_MELS = 128
_HIGH_HZ = 15_000.0
_PRE_EMPHASIS = 0.97
_FLOOR = 1e-5  # added to the mel power
_BN_EPS = 1e-3
_LAST_IN, _LAST_FACTOR, _LAST_HIDDEN = 160, 6, 1280  # of the unscaled network


@dataclass(frozen=True)
class EfficientATConfig:
    """The release has the widths 0.4, 0.5, 1, 2, 3 and 4: mn04 to mn40."""

    width: float = 0.4
    classes: int = 527


class Row(NamedTuple):
    """One inverted residual of the unscaled network."""

    n_in: int
    kernel: int
    expanded: int
    n_out: int
    squeeze: bool
    hard: bool  # hardswish instead of ReLU
    stride: int


ROWS = (
    Row(16, 3, 16, 16, False, False, 1),
    Row(16, 3, 64, 24, False, False, 2),
    Row(24, 3, 72, 24, False, False, 1),
    Row(24, 5, 72, 40, True, False, 2),
    Row(40, 5, 120, 40, True, False, 1),
    Row(40, 5, 120, 40, True, False, 1),
    Row(40, 3, 240, 80, False, True, 2),
    Row(80, 3, 200, 80, False, True, 1),
    Row(80, 3, 184, 80, False, True, 1),
    Row(80, 3, 184, 80, False, True, 1),
    Row(80, 3, 480, 112, True, True, 1),
    Row(112, 3, 672, 112, True, True, 1),
    Row(112, 5, 672, 160, True, True, 2),
    Row(160, 5, 960, 160, True, True, 1),
    Row(160, 5, 960, 160, True, True, 1),
)


def rounded(channels: float) -> int:
    """A multiple of 8, at least 8, 8 more where rounding took more than a tenth.

    >>> rounded(24 * 0.4), rounded(40 * 0.4), rounded(3.2)
    (16, 16, 8)
    """
    whole = max(8, int(channels + 4) // 8 * 8)
    return whole + 8 if whole < 0.9 * channels else whole


def scaled(row: Row, width: float) -> Row:
    """The row with its three channel counts times `width`."""
    n_in, expanded, n_out = (rounded(n * width) for n in (row.n_in, row.expanded, row.n_out))
    return row._replace(n_in=n_in, expanded=expanded, n_out=n_out)


def kaldi_filterbank(n_mels: int, low_hz: float, high_hz: float, n_fft: int = _N_FFT, rate_hz: int = RATE_HZ) -> Tensor:
    """Triangles linear in mel(f) = 1127 ln(1 + f / 700), not normalised, nothing for the Nyquist bin: [mels, bins].

    >>> kaldi_filterbank(128, 0, 15_000).shape
    torch.Size([128, 513])
    """

    edges = np.linspace(_mel(low_hz), _mel(high_hz), n_mels + 2)[:, None]
    bins = _mel(np.arange(n_fft // 2) * rate_hz / n_fft)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0, np.minimum(rising, falling))
    return torch.from_numpy(np.pad(filters, ((0, 0), (0, 1)))).float()


def _mel(hz: Any) -> Any:
    return 1127 * np.log1p(np.asarray(hz) / 700)


def mel_position(hz: Tensor) -> Tensor:
    """Where frequencies lie among the mel bands: j at the centre of band j.

    >>> mel_position(torch.tensor([0.0, 15_000.0])).round().tolist()
    [-1.0, 128.0]
    """
    return 1127 * torch.log1p(hz / 700) / float(_mel(_HIGH_HZ)) * (_N_MELS + 1) - 1


class KaldiMel(nn.Module):
    """Waveforms [..., t] at 32 kHz to (ln(mel power + 1e-5) + 4.5) / 5, [..., 128, n] with n = 1 + (t − 1) // 320.

    Window and filters are computed, not stored: no key of a state dict belongs to this module.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(_WINDOW_SAMPLES, periodic=False), persistent=False)
        self.register_buffer("filters", kaldi_filterbank(_N_MELS, 0.0, _HIGH_HZ), persistent=False)

    window: Tensor
    filters: Tensor

    def forward(self, waveform: Tensor) -> Tensor:
        spectrum = self.spectrum(waveform)
        mel = self.filters @ (spectrum.real.square() + spectrum.imag.square())
        return (torch.log(mel + _FLOOR) + 4.5) / 5

    def spectrum(self, waveform: Tensor, hop: int = HOP_SAMPLES) -> Tensor:
        """Complex spectra of the pre-emphasised waveforms [..., t], [..., 513, n]."""
        sharp = waveform[..., 1:] - _PRE_EMPHASIS * waveform[..., :-1]
        spectrum = torch.stft(
            sharp.flatten(0, -2), _N_FFT, hop, _WINDOW_SAMPLES, self.window, center=True, return_complex=True
        )
        out: Tensor = spectrum.unflatten(0, waveform.shape[:-1])
        return out


class SqueezeExcite(nn.Module):
    """Every channel times a gate that is read from the means of all channels over frequency and time."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, squeezed)
        self.fc2 = nn.Linear(squeezed, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3))))))
        return x * gate[:, :, None, None]


class Excitations(nn.Module):
    """The one gate of a block, under the release's name for it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conc_se_layers = nn.ModuleList([SqueezeExcite(channels, rounded(channels / 4))])

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conc_se_layers[0](x)
        return out


def convolution(n_in: int, n_out: int, kernel: int, stride: int, groups: int, activation: type | None) -> nn.Sequential:
    """Convolution, batch norm and activation, padded so that stride 1 keeps the size."""
    parts = [
        nn.Conv2d(n_in, n_out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(n_out, eps=_BN_EPS),
    ]
    return nn.Sequential(*parts, activation()) if activation else nn.Sequential(*parts)


class Block(nn.Module):
    """Inverted residual: expand 1×1, depthwise k×k, gate, project 1×1; plus the input where the shape stays."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        activation = nn.Hardswish if row.hard else nn.ReLU
        parts: list[nn.Module] = []
        if row.expanded != row.n_in:
            parts.append(convolution(row.n_in, row.expanded, 1, 1, 1, activation))
        parts.append(convolution(row.expanded, row.expanded, row.kernel, row.stride, row.expanded, activation))
        if row.squeeze:
            parts.append(Excitations(row.expanded))
        parts.append(convolution(row.expanded, row.n_out, 1, 1, 1, None))
        self.block = nn.Sequential(*parts)
        self.is_residual = row.stride == 1 and row.n_in == row.n_out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return x + y if self.is_residual else y


def body(width: float) -> nn.Sequential:
    """Log-mel [b, 1, 128, n] to maps [b, d, 4, n / 32] with d = 960 × width, both sizes rounded up."""
    rows = [scaled(row, width) for row in ROWS]
    last = rows[-1].n_out
    return nn.Sequential(
        convolution(1, rows[0].n_in, 3, 2, 1, nn.Hardswish),
        *(Block(row) for row in rows),
        convolution(last, _LAST_FACTOR * last, 1, 1, 1, nn.Hardswish),
    )


def body_sizes(width: float) -> tuple[int, int]:
    """Channels of the body's maps, and width of the classifier's hidden layer.

    >>> body_sizes(0.4)
    (384, 512)
    """
    return _LAST_FACTOR * rounded(_LAST_IN * width), rounded(_LAST_HIDDEN * width)


def width_of(maps: int) -> float:
    """The width of a release's body from the number of its maps.

    >>> width_of(384), width_of(480), width_of(2880)
    (0.4, 0.5, 3.0)
    """
    return maps / (_LAST_FACTOR * _LAST_IN)


class EfficientAT(Network):
    """Waveforms [b, t] or [b, 1, t] at 32 kHz to logits of AudioSet's classes, [b, 527]."""

    Config = EfficientATConfig

    def __init__(self, config: EfficientATConfig) -> None:
        super().__init__()
        self.config = config
        maps, hidden = body_sizes(config.width)
        self.to_mel = KaldiMel()
        self.features = body(config.width)
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(maps, hidden),
            nn.Hardswish(),
            nn.Dropout(0.2),
            nn.Linear(hidden, config.classes),
        )

    @staticmethod
    def config_from_state(state: Mapping[str, Tensor], config: EfficientATConfig) -> EfficientATConfig:
        """The configuration with the width and the number of classes that a state dict has."""
        classes = len(state["classifier.5.weight"])
        return replace(config, width=width_of(len(state["features.16.0.weight"])), classes=classes)

    def forward(self, waveform: Tensor) -> Tensor:
        out: Tensor = self.classifier(self.maps(waveform))
        return out

    def maps(self, waveform: Tensor) -> Tensor:
        """The body's maps, [b, d, 4, n]; their mean over frequency and time is the embedding."""
        out: Tensor = self.features(self.to_mel(waveform.reshape(len(waveform), 1, -1)))
        return out

    def frames(self, waveform: Tensor) -> Tensor:
        """One feature vector for each 0.32 s, [b, n, d]: the maps' mean over frequency."""
        return self.maps(waveform).mean(dim=2).transpose(1, 2)
