"""What there is to validate at a path: folders of stems and packages, as folders or in zips."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from s5cli import official
from s5cli.challenge.files import Files, folder_files, zip_files
from s5cli.challenge.label import META_SUFFIX, TASK
from s5cli.challenge.validate.system import EVAL_OUT

Kind = Literal["output", "package", "system"]


@dataclass(frozen=True)
class Part:
    """An output (a folder of stems with result files), a package, or a single system's folder of a package."""

    kind: Kind
    files: Files
    root: Files | None = None  # the whole zip that it lies in

    @property
    def systems(self) -> list[Files]:
        """The folder of every system in it."""
        return [self.files.within(name) for name in self.files.top_folders] if self.kind == "package" else [self.files]


def parts_of(path: Path, stack: ExitStack) -> list[Part]:
    """The parts at a path, itself or in it; zips stay open as long as the stack.

    Raises:
        UsageError: there is nothing at the path.
        InputError: a zip that cannot be read or is not to be trusted.
    """
    if not path.is_dir():
        files = stack.enter_context(zip_files(path))
        return [Part(part.kind, part.files, files) for part in _inner(files)]
    found = list(_parts(folder_files(path)))
    if not any(part.files.name == path.resolve().name for part in found):  # a folder around them: its zips count too
        for zipped in sorted(path.glob("*.zip")):
            found += parts_of(zipped, stack)
    return found


def _parts(files: Files) -> Iterator[Part]:
    """The tree itself if it is a part, else its folders that are."""
    kind = _kind(files)
    if kind is not None:
        yield Part(kind, files)
    else:
        yield from _inner(files)


def _inner(files: Files) -> Iterator[Part]:
    for folder in files.top_folders:
        inner = files.within(folder)
        if (kind := _kind(inner)) is not None:
            yield Part(kind, inner)


def _kind(files: Files) -> Kind | None:
    metas = [path for path in files.sizes_bytes if path.endswith(META_SUFFIX)]
    if files.name == TASK or any(path.count("/") == 1 for path in metas):
        return "package" if TASK not in files.top_folders else None
    if any("/" not in path for path in metas):
        return "system"
    is_output = EVAL_OUT in files.top_folders or official.EVAL_RESULTS in files.sizes_bytes
    return "output" if is_output else None
