"""Memory that is freed goes back to the operating system, where the C library would otherwise keep it."""

import ctypes
import sys


def give_back_freed() -> None:
    """Makes glibc return the pages that nobody uses; does nothing with other C libraries.

    Networks take and free arrays of many sizes, and glibc keeps what lies between those still in use, so that a run
    through the windows of a long recording would hold more and more. Asked once in a while it costs milliseconds;
    lower limits of its own (`mallopt`) would cost page faults at every array.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
