"""What became of a clip and of a run: in memory, as JSON in the output folder, and read from there again.

Whoever looks into a run's folder (an interrupted run, the report, the package) reads it here, with suspicion: it may be
of another version, unfinished, damaged, or made to harm.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from s5cli import official
from s5cli.audio import FileFormat
from s5cli.errors import ClipsFailedError, InputError, UsageError, printable
from s5cli.knobs import Plain
from s5cli.labels import CLASSES
from s5cli.scene import Stem
from s5cli.trace import ClipTrace, Drop, listed, number, number_or_infinity, numbers, optional, read_trace, text, whole

RUN_FILE = "run.json"
FILE_FORMATS: tuple[FileFormat, ...] = ("wav", "flac")
STAGES = "stages"  # folder of what systems give from before their end, where they are asked for it
DAMAGE = (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


def residual_file_name(clip: str, file_format: FileFormat = "wav") -> str:
    """Name of the file of what no stem holds.

    >>> residual_file_name("eval_0000")
    'eval_0000_residual.wav'
    """
    return f"{clip}{official.RESIDUAL}.{file_format}"


# --- one clip ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StemReport:
    """One written stem. `slot` is the query's own place; file names count the written stems."""

    file: str
    label: str
    slot: int
    confidence: float  # 0…1
    energy_db: float  # of the whole stem, relative to mixture channel 0
    numbers: Mapping[str, float] = field(default_factory=dict)  # what else the system says of it, by name with unit
    onset_s: float | None = None  # when it begins to sound and when it ends; None where it is silent throughout
    offset_s: float | None = None

    @classmethod
    def of(cls, stem: Stem, file: str, energy_db: float, sounding_s: tuple[float, float] | None) -> Self:
        """A stem that was written; its energy, onset and offset are measured of what was."""
        others = {name: value for name, value in stem.numbers.items() if name != "energy_db"}
        return cls(file, stem.label, stem.slot, stem.confidence, energy_db, others, *(sounding_s or (None, None)))


@dataclass(frozen=True)
class WindowReport:
    """One window of a long recording, and how many of the clip's queries are its own."""

    start_s: float
    n_queries: int


