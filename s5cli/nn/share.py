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


@dataclass(frozen=True)
class Field:
    """What is known of a mixture's patches beside the feature maps."""

    intensity: Tensor  # [b, 3, n, f], active intensity over energy: length 1 for one plane wave, 0 for a diffuse field
    level: Tensor  # [b, 1, n, f], root of the energy
    sounds: Tensor  # [b, k, n], whether each class is heard around a patch


class Refine(nn.Module):
    """A second look at each slot: where its share comes from, and what else comes from there.

    The slot's mean intensity gives its direction; how well each patch agrees with it, and with the directions of the
    other slots, corrects the slot's logits. A small network that knows no classes, so that it learns from all of them.
    """

    def __init__(self, bins: int, width: int = 16) -> None:
        super().__init__()
        last = nn.Conv2d(width, bins, 1)
        for p in last.parameters():
            nn.init.zeros_(p)
        self.net = nn.Sequential(
            nn.Conv2d(8, width, 3, padding=1), nn.LeakyReLU(0.01),
            nn.Conv2d(width, width, 3, padding=2, dilation=2), nn.LeakyReLU(0.01), last,
        )  # fmt: skip

    def forward(self, logits: Tensor, mask: Tensor, field: Field, sounds: Tensor) -> Tensor:
        """Logits and mask [b, s, p, n, f] and each slot's sounds [b, s, n] to what is added to the logits."""
        share = mask.mean(dim=2)  # [b, s, n, f]
        agrees = self.agreement(share, field)
        b, s, n, f = share.shape
        like = share.new_ones(b, s, n, f)
        seen = [
            logits.float().mean(dim=2).clamp(-10, 10) / 5,
            share,
            others(share),
            agrees,
            others(agrees),
            field.intensity.norm(dim=1, keepdim=True) * like,
            field.level.clamp_min(1e-6).log() * like / 3,
            sounds[..., None] * like,
        ]
        out: Tensor = self.net(torch.stack(seen, dim=2).flatten(0, 1)).unflatten(0, (b, s))
        return out

    @staticmethod
    def agreement(share: Tensor, field: Field) -> Tensor:
        """Cosine between a patch's intensity and the slot's, times how directed the patch is: [b, s, n, f]."""
        heard = share * field.level
        towards = torch.einsum("bsnf,bcnf->bsc", heard, field.intensity)
        towards = F.normalize(towards, dim=-1, eps=1e-6)
        return torch.einsum("bsc,bcnf->bsnf", towards, field.intensity)


def others(values: Tensor) -> Tensor:
    """Of each slot the largest value of the other slots, [b, s, …]."""
    slots = values.shape[1]
    rest = [torch.cat([values[:, :i], values[:, i + 1 :]], dim=1).amax(dim=1) for i in range(slots)]
    return torch.stack(rest, dim=1)


class ShareHead(nn.Module):
    """Feature maps [b, width, n, f] of patches of `bins` bins and slots' classes [b, s, k] to shares."""

    def __init__(self, width: int, bins: int, slots: int, classes: int, refined: bool = False) -> None:
        super().__init__()
        self.bins, self.slots, self.classes = bins, slots, classes
        n_queries = slots * classes  # a class may fill every slot
        self.readout = nn.Parameter(torch.randn(n_queries, bins + _AXES, width) / (2 * width**0.5))
        self.bias = nn.Parameter(torch.zeros(n_queries, bins + _AXES))
        self.rest = nn.Conv2d(width, bins, 1)
        self.refine = Refine(bins) if refined else None

    def forward(self, maps: Tensor, query: Tensor, field: Field | None = None) -> Shares:
        maps = F.leaky_relu(maps, 0.01)
        b, width, n, f = maps.shape
        asked = repetitions(query)  # [b, s, s k]
        readout = (asked @ self.readout.flatten(1)).view(b, -1, width)
        bias = (asked @ self.bias).view(b, -1, 1)
        answer = (torch.bmm(readout, maps.flatten(2)) + bias).view(b, self.slots, self.bins + _AXES, n, f)
        unused = query.sum(dim=-1) == 0
        logits = answer[:, :, : self.bins].masked_fill(unused[:, :, None, None, None], _NOT_ASKED)
        rest = self.rest(maps)[:, None]
        mask = torch.cat([logits, rest], dim=1).float().softmax(dim=1)
        if self.refine is not None and field is not None:
            sounds = torch.einsum("bkn,bsk->bsn", field.sounds, query)
            logits = logits + self.refine(logits, mask[:, : self.slots], field, sounds)
            mask = torch.cat([logits, rest], dim=1).float().softmax(dim=1)
        return Shares(mask[:, : self.slots], answer[:, :, self.bins :].float().tanh())


def repetitions(query: Tensor) -> Tensor:
    """One-hot classes [b, s, k] to one-hot (repetition, class) pairs, [b, s, s k].

    >>> repetitions(torch.tensor([[[1, 0], [1, 0]]])).tolist()  # one class twice: its first, then its second readout
    [[[1, 0, 0, 0], [0, 0, 1, 0]]]
    """
    before = query.cumsum(dim=1) - query
    return torch.cat([query * (before == nth) for nth in range(query.shape[1])], dim=-1)
