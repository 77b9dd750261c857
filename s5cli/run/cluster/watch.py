"""A process beside the driver that ends what is left of a Ray of our own, should the driver be killed.

Most of Ray ends with its driver by itself. Its agents do not: they try for 60 s, which Ray (2.60) has no setting for,
to report that it is gone. This file is also the program of that process, so it imports nothing of the project.
"""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

EVERY_S = 0.1  # looks for new processes while Ray starts


@contextmanager
def watched() -> Iterator[Callable[[], None]]:
    """The processes of a Ray that this process starts end with the block, or with this process.

    They are new children that name its session, which Ray names after this process, and what those have started by the
    time at which what the block is given is called.
    """
    import psutil  # Ray brings it along

    old = [str(child.pid) for child in psutil.Process().children()]
    with subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(Path(psutil.__file__).parents[1]), str(os.getpid()), *old],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # out of reach of Ctrl-C
    ) as process:
        assert process.stdin is not None
        told = process.stdin

        def is_up() -> None:
            with suppress(OSError):  # somebody ended it
                told.write(b"up\n")
                told.flush()

        yield is_up


def _wait_and_kill(driver_pid: int, old_pids: list[int]) -> None:
    import psutil

    found: set[Any] = set()

    def look() -> None:
        with suppress(psutil.Error):  # it has just ended
            for child in psutil.Process(driver_pid).children():
                is_new = child.pid not in old_pids
                if is_new and any(re.search(rf"/session_[\d_-]+_{driver_pid}\b", word) for word in child.cmdline()):
                    found.update((child, *child.children(recursive=True)))

    is_up = threading.Event()

    def look_on() -> None:
        while not is_up.wait(EVERY_S):
            look()

    looking = threading.Thread(target=look_on)
    looking.start()
    sys.stdin.readline()  # the driver, which alone has the other end, says that Ray is up, or is gone
    is_up.set()
    looking.join()
    look()
    sys.stdin.read()  # until the driver closes it or is gone
    for process in found:
        with suppress(psutil.Error):  # such as that another process has this number by now
            process.kill()


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    _wait_and_kill(int(sys.argv[2]), [int(pid) for pid in sys.argv[3:]])
