"""The compact separator's last layer: every bin is shared out among the queried slots and a rest.

One readout vector per class and repetition (the first, second or third slot of one class) asks the same feature maps,
so what is learned of a class serves every slot, and the slots compete: a softmax over the active slots and the rest
gives each bin's shares. The design is ours; competing masks are those of mask-inference networks for known sources.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_AXES = 3  # Y, Z, X
_NOT_ASKED = -1e4  # the logit of a slot without query


@dataclass(frozen=True)
class Shares:
    """What each slot gets of a patch of bins."""

    mask: Tensor  # [b, s, p, n, f], of each of a patch's p bins; with the rest they sum to 1
    lean: Tensor  # [b, s, 3, n, f], within ±1: how much of Y, Z and X is added to W, one beam a patch


class ShareHead(nn.Module):
    """Feature maps [b, width, n, f] of patches of `bins` bins and slots' classes [b, s, k] to shares."""

    def __init__(self, width: int, bins: int, slots: int, classes: int) -> None:
        super().__init__()
        self.bins, self.slots, self.classes = bins, slots, classes
        n_queries = slots * classes  # a class may fill every slot
        self.readout = nn.Parameter(torch.randn(n_queries, bins + _AXES, width) / (2 * width**0.5))
        self.bias = nn.Parameter(torch.zeros(n_queries, bins + _AXES))
        self.rest = nn.Conv2d(width, bins, 1)

    def forward(self, maps: Tensor, query: Tensor) -> Shares:
        maps = F.leaky_relu(maps, 0.01)
        b, width, n, f = maps.shape
        asked = repetitions(query)  # [b, s, s k]
        readout = (asked @ self.readout.flatten(1)).view(b, -1, width)
        bias = (asked @ self.bias).view(b, -1, 1)
        answer = (torch.bmm(readout, maps.flatten(2)) + bias).view(b, self.slots, self.bins + _AXES, n, f)
        unused = query.sum(dim=-1) == 0
        logits = answer[:, :, : self.bins].masked_fill(unused[:, :, None, None, None], _NOT_ASKED)
        mask = torch.cat([logits, self.rest(maps)[:, None]], dim=1).float().softmax(dim=1)
        return Shares(mask[:, : self.slots], answer[:, :, self.bins :].float().tanh())


def repetitions(query: Tensor) -> Tensor:
    """One-hot classes [b, s, k] to one-hot (repetition, class) pairs, [b, s, s k].

    >>> repetitions(torch.tensor([[[1, 0], [1, 0]]])).tolist()  # one class twice: its first, then its second readout
    [[[1, 0, 0, 0], [0, 0, 1, 0]]]
    """
    before = query.cumsum(dim=1) - query
    return torch.cat([query * (before == nth) for nth in range(query.shape[1])], dim=-1)
