"""fPaSST: a transformer over frames of 40 ms, 16 kHz, and the detector of AudioSet's strong labels on it.

Source: "Effective Pre-Training of Audio Transformers for Sound Event Detection" (arXiv:2409.09546). The module tree
carries the key names of the public `fpasst_strong_1.pt`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s5cli.nn.efficientat import kaldi_filterbank
from s5cli.nn.m2d import Block

RATE_HZ = 16_000
PIECE_SAMPLES = 10 * RATE_HZ  # longer recordings are heard piece by piece
_N_FFT, _WINDOW_SAMPLES, _HOP_SAMPLES = 512, 400, 160
_N_MELS, _HIGH_HZ, _FLOOR = 128, 7_000.0, 1e-7
_FRAMES = 250  # of a piece
_CHANNELS = 16  # of what the patches are cut from


@dataclass(frozen=True)
class FPaSSTConfig:
    width: int = 768
    depth: int = 12
    heads: int = 12
    outputs: int = 447


class FPaSSTMel(nn.Module):
    """Waveforms [b, t] at 16 kHz to (ln(mel power) + 4.5) / 5, [b, 128, n], n = 1 + (t − 1) // 160."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(_WINDOW_SAMPLES), persistent=False)
        filters = kaldi_filterbank(_N_MELS, 0.0, _HIGH_HZ, _N_FFT, RATE_HZ)
        self.register_buffer("filters", filters, persistent=False)

    window: Tensor
    filters: Tensor

    def forward(self, waveform: Tensor) -> Tensor:
        sharp = waveform[..., 1:] - 0.97 * waveform[..., :-1]
        spectrum = torch.stft(sharp, _N_FFT, _HOP_SAMPLES, _WINDOW_SAMPLES, self.window, return_complex=True)
        mel = self.filters @ (spectrum.real.square() + spectrum.imag.square())
        return (torch.log(mel.clamp_min(_FLOOR)) + 4.5) / 5


class Patches(nn.Module):
    """[b, 16, 128, n] to one vector a frame, [b, n, width]: the frame and the next one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(_CHANNELS, width, (_N_MELS, 2), padding=(0, 1))

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.proj(maps)[:, :, 0, 1:].transpose(1, 2)
        return out


class FPaSST(nn.Module):
    """Waveforms [b, t] at 16 kHz to features [b, n, width], one each 40 ms."""

    def __init__(self, config: FPaSSTConfig) -> None:
        super().__init__()
        width = config.width
        self.to_mel = FPaSSTMel()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.dist_token = nn.Parameter(torch.zeros(1, 1, width))
        self.new_pos_embed = nn.Parameter(torch.zeros(1, 2, width))
        self.freq_new_pos_embed = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.time_new_pos_embed = nn.Parameter(0.02 * torch.randn(1, width, 1, _FRAMES))
        self.conv_in_1 = nn.Conv2d(1, 16, 3, stride=2, padding=1)
        self.conv_in_2 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv_in_3 = nn.Conv2d(32, 64, 3, stride=2, padding=1)
        self.patch_embed = Patches(width)
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, waveform: Tensor) -> Tensor:
        return torch.cat([self.of_mel(self.to_mel(piece)) for piece in pieces(waveform)], dim=1)

    def of_mel(self, mel: Tensor) -> Tensor:
        """Features of a piece's log-mel [b, 128, n], n / 4 frames rounded up, 250 at most."""
        x = self.tokens(mel)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)[:, 2:]
        return out

    def convolved(self, mel: Tensor) -> Tensor:
        """What the three convolutions make of a log-mel, [b, 64, 32, n / 4], before the last activation."""
        out: Tensor = self.conv_in_3(F.gelu(self.conv_in_2(F.gelu(self.conv_in_1(mel[:, None])))))
        return out

    def tokens(self, mel: Tensor) -> Tensor:
        """Class, distillation and frames with their positions, [b, 2 + n / 4, width]."""
        maps = F.gelu(self.convolved(mel))
        b, n = len(maps), maps.shape[-1]
        frames = self.patch_embed(maps.reshape(b, _CHANNELS, _N_MELS, n))[:, :_FRAMES]
        places = (self.time_new_pos_embed + self.freq_new_pos_embed)[0, :, 0].T  # [250, width]
        first = torch.cat([self.cls_token, self.dist_token], dim=1) + self.new_pos_embed
        return torch.cat([first.expand(b, -1, -1), frames + places[: frames.shape[1]]], dim=1)


def pieces(waveform: Tensor) -> Iterator[Tensor]:
    """Waveforms [b, t] in pieces of 10 s; a last one that is too short for a frame's reflection is filled up."""
    for piece in waveform.split(PIECE_SAMPLES, dim=-1):
        yield F.pad(piece, (0, max(0, _N_FFT - piece.shape[-1])))


class FPaSSTDetector(nn.Module):
    """Waveforms [b, t] at 16 kHz to logits of AudioSet's strong classes in each frame, [b, k, n], and of clips [b, k].

    As published, n is 250 for recordings of any length up to 10 s.
    """

    Config = FPaSSTConfig

    def __init__(self, config: FPaSSTConfig) -> None:
        super().__init__()
        self.config = config
        self.model = FPaSST(config)
        self.strong_head = nn.Linear(config.width, config.outputs)
        self.weak_head = nn.Linear(config.width, config.outputs)

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        features = to_frames(self.model(waveform), _FRAMES)
        return self.strong_head(features).transpose(1, 2), self.weak_head(features.mean(dim=1))

    @staticmethod
    def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Names of the reference implementation as those of its published file."""
        return {name.replace("model.fpasst.", "model."): value for name, value in tensors.items()}


def to_frames(features: Tensor, n_frames: int) -> Tensor:
    """[b, n, d] as n_frames of it: stretched linearly where there are fewer, averaged where there are more."""
    if features.shape[1] == n_frames:
        return features
    turned = features.transpose(1, 2)
    if features.shape[1] > n_frames:
        return F.adaptive_avg_pool1d(turned, n_frames).transpose(1, 2)
    return F.interpolate(turned, n_frames, mode="linear").transpose(1, 2)
