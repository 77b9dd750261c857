"""A place inside the output folder for what is not finished, which one process has at a time."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from s5cli.audio import LOCK_NAME, claimed, unwritable
from s5cli.errors import UsageError

PREFIX = ".s5-"  # of everything unfinished


@contextmanager
def staging(out_dir: Path) -> Iterator[Path]:
    """A folder inside the output folder, on the same file system, for what is not finished. Nothing of it remains.

    Until it is left, no other process gets one there; what a killed process left of its own goes. Folders that it had
    to make go too, if nothing was put into them. What cannot be removed stays, and hides no error of the block.

    Raises:
        UsageError: the output folder cannot be written to, or another process is writing to it.
    """
    try:
        made = [folder for folder in (out_dir, *out_dir.parents) if not folder.exists()]
    except OSError as error:
        raise UsageError(unwritable(out_dir, error)) from error
    try:
        with claimed(out_dir, UsageError):
            _remove_leftovers(out_dir)
            try:
                yield _stage(out_dir)
            finally:
                _remove_leftovers(out_dir)
    finally:
        with suppress(OSError):  # not empty, or not ours any more
            for folder in made:
                folder.rmdir()


def _stage(out_dir: Path) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix=PREFIX, dir=out_dir))
    except OSError as error:
        raise UsageError(unwritable(out_dir, error)) from error


def _remove_leftovers(out_dir: Path) -> None:
    with suppress(OSError):
        for path in out_dir.glob(f"{PREFIX}*"):
            if path.name != LOCK_NAME:
                _remove(path)


def _remove(path: Path) -> None:
    """Takes away a file or folder. A disk that fails gets a second chance; what stays is for the next call."""
    for _ in range(2):
        with suppress(OSError):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
            return
