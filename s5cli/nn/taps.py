"""What SR-CorrNet hears and what it gives: neighbouring frames and bins, their correlations, and filters over them.

Source: "Asymmetric Encoder-Decoder Based on Time-Frequency Correlation for Speech Separation" (arXiv:2603.29097).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_FLOOR = 1e-12


@dataclass(frozen=True)
class Taps:
    """Which neighbours of a bin are looked at: frames before and after, bins below and above."""

    before: int
    after: int
    below: int
    above: int

    @property
    def number(self) -> int:
        """Neighbours for each microphone, the bin itself among them."""
        return (self.before + self.after + 1) * (self.below + self.above + 1)

    def of(self, spectrum: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        """Neighbours of frames first … last − 1 of [b, m, n, f]: [b, last − first, f, m, w].

        The bin's offset is slowest in w, the frame's fastest. Zeros lie beyond the clip's edges and nowhere else.
        """
        n_frames, n_bins = spectrum.shape[2:]
        last = n_frames if last is None else last
        around = spectrum[:, :, max(0, first - self.before) : last + self.after]
        missing = (max(0, self.before - first), max(0, last + self.after - n_frames))
        around = F.pad(around, (self.below, self.above, *missing)).permute(0, 2, 3, 1)  # [b, n, f, m]
        shifted = [
            around[:, frame : frame + last - first, bin_ : bin_ + n_bins]
            for bin_ in range(self.below + self.above + 1)
            for frame in range(self.before + self.after + 1)
        ]
        return torch.stack(shifted, dim=-1)


def mean_level(spectrum: Tensor) -> Tensor:
    """Root mean power over frames, [..., n, f] to [..., f]."""
    return ((spectrum.real.square() + spectrum.imag.square()).mean(dim=-2) + _FLOOR).sqrt()


def compressed(spectrum: Tensor) -> Tensor:
    """The same phases, the square root of the magnitudes."""
    return spectrum / (spectrum.abs() + _FLOOR).sqrt()


def correlations(reference: Tensor, neighbours: Tensor, level: Tensor) -> Tensor:
    """Phase differences to the reference channel, with the square root of the magnitudes.

    The published z = u v* / √(|u| |v| + 1e-12), u and v divided by the level, out of square roots that are taken once a
    bin instead of once a neighbour: it differs by less than 1e-6.

    Args:
        reference: [b, n, f], the reference channel's `compressed` spectrum.
        neighbours: [b, n, f, m, w] of the `compressed` spectrum, see `Taps.of`.
        level: [b, f], `mean_level` of the reference channel.

    Returns [b, n, f, 2 w m]: the tap is slowest, then the microphone, then real and imaginary part.
    """
    z = (reference / level[:, None])[..., None, None] * neighbours.transpose(3, 4).conj()
    return torch.view_as_real(z.resolve_conj()).flatten(3)


def filtered(filters: tuple[Tensor, Tensor], neighbours: tuple[Tensor, Tensor]) -> Tensor:
    """Σ over microphones and taps of filter times neighbour, without a conjugate.

    Both come as real and imaginary parts with the bins of a band last, so that what lies side by side is multiplied.

    Args:
        filters: [u, n, f', o, m w, r] each.
        neighbours: [u, n, f', m w, r] each.

    Returns [u, o, n, f' r] complex.
    """
    (a, b), (x, y) = filters, (part[:, :, :, None] for part in neighbours)
    real, imag = (a * x - b * y).sum(dim=-2), (a * y + b * x).sum(dim=-2)  # [u, n, f', o, r]
    return torch.complex(real, imag).permute(0, 3, 1, 2, 4).flatten(3)


def in_bands(neighbours: Tensor, fold: int) -> tuple[Tensor, Tensor]:
    """Neighbours [b, n, f, m, w] as `filtered` takes them: [b, n, f', m w, r] real and imaginary, zeros behind."""
    missing = -neighbours.shape[2] % fold
    bands = F.pad(neighbours.flatten(3), (0, 0, 0, missing)).unflatten(2, (-1, fold)).transpose(3, 4)
    return bands.real.contiguous(), bands.imag.contiguous()
