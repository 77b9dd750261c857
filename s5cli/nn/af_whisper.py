"""AF-Whisper, the sound tower of Audio Flamingo 3: a Whisper encoder whose frames are taken before they are pooled.

Source: "Audio Flamingo 3" (arXiv:2507.08128); Whisper (arXiv:2212.04356). Key names are those of the checkpoint, so
that its tower loads without a translation table.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s5cli.nn.mel import slaney_filterbank
from s5cli.nn.network import Network

_N_FFT, _HOP = 400, 160  # at 16 kHz
_RATE_HZ = 16_000
_RANGE = 8.0  # decades below the loudest that are told apart
_HALF_TAPS = 48
_FRAME_SAMPLES = 640  # 20 ms at 32 kHz
_MARGIN = 4 * _HOP  # of silence behind a clip: what convolutions see of it


@dataclass(frozen=True)
class AFWhisperConfig:
    """The defaults are those of the published tower."""

    width: int = 1280
    depth: int = 32
    heads: int = 20
    ffn_width: int = 5120
    mels: int = 128
    positions: int = 1500  # of 20 ms each


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj, self.q_proj, self.out_proj = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        projections = self.q_proj, self.k_proj, self.v_proj
        q, k, v = (part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in projections)
        heard = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out_proj(heard.transpose(1, 2).flatten(2))
        return out


class Layer(nn.Module):
    def __init__(self, config: AFWhisperConfig) -> None:
        super().__init__()
        self.self_attn = SelfAttention(config.width, config.heads)
        self.self_attn_layer_norm = nn.LayerNorm(config.width)
        self.fc1 = nn.Linear(config.width, config.ffn_width)
        self.fc2 = nn.Linear(config.ffn_width, config.width)
        self.final_layer_norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        out: Tensor = x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))
        return out


class AFWhisper(Network):
    """Waveforms [n, t] at 32 kHz to a vector for every 20 ms, frame i centred at 20 i ms: [n, t // 640 + 1, width].

    The published encoder pads a clip to 30 s with silence and masks what attends to it. So frames of the clip do not
    depend on the padding but for the few samples behind its end that the first layers see, and it is left out here.
    """

    Config = AFWhisperConfig
    core = "layers"  # see `s5cli.nn.core`

    def __init__(self, config: AFWhisperConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv1d(config.mels, config.width, 3, padding=1)
        self.conv2 = nn.Conv1d(config.width, config.width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(config.positions, config.width)
        self.layers = nn.Sequential(*(Layer(config) for _ in range(config.depth)))
        self.layer_norm = nn.LayerNorm(config.width)
        self.register_buffer("window", torch.hann_window(_N_FFT), persistent=False)
        filters = slaney_filterbank(_RATE_HZ, _N_FFT, config.mels, 0.0, _RATE_HZ / 2)
        self.register_buffer("filters", filters, persistent=False)

    window: Tensor
    filters: Tensor

    def forward(self, waveform: Tensor, reference: Tensor | None = None) -> Tensor:
        """`reference` is not used: levels are relative to the loudest of each clip."""
        frames = waveform.shape[-1] // _FRAME_SAMPLES + 1
        pieces = halved_rate(waveform).split(self.config.positions * 2 * _HOP, dim=-1)
        found = torch.cat([self.encoded(piece) for piece in pieces], dim=1)
        return found[:, torch.arange(frames, device=found.device).clamp_max(found.shape[1] - 1)]

    def encoded(self, waveform: Tensor) -> Tensor:
        """At most 30 s at 16 kHz, [n, t] to [n, ⌈t / 320⌉, width]."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(self.mel(F.pad(waveform, (0, _MARGIN)))))))
        places = -(-waveform.shape[-1] // (2 * _HOP))
        x = x[:, :, :places].transpose(1, 2) + self.embed_positions.weight[:places]
        out: Tensor = self.layer_norm(self.layers(x))
        return out

    def mel(self, waveform: Tensor) -> Tensor:
        """Whisper's: log10 of mel power, at most 8 below the loudest, scaled: [n, t] to [n, mels, frames]."""
        spectrum = torch.stft(waveform, _N_FFT, _HOP, window=self.window, center=True, return_complex=True)
        power = self.filters @ (spectrum.real.square() + spectrum.imag.square())[..., :-1]
        decades = power.clamp_min(1e-10).log10()
        return (torch.maximum(decades, decades.amax(dim=(1, 2), keepdim=True) - _RANGE) + 4) / 4


def halved_rate(waveform: Tensor) -> Tensor:
    """Every second sample after a low pass at half the band, [n, t] to [n, ⌈t / 2⌉].

    >>> tone = torch.sin(2 * torch.pi * 1000 / 32000 * torch.arange(3200))[None]
    >>> bool((halved_rate(tone)[0, 100:-100] - tone[0, 200:-200:2]).abs().max() < 1e-3)
    True
    """
    place = torch.arange(-_HALF_TAPS, _HALF_TAPS + 1, device=waveform.device, dtype=torch.float64)
    window = torch.kaiser_window(2 * _HALF_TAPS + 1, periodic=False, beta=8.0, dtype=torch.float64)
    taps = 0.48 * torch.sinc(0.48 * place) * window.to(waveform.device)
    taps = (taps / taps.sum()).to(waveform.dtype)[None, None]
    return F.conv1d(waveform[:, None], taps, stride=2, padding=_HALF_TAPS)[:, 0]
