"""A process beside the driver that ends what is left of a Ray of our own, should the driver be killed.

Most of Ray ends with its driver by itself. Its agents do not: they try for 60 s, which Ray (2.60) has no setting for,
to report that it is gone. This file is also the program of that process, so it imports nothing of the project.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def watched(session_dir: str) -> Iterator[None]:
    """The processes of a Ray session that this process has started end with the block, or with this process.

    They are children that name the session's folder when they were started, and what those have started by now.
    """
    import psutil  # Ray brings it along

    pids: list[str] = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):  # it has just ended
            if any(session_dir in word for word in child.cmdline()):
                pids += [str(each.pid) for each in (child, *child.children(recursive=True))]
    with subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(Path(psutil.__file__).parents[1]), *pids],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # out of reach of Ctrl-C
    ):
        yield


def _wait_and_kill(pids: Sequence[str]) -> None:
    import psutil

    processes = []
    for pid in pids:
        with suppress(psutil.Error):
            processes.append(psutil.Process(int(pid)))
    sys.stdin.read()  # until the driver, which alone has the other end, closes it or is gone
    for process in processes:
        with suppress(psutil.Error):  # such as that another process has this number by now
            process.kill()


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    _wait_and_kill(sys.argv[2:])
