"""Half the sample rate: what networks of 16 kHz hear of recordings of 32 kHz."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_HALF_TAPS = 20


class HalfRate(nn.Module):
    """Waveforms [..., t] to [..., ⌈t / 2⌉], as `scipy.signal.resample_poly(x, 1, 2)`, in double precision inside."""

    def __init__(self) -> None:
        super().__init__()
        places = np.arange(-_HALF_TAPS, _HALF_TAPS + 1)
        taps = np.sinc(places / 2) * np.kaiser(len(places), 5.0)
        taps /= taps.sum()
        self.register_buffer("taps", torch.from_numpy(taps)[None, None], persistent=False)

    taps: Tensor

    def forward(self, waveform: Tensor) -> Tensor:
        flat = waveform.reshape(-1, 1, waveform.shape[-1]).double()
        half = F.conv1d(flat, self.taps.double(), stride=2, padding=_HALF_TAPS)
        return half.to(waveform.dtype).reshape(*waveform.shape[:-1], -1)
