"""The entry point of `s5` and `python -m s5cli`: a signal ends it in one line from the first moment on."""

import os
import signal
from types import FrameType


def main() -> None:
    """Runs the command line. Until its modules are there, which takes a tenth of a second, nothing needs tidying up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop_at_once)
    from s5cli.cli import main as command

    command()


def _stop_at_once(number: int, frame: FrameType | None) -> None:
    os.write(2, b"error: interrupted\n")
    os._exit(128 + number)


if __name__ == "__main__":
    main()
