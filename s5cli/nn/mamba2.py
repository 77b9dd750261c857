"""Mamba-2 mixers: a selective state-space model over sequences, evaluated in chunks by matrix products.

Source: "Transformers are SSMs" (Dao and Gu, ICML 2024, arXiv:2405.21060), sections 3 and 6. One group of B and C is
shared by all heads, so that a chunk is a product of one Q × Q matrix with the inputs of all heads at once. Written from
the paper; key names are those of the package `mamba_ssm`, whose kernel is used on CUDA where it is installed.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Backend = Literal["auto", "torch", "mamba_ssm"]
_MOST_DECAY = 120.0  # of a chunk, so that factors referred to its middle stay within exp(±60)
_DT_RANGE, _DT_FLOOR = (1e-3, 0.1), 1e-4
_A_RANGE = (1.0, 16.0)
_EPS = 1e-5


@dataclass(frozen=True)
class Mamba2Config:
    """The defaults are those of the DeepASA family."""

    width: int = 64
    expand: int = 4
    head_width: int = 16
    states: int = 16
    kernel: int = 4
    chunk: int = 16
    backend: Backend = "auto"

    @property
    def inner(self) -> int:
        return self.expand * self.width

    @property
    def heads(self) -> int:
        return self.inner // self.head_width


class RMSNorm(nn.Module):
    """x · w / √(mean(x²) + 1e-5) over the last axis."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, _EPS)


class Mamba2(nn.Module):
    """Sequences [b, l, d] to sequences of the same shape; position i sees positions up to i."""

    def __init__(self, config: Mamba2Config) -> None:
        super().__init__()
        self.config = config
        inner, heads, mixed = config.inner, config.heads, config.inner + 2 * config.states
        self.in_proj = nn.Linear(config.width, inner + mixed + heads, bias=False)
        self.conv1d = nn.Conv1d(mixed, mixed, config.kernel, groups=mixed)
        self.dt_bias = nn.Parameter(initial_dt_bias(heads))
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(*_A_RANGE).log())
        self.D = nn.Parameter(torch.ones(heads))
        self.norm = RMSNorm(inner)
        self.out_proj = nn.Linear(inner, config.width, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        c = self.config
        gate, mixed, dt = self.in_proj(u).split([c.inner, c.inner + 2 * c.states, c.heads], dim=-1)
        x, b, c_out = F.silu(self.causal(mixed)).split([c.inner, c.states, c.states], dim=-1)
        x, dt = x.unflatten(-1, (c.heads, c.head_width)), F.softplus(dt.float() + self.dt_bias)
        y = self.scan(x, dt, b, c_out) + self.D[:, None] * x
        out: Tensor = self.out_proj(self.norm(y.flatten(-2).to(gate.dtype) * F.silu(gate)))
        return out

    def causal(self, x: Tensor) -> Tensor:
        """The depthwise convolution over positions up to each one: [b, l, channels].

        As a convolution of maps one row high, whose memory has the channels last: CPUs are fastest so.
        """
        maps = F.pad(x, (0, 0, self.config.kernel - 1, 0)).mT[:, :, None]
        taps = self.conv1d.weight[:, :, None]
        return F.conv2d(maps, taps, self.conv1d.bias, groups=len(taps))[:, :, 0].mT

    def scan(self, x: Tensor, dt: Tensor, b: Tensor, c: Tensor) -> Tensor:
        a = -self.A_log.float().exp()
        is_compiling = torch.compiler.is_compiling()  # which takes PyTorch's own arithmetic
        kernel = fused_scan() if self.config.backend != "torch" and x.is_cuda and not is_compiling else None
        if self.config.backend == "mamba_ssm" and kernel is None and not is_compiling:
            raise RuntimeError("backend mamba_ssm needs the package mamba_ssm and a CUDA device; give auto or torch")
        if kernel is not None:
            out: Tensor = kernel(x, dt, a, b[:, :, None], c[:, :, None], chunk_size=64)
            return out
        with nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False):
            return chunked_scan(x.float(), dt, a, b.float(), c.float(), self.config.chunk)


def initial_dt_bias(heads: int) -> Tensor:
    """Biases whose softplus is log-uniform in [0.001, 0.1]."""
    low, high = (math.log(end) for end in _DT_RANGE)
    dt = torch.empty(heads).uniform_(low, high).exp().clamp_min(_DT_FLOOR)
    return dt + torch.log(-torch.expm1(-dt))


@lru_cache
def fused_scan() -> Callable[..., Any] | None:
    """The fused kernel of `mamba_ssm`; None where the package is not installed."""
    if find_spec("mamba_ssm") is None:
        return None
    out: Callable[..., Any] | None = import_module("mamba_ssm.ops.triton.ssd_combined").mamba_chunk_scan_combined
    return out


