"""The part of a network that holds its arithmetic, which may be done with fewer bits or by another engine.

A network says where it is: `core` is the path of a submodule from maps or tokens to maps or tokens. Transforms, the
first normalisation and everything that decides lie outside and stay float32. What a core's own attribute
`outside_core` names lies inside it in the module tree only. `core = None` is said by a network that is a head alone.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def core_of(network: nn.Module) -> nn.Module | None:
    """The network's core; None where it names none."""
    path = getattr(network, "core", None)
    return network.get_submodule(path) if isinstance(path, str) else None


def _inside(core: nn.Module) -> list[nn.Module]:
    return [child for name, child in core.named_children() if name not in getattr(core, "outside_core", ())]


def lower(core: nn.Module, dtype: torch.dtype) -> None:
    """Makes a core compute in `dtype`; it still takes and gives float32.

    >>> core = nn.Sequential(nn.Linear(3, 1))
    >>> lower(core, torch.bfloat16)
    >>> core[0].weight.dtype, core(torch.ones(2, 3)).dtype
    (torch.bfloat16, torch.float32)
    """
    for child in _inside(core):
        child.to(dtype)
    core.register_forward_pre_hook(lambda _, args: tuple(_cast(arg, dtype) for arg in args))
    core.register_forward_hook(lambda _, args, out: out.float())


def _cast(arg: Any, dtype: torch.dtype) -> Any:
    if isinstance(arg, Mapping):
        return {name: value.to(dtype) for name, value in arg.items()}
    return None if arg is None else arg.to(dtype)


def replace(core: nn.Module, forward: Callable[..., Tensor]) -> None:
    """Makes `forward` answer in the place of a core, whose own weights are given up."""
    for child in _inside(core):
        child.to("meta")
    core.forward = forward


def compile_core(core: nn.Module, backend: str | Callable[..., Any] = "inductor") -> None:
    """Has PyTorch compile a core when it is first called.

    The first length and batch size are compiled as they are. When another comes, more is compiled: for the taggers
    once, for any length; a U-Net may be compiled for several lengths, and after eight PyTorch runs it as it is.
    Nothing is padded to a length that has been compiled: attention, pools and convolutions all read what would be
    appended, and answers would change. A core whose `regions` name methods of its modules, as pairs of a module and a
    name, is compiled method by method, which takes less time where like blocks follow one another.

    CUDA graphs (mode "reduce-overhead") are not used: PyTorch keeps them thread by thread, and a run on several
    devices has threads; and each length would hold memory of its own. `benchmarks/gpu.py` measures what they gain.
    """
    for module, name in getattr(core, "regions", [(core, "forward")]):
        setattr(module, name, torch.compile(getattr(module, name), backend=backend))


def packed(args: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """A core's arguments as tensors alone: a mapping's values [b, c, …] one after another along the channels."""
    there = (arg for arg in args if arg is not None)
    return tuple(torch.cat(list(arg.values()), dim=1) if isinstance(arg, Mapping) else arg for arg in there)


class Packed(nn.Module):
    """A core that takes what `packed` made of arguments like these."""

    def __init__(self, core: nn.Module, like: tuple[Any, ...]) -> None:
        super().__init__()
        self.core = core
        self.sizes = [
            {name: value.shape[1] for name, value in arg.items()} if isinstance(arg, Mapping) else None
            for arg in like
            if arg is not None  # only the last ones may be left out
        ]

    def forward(self, *tensors: Tensor) -> Tensor:
        args = [
            tensor if sizes is None else dict(zip(sizes, tensor.split(list(sizes.values()), dim=1), strict=True))
            for tensor, sizes in zip(tensors, self.sizes, strict=True)
        ]
        out: Tensor = self.core(*args)
        return out