@dataclass(frozen=True)
class ClipReport:
    """One finished clip. `file` is the mixture's absolute path; `windows` are empty where it was taken whole."""

    name: str
    duration_s: float
    stems: tuple[StemReport, ...]
    trace: ClipTrace
    warnings: tuple[str, ...]
    clipped_samples: int
    file: str = ""
    windows: tuple[WindowReport, ...] = ()
    residual: str = ""  # file of what no stem holds; empty: it was not asked for
    staged: tuple[str, ...] = ()  # files of earlier stages, where they were asked for

    def to_json(self) -> dict[str, Any]:
        """What `<clip>.json` holds. The queries of a long recording are those of its `windows`, one after the other.

        `silence`, `residual`, `staged` and `windows` are there where there are any.
        """
        content = {
            "name": self.name,
            "duration_s": self.duration_s,
            "stems": [asdict(stem) for stem in self.stems],
            "queries": self.trace.to_json(),
            "warnings": list(self.warnings),
            "file": self.file,
            "clipped_samples": self.clipped_samples,
        }
        content |= {"silence": list(self.trace.silence)} if self.trace.silence else {}
        content |= {"residual": self.residual} if self.residual else {}
        content |= {"staged": list(self.staged)} if self.staged else {}
        return content | ({"windows": [asdict(window) for window in self.windows]} if self.windows else {})

    @classmethod
    def read(cls, path: Path) -> "ClipReport":
        """The report in a `<clip>.json`.

        Raises:
            InputError: it cannot be read, or something else wrote it.
        """
        try:
            return _clip(json.loads(path.read_bytes()), path)
        except DAMAGE as error:
            reason = f"no report of a clip can be read from it ({_told(error)}); separate it again"
            raise InputError(f"{path}: {reason}") from error

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files of the clip, the JSON last."""
        others = [self.residual] if self.residual else []
        return (*(stem.file for stem in self.stems), *others, *self.staged, f"{self.name}.json")

    @property
    def by_window(self) -> Iterator[tuple[float, ClipTrace]]:
        """Start in seconds and queries of each window."""
        end = 0
        for window in self.windows:
            start, end = end, end + window.n_queries
            yield window.start_s, ClipTrace(self.trace.queries[start:end])


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _clip(content: Mapping[str, Any], path: Path) -> ClipReport:
    if content["name"] != path.stem:
        raise ValueError(f"it is about {content['name']!r}")
    found = ClipReport(
        name=path.stem,
        duration_s=number(content["duration_s"]),
        stems=tuple(_stem(stem, place, path.stem) for place, stem in enumerate(listed(content["stems"]))),
        trace=read_trace(listed(content["queries"]), listed(content.get("silence", ()))),
        warnings=tuple(text(warning) for warning in listed(content["warnings"])),
        clipped_samples=whole(content["clipped_samples"]),
        file=text(content["file"]),
        windows=tuple(
            WindowReport(number(window["start_s"]), whole(window["n_queries"]))
            for window in listed(content.get("windows", ()))
        ),
        residual=text(content.get("residual", "")),
        staged=tuple(text(file) for file in listed(content.get("staged", ()))),
    )
    for file in found.staged:  # they stay inside the folder too
        if not re.fullmatch(rf"{STAGES}/[\w-]+/{re.escape(found.name)}_\d_\w+\.(wav|flac)", file):
            raise ValueError(f"it names {file!r} as of a stage")
    if found.residual not in ("", *(residual_file_name(found.name, one) for one in FILE_FORMATS)):  # stays inside
        raise ValueError(f"its residual is {found.residual!r}")
    n_in_windows = sum(window.n_queries for window in found.windows)
    if found.windows and n_in_windows != len(found.trace.queries):
        raise ValueError(f"its windows have {n_in_windows} queries, not {len(found.trace.queries)}")
    return found


def _stem(content: Mapping[str, Any], place: int, clip: str) -> StemReport:
    file, label = text(content["file"]), text(content["label"])
    if label not in CLASSES or file not in {official.stem_file_name(clip, place, label, one) for one in FILE_FORMATS}:
        # so that it stays inside the folder
        raise ValueError(f"its stem {place} is {file!r} of {label!r}")
    confidence, energy_db = number(content["confidence"]), number(content["energy_db"])
    ends = (optional(number, content.get(end)) for end in ("onset_s", "offset_s"))
    return StemReport(file, label, whole(content["slot"]), confidence, energy_db, numbers(content["numbers"]), *ends)


# --- what is told while clips are separated ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Failure:
    """A clip that could not be separated; `reason` is one line that says which and why."""

    name: str
    file: str
    reason: str


@dataclass(frozen=True)
class Notice:
    """Something about the run that its owner should know; nothing has failed."""

    message: str
    n_done: int = 0  # clips that earlier calls have done, where it is about them
    is_progress: bool = False  # it replaces the one before, as "3 of 40 windows" does


@dataclass(frozen=True)
class RunResult:
    """What became of every clip, each list in the order of the clips. `done` includes what earlier calls did."""

    done: tuple[ClipReport, ...]
    failed: tuple[Failure, ...]

    def raise_failed(self) -> None:
        """Does nothing if all clips are done.

        Raises:
            ClipsFailedError: some are not; the message gives the reason of each.
        """
        n_clips = len(self.done) + len(self.failed)
        reasons = [printable(failure.reason) for failure in self.failed]
        if n_clips > 1 and reasons:
            separator = " " if len(reasons) == 1 else "\n  "
            raise ClipsFailedError(separator.join([f"{len(reasons)} of {n_clips} clips failed:", *reasons]))
        if reasons:
            raise ClipsFailedError(reasons[0])


def as_json(content: Mapping[str, Any]) -> bytes:
    """A JSON file's content, for people too."""
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(errors="backslashreplace")


