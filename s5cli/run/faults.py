"""Disks that are full or fail, and names that they do not take."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from s5cli.errors import OutputError
from s5cli.run.record import Failure

FULL = (errno.ENOSPC, errno.EDQUOT)
UNNAMABLE = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
"""What file systems say to a name that they cannot hold; some take neither colons nor 255 bytes."""


def errno_of(error: OutputError) -> int | None:
    """What the operating system called it, where it was that."""
    return getattr(error.__cause__, "errno", None)


def unnamable(path: Path, error: OutputError) -> Failure:
    """A recording after which the file system there can name no results; any other error is raised again."""
    if errno_of(error) not in UNNAMABLE:
        raise error
    reason = f"no results can be named after it there ({os.strerror(errno_of(error) or 0)}); rename it"
    return Failure(path.stem, str(path), f"{path}: {reason}")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Raises OutputError where the system cannot write to a folder."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written to ({error.strerror or error})") from error
