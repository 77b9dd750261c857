"""What masks say of a whole clip, as a filter over its channels: one for each slot and frequency."""

import torch
from torch import Tensor

_LEAST = 1e-3  # of the mean power, added to every channel's: covariances of few frames can be inverted


def wiener(spectrum: Tensor, mask: Tensor) -> Tensor:
    """Channel 0 of each slot's source by a multichannel Wiener filter, [a, n, f].

    A slot's source and all the rest have the covariances of what the mask gives them and leaves, over all frames.

    Source: mask-based multichannel Wiener filter (Souden, Benesty & Affes 2010, with a trade-off of 1).

    Args:
        spectrum: of one clip, [m, n, f].
        mask: how much of each bin is each slot's, [a, n, f], within 0 … 1.

    >>> _ = torch.manual_seed(0)
    >>> left, right = torch.randn(2, 1, 50, 1, dtype=torch.complex64)
    >>> mask = (torch.rand(1, 50, 1) < 0.5).float()  # the left one sounds in these frames, the right one in the others
    >>> alone = torch.cat([left * mask + right * (1 - mask), left * mask - right * (1 - mask)])
    >>> found = wiener(alone, mask)
    >>> bool((found - left * mask).abs().max() < 0.01)
    True
    """
    x = spectrum.permute(2, 0, 1).contiguous()  # [f, m, n]
    heard = x.mH.resolve_conj()
    own = (mask.transpose(1, 2)[:, :, None] * x[:, :1]) @ heard  # of channel 0 with all, [a, f, 1, m]
    every = x @ heard
    power = every.diagonal(dim1=-2, dim2=-1).real.mean(dim=-1)
    every = every + (_LEAST * power + 1e-8)[..., None, None] * torch.eye(len(spectrum), device=x.device)
    weights = solved(every.expand(len(mask), *every.shape), own.mH)  # [a, f, m, 1]
    return (weights.mH @ x)[:, :, 0].transpose(1, 2)


def solved(matrices: Tensor, of: Tensor) -> Tensor:
    """`torch.linalg.solve`, which Apple's MPS has not for complex numbers."""
    place = torch.device("cpu") if matrices.device.type == "mps" else matrices.device
    found: Tensor = torch.linalg.solve(matrices.to(place), of.to(place))
    return found.to(matrices.device)
