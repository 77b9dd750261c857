"""What is to be separated and where it goes: every check that needs neither networks nor audio."""

from __future__ import annotations

import math
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os.path import realpath  # unlike Path.resolve, it stands links that go in circles
from pathlib import Path
from typing import Literal, TypeAlias

from s5cli import official
from s5cli.api import queries_of
from s5cli.audio import FileFormat, check_format
from s5cli.dataset import SUFFIXES
from s5cli.errors import InputError, UsageError
from s5cli.labels import CLASSES, index_of, listed
from s5cli.run.record import RUN_FILE, STAGES
from s5cli.run.spans import announced, n_samples_at_32_khz
from s5cli.run.staging import staging
from s5cli.run.stitch import SHORTEST_WINDOW_S, longest_whole
from s5cli.scene import Subtype

LONGEST_NAME = 255  # bytes, of a file on most file systems
MANIFEST_NAME = "manifest.jsonl"
RUN_STEM = RUN_FILE.removesuffix(".json")

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
    verify: bool = False  # read all of what is there, and separate again what has changed
    residual: bool = False  # write the mixture's channel 0 minus all stems, too
    file_format: FileFormat = "wav"

    def window_s(self, suits: float | None) -> float | None:
        """The window for a system that windows of `suits` seconds (None: whole recordings) suit best.

        >>> Options().window_s(10.0), Options().window_s(None), Options(window=5).window_s(10.0)
        (10.0, None, 5.0)
        """
        chosen = suits if self.window == "auto" else self.window
        return None if chosen is None else float(chosen)


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
    queries_of(options.labels, 1)
    check_format(options.file_format, options.subtype)
    if options.batch_size < 1:
        raise UsageError(f"batch size {options.batch_size}; give 1 or more")
    if isinstance(options.window, float | int) and not SHORTEST_WINDOW_S <= options.window < math.inf:
        raise UsageError(f"window {options.window:g} s; give {SHORTEST_WINDOW_S:g} s or more, or none")
    try:
        clips = _named(path for given in inputs for path in _recordings(given, out_dir))
        _check_old(out_dir, clips, options.restart)
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be reached ({error.strerror}); give another path") from error
    with staging(out_dir) as stage:
        if stage.with_name(stage.name.upper()).exists():
            check_spelling(clips)
        return Job(clips, out_dir, options)


def parse_labels(text: str | None) -> tuple[str, ...]:
    """What `--labels` was given, in official spelling; None: nothing, so that the system itself proposes.

    Raises:
        UsageError: an unknown class, or none at all.

    >>> parse_labels("speech, Speech,dishes"), parse_labels(None)
    (('Speech', 'Speech', 'Dishes'), ())
    """
    if text is not None and not text.strip():
        raise UsageError("--labels names no class; leave it out to let the system choose")
    return tuple(CLASSES[index_of(name)] for name in listed(text or ""))


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
    """A file as it is; of a folder everything that is called like a recording, so that nothing is left out in silence.

    What a name stands for, a pipe or a link to nothing perhaps, is seen when it is read.
    """
    if not given.is_dir():
        if not given.exists() and not given.is_symlink():
            raise UsageError(f"{given}: no such file or folder; check the path")
        return [given]
    for folder in (given, given / "soundscape"):
        entries = sorted(folder.iterdir()) if folder.is_dir() else ()
        found = [path for path in entries if official.is_audio(path, SUFFIXES) and not path.is_dir()]
        if found and realpath(folder) == realpath(out_dir):
            raise UsageError(f"{folder} is both input and output; give another folder for the output")
        if found:
            return found
    raise UsageError(f"{given}: no .wav or .flac files in it or in its soundscape/; give recordings")


def _named(paths: Iterable[Path]) -> dict[str, Path]:
    """Each recording once, by the name of its results."""
    clips: dict[str, Path] = {}
    for path in paths:
        known = clips.setdefault(path.stem, path)
        if realpath(known) != realpath(path):
            raise UsageError(f"{known} and {path} would both be written as {path.stem!r}; rename one")
        if path.stem == RUN_STEM:
            raise UsageError(f"{path}: {RUN_FILE} is the file about the whole run; rename the recording")
    if not clips:
        raise UsageError("no recordings given")
    return clips


def check_spelling(clips: Mapping[str, Path]) -> None:
    """UsageError where file systems that take Á and á for one name, as macOS and Windows have, would mix up results."""
    known: dict[str, Path] = {}
    for name, path in clips.items():
        other = known.setdefault(unicodedata.normalize("NFC", name).casefold(), path)
        if other is not path:
            raise UsageError(f"{other} and {path} would be written under one name there; rename one")


