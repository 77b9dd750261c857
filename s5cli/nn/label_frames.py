"""From the frames in which a tagger hears to the frames of a spectrum, on the clip's own time axis.

Frame i of a centred spectrum lies around sample i · hop.
"""

import torch
from torch import Tensor


def held(activity: Tensor, n_frames: int, hop_samples: int, label_samples: int) -> Tensor:
    """Labels [..., l] that hold for `label_samples` each, by frame of the spectrum, [..., n].

    >>> held(torch.tensor([0, 1, 2]), 7, hop_samples=256, label_samples=640)
    tensor([0, 0, 0, 1, 1, 2, 2])
    """
    frames = torch.arange(n_frames, device=activity.device) * hop_samples // label_samples
    return activity[..., frames.clamp_max(activity.shape[-1] - 1)]


def interpolated(activity: Tensor, n_frames: int, hop_samples: int, label_samples: int) -> Tensor:
    """The same for probabilities: linear between the middles of labels, constant beyond the first and the last.

    >>> interpolated(torch.tensor([0.0, 1.0]), 5, hop_samples=256, label_samples=512)
    tensor([0.0000, 0.0000, 0.5000, 1.0000, 1.0000])
    """
    place = torch.arange(n_frames, device=activity.device) * (hop_samples / label_samples) - 0.5
    place = place.clamp(0, activity.shape[-1] - 1)
    before = place.long()
    after = (before + 1).clamp_max(activity.shape[-1] - 1)
    share = (place - before).to(activity.dtype)
    return activity[..., before] * (1 - share) + activity[..., after] * share
