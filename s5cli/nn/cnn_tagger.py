"""A small convolutional tagger for little data: log-mel (and FOA intensity) maps, five levels, a three-track head.

About a hundredth of the official tagger's parameters, for training from scratch on a few hundred recordings; one
channel or four.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s5cli.nn.mel import LogMel

_RATE_HZ = 32_000


@dataclass(frozen=True)
class CNNTaggerConfig:
    channels: int = 1
    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    n_mels: int = 64
    n_fft: int = 1024
    hop_samples: int = 320
    hidden: int = 128
    tracks: int = 3
    outputs: int = 19
    dropout: float = 0.2
    masked_bands: int = 8  # widest frequency mask in training, bands
    masked_frames: int = 50  # widest time mask in training, frames of 10 ms


class Level(nn.Module):
    """Two 3×3 convolutions, then 2×2 average pooling."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.avg_pool2d(x, 2, ceil_mode=True)


class TrackHead(nn.Module):
    """Mean and maximum over time, then one classifier per track: [b, d, n] to [b, 3, 19]."""

    def __init__(self, config: CNNTaggerConfig) -> None:
        super().__init__()
        wide = config.tracks * config.hidden
        self.trunk = nn.Sequential(
            nn.Dropout(config.dropout), nn.Linear(2 * config.widths[-1], wide), nn.LayerNorm(wide), nn.ReLU()
        )
        self.tracks = nn.ModuleList(nn.Linear(config.hidden, config.outputs) for _ in range(config.tracks))

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.mean(dim=-1), x.amax(dim=-1)], dim=1).float()
        parts = self.trunk(pooled).chunk(len(self.tracks), dim=-1)
        return torch.stack([track(part) for track, part in zip(self.tracks, parts, strict=True)], dim=1)


class CNNTagger(nn.Module):
    """Waveform [b, c, t] at 32 kHz to logits [b, 3, 19]; the answer does not depend on the input's level."""

    Config = CNNTaggerConfig

    def __init__(self, config: CNNTaggerConfig) -> None:
        super().__init__()
        self.config = config
        maps = 2 * config.channels - 1  # log-mel of each channel, intensity of all but the first
        self.to_mel = LogMel(_RATE_HZ, config.n_fft, config.hop_samples, config.n_mels, 50.0, 16_000.0)
        self.bn0 = nn.BatchNorm1d(config.n_mels)
        pairs = zip((maps, *config.widths[:-1]), config.widths, strict=True)
        self.levels = nn.Sequential(*(Level(n_in, n_out) for n_in, n_out in pairs))
        self.head = TrackHead(config)

    @property
    def channels(self) -> int:
        """How many channels of a recording it reads."""
        return self.config.channels

    @property
    def nparams(self) -> int:
        """All parameters."""
        return sum(p.numel() for p in self.parameters())

    def forward(self, waveform: Tensor) -> Tensor:
        level = waveform[:, :1].square().mean(dim=-1, keepdim=True).sqrt().clamp_min(1e-6)
        maps = self.maps(waveform / level)
        if self.training:
            maps = self.mask(maps)
        out: Tensor = self.head(self.levels(maps).mean(dim=2))
        return out

    def maps(self, waveform: Tensor) -> Tensor:
        """Normalised log-mel of each channel, then active intensity over energy per mel band: [b, 2c − 1, mels, n]."""
        c = self.config
        flat = waveform.flatten(0, 1)
        window = self.to_mel.window
        spectrum = torch.stft(flat, c.n_fft, c.hop_samples, window=window, center=True, return_complex=True)
        spectrum = spectrum.unflatten(0, waveform.shape[:2])
        power = spectrum.real.square() + spectrum.imag.square()
        mel = self.to_mel.filters @ power
        log_mel: Tensor = self.bn0(torch.log(mel + 1e-5).flatten(0, 1)).view(mel.shape)
        if c.channels == 1:
            return log_mel
        crossed = self.to_mel.filters @ (spectrum[:, :1].conj() * spectrum[:, 1:]).real
        return torch.cat([log_mel, crossed / (mel.sum(dim=1, keepdim=True) / 2 + 1e-5)], dim=1)

    def mask(self, maps: Tensor) -> Tensor:
        """One random frequency band and one random stretch of time of each clip set to the mean (SpecAugment)."""
        b, _, bands, frames = maps.shape
        kept = torch.ones(b, 1, bands, frames, device=maps.device)
        for size, most, axis in ((bands, self.config.masked_bands, 2), (frames, self.config.masked_frames, 3)):
            width = torch.rand(b, 1, 1, 1, device=maps.device) * most
            start = torch.rand(b, 1, 1, 1, device=maps.device) * (size - width)
            place = torch.arange(size, device=maps.device).view([-1 if i == axis else 1 for i in range(4)])
            kept = kept * ((place < start) | (place >= start + width))
        return maps * kept
