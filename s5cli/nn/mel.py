"""Log-mel front end: centred periodic-Hann power spectrum, Slaney mel bands, natural logarithm."""

import numpy as np
import torch
from torch import Tensor, nn

_LOG_EPS = 1.1920929e-07  # float32 epsilon
_BREAK_HZ = 1000.0  # Slaney's scale is linear below, logarithmic above
_HZ_PER_MEL = 200.0 / 3.0
_LOG_STEP = np.log(6.4) / 27.0


def _hz_to_mel(hz: np.ndarray) -> np.ndarray:
    log_part = _BREAK_HZ / _HZ_PER_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz / _HZ_PER_MEL, log_part)


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    break_mel = _BREAK_HZ / _HZ_PER_MEL
    return np.where(mel < break_mel, mel * _HZ_PER_MEL, _BREAK_HZ * np.exp(_LOG_STEP * (mel - break_mel)))


def slaney_filterbank(rate_hz: int, n_fft: int, n_mels: int, low_hz: float, high_hz: float) -> Tensor:
    """Triangular mel filters with Slaney's scale and area normalisation (Auditory Toolbox, 1998), [mels, bins].

    >>> slaney_filterbank(32000, 800, 80, 50, 16000).shape
    torch.Size([80, 401])
    """
    if torch.get_default_device().type == "meta":  # only shapes are asked for
        return torch.empty(n_mels, n_fft // 2 + 1)
    low_mel, high_mel = _hz_to_mel(np.array([low_hz, high_hz])).tolist()
    edges_mel = np.linspace(low_mel, high_mel, n_mels + 2)
    edges_hz = _mel_to_hz(edges_mel)
    bins_hz = np.arange(n_fft // 2 + 1) * rate_hz / n_fft
    rising = (bins_hz - edges_hz[:-2, None]) / (edges_hz[1:-1] - edges_hz[:-2])[:, None]
    falling = (edges_hz[2:, None] - bins_hz) / (edges_hz[2:] - edges_hz[1:-1])[:, None]
    area = 2.0 / (edges_hz[2:] - edges_hz[:-2])
    return torch.from_numpy(np.maximum(0, np.minimum(rising, falling)) * area[:, None]).float()


class LogMel(nn.Module):
    """Waveforms [..., t] to ln(mel power + float32 epsilon), [..., mels, n] with n = 1 + t // hop.

    The filters are computed, not stored: no key of a state dict belongs to this module.
    """

    def __init__(self, rate_hz: int, n_fft: int, hop: int, n_mels: int, low_hz: float, high_hz: float) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        filters = slaney_filterbank(rate_hz, n_fft, n_mels, low_hz, high_hz)
        self.register_buffer("filters", filters, persistent=False)

    window: Tensor
    filters: Tensor

    def forward(self, waveform: Tensor) -> Tensor:
        return torch.log(self.filters @ self.power(waveform) + _LOG_EPS)

    def power(self, waveform: Tensor) -> Tensor:
        flat = waveform.reshape(-1, waveform.shape[-1])
        spectrum = torch.stft(flat, self.n_fft, self.hop, window=self.window, center=True, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        return power.reshape(*waveform.shape[:-1], *power.shape[-2:])
