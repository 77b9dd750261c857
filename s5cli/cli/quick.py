"""PyTorch imported for a command that only computes, in two thirds of the time."""

import gc
import inspect
import sys
from types import ModuleType
from typing import Any

SHAPES = "torch._meta_registrations"


def import_torch() -> None:
    """Imports PyTorch without what says the shapes of operations on tensors that have no numbers.

    `import torch` registers that for thousands of operations, in Python, which takes a third of its time. Whoever needs
    it imports the module: what compiles and exports (`s5cli.weights.engine.check`), and whoever builds a network
    without numbers and finds an operation that is unknown (`s5cli.weights.checkpoint.blank`). What is made here stays,
    so neither meanwhile nor later is it looked through for what could be freed.
    """
    if "torch" in sys.modules:
        return
    import numpy  # noqa: F401  # or PyTorch does it, and hides a Ctrl-C meanwhile

    sys.modules[SHAPES] = ModuleType(SHAPES)
    was_on, frame_info = gc.isenabled(), inspect.getframeinfo
    gc.disable()
    inspect.getframeinfo = _where
    try:
        import torch  # noqa: F401
    finally:
        del sys.modules[SHAPES]
        inspect.getframeinfo = frame_info
        gc.freeze()
        if was_on:
            gc.enable()


def _where(frame: Any, context: int = 1) -> inspect.Traceback:
    """File and line, which is what PyTorch asks for; `inspect` looks for the text too, among all modules there are."""
    return inspect.Traceback(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name, None, None)
