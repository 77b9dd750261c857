"""M2D taggers: a ViT over log-mel patches and a three-track head (arXiv:2210.14648; DCASE 2026 Task 4 baseline).

The module tree carries the official checkpoints' key names, so they load without a translation table.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s5cli.nn.mel import LogMel
from s5cli.nn.network import Network

PATCH = 16
N_MELS = 80
CHUNK_FRAMES = 1001  # the position table covers 62 patches; longer input is cut into chunks


@dataclass(frozen=True)
class M2DConfig:
    width: int = 768
    depth: int = 12
    heads: int = 12
    stacked: bool = False  # True: the five patches of a time step side by side (5 × width), else one by one
    track_width: int = 1024
    hidden: int = 512
    tracks: int = 3
    outputs: int = 19

    @property
    def feature_width(self) -> int:
        return self.width * (N_MELS // PATCH if self.stacked else 1)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        heard = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(heard.transpose(1, 2).reshape(b, n, d))
        return out


class MLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class PatchEmbed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, width, PATCH, stride=PATCH)

    def forward(self, mel: Tensor) -> Tensor:
        out: Tensor = self.proj(mel[:, None])  # [b, width, 5, T]
        return out


class Backbone(nn.Module):
    """Standardised log-mel of one chunk [b, 80, n ≤ 1001] to tokens [b, 5, T, width]."""

    def __init__(self, config: M2DConfig) -> None:
        super().__init__()
        bands, columns = N_MELS // PATCH, CHUNK_FRAMES // PATCH
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + bands * columns, config.width))
        self.norm_stats = nn.Parameter(torch.tensor([-7.1, 4.2]), requires_grad=False)
        self.patch_embed = PatchEmbed(config.width)
        self.blocks = nn.Sequential(*(Block(config.width, config.heads) for _ in range(config.depth)))
        self.norm = nn.LayerNorm(config.width, eps=1e-6)

    def forward(self, mel: Tensor) -> Tensor:
        patches = self.patch_embed(mel)
        b, d, bands, columns = patches.shape
        grid = self.pos_embed[:, 1:].view(1, bands, -1, d)[:, :, :columns].reshape(1, -1, d)
        first = (self.cls_token + self.pos_embed[:, :1]).expand(b, -1, -1)
        x = torch.cat([first, patches.flatten(2).transpose(1, 2) + grid], dim=1)
        tokens: Tensor = self.norm(self.blocks(x))[:, 1:]
        return tokens.view(b, bands, columns, d)


class Encoder(Network):
    """Waveforms [b, t] to a sequence of features [b, steps, feature_width]."""

    def __init__(self, config: M2DConfig) -> None:
        super().__init__()
        self.config = config
        self.to_spec = LogMel(rate_hz=32_000, n_fft=800, hop=320, n_mels=N_MELS, low_hz=50.0, high_hz=16_000.0)
        self.backbone = Backbone(config)
        # stored in the official checkpoints and unused; kept so that every key of theirs has a place
        self.head_norm = nn.BatchNorm1d(config.feature_width, affine=False)

    def forward(self, waveform: Tensor) -> Tensor:
        return torch.cat([self.sequence(self.backbone(chunk)) for chunk in self.chunks(waveform)], dim=1)

    def mel(self, waveform: Tensor) -> Tensor:
        mean, std = self.backbone.norm_stats
        out: Tensor = (self.to_spec(waveform) - mean) / std
        return out

    def chunks(self, waveform: Tensor) -> list[Tensor]:
        """Standardised log-mel in pieces of at most 1001 frames, zero-padded at the end to whole patches.

        The official code fails where the last piece is shorter than a patch (1002 to 1008 frames); here that piece
        is padded to one.
        """
        mel = self.mel(waveform)
        n_chunks = -(-mel.shape[-1] // CHUNK_FRAMES)
        mel = F.pad(mel, (0, -mel.shape[-1] % PATCH))
        pieces = [mel[..., i * CHUNK_FRAMES : (i + 1) * CHUNK_FRAMES] for i in range(n_chunks)]
        pieces[-1] = F.pad(pieces[-1], (0, max(0, PATCH - pieces[-1].shape[-1])))
        return pieces

    def sequence(self, tokens: Tensor) -> Tensor:
        b, bands, columns, d = tokens.shape
        if self.config.stacked:
            return tokens.permute(0, 2, 1, 3).reshape(b, columns, bands * d)
        return tokens.reshape(b, bands * columns, d)


class TrackHead(nn.Module):
    """Mean over the sequence, then one small classifier per track: [b, steps, features] to logits [b, 3, 19]."""

    def __init__(self, features: int, config: M2DConfig) -> None:
        super().__init__()
        wide = config.tracks * config.track_width
        self.m2d_out_norm = nn.BatchNorm1d(features, affine=False)
        self.linear = nn.Sequential(nn.Linear(features, wide), nn.LayerNorm(wide), nn.ReLU())
        self.tracks = nn.ModuleList(
            nn.Sequential(
                nn.Linear(config.track_width, config.hidden),
                nn.LayerNorm(config.hidden),
                nn.ReLU(),
                nn.Linear(config.hidden, config.outputs),
            )
            for _ in range(config.tracks)
        )

    def forward(self, sequence: Tensor) -> Tensor:
        trunk = self.linear(self.m2d_out_norm(sequence.mean(dim=1))).chunk(len(self.tracks), dim=-1)
        return torch.stack([track(part) for track, part in zip(self.tracks, trunk, strict=True)], dim=1)


class M2DTagger1ch(Encoder):
    """The 1-channel tagger: waveform [b, 1, t] at 32 kHz to logits [b, 3, 19]."""

    Config = M2DConfig
    channels = 1
    core = "backbone.blocks"  # see `s5cli.nn.core`
    stored_constants = (r"^to_spec\.",)

    def __init__(self, config: M2DConfig) -> None:
        super().__init__(config)
        self.head = TrackHead(config.feature_width, config)

    def forward(self, waveform: Tensor) -> Tensor:
        out: Tensor = self.head(super().forward(waveform[:, 0]))
        return out

    @staticmethod
    def config_from_state(state: dict[str, Tensor], config: M2DConfig) -> M2DConfig:
        """Reads from a checkpoint whether its head takes single patches (768 wide) or stacked ones (3840)."""
        return replace(config, stacked=state["head_norm.running_mean"].numel() != config.width)


class M2DTagger4ch(Network):
    """The 4-channel tagger: waveform [b, 4, t] to logits [b, 3, 19].

    Every channel passes the same encoder; the features stand side by side, channel-major.
    """

    Config = M2DConfig
    channels = 4
    core = "m2d.backbone.blocks"
    stored_constants = (r"^m2d\.to_spec\.",)

    def __init__(self, config: M2DConfig) -> None:
        super().__init__()
        self.config = config
        self.m2d = Encoder(config)
        self.head = TrackHead(4 * config.feature_width, config)

    def forward(self, waveform: Tensor) -> Tensor:
        out: Tensor = self.head(self.sequence(waveform))
        return out

    def sequence(self, waveform: Tensor) -> Tensor:
        """Features of all channels, [b, steps, 4 × feature_width]."""
        b, c = waveform.shape[:2]
        sequence: Tensor = self.m2d(waveform.flatten(0, 1))
        return sequence.view(b, c, *sequence.shape[1:]).transpose(1, 2).flatten(2)

    @staticmethod
    def config_from_state(state: dict[str, Tensor], config: M2DConfig) -> M2DConfig:
        """Reads from a checkpoint whether its head takes single patches (768 wide) or stacked ones (3840)."""
        return replace(config, stacked=state["m2d.head_norm.running_mean"].numel() != config.width)
