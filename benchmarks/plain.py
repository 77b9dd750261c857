"""Networks in plain form, for others to be measured against: the official arithmetic of the separator, step by step.

Fourier transforms are convolutions with their kernels, spectra are taken apart into magnitude, cosine and sine, nothing
is folded, and every slot is computed whether it is asked for or not.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s5cli.nn.resunet import ResUNetK

FLOOR = 1e-10


class PlainResUNetK(nn.Module):
    """Mixture [b, 4, t] and query [b, 54] to waveforms [b, 3, t], with the weights of a `ResUNetK` in training form."""

    def __init__(self, network: ResUNetK) -> None:
        super().__init__()
        self.config, self.nparams = network.config, network.nparams
        self.base, self.label_embedding, self.film = map(
            copy.deepcopy, (network.base, network.label_embedding, network.film)
        )
        n_fft = self.config.n_fft
        window, grid = network.window.double(), torch.arange(n_fft).double()
        angles = 2 * torch.pi * grid[:, None] * grid / n_fft  # [f, t]
        forward = torch.stack([angles.cos(), -angles.sin()])[:, : n_fft // 2 + 1] * window
        backward = torch.stack([angles.cos(), -angles.sin()]).transpose(1, 2) / n_fft * window[:, None]
        self.register_buffer("forward_kernels", forward[:, :, None].float(), persistent=False)
        self.register_buffer("backward_kernels", backward[..., None].float(), persistent=False)
        self.register_buffer("window", window.float(), persistent=False)

    def forward(self, mixture: Tensor, query: Tensor) -> Tensor:
        c, (b, m, t) = self.config, mixture.shape
        real, imag = self.stft(mixture.flatten(0, 1))
        real, imag = real.view(b, m, *real.shape[1:]), imag.view(b, m, *imag.shape[1:])  # [b, m, n, f]
        magnitude = (real**2 + imag**2).clamp(FLOOR).sqrt()
        cos, sin = real / magnitude, imag / magnitude

        maps = self.base.bn0(magnitude.transpose(1, 3)).transpose(1, 3)
        n = maps.shape[2]
        maps = F.pad(maps[..., :-1], (0, 0, 0, -n % 32))
        masks = self.base(maps, self.film(self.label_embedding(query)))
        masks = F.pad(masks[:, :, :n], (0, 1)).unflatten(1, (c.slots, c.channels, 3))

        gain, mask_real, mask_imag = masks[:, :, :, 0].sigmoid(), masks[:, :, :, 1].tanh(), masks[:, :, :, 2].tanh()
        norm = (mask_real**2 + mask_imag**2).sqrt().clamp(FLOOR)
        mask_cos, mask_sin = mask_real / norm, mask_imag / norm
        out_cos = cos[:, None] * mask_cos - sin[:, None] * mask_sin  # [b, s, m, n, f]
        out_sin = sin[:, None] * mask_cos + cos[:, None] * mask_sin
        out_magnitude = gain * magnitude[:, None]
        real = self.base.out_conv((out_magnitude * out_cos).flatten(0, 1))[:, 0]
        imag = self.base.out_conv((out_magnitude * out_sin).flatten(0, 1))[:, 0]
        waveform = self.istft(real, imag, t).view(b, c.slots, t)
        return waveform * (query.view(b, c.slots, -1).sum(dim=-1) != 0)[..., None]

    def stft(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """[b, t] to real and imaginary parts, [b, n, f]."""
        half = self.config.n_fft // 2
        padded = F.pad(waveform[:, None], (half, half), mode="reflect")
        real, imag = (F.conv1d(padded, kernels, stride=self.config.hop_samples) for kernels in self.forward_kernels)
        return real.transpose(1, 2), imag.transpose(1, 2)

    def istft(self, real: Tensor, imag: Tensor, t: int) -> Tensor:
        """[b, n, f] each to [b, t], by the inverse transform of every frame, overlap and add."""
        n_fft, hop, n = self.config.n_fft, self.config.hop_samples, real.shape[1]
        mirrored = slice(1, -1)
        real = torch.cat([real, real[..., mirrored].flip(-1)], dim=-1).transpose(1, 2)
        imag = torch.cat([imag, -imag[..., mirrored].flip(-1)], dim=-1).transpose(1, 2)
        frames = F.conv1d(real, self.backward_kernels[0]) + F.conv1d(imag, self.backward_kernels[1])  # [b, n_fft, n]
        size = (1, hop * (n - 1) + n_fft)
        squares = (self.window**2)[None, :, None].expand(1, -1, n)
        whole, weight = (F.fold(x, size, (1, n_fft), stride=(1, hop))[:, 0, 0] for x in (frames, squares))
        return (whole / weight.clamp(1e-11))[:, n_fft // 2 :][:, :t]


def recurrence(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Mamba-2's scan as it is defined, one position after the other: S ← exp(Δ a) S + Δ x bᵀ, y = S c.

    Shapes as of `s5cli.nn.mamba2.chunked_scan`.
    """
    state = x.new_zeros(x.shape[0], x.shape[2], x.shape[3], b.shape[2])
    out = []
    for i in range(x.shape[1]):
        decay = torch.exp(dt[:, i] * a)[..., None, None]
        state = decay * state + (dt[:, i, :, None] * x[:, i])[..., None] * b[:, i, None, None]
        out.append(torch.einsum("nhps,ns->nhp", state, c[:, i]))
    return torch.stack(out, dim=1)
