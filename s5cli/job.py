"""What is to be separated and where it goes: every check that needs neither networks nor audio."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from s5cli import official
from s5cli.api import named_queries
from s5cli.audio import Subtype
from s5cli.errors import UsageError
from s5cli.labels import CLASSES

SUFFIXES = (".wav", ".flac", ".WAV", ".FLAC")
RUN_NAME = "run"


@dataclass(frozen=True)
class Options:
    """How clips are separated and written."""

    labels: tuple[str, ...] = ()  # instead of what the taggers propose
    batch_size: int = 4  # clips; consecutive ones of equal length go through the networks together
    subtype: Subtype = "PCM_16"
    overwrite: bool = False


@dataclass(frozen=True)
class Job:
    """Clips by name in order, and where their results go; `old` are files of earlier results, by clip."""

    clips: Mapping[str, Path]
    out_dir: Path
    options: Options
    old: Mapping[str, tuple[Path, ...]]


def plan(inputs: Sequence[Path], out_dir: Path, options: Options) -> Job:
    """What is to be done, after every check that needs neither networks nor audio. Leaves nothing on disk.

    Args:
        inputs: recordings, and folders that hold .wav or .flac files, themselves or in `soundscape/`.
        out_dir: made if it is not there.

    Raises:
        UsageError: inputs that are missing or share a name, an output that cannot be written to, or results that are
            there already (unless `options.overwrite`).
    """
    named_queries(options.labels, 1)
    if options.batch_size < 1:
        raise UsageError(f"batch size {options.batch_size}; give 1 or more")
    clips = _named(path for given in inputs for path in _recordings(given, out_dir))
    old = _old_results(out_dir, clips)
    _check_old(out_dir, clips, old, options.overwrite)
    with staging(out_dir):
        return Job(clips, out_dir, options, old)


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


def _old_results(out_dir: Path, clips: Mapping[str, Path]) -> dict[str, tuple[Path, ...]]:
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


def _check_old(out_dir: Path, clips: Mapping[str, Path], old: Mapping[str, tuple[Path, ...]], overwrite: bool) -> None:
    found = [path for paths in old.values() for path in paths]
    inputs = {path.resolve() for path in clips.values()}
    lost = next((path for path in found if path.resolve() in inputs), None)
    if lost is not None:
        raise UsageError(f"{lost} is an input, but named like a result of this run; give another folder for the output")
    if (run := out_dir / f"{RUN_NAME}.json").exists():
        found.append(run)
    if found and not overwrite:
        more = f" and {len(found) - 1} more files" if len(found) > 1 else ""
        raise UsageError(f"{found[0]}{more} of an earlier run; --overwrite replaces them, or give another folder")


@contextmanager
def staging(out_dir: Path) -> Iterator[Path]:
    """A folder inside the output folder, on the same file system, for what is not finished. Nothing of it remains.

    Folders that it had to make go too, if nothing was put into them.
    """
    made = [folder for folder in (out_dir, *out_dir.parents) if not folder.exists()]
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        stage = tempfile.TemporaryDirectory(prefix=".s5-", dir=out_dir)
    except OSError as error:
        _remove_empty(made)
        reason = "it is a file" if out_dir.is_file() else error.strerror or error
        raise UsageError(f"{out_dir}: cannot be written to ({reason}); give another folder for the output") from error
    try:
        with stage as folder:
            yield Path(folder)
    finally:
        _remove_empty(made)


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        if not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()
