"""The device that a user names, checked before anything is loaded onto it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from s5cli.errors import UsageError

if TYPE_CHECKING:
    import torch


def resolve_device(name: str) -> torch.device:
    """`auto` (CUDA where there is one, else Apple's MPS, else the CPU), `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises:
        UsageError: another name, or a device that is not there. A CPU run is never silently put in its place.

    >>> resolve_device("cpu")
    device(type='cpu')
    """
    import torch

    kind, _, index = name.partition(":")
    this = f"this torch ({torch.__version__})"
    if name == "auto":
        usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        return torch.device(next((kind for kind, is_there in usable.items() if is_there), "cpu"))
    if name == "mps" and not torch.backends.mps.is_available():
        raise UsageError(f"device 'mps': {this} finds no Apple GPU; give device auto or cpu")
    if name in ("cpu", "mps"):
        return torch.device(name)
    if kind != "cuda" or (name != "cuda" and not index.isdecimal()):
        raise UsageError(f"unknown device {name!r}; it is auto, cpu, cuda, cuda:N or mps")
    if not torch.cuda.is_available():
        raise UsageError(f"device {name!r}: {this} finds no CUDA GPU; give device auto or cpu")
    if index and int(index) >= torch.cuda.device_count():
        raise UsageError(f"device {name!r}: there are {torch.cuda.device_count()} CUDA GPUs, counted from 0")
    return torch.device(name)
