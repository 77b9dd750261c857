"""Kills a run with SIGKILL before each of its operations on files in turn, and lets a second call finish it.

`python -m tests.run.killed_everywhere CLIPS SCRATCH MODE` prints one JSON line for each moment: what lay there after
the kill, and whether the second call made of it what an undisturbed run makes. MODE is "new", or "restart": over
results of other labels. One process for each moment, forked from one that has imported everything.
"""

import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from s5cli.api import LoadedSystem
from s5cli.errors import UsageError
from s5cli.run.pipeline import separate_all
from s5cli.run.plan import Options, plan
from tests.run.contents import ABOUT_THE_RUN
from tests.toy import toy

EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}


def separate(clips: Path, out: Path, options: Options) -> None:
    separate_all(plan([clips], out, options), LoadedSystem("toy", toy(), "cpu")).raise_failed()


def in_child(work: Callable[[], None]) -> int:
    """How a process of its own ended that did the work, as `os.waitpid` tells it."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def kill_at(moment: int, out: Path) -> None:
    """From now on the process dies before the operation of that number on something in the folder."""
    left = moment

    def hook(event: str, args: tuple[object, ...]) -> None:
        nonlocal left
        if event in EVENTS and args and str(args[0]).startswith(str(out)):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(hook)


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file() and path.name[0] != "."}


def clips_of(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name not in ABOUT_THE_RUN}


def halves(files: dict[str, bytes]) -> list[str]:
    """Clips with stems and no JSON, and clips whose JSON names stems that are not there."""
    reports = {name[:-5]: json.loads(files[name]) for name in files if name.endswith(".json") and name != "run.json"}
    lost = [clip for clip, report in reports.items() if any(stem["file"] not in files for stem in report["stems"])]
    return lost + sorted({name[0] for name in files if name.endswith(".wav")} - reports.keys())


def finish(clips: Path, out: Path) -> None:
    """What a user does after a crash: the same call without --restart, unless the program asks for it."""
    try:
        separate(clips, out, Options())
    except UsageError as error:
        if "--restart" not in str(error):
            raise
        separate(clips, out, Options(restart=True))


def main(clips: Path, scratch: Path, mode: str) -> None:
    torch.set_num_threads(1)  # threads of torch's own would be missing in the children
    separate(clips, scratch / "expected", Options())
    separate(clips, scratch / "earlier", Options(labels=("Pour", "Cough")))
    expected = clips_of(contents(scratch / "expected"))
    moment, killed = 0, True
    while killed:
        out = scratch / str(moment)

        def disturbed(out: Path = out, moment: int = moment) -> None:
            kill_at(moment, out)
            separate(clips, out, Options(restart=mode == "restart"))

        if mode == "restart":
            shutil.copytree(scratch / "earlier", out)
        killed = in_child(disturbed) == signal.SIGKILL
        left = clips_of(contents(out)) if out.exists() else {}
        finished = in_child(lambda: finish(clips, out)) == 0  # noqa: B023
        same = finished and clips_of(contents(out)) == expected
        hidden = [path.name for path in out.iterdir() if path.name[0] == "."]
        print(json.dumps({"killed": killed, "halves": halves(left), "same": same, "hidden": hidden}), flush=True)
        moment += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
