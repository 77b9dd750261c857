"""What is to be separated and where it goes: every check that needs neither networks nor audio."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from filelock import FileLock, Timeout

from s5cli import official
from s5cli.api import named_queries
from s5cli.audio import Subtype
from s5cli.errors import UsageError
from s5cli.labels import CLASSES
from s5cli.run.stitch import SHORTEST_WINDOW_S

SUFFIXES = (".wav", ".flac", ".WAV", ".FLAC")
RUN_NAME = "run"
MANIFEST_NAME = "manifest.jsonl"
PREFIX = ".s5-"  # of everything unfinished
LOCK_NAME = f"{PREFIX}lock"
DEFAULT_WINDOW_S = 10.0

Window: TypeAlias = float | Literal["auto"] | None
"""Seconds of a long recording that are separated at once; None: all of it; "auto": what suits the system."""


@dataclass(frozen=True)
class Options:
    """How clips are separated and written."""

    labels: tuple[str, ...] = ()  # instead of what the taggers propose
    batch_size: int = 4  # clips of equal length that go through the networks together
    subtype: Subtype = "PCM_16"
    window: Window = "auto"
    restart: bool = False  # replace results that are there

    def window_s(self, system: str) -> float | None:
        """The window for a system of that name; "auto" is 10 s, and none for the official baselines.

        >>> Options().window_s("tagging-driven-3"), Options().window_s("baseline-4ch"), Options(window=5).window_s("x")
        (10.0, None, 5.0)
        """
        if self.window == "auto":
            return None if system.startswith("baseline-") else DEFAULT_WINDOW_S
        return None if self.window is None else float(self.window)


@dataclass(frozen=True)
class Job:
    """Clips by name in order, and where their results go."""

    clips: Mapping[str, Path]
    out_dir: Path
    options: Options


def plan(inputs: Sequence[Path], out_dir: Path, options: Options) -> Job:
    """What is to be done, after every check that needs neither networks nor audio. Leaves nothing on disk.

    Args:
        inputs: recordings, and folders that hold .wav or .flac files, themselves or in `soundscape/`.
        out_dir: made if it is not there.

    Raises:
        UsageError: inputs that are missing or share a name, an output that cannot be written to or that another process
            is writing to, or results there that no manifest tells of (unless `options.restart`).
    """
    named_queries(options.labels, 1)
    if options.batch_size < 1:
        raise UsageError(f"batch size {options.batch_size}; give 1 or more")
    if isinstance(options.window, float | int) and not options.window >= SHORTEST_WINDOW_S:
        raise UsageError(f"window {options.window:g} s; give {SHORTEST_WINDOW_S:g} s or more, or none")
    clips = _named(path for given in inputs for path in _recordings(given, out_dir))
    _check_old(out_dir, clips, options.restart)
    with staging(out_dir):
        return Job(clips, out_dir, options)


def parse_window(text: str) -> Window:
    """What `--window` was given.

    Raises:
        UsageError: neither auto nor none nor a number.

    >>> parse_window("auto"), parse_window("none"), parse_window("7.5")
    ('auto', None, 7.5)
    """
    if text == "auto":
        return "auto"
    try:
        return None if text == "none" else float(text)
    except ValueError as error:
        raise UsageError(f"window {text!r}; it is auto, none or a number of seconds") from error


def _recordings(given: Path, out_dir: Path) -> Iterable[Path]:
    if not given.is_dir():
        if not given.exists():
            raise UsageError(f"{given}: no such file or folder; check the path")
        return [given]
    for folder in (given, given / "soundscape"):
        files = official.soundscapes(folder, SUFFIXES).values() if folder.is_dir() else ()
        found = [path for path in files if not path.name.startswith(".")]
        if found and folder.resolve() == out_dir.resolve():
            raise UsageError(f"{folder} is both input and output; give another folder for the output")
        if found:
            return found
    raise UsageError(f"{given}: no .wav or .flac files in it or in its soundscape/; give recordings")


def _named(paths: Iterable[Path]) -> dict[str, Path]:
    clips: dict[str, Path] = {}
    for path in paths:
        if path.stem in clips:
            raise UsageError(f"{clips[path.stem]} and {path} would both be written as {path.stem!r}; rename one")
        if path.stem == RUN_NAME:
            raise UsageError(f"{path}: {RUN_NAME}.json is the file about the whole run; rename the recording")
        clips[path.stem] = path
    if not clips:
        raise UsageError("no recordings given")
    return clips


def old_results(out_dir: Path, clips: Mapping[str, Path]) -> dict[str, tuple[Path, ...]]:
    """Files in the output folder that results of these clips are named like, the JSON first."""
    old: dict[str, list[Path]] = {}
    for path in sorted(out_dir.iterdir(), key=lambda path: path.suffix) if out_dir.is_dir() else ():
        owner = path.stem if path.suffix == ".json" else _clip_of_stem(path)
        if owner in clips:
            old.setdefault(owner, []).append(path)
    return {name: tuple(paths) for name, paths in old.items()}


def _clip_of_stem(path: Path) -> str:
    name, _, label = path.stem.rpartition("_")
    clip, _, number = name.rpartition("_")
    return clip if path.suffix == ".wav" and number.isdecimal() and label in CLASSES else ""


def _check_old(out_dir: Path, clips: Mapping[str, Path], restart: bool) -> None:
    found = [path for paths in old_results(out_dir, clips).values() for path in paths]
    inputs = {path.resolve() for path in clips.values()}
    lost = next((path for path in found if path.resolve() in inputs), None)
    if lost is not None:
        raise UsageError(f"{lost} is an input, but named like a result of this run; give another folder for the output")
    if (run := out_dir / f"{RUN_NAME}.json").exists():
        found.append(run)
    if found and not restart and not (out_dir / MANIFEST_NAME).exists():
        more = f" and {len(found) - 1} more files" if len(found) > 1 else ""
        raise UsageError(
            f"{found[0]}{more} of an earlier run that left no {MANIFEST_NAME} to go on from; --overwrite replaces them,"
            " or give another folder"
        )


@contextmanager
def staging(out_dir: Path) -> Iterator[Path]:
    """A folder inside the output folder, on the same file system, for what is not finished. Nothing of it remains.

    Until it is left, no other process gets one there; what a killed process left of its own goes. Folders that it had
    to make go too, if nothing was put into them.

    Raises:
        UsageError: the output folder cannot be written to, or another process is writing to it.
    """
    made = [folder for folder in (out_dir, *out_dir.parents) if not folder.exists()]
    try:
        with _claimed(out_dir):
            _remove_leftovers(out_dir)
            stage = _stage(out_dir)
            with stage as folder:
                yield Path(folder)
    finally:
        _remove_empty(made)


@contextmanager
def _claimed(out_dir: Path) -> Iterator[None]:
    """Holds the lock of the output folder, which the operating system takes back from a process that is killed."""
    lock = FileLock(out_dir / LOCK_NAME)
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(f"{out_dir}: another process is writing there; wait for it, or give another folder") from error
    except NotImplementedError:  # some network file systems have no locks
        pass
    except OSError as error:
        raise _unwritable(out_dir, error) from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows keeps what is open
            (out_dir / LOCK_NAME).unlink()
        lock.release()


def _stage(out_dir: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix=PREFIX, dir=out_dir)
    except OSError as error:
        raise _unwritable(out_dir, error) from error


def _unwritable(out_dir: Path, error: OSError) -> UsageError:
    reason = "it is a file" if out_dir.is_file() else error.strerror or error
    return UsageError(f"{out_dir}: cannot be written to ({reason}); give another folder for the output")


def _remove_leftovers(out_dir: Path) -> None:
    for path in out_dir.glob(f"{PREFIX}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK_NAME:
            path.unlink(missing_ok=True)


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        if not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()
