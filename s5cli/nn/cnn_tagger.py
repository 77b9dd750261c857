"""A small convolutional tagger for little data: log-mel and FOA intensity, four levels, frames, a three-track head.

About a hundredth of the official tagger's parameters, for training from scratch on a few hundred recordings; one
channel or four. It says for each frame which classes sound, and from that and the frames' features what the three
tracks hold, so that training can tell it the time of every sound.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s5cli.nn.augment import filtered, masked, restyled
from s5cli.nn.mel import LogMel

_RATE_HZ = 32_000


@dataclass(frozen=True)
class CNNTaggerConfig:
    channels: int = 1
    widths: tuple[int, ...] = (32, 64, 128, 256)
    n_mels: int = 64
    n_fft: int = 1024
    hop_samples: int = 640
    hidden: int = 128
    tracks: int = 3
    outputs: int = 19
    dropout: float = 0.2
    masked_bands: int = 16  # widest frequency mask in training, bands
    masked_frames: int = 75  # widest time mask in training, frames of a hop
    filter_deviation: float = 0.5  # of the random frequency response in training, in deviations of the log-mel
    style_alpha: float = 0.3  # of the mixed statistics in training


class Level(nn.Module):
    """A 3×3 convolution with stride 2 both ways, then one without."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)))


class Stem(nn.Module):
    """A 5×5 convolution with stride 2 both ways."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, 5, stride=2, padding=2, bias=False)
        self.bn = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class TrackHead(nn.Module):
    """Mean and maximum over time of features and frame logits, then one classifier per track: to [b, 3, 19]."""

    def __init__(self, config: CNNTaggerConfig) -> None:
        super().__init__()
        wide = config.tracks * config.hidden
        heard = 2 * (config.widths[-1] + config.outputs - 1)
        self.trunk = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(heard, wide), nn.LayerNorm(wide), nn.ReLU())
        self.tracks = nn.ModuleList(nn.Linear(config.hidden, config.outputs) for _ in range(config.tracks))

    def forward(self, features: Tensor, frames: Tensor) -> Tensor:
        heard = torch.cat([features, frames], dim=-1)  # [b, n, d + k]
        pooled = torch.cat([heard.mean(dim=1), heard.amax(dim=1)], dim=1)
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
        self.stem = Stem(maps, config.widths[0])
        pairs = zip(config.widths, config.widths[1:], strict=False)
        self.levels = nn.Sequential(*(Level(n_in, n_out) for n_in, n_out in pairs))
        self.frames = nn.Linear(config.widths[-1], config.outputs - 1)
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
        return self.heard(waveform)[0]

    def heard(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the tracks [b, 3, 19] and of every class in each frame [b, n, 18], 16 hops to a frame."""
        level = waveform[:, :1].square().mean(dim=-1, keepdim=True).sqrt().clamp_min(1e-6)
        maps = self.maps(waveform / level)
        if self.training:
            maps = self.augmented(maps)
        features = self.levels(self.stem(maps)).mean(dim=2).transpose(1, 2).float()
        frames = self.frames(features).float()
        return self.head(features, frames), frames

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

    def augmented(self, maps: Tensor) -> Tensor:
        """The maps of other recordings, in a way: what training sees. Intensity keeps its values but for the masks."""
        c = self.config
        log_mel, intensity = maps[:, : c.channels], maps[:, c.channels :]
        log_mel = restyled(filtered(log_mel, c.filter_deviation), c.style_alpha)
        return masked(torch.cat([log_mel, intensity], dim=1), c.masked_bands, c.masked_frames)
