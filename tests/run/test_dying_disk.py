"""Each operation on files fails in its turn, once or for good: one line says so, and the next call completes it."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from s5cli.api import LoadedSystem
from s5cli.errors import OutputError, UsageError
from s5cli.run.pipeline import separate_all
from s5cli.run.plan import Options, plan
from tests.run.contents import contents
from tests.run.killed_everywhere import EVENTS
from tests.toy import toy, write_tones

MOST_MOMENTS = 500


class Disk:
    """Fails operations below a folder: the one of a number, or all from there on."""

    def __init__(self) -> None:
        self.folder, self.left, self.lasting, self.number = "", -1, False, errno.EIO

    def hook(self, event: str, args: tuple[object, ...]) -> None:
        if not self.folder or event not in EVENTS or not args or not str(args[0]).startswith(self.folder):
            return
        if event == "open" and self.lasting and isinstance(args[2], int) and not args[2] & (os.O_WRONLY | os.O_RDWR):
            return  # a disk that became read-only
        self.left -= 1
        if self.left == -1 or (self.lasting and self.left < 0):
            raise OSError(self.number, os.strerror(self.number), str(args[0]))


DISK = Disk()
sys.addaudithook(DISK.hook)


@contextmanager
def failing(folder: Path, moment: int, lasting: bool, number: int) -> Iterator[None]:
    DISK.folder, DISK.left, DISK.lasting, DISK.number = str(folder), moment, lasting, number
    try:
        yield
    finally:
        DISK.folder = ""


@pytest.mark.parametrize(
    ("lasting", "number"), [(False, errno.EIO), (True, errno.EROFS)], ids=["one error", "read-only from then on"]
)
def test_whatever_operation_fails(tmp_path, lasting, number):
    """The message is that of the error, never that of the clean-up, and of one error nothing hidden is left."""
    clips = tmp_path / "clips"
    clips.mkdir()
    write_tones(clips / "a.wav", 500, 5000)
    write_tones(clips / "long.wav", 500, n_samples=40_000)
    loaded, options = LoadedSystem("toy", toy(), "cpu"), Options(window=1)
    separate_all(plan([clips], tmp_path / "expected", options), loaded)
    expected = contents(tmp_path / "expected")
    said = 0
    for moment in range(MOST_MOMENTS):
        out = tmp_path / f"out{moment}"
        message = ""
        try:
            with failing(out, moment, lasting, number):
                separate_all(plan([clips], out, options), loaded)
        except (OutputError, UsageError) as error:
            message = str(error)
        assert not message or os.strerror(number) in message
        assert "with room there" not in message
        assert "\n" not in message
        said += bool(message)
        hidden = [path.name for path in out.glob(".*")] if out.exists() else []
        assert lasting or hidden == []
        separate_all(plan([clips], out, options), loaded)
        assert contents(out) == expected
        if DISK.left >= 0:  # there was no operation of that number
            break
    assert 20 < said <= moment < MOST_MOMENTS - 1


# --- permissions -----------------------------------------------------------------------------------------------------

CALLS = "import json, sys; from s5cli.cli import exit_code; print(*map(exit_code, json.loads(sys.argv[1])))"
WITHOUT_POWERS = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")


@pytest.mark.parametrize("place", ["locked", "locked/below", "locked/below/deeper"])
def test_folders_without_permission(tmp_path, place):
    """As an output and as an input, also for root, of whom the power to enter them is taken."""
    powers = WITHOUT_POWERS if os.geteuid() == 0 else ()
    if powers and subprocess.run([*powers, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no setpriv here, or it may not")
    good = write_tones(tmp_path / "good.wav", 500)
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(0)
    given, out = tmp_path / place, tmp_path / "out"
    calls = [[good, "-o", given], [given / "a.wav", "-o", out], [given, "-o", out]]
    command = [*powers, sys.executable, "-c", CALLS, json.dumps([["separate", *map(str, words)] for words in calls])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
        assert done.stdout.split() == ["2"] * len(calls), done.stderr
        said = done.stderr.splitlines()
        assert len(said) == len(calls), "a line each"
        for line in said:
            assert str(tmp_path / "locked") in line
            assert "Permission denied" in line or "is not readable" in line
    finally:
        (tmp_path / "locked").chmod(0o700)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.wav", "locked"]
