"""From one map of the mixture to a map for every slot: the blind split as published, and the label-queried one.

Sources: SR-CorrNet (arXiv:2603.29097); "Extending SR-CorrNet to label-queried target sound extraction" (Ku, Jeong &
Park, DCASE 2026), whose report gives the equation; the layers that make its terms are ours.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_HIDDEN = 128


@dataclass(frozen=True)
class Asked:
    """What is asked of a batch of clips: the slots that are used, clip after clip."""

    classes: Tensor  # [u], class indices
    repetition: Tensor  # [u], how many slots of the same clip and class come before
    clip: Tensor  # [u], whose slot it is
    slot: Tensor  # [u], which
    activity: Tensor  # [u, n], 0…1, whether the class sounds in a frame of the spectrum
    counts: tuple[int, ...]  # slots of each clip

    @classmethod
    def of(cls, classes: Tensor, activity: Tensor) -> "Asked":
        """From classes [b, s], negative where unused, and activities [b, s, n].

        >>> asked = Asked.of(torch.tensor([[3, -1, 3], [-1, -1, -1]]), torch.ones(2, 3, 4))
        >>> asked.repetition.tolist(), asked.counts
        ([0, 1], (2, 0))
        """
        used = classes >= 0
        same = (classes[:, :, None] == classes[:, None]) & used[:, None]
        repetition = same.tril(-1).sum(dim=2)
        clip, slot = used.nonzero(as_tuple=True)
        return cls(classes[used], repetition[used], clip, slot, activity[used], tuple(used.sum(dim=1).tolist()))

    def frames(self, first: int, last: int) -> "Asked":
        """The same of a stretch of frames."""
        return replace(self, activity=self.activity[:, first:last])


class LabelSplit(nn.Module):
    """x · γ(t) + β(t) + β_weak, the same for all bins.

    γ = 1 + δ and β come from the class while it sounds (zeros where it does not), β_weak from the class alone and from
    which repetition of it a slot is. All begin as zero, so that every slot begins as the mixture.
    """

    def __init__(self, width: int, classes: int, slots: int) -> None:
        super().__init__()
        self.classes = classes
        self.strong = nn.Sequential(nn.Linear(classes, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, 2 * width))
        self.weak = nn.Linear(classes, width, bias=False)
        self.occurrence = nn.Parameter(torch.zeros(slots - 1, width))
        for parameter in (*self.strong[2].parameters(), self.weak.weight):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, asked: Asked) -> Tensor:
        """[b, n, f, c] to [u, n, f, c]."""
        label = F.one_hot(asked.classes, self.classes).to(x.dtype)  # [u, k]
        delta, beta = self.strong(label[:, None] * asked.activity[..., None].to(x.dtype)).chunk(2, dim=-1)  # [u, n, c]
        which = F.pad(self.occurrence, (0, 0, 1, 0))[asked.repetition]  # [u, c]
        shift = beta + (self.weak(label) + which)[:, None]
        out: Tensor = x[asked.clip] * (1 + delta[:, :, None]) + shift[:, :, None]
        return out


class BlindSplit(nn.Module):
    """As many maps as sources, in no order that anybody asked for: [b, n, f, c] to [b s, n, f, c]."""

    def __init__(self, width: int, slots: int) -> None:
        super().__init__()
        self.slots = slots
        n = slots * width
        self.spk_split = nn.Sequential(nn.Linear(width, 4 * n), nn.SiLU(), nn.Linear(4 * n, n))

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.spk_split(x).unflatten(-1, (-1, self.slots))  # the slot is fastest
        return maps.movedim(-1, 1).flatten(0, 1)
