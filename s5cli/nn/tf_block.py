"""Blocks of SR-CorrNet: attention with rotary positions between convolutions, over frequency, then over time.

All maps are [b, n, f, c], so that convolutions and linear maps find channels side by side. Over time a block can go on
from what it remembers of earlier frames.

Sources: the public release of SR-CorrNet (arXiv:2603.29097); rotary positions (Su et al., arXiv:2104.09864).
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1.1920929e-07  # of every RMSNorm, in double precision too
Axis = Literal["time", "frequency"]


def norm(width: int) -> nn.RMSNorm:
    return nn.RMSNorm(width, eps=EPS)


class Gated(nn.Module):
    """Two halves of the channels (a, g) to a · SiLU(g)."""

    def forward(self, x: Tensor) -> Tensor:
        a, g = x.chunk(2, dim=-1)
        return a * F.silu(g)


class FeedForward(nn.Module):
    """RMSNorm, and two convolutions along one axis with a gate between: a residual."""

    def __init__(self, width: int, hidden: int, kernel: int, axis: Axis) -> None:
        super().__init__()
        self.kernel, self.axis = kernel, axis
        self.layernorm = norm(width)
        self.net = nn.Sequential(
            nn.Conv1d(width, 2 * hidden, kernel, padding="same"),
            Gated(),
            nn.Conv1d(hidden, width, kernel, padding="same"),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.along(self.net[2], self.net[1](self.along(self.net[0], self.layernorm(x))))

    def along(self, layer: nn.Module, x: Tensor) -> Tensor:
        """A 1-D convolution of [b, n, f, c] along this module's axis."""
        kernel, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
        where = 3 if self.axis == "time" else 2
        return F.conv2d(x.permute(0, 3, 1, 2), kernel.unsqueeze(where), bias, padding="same").permute(0, 2, 3, 1)


