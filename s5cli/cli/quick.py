"""PyTorch imported for a command that only computes, in two thirds of the time."""

import gc
import sys
from types import ModuleType

SHAPES = "torch._meta_registrations"


def import_torch() -> None:
    """Imports PyTorch without what says the shapes of operations on tensors that have no numbers.

    `import torch` registers that for thousands of operations, in Python, which takes a third of its time. Compilers and
    exporters, who ask for it, import the module themselves when they are imported; so does whoever builds a network
    without numbers and finds an operation that is unknown (`s5cli.weights.checkpoint.blank`). Meanwhile nothing is
    looked for that could be freed: all that is made stays.
    """
    if "torch" in sys.modules:
        return
    import numpy  # noqa: F401  # or PyTorch does it, and hides a Ctrl-C meanwhile

    sys.modules[SHAPES] = ModuleType(SHAPES)
    was_on = gc.isenabled()
    gc.disable()
    try:
        import torch  # noqa: F401
    finally:
        del sys.modules[SHAPES]
        if was_on:
            gc.enable()
