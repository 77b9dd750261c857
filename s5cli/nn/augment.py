"""What training does to time-frequency maps so that few recordings go further: masks and filters."""

import torch
import torch.nn.functional as F
from torch import Tensor


def masked(maps: Tensor, most_bands: int, most_frames: int) -> Tensor:
    """One random frequency band and one random stretch of time of each clip at zero, the mean of normalised maps.

    Args:
        maps: [b, c, bands, n].
        most_bands: widest band; every width up to it is as likely.
        most_frames: longest stretch.

    Source: SpecAugment (Park et al., Interspeech 2019).
    """
    b, _, bands, frames = maps.shape
    kept = torch.ones(b, 1, bands, frames, device=maps.device)
    for size, most, axis in ((bands, most_bands, 2), (frames, most_frames, 3)):
        width = torch.rand(b, 1, 1, 1, device=maps.device) * most
        start = torch.rand(b, 1, 1, 1, device=maps.device) * (size - width)
        place = torch.arange(size, device=maps.device).view([-1 if i == axis else 1 for i in range(4)])
        kept = kept * ((place < start) | (place >= start + width))
    return maps * kept


def filtered(maps: Tensor, deviation: float) -> Tensor:
    """A random smooth frequency response added to each clip's log maps, the same for all its channels.

    Args:
        maps: logarithmic, [b, c, bands, n].
        deviation: standard deviation of the response at its three to six corners, in the maps' own unit.

    Source: FilterAugment, linear type (Nam et al., ICASSP 2022); corners at equal distances are ours.
    """
    n_corners = int(torch.randint(3, 7, ()))
    corners = deviation * torch.randn(len(maps), 1, n_corners, device=maps.device)
    response = F.interpolate(corners, maps.shape[2], mode="linear", align_corners=True)
    return maps + response[..., None]