def chunked_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, chunk: int) -> Tensor:
    """The recurrence S ← exp(Δ a) S + Δ x bᵀ, y = S c, in chunks: products within each, and a state carried on.

    Shapes: x [n, l, h, p], dt [n, l, h] (positive), a [h] (negative), b and c [n, l, s] to [n, l, h, p].
    `chunk` is the most positions that one has.

    Decays within a chunk are split into factors of its inputs and of its outputs, referred to the chunk's middle; where
    they decay too far for float32, and where the scan is compiled, which cannot look at numbers, they are formed for
    every pair of positions instead.
    """
    length = x.shape[1]
    chunk = math.ceil(length / math.ceil(length / chunk))  # as many chunks, with the fewest positions to spare
    pad = -length % chunk
    x, dt, b, c = (F.pad(part, (0, 0) * (part.ndim - 2) + (0, pad)) if pad else part for part in (x, dt, b, c))
    x, dt, b, c = (part.unflatten(1, (-1, chunk)) for part in (x, dt, b, c))
    decay = (dt * a).cumsum(dim=2)  # [n, m, q, h], of m chunks of q positions
    whole, products = decay[:, :, -1:], torch.tril(c @ b.mT)  # [n, m, 1, h], [n, m, q, q]
    # without numbers only shapes are asked for
    is_tame = whole.is_meta or (not torch.compiler.is_compiling() and bool((whole > -_MOST_DECAY).all()))
    inside = factored if is_tame else pairwise
    y: Tensor = inside(x, dt, decay, whole, products, b, c)
    return y.flatten(1, 2)[:, :length]


def factored(x: Tensor, dt: Tensor, decay: Tensor, whole: Tensor, products: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Chunks with decays as a factor of each input and one of each output."""
    middle = whole / 2
    rise = torch.exp(middle)[..., None]
    weighted = (x * (dt * torch.exp(middle - decay))[..., None]).flatten(-2)  # [n, m, q, h p]
    into = (b.mT @ weighted).unflatten(-1, x.shape[-2:])
    states = carry(into * rise, rise.square()) * rise
    y: Tensor = (products @ weighted + c @ states.flatten(-2)).unflatten(-1, x.shape[-2:])
    return y * torch.exp(decay - middle)[..., None]


def pairwise(x: Tensor, dt: Tensor, decay: Tensor, whole: Tensor, products: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Chunks with the decay between each two positions."""
    x = x * dt[..., None]
    between = (decay[:, :, :, None] - decay[:, :, None]).clamp_max(0)  # [n, m, i, j, h]
    inside = torch.einsum("nmijh,nmjhp->nmihp", products[..., None] * torch.exp(between), x)
    into = b.mT @ (x * torch.exp(whole - decay)[..., None]).flatten(-2)
    states = carry(into.unflatten(-1, x.shape[-2:]), torch.exp(whole)[..., None])
    carried: Tensor = (c @ states.flatten(-2)).unflatten(-1, x.shape[-2:])
    return inside + carried * torch.exp(decay)[..., None]


def carry(into: Tensor, keep: Tensor) -> Tensor:
    """The state before each chunk, [n, m, s, h, p]: what each adds is `into`, what it leaves `keep` [n, m, 1, h, 1]."""
    state, states = torch.zeros_like(into[:, 0]), []
    for added, kept in zip(into.unbind(1), keep.unbind(1), strict=True):
        states.append(state)
        state = kept * state + added
    return torch.stack(states, dim=1)


class MambaBlock(nn.Module):
    """u + Mamba2(RMSNorm(u))."""

    def __init__(self, config: Mamba2Config) -> None:
        super().__init__()
        self.norm = RMSNorm(config.width)
        self.mixer = Mamba2(config)

    def forward(self, u: Tensor) -> Tensor:
        out: Tensor = u + self.mixer(self.norm(u))
        return out


class BiMamba(nn.Module):
    """One block forwards and one backwards, side by side into a linear layer: [b, l, d] to [b, l, 2 d]."""

    def __init__(self, config: Mamba2Config) -> None:
        super().__init__()
        self.forward_blocks = nn.ModuleList([MambaBlock(config)])
        self.backward_blocks = nn.ModuleList([MambaBlock(config)])
        self.FC = nn.Linear(2 * config.width, 2 * config.width)

    def forward(self, u: Tensor) -> Tensor:
        ahead = self.forward_blocks[0](u)
        back = self.backward_blocks[0](u.flip(1)).flip(1)
        out: Tensor = self.FC(torch.cat([ahead, back], dim=-1))
        return out
