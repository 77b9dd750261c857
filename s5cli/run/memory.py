"""Memory that is freed goes back to the operating system, where the C library would otherwise keep it."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
BLOCK_BYTES = 1 << 16


def give_back_freed() -> None:
    """Lets glibc keep no freed block of 64 KiB or more from now on; does nothing with other C libraries.

    By itself it raises both limits as large blocks come and go, so that a run through windows of a long recording, with
    arrays of megabytes that each live for a moment, holds more and more that nobody uses.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, BLOCK_BYTES)
        mallopt(_MMAP_THRESHOLD, BLOCK_BYTES)