class Rotary(nn.Module):
    """Turns adjacent features (2i, 2i + 1) at position p by p θ_i, θ_i = 10000^(−2i / d)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("freqs", 10_000.0 ** (-torch.arange(0, width, 2).double() / width), persistent=False)

    freqs: Tensor

    def forward(self, x: Tensor, first: int) -> Tensor:
        """[..., l, d] at positions first, first + 1, …"""
        positions = torch.arange(first, first + x.shape[-2], device=x.device)
        angles = positions[:, None] * self.freqs  # [l, d / 2], of whole numbers in double precision
        turn = torch.polar(torch.ones_like(angles), angles)
        pairs = x if x.dtype == torch.double else x.float()  # there are complex numbers of these two
        turned = torch.view_as_complex(pairs.unflatten(-1, (-1, 2))) * turn.to(pairs.dtype.to_complex())
        return torch.view_as_real(turned).flatten(-2).to(x.dtype)


class Heads(nn.Module):
    """The projections of an attention: one to queries, keys and values, one of what the heads found."""

    def __init__(self, width: int, heads: int, rotary: bool) -> None:
        super().__init__()
        self.heads = heads
        if rotary:
            self.rope = Rotary(width // heads)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.aggregate_heads = nn.Sequential(nn.Linear(width, width, bias=False))


@dataclass(frozen=True)
class Seen:
    """Keys and values of earlier frames, [b f, h, l, d], keys already turned."""

    keys: Tensor
    values: Tensor

    def joined(self, later: "Seen") -> "Seen":
        return Seen(torch.cat([self.keys, later.keys], dim=2), torch.cat([self.values, later.values], dim=2))

    def cut(self, first: int, last: int) -> "Seen":
        return Seen(self.keys[:, :, first:last], self.values[:, :, first:last])

    @property
    def length(self) -> int:
        return self.keys.shape[2]


class Attention(nn.Module):
    """RMSNorm and attention along one axis: a residual."""

    def __init__(self, width: int, heads: int, axis: Axis) -> None:
        super().__init__()
        self.axis = axis
        self.layernorm = norm(width)
        self.block = Heads(width, heads, rotary=True)

    def forward(self, x: Tensor, first: int = 0, seen: Seen | None = None) -> tuple[Tensor, Seen]:
        """The residual of [b, n, f, c], and this input's own keys and values.

        `first` is the position of its first frame, `seen` what of earlier ones is attended to beside it.
        """
        b, n, f, c = x.shape
        projected = self.block.qkv(self.layernorm(x)).view(b, n, f, 3, self.block.heads, -1)
        order = (3, 0, 2, 4, 1, 5) if self.axis == "time" else (3, 0, 1, 4, 2, 5)
        q, k, v = projected.permute(order).flatten(1, 2)  # [sequences, h, l, d] each
        q, k = self.block.rope(q, first), self.block.rope(k, first)
        own = Seen(k, v)
        everything = own if seen is None else seen.joined(own)
        heard = F.scaled_dot_product_attention(q, everything.keys, everything.values)  # [sequences, h, l, d]
        heard = heard.transpose(1, 2).reshape(b, -1, q.shape[2], c)
        out: Tensor = self.block.aggregate_heads(heard.transpose(1, 2) if self.axis == "time" else heard)
        return out, own


@dataclass(frozen=True)
class Memory:
    """What a block over time keeps of earlier frames."""

    first: Tensor  # [b, k − 1, f, c], the last inputs of its first feed-forward
    second: Tensor  # [b, k − 1, f, c], of its second
    seen: Seen


@dataclass(frozen=True)
class Place:
    """Where a stretch of frames lies: number of its first frame, how many of it are final, how many are remembered."""

    first: int = 0
    present: int = 0
    past: int = 0


WHOLE = Place()
"""Nothing precedes and nothing is remembered."""


class AxisLayers(nn.Module):
    """½ feed-forward, attention, ½ feed-forward, each around a residual; over time with or without a memory."""

    def __init__(self, width: int, hidden: int, heads: int, kernel: int, axis: Axis) -> None:
        super().__init__()
        self.axis = axis
        self.ffn_1 = FeedForward(width, hidden, kernel, axis)
        self.sa = Attention(width, heads, axis)
        self.ffn_2 = FeedForward(width, hidden, kernel, axis)

    def forward(self, x: Tensor, place: Place, memory: Memory | None) -> tuple[Tensor, Memory]:
        n_ahead = x.shape[1] - place.present
        first = x if memory is None else torch.cat([memory.first, x], dim=1)
        y = self.halved(self.ffn_1, first, x.shape[1])
        heard, own = self.sa(y, place.first, memory.seen if memory else None)
        y = y + heard
        second = y if memory is None else torch.cat([memory.second, y], dim=1)
        out = self.halved(self.ffn_2, second, x.shape[1])
        final = own.cut(0, place.present)
        seen = final if memory is None else memory.seen.joined(final)
        kept = Memory(
            tail(first, n_ahead, self.ffn_1.kernel - 1),
            tail(second, n_ahead, self.ffn_2.kernel - 1),
            seen.cut(max(0, seen.length - place.past), seen.length),
        )
        return out, kept

    @staticmethod
    def halved(layer: FeedForward, x: Tensor, n: int) -> Tensor:
        """x + ½ layer(x) of its last n frames."""
        out: Tensor = (x + 0.5 * layer(x))[:, x.shape[1] - n :]
        return out


def tail(x: Tensor, n_ahead: int, n: int) -> Tensor:
    """The last n frames of [b, l, f, c] before the n_ahead last ones, as many as there are."""
    last = x.shape[1] - n_ahead
    return x[:, max(0, last - n) : last]


class AxisBlock(nn.Module):
    """A published name around the layers of one axis."""

    def __init__(self, width: int, hidden: int, heads: int, kernel: int, axis: Axis) -> None:
        super().__init__()
        self.block = AxisLayers(width, hidden, heads, kernel, axis)


class TFBlock(nn.Module):
    """Maps [b, n, f, c] over frequency, then over time."""

    def __init__(self, width: int, hidden: int, heads: int, kernel: int) -> None:
        super().__init__()
        self.freq_block = AxisBlock(width, hidden, heads, kernel, "frequency")
        self.time_block = AxisBlock(width, hidden, heads, kernel, "time")

    def forward(self, x: Tensor, place: Place = WHOLE, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """The maps, and what a later stretch needs of this one; without a memory nothing precedes."""
        across, _ = self.freq_block.block(x, WHOLE, None)
        out: tuple[Tensor, Memory] = self.time_block.block(across, place, memory)
        return out
