"""The entry point of `s5` and `python -m s5cli`: a signal ends it in one line from the first moment on."""

import atexit
import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Runs the command line. Until its modules are there, which takes a tenth of a second, nothing needs tidying up."""
    codes: list[int] = []
    atexit.register(_leave, codes)  # what is registered first is called last
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop_at_once)
    if sys.platform == "darwin":  # what Apple's GPUs lack runs on the CPU; torch asks when it is imported
        os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    from s5cli.cli import main as command

    codes.append(command())
    sys.exit(codes[0])


def _leave(codes: list[int]) -> None:
    """Threads have ended, and whoever asked to has tidied up. To take PyTorch's modules apart would take 0.3 s more."""
    if codes:
        for console in (sys.stdout, sys.stderr):
            if console is not None:
                console.flush()
        os._exit(codes[0])


def _stop_at_once(number: int, frame: FrameType | None) -> None:
    os.write(2, b"error: interrupted\n")
    os._exit(128 + number)


if __name__ == "__main__":
    main()
