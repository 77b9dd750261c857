"""The device that a user names, checked before anything is loaded onto it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from s5cli.errors import UsageError

if TYPE_CHECKING:
    import torch


def resolve_device(name: str) -> torch.device:
    """`auto` (CUDA where there is one, else the CPU), `cpu`, `cuda` or `cuda:N`.

    Raises:
        UsageError: another name, or CUDA is asked for and is not there. A CPU run is never silently put in its place.

    >>> resolve_device("cpu")
    device(type='cpu')
    """
    import torch

    kind, _, index = name.partition(":")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    if kind != "cuda" or (name != "cuda" and not index.isdecimal()):
        raise UsageError(f"unknown device {name!r}; it is auto, cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        raise UsageError(
            f"device {name!r}: this torch ({torch.__version__}) finds no CUDA GPU; give device auto or cpu"
        )
    if index and int(index) >= torch.cuda.device_count():
        raise UsageError(f"device {name!r}: there are {torch.cuda.device_count()} CUDA GPUs, counted from 0")
    return torch.device(name)
