"""How the slots of a clip hear of one another in SR-CorrNet's decoder: attention over them, in every bin by itself.

Source: the public release of SR-CorrNet (arXiv:2603.29097).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from s5cli.nn.tf_block import Gated, Heads, norm


class SlotAttention(nn.Module):
    """RMSNorm and attention over the slots of a clip: a residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.layernorm = norm(width)
        self.block = Heads(width, heads, rotary=False)

    def forward(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        projected = self.block.qkv(self.layernorm(x)).unflatten(-1, (3, self.block.heads, -1))
        heard = torch.cat([attended(*clip.unbind(dim=-3)) for clip in projected.split(list(counts))])
        out: Tensor = self.block.aggregate_heads(heard.flatten(-2))
        return out


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention over the first axis of [s, …, d] in every place of the others: written out, as s is at most three."""
    scores = (q[:, None] * k[None]).sum(dim=-1, keepdim=True) * q.shape[-1] ** -0.5  # [s, s, …, 1]
    out: Tensor = (scores.softmax(dim=1) * v[None]).sum(dim=1)
    return out


class SlotFeedForward(nn.Module):
    """RMSNorm and a gated feed-forward: a residual."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layernorm = norm(width)
        self.net = nn.Sequential(nn.Linear(width, 2 * hidden), Gated(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(self.layernorm(x))
        return out


class SlotLayers(nn.Module):
    def __init__(self, width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.sa = SlotAttention(width, heads)
        self.ffn = SlotFeedForward(width, hidden)


class SlotBlock(nn.Module):
    """A published name around them."""

    def __init__(self, width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.block = SlotLayers(width, hidden, heads)


class SlotMixer(nn.Module):
    """Maps of all slots that are asked, [u, n, f, c], clip after clip; `counts` says how many each clip has."""

    def __init__(self, width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.block = SlotBlock(width, hidden, heads)

    def forward(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        layers = self.block.block
        x = x + layers.sa(x, counts)
        out: Tensor = x + layers.ffn(x)
        return out