# --- a run's folder ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class About:
    """What `run.json` says of the whole run."""

    content: Mapping[str, Any]  # all of it
    system: str
    nparams: int  # as the official code counts them
    device: str
    version: str  # of s5cli
    finished: str
    channel_order: str
    weights: Mapping[str, str]  # sha256 by part
    knobs: Mapping[str, float | str | Mapping[str, float | str]]  # a table by class; infinity as text
    options: Mapping[str, Plain]
    window_s: float | None  # of long recordings
    labels: tuple[str, ...]  # that a user named
    drops: Mapping[str, Drop]  # the system's own rules for dropping queries
    n_done: int
    failed: tuple[Failure, ...]


@dataclass(frozen=True)
class RunFolder:
    """A run as its JSON files tell of it, perhaps in the middle of its work."""

    folder: Path
    about: About | None  # None: it is not finished
    clips: Mapping[str, ClipReport]  # that are done, in name order
    damaged: Mapping[str, str]  # name of a clip to what is wrong with its JSON

    @property
    def failed(self) -> tuple[Failure, ...]:
        """What could not be separated, as far as the run is finished."""
        return self.about.failed if self.about else ()


def read_folder(folder: Path) -> RunFolder:
    """What a run has written so far.

    Raises:
        UsageError: there is no such folder, or it holds no run.
        InputError: `run.json` is damaged.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; name the output folder of s5 separate")
    about, clips, damaged = _read_about(folder / RUN_FILE), dict[str, ClipReport](), dict[str, str]()
    for path in sorted(folder.glob("*.json"), key=lambda path: path.stem):
        if path.name == RUN_FILE or path.name.startswith("."):
            continue
        try:
            content = json.loads(path.read_bytes())
            if isinstance(content, dict) and {"name", "stems"} <= content.keys():  # else it is about something else
                clips[path.stem] = _clip(content, path)
        except DAMAGE as error:
            damaged[path.stem] = f"{path.name} is damaged: {_told(error)}"
    if about is None and not clips and not damaged:
        raise UsageError(f"{folder}: holds no run; name the output folder of s5 separate")
    return RunFolder(folder, about, clips, damaged)


def _read_about(path: Path) -> About | None:
    if not path.exists():
        return None
    try:
        return _about(json.loads(path.read_bytes()))
    except DAMAGE as error:
        raise InputError(f"{path}: damaged ({_told(error)}); let the run finish again, or delete the file") from error


def _about(content: Mapping[str, Any]) -> About:
    fingerprint = content["fingerprint"]
    return About(
        content=content,
        system=text(content["system"]),
        nparams=whole(content["nparams"]),
        device=text(content["device"]),
        version=text(content["versions"]["s5cli"]),
        finished=text(content["finished"]),
        channel_order=text(content["channel_order"]),
        weights={text(part): text(sha256) for part, sha256 in fingerprint["weights"].items()},
        knobs={text(name): _knob(value) for name, value in content["knobs"].items()},
        options={text(name): _option(value) for name, value in content["options"].items()},
        window_s=optional(number, fingerprint["window_s"]),
        labels=tuple(text(label) for label in listed(fingerprint["labels"])),
        drops={
            text(rule): Drop(text(told["title"]), told["flagged"] is True) for rule, told in content["drops"].items()
        },
        n_done=whole(content["clips"]["done"]),
        failed=tuple(
            Failure(text(failure["name"]), text(failure["file"]), text(failure["reason"]))
            for failure in listed(content["failed"])
        ),
    )


def _knob(value: Any) -> float | str | Mapping[str, float | str]:
    """As `Setting.to_json` has it."""
    if isinstance(value, Mapping):
        return {text(label): number_or_infinity(one) for label, one in value.items()}
    return number_or_infinity(value)


def _option(value: Any) -> Plain:
    return value if isinstance(value, bool | str) else whole(value) if isinstance(value, int) else number(value)
