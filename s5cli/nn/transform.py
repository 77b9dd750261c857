"""Short-time Fourier transforms of SR-CorrNet: the published one without edges, and a centred one for our clips.

Sources: the public release of "Asymmetric Encoder-Decoder Based on Time-Frequency Correlation for Speech Separation"
(arXiv:2603.29097) for the first, `torch.stft` for the second.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kind = Literal["reference", "centred"]


class Transform(nn.Module):
    """Waveforms [..., t] to spectra [..., n, f], f = n_fft / 2 + 1, and back.

    "centred": periodic Hann, reflected at the edges, n = 1 + t // hop, exact inverse.
    "reference": square root of the Hann window where the hop is half of it (times √(2/3) where it is a quarter), no
    edges: n = (t − n_fft) // hop + 1. Both directions are divided by √(n_fft / 2), and the way back counts the first
    and the last bin as often as the others, as published.
    """

    def __init__(self, kind: Kind, n_fft: int, hop_samples: int) -> None:
        super().__init__()
        self.kind, self.n_fft, self.hop_samples = kind, n_fft, hop_samples
        window = torch.hann_window(n_fft)
        if kind == "reference":
            window = window.double()
            window = window.sqrt() if 2 * hop_samples == n_fft else window * (2 / 3) ** 0.5
        self.register_buffer("window", window.float(), persistent=False)

    window: Tensor

    def n_frames(self, n_samples: int) -> int:
        """Frames of a waveform of that length."""
        if self.kind == "centred":
            return 1 + n_samples // self.hop_samples
        return (n_samples - self.n_fft) // self.hop_samples + 1

    def forward(self, waveform: Tensor) -> Tensor:
        flat = waveform.reshape(-1, waveform.shape[-1])
        if self.kind == "centred":
            spectrum = torch.stft(flat, self.n_fft, self.hop_samples, window=self.window, return_complex=True)
            spectrum = spectrum.transpose(1, 2)
        else:
            spectrum = self.of_frames(flat.unfold(1, self.n_fft, self.hop_samples)) / (self.n_fft / 2) ** 0.5
        return spectrum.reshape(*waveform.shape[:-1], *spectrum.shape[-2:])

    def of_frames(self, frames: Tensor) -> Tensor:
        """Spectra [..., f] of stretches of n_fft samples, [..., n_fft]."""
        out: Tensor = torch.fft.rfft(frames * self.window)
        return out

    def inverse(self, spectrum: Tensor, n_samples: int) -> Tensor:
        """Spectra [..., n, f] to waveforms [..., n_samples]."""
        flat = spectrum.reshape(-1, *spectrum.shape[-2:])
        if self.kind == "centred":
            waveform = torch.istft(
                flat.transpose(1, 2), self.n_fft, self.hop_samples, window=self.window, length=n_samples
            )
        else:
            waveform = self.overlapped(flat, n_samples)
        return waveform.reshape(*spectrum.shape[:-2], n_samples)

    def overlapped(self, spectrum: Tensor, n_samples: int) -> Tensor:
        """Overlap-add of the reference transform's transposed kernel, [b, n, f] to [b, n_samples]."""
        counted_twice = torch.ones(spectrum.shape[-1], dtype=self.window.dtype, device=spectrum.device)
        counted_twice[[0, -1]] = 2
        frames = torch.fft.irfft(spectrum * counted_twice, self.n_fft) * self.window * (self.n_fft / 2) ** 0.5
        length = (frames.shape[1] - 1) * self.hop_samples + self.n_fft
        added = F.fold(frames.transpose(1, 2), (1, length), (1, self.n_fft), stride=(1, self.hop_samples))[:, 0, 0]
        return F.pad(added, (0, n_samples - length))
