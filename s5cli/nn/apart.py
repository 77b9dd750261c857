"""Sources of one class, told apart by the directions that they come from.

A separator that is asked for a class twice learns little of which is which: the class tells what to take out, not whose
it is. In a first-order recording the active intensity of a bin points to where it comes from, and mostly one source is
the loudest there. So the azimuths of what the slots of one class hold together are taken for a mixture of von Mises
distributions, one a source and equally narrow, and each bin is shared out by how near it is to them.

Source: clustering of intensity vectors, as in directional audio coding (Pulkki 2007) and in separation by histograms of
directions (DUET, Yilmaz & Rickard 2004); this form is ours.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_ANCHORS = 72  # azimuths of a histogram
_NEIGHBOURS = (7, 3)  # frames and bins over which intensity is averaged
_ROUNDS = 10  # of expectation and maximisation
_LEAST_GAP = 12  # anchors between two first guesses: 60°


def apart(spectrum: Tensor, together: Tensor, sources: int, sharpness: float) -> Tensor:
    """Shares of `sources` sources in each bin, [s, n, f], which sum to 1.

    Args:
        spectrum: of a first-order recording (W, Y, Z, X), [4, n, f].
        together: how much of each bin is of any of them, [n, f].
        sources: how many there are.
        sharpness: concentration of a source's azimuths; larger ones give harder shares.
    """
    flat, directed, energy = azimuths(spectrum)
    heard = together * energy * directed
    towards = centres(histogram(flat, heard), sources, sharpness)  # [s, 2]
    agrees = torch.einsum("sc,cnf->snf", towards, flat)
    return (sharpness * directed * agrees).softmax(dim=0)


def azimuths(spectrum: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of a spectrum [4, n, f]: unit vectors of azimuth (Y, X) [2, n, f], and [n, f] how directed and how strong it is.

    A bin is as directed as 1 for one plane wave in the horizontal plane, 0 in a diffuse field.
    """
    crossed = (spectrum[:1].conj() * spectrum[[1, 3]]).real
    energy = (spectrum.real.square() + spectrum.imag.square()).sum(dim=0, keepdim=True) / 2
    intensity = averaged(crossed) / averaged(energy).clamp_min(1e-10)
    length = intensity.norm(dim=0)
    return intensity / length.clamp_min(1e-9), length.clamp_max(1.0), energy[0]


def averaged(maps: Tensor) -> Tensor:
    """Means over a bin's neighbours, of [c, n, f]."""
    half = tuple(size // 2 for size in _NEIGHBOURS)
    return F.avg_pool2d(maps, _NEIGHBOURS, 1, half, count_include_pad=False)


def anchors(like: Tensor) -> Tensor:
    """The histogram's azimuths as unit vectors (Y, X), [a, 2]."""
    angles = torch.arange(_ANCHORS, device=like.device, dtype=like.dtype) * (2 * math.pi / _ANCHORS)
    return torch.stack([angles.sin(), angles.cos()], dim=1)


def histogram(flat: Tensor, heard: Tensor) -> Tensor:
    """How much is heard from each azimuth, [a], of unit vectors [2, n, f] and weights [n, f]."""
    turns = torch.atan2(flat[0], flat[1]) / (2 * math.pi)
    nearest = (turns * _ANCHORS).round().long() % _ANCHORS
    return heard.new_zeros(_ANCHORS).index_add_(0, nearest.flatten(), heard.flatten())


def centres(heard: Tensor, sources: int, sharpness: float) -> Tensor:
    """Unit vectors (Y, X) of the azimuths [s, 2] that sources sound from, of a histogram [a].

    >>> heard = torch.zeros(72)
    >>> heard[[0, 1, 36]] = torch.tensor([2.0, 2.0, 1.0])
    >>> (centres(heard, 2, 12.0) @ torch.tensor([[0.0], [1.0]])).flatten().round(decimals=2)  # cosines: front and back
    tensor([ 1., -1.])
    """
    where = anchors(heard)
    towards = where[guesses(heard, sources)]
    weight = heard.new_full((sources, 1), 1 / sources)
    for _ in range(_ROUNDS):
        belongs = (sharpness * towards @ where.T + weight.log()).softmax(dim=0) * heard  # [s, a]
        weight = belongs.sum(dim=1, keepdim=True) / heard.sum().clamp_min(1e-12) + 1e-3
        towards = F.normalize(belongs @ where, dim=1, eps=1e-12)
    return towards


def guesses(heard: Tensor, sources: int) -> list[int]:
    """The loudest anchors of a smoothed histogram that are at least 60° apart."""
    around = torch.tensor([1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0], device=heard.device, dtype=heard.dtype)
    padded = F.pad(heard[None, None], (3, 3), mode="circular")
    left, found = F.conv1d(padded, around[None, None])[0, 0], list[int]()
    for _ in range(sources):
        found.append(int(left.argmax()))
        near = (torch.arange(1 - _LEAST_GAP, _LEAST_GAP, device=heard.device) + found[-1]) % _ANCHORS
        left[near] = -1.0
    return found
