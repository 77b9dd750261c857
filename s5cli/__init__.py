"""s5cli: spatial semantic segmentation of sound scenes (DCASE Challenge Task 4)."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {"load": "s5cli.api", "Scene": "s5cli.scene", "Stem": "s5cli.scene"}
__all__ = ["Scene", "Stem", "load"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 's5cli' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
