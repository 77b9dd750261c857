"""One block of DeFT-Mamba: attention and convolutions along frequency, then the same with a Mamba-2 along time.

Tensors are [b, n, f, d], channels last in memory, so that a half block is a batch of sequences without a copy along
frequency and with one along time. Key names are those of the DeepASA family.

Source: DeFT-Mamba (Lee and Choi, arXiv:2409.12413) as DeepASA (arXiv:2509.17247) has it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from s5cli.nn.mamba2 import Backend, BiMamba, Mamba2Config

_EPS = 1e-5


@dataclass(frozen=True)
class BlockConfig:
    """The defaults are the published ones. Parameters that change no result: backend, group_tokens, checkpointing."""

    width: int = 64
    heads: int = 4
    head_width: int = 64
    ffn_width: int = 256
    expand: int = 4
    mamba_head_width: int = 16
    states: int = 16
    dropout: float = 0.1
    backend: Backend = "auto"
    group_tokens: int = 16_384  # of the sequences that go through a half block together; 0: all
    checkpointing: bool = True  # in training, a half block's inside is computed again for its gradient

    @property
    def mamba(self) -> Mamba2Config:
        return Mamba2Config(self.width, self.expand, self.mamba_head_width, self.states, backend=self.backend)


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each position; gain and bias are stored as [1, d, 1, 1]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, width, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.gamma.flatten(), self.beta.flatten(), _EPS)


class GatedConv(nn.Module):
    """a ⊙ Mish(b), both a convolution of width 3 along the sequence [b, l, d]: one product with three neighbours."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.Conv1 = nn.Conv1d(width, width, 3, padding=1)
        self.Conv2 = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (0, 0, 1, 1))
        neighbours = torch.cat([padded[:, :-2], x, padded[:, 2:]], dim=-1)
        weight = torch.cat([self.Conv1.weight, self.Conv2.weight]).transpose(1, 2).flatten(1)
        bias = torch.cat([part for part in (self.Conv1.bias, self.Conv2.bias) if part is not None])
        value, gate = F.linear(neighbours, weight, bias).chunk(2, dim=-1)
        return value * F.mish(gate)


class Attention(nn.Module):
    """Every position of a sequence [b, l, d] to every other, without positions and without a mask."""

    def __init__(self, width: int, heads: int, head_width: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * head_width
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_k = nn.Linear(width, inner, bias=False)
        self.to_v = nn.Linear(width, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, width), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.cat([self.to_q.weight, self.to_k.weight, self.to_v.weight])
        q, k, v = F.linear(x, weight).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        heard = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.to_out(heard.transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Module):
    """A layer, Mish, and a linear layer back: the layer is linear along frequency, a BiMamba along time."""

    def __init__(self, first: nn.Module, inner: int, width: int, dropout: float) -> None:
        super().__init__()
        self.net = nn.Sequential(first, nn.Mish(), nn.Dropout(dropout), nn.Linear(inner, width), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


class PreNorm(nn.Module):
    """A layer of a normalised input."""

    def __init__(self, width: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fn(self.norm(x))
        return out


class Block(nn.Module):
    """[b, n, f, d] to the same shape."""

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        self.config = config
        width, dropout = config.width, config.dropout
        layers = {
            "intra": FeedForward(nn.Linear(width, config.ffn_width), config.ffn_width, width, dropout),
            "inter": FeedForward(BiMamba(config.mamba), 2 * width, width, dropout),
        }
        for half, layer in layers.items():
            attention = Attention(width, config.heads, config.head_width, dropout)
            self.add_module(f"{half}_norm", ChannelNorm(width))
            self.add_module(f"{half}_inv", GatedConv(width))
            self.add_module(f"{half}_att", PreNorm(width, attention))
            self.add_module(f"{half}_ffw", PreNorm(width, layer))

    def forward(self, x: Tensor) -> Tensor:
        b, n, f, _ = x.shape
        x = self.in_groups(partial(self.half_block, "intra"), x.flatten(0, 1)).unflatten(0, (b, n))
        x = self.in_groups(partial(self.half_block, "inter"), x.transpose(1, 2).flatten(0, 1)).unflatten(0, (b, f))
        return x.transpose(1, 2).contiguous()

    def half_block(self, name: str, x: Tensor) -> Tensor:
        """The inner residuals start from the normalised input, the outer one from the input itself."""
        norm, gated, attention, layer = (getattr(self, f"{name}_{part}") for part in ("norm", "inv", "att", "ffw"))
        u = norm(x)
        u = u + gated(u)
        u = u + attention(u)
        out: Tensor = x + (u + layer(u))
        return out

    def in_groups(self, half: Callable[[Tensor], Tensor], sequences: Tensor) -> Tensor:
        """Sequences [b, l, d] a few at a time: what lies between two layers never exists for all of them at once."""
        c = self.config
        each = max(1, c.group_tokens // sequences.shape[1]) if c.group_tokens else len(sequences)
        parts = sequences.split(each)
        if c.checkpointing and torch.is_grad_enabled() and self.training:
            return torch.cat([checkpoint(half, part, use_reentrant=False) for part in parts])
        return torch.cat([half(part) for part in parts]) if len(parts) > 1 else half(sequences)