def check_name(path: Path) -> None:
    """Does nothing where results can be named after a recording.

    Raises:
        InputError: they cannot, and why.
    """
    longest = official.stem_file_name(path.stem, 99, max(CLASSES, key=len))
    try:
        n_bytes = len(longest.encode())
    except UnicodeEncodeError as error:
        if (encoding := sys.getfilesystemencoding()) != "utf-8":
            raise InputError(f"{path}: names are taken as {encoding} here; set PYTHONUTF8=1 and call again") from error
        raise InputError(f"{path}: its name is not in UTF-8, in which results are named after it; rename it") from error
    if n_bytes > LONGEST_NAME:
        too_many = f"{n_bytes - LONGEST_NAME} bytes too long for results to be named after it"
        raise InputError(f"{path}: its name is {too_many}; rename it")
    if path.name.startswith("."):
        raise InputError(f"{path}: results named after it would be hidden files, which nobody looks for; rename it")


def old_results(out_dir: Path, clips: Mapping[str, Path]) -> dict[str, tuple[Path, ...]]:
    """Files in the output folder that results of these clips are named like, the JSON first."""
    old: dict[str, list[Path]] = {}
    there = [*out_dir.iterdir(), *out_dir.glob(f"{STAGES}/*/*_*_*")] if out_dir.is_dir() else []
    for path in sorted(there, key=lambda path: path.suffix):
        owner = path.stem if path.suffix == ".json" else _clip_of_stem(path)
        if owner in clips:
            old.setdefault(owner, []).append(path)
    return {name: tuple(paths) for name, paths in old.items()}


def _clip_of_stem(path: Path) -> str:
    if path.suffix not in SUFFIXES:
        return ""
    if path.stem.endswith(official.RESIDUAL):
        return path.stem.removesuffix(official.RESIDUAL)
    name, _, label = path.stem.rpartition("_")
    clip, _, number = name.rpartition("_")
    return clip if number.isdecimal() and label in CLASSES else ""


def _check_old(out_dir: Path, clips: Mapping[str, Path], restart: bool) -> None:
    found = [path for paths in old_results(out_dir, clips).values() for path in paths]
    inputs = {realpath(path) for path in clips.values()}
    lost = next((path for path in found if realpath(path) in inputs), None)
    if lost is not None:
        raise UsageError(f"{lost} is an input, but named like a result of this run; give another folder for the output")
    if (run := out_dir / RUN_FILE).exists():
        found.append(run)
    if found and not restart and not (out_dir / MANIFEST_NAME).exists():
        more = f" and {len(found) - 1} more files" if len(found) > 1 else ""
        raise UsageError(
            f"{found[0]}{more} of an earlier run that left no {MANIFEST_NAME} to go on from; --overwrite replaces them,"
            " or give another folder"
        )


# --- batches ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """Clips of one length, by name, that go through the networks together; or one long recording."""

    clips: Mapping[str, Path]
    window_s: float | None = None  # of the long recording


def is_long(path: Path, window_s: float | None) -> bool:
    """Whether a recording is separated in windows: if it is longer than one and the overlap, 12 s for windows of 10 s.

    Only its header is read; what cannot be read is not long, and None means no windows at all.

    Raises:
        UsageError: the windows are too short.
    """
    if window_s is None:
        return False
    most = longest_whole(window_s)
    found = announced(path)
    return found is not None and n_samples_at_32_khz(*found) > most


def batches(clips: Mapping[str, Path], size: int, window_s: float | None) -> list[Batch]:
    """All clips in batches of at most `size`, in the order of each batch's first clip; long recordings alone.

    What shares a batch depends on nothing but the clips, as a network's last bits may depend on what shares its batch:
    a run that was interrupted separates the same batches again.
    """
    groups: dict[object, list[str]] = {}
    long = {name for name, path in clips.items() if is_long(path, window_s)}
    for name, path in clips.items():
        groups.setdefault(name if name in long else announced(path) or name, []).append(name)
    place = {name: index for index, name in enumerate(clips)}
    chunks = [group[i : i + size] for group in groups.values() for i in range(0, len(group), size)]
    return [
        Batch({name: clips[name] for name in chunk}, window_s if chunk[0] in long else None)
        for chunk in sorted(chunks, key=lambda chunk: place[chunk[0]])
    ]
