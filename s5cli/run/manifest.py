"""What a folder of results remembers of how it was made: a fingerprint, and a manifest of the clips that are done.

The manifest is JSON lines that are only ever appended. Each call that writes anything adds one with its fingerprint and
circumstances, then two for every clip: before its files are moved into place, and when all of them are there:

    {"run": {"system": …, "weights": …, …}, "restart": false, "about": {"device": …, "versions": …, …}}
    {"writing": "eval_0000", "files": ["eval_0000_0_Speech.wav", …, "eval_0000.json"]}
    {"clip": "eval_0000", "input": {"file": …, "sha256": …},
     "files": {"eval_0000_0_Speech.wav": {"bytes": 640044, "sample": …, "sha256": …}, …}}

A clip's JSON file comes last, so where it is missing after "writing", the others are half a clip and go. A line torn by
the end of a process is no line, and is cut off before the next one is written. Each file is told by its size, a hash of
a few of its blocks (compared by every call) and one of all of it (compared on request).
"""

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from s5cli.api import LoadedSystem
from s5cli.audio import writable
from s5cli.errors import InputError, UsageError
from s5cli.run.content import Content, sha256_of
from s5cli.run.plan import MANIFEST_NAME, Job, Options
from s5cli.run.record import STAGES, ClipReport

N_CHECKERS = 4  # threads that read recordings again, which is waiting for a disk mostly
SYNC_EVERY_S = 5.0
"""What a power cut may cost. A killed process costs nothing; what a disk did not get of a file shows in its sample."""


# --- fingerprint -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fingerprint:
    """Everything that decides what a clip's stems are, besides the clip. Where it differs, results cannot be mixed."""

    system: str
    weights: Mapping[str, str]  # sha256 by part
    knobs: Mapping[str, float | str | Mapping[str, float | str]]
    options: Mapping[str, bool | int | float | str]
    precision: str
    engine: str
    window_s: float | None
    labels: tuple[str, ...]
    channel_order: str
    resample: bool
    subtype: str
    residual: bool = False
    file_format: str = "wav"
    first_order: bool = False
    compiled: bool = False

    @classmethod
    def of(cls, loaded: LoadedSystem, options: Options) -> Self:
        """That of a system under these options."""
        return cls(
            system=loaded.name,
            weights={part["part"]: part["sha256"] for part in loaded.weights},
            knobs=loaded.system.setting.to_json(),
            options=dict(loaded.system.setting.options),
            precision=loaded.precision,
            engine=loaded.engine,
            window_s=options.window_s(loaded.system.window_s),
            labels=options.labels,
            channel_order=loaded.channel_order,
            resample=loaded.resample,
            subtype=options.subtype,
            residual=options.residual,
            file_format=options.file_format,
            first_order=loaded.first_order,
            compiled=loaded.compiled,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values under the names of the fields; those that have a default where it is not that."""
        usual = {each.name: each.default for each in fields(self) if each.default is not MISSING}
        plain = asdict(self) | {"labels": list(self.labels)}
        return {name: value for name, value in plain.items() if name not in usual or value != usual[name]}

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """What is different in a fingerprint read from a file, as "name there, not ours".

        >>> base = dict(weights={}, precision="fp32", engine="torch", window_s=None, labels=(), channel_order="acn")
        >>> ours = Fingerprint("x", knobs={"verify": 0.2}, options={}, resample=False, subtype="PCM_16", **base)
        >>> ours.differences(ours.to_json() | {"system": "y", "knobs": {"verify": 0.1}})
        ["system 'y', not 'x'", 'knobs.verify 0.1, not 0.2']
        """
        mine, theirs = _flat(self.to_json()), _flat(other)
        names = [*mine, *(name for name in theirs if name not in mine)]
        return [
            f"{name} {_short(theirs.get(name))}, not {_short(mine.get(name))}"
            for name in names
            if mine.get(name) != theirs.get(name)
        ]


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _short(value: object) -> str:
    """A hash by its beginning, everything else as it is."""
    return f"{value[:8]}…" if isinstance(value, str) and len(value) == 64 else repr(value)


# --- manifest --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """A clip that is done: what it was made of, and its files."""

    clip: str
    file: str
    sha256: str
    files: Mapping[str, Content]

    def to_json(self) -> dict[str, Any]:
        """The line in the manifest."""
        files = {name: content.to_json() for name, content in self.files.items()}
        return {"clip": self.clip, "input": {"file": self.file, "sha256": self.sha256}, "files": files}

    def holds(self, out_dir: Path, path: Path, verify: bool = False) -> bool:
        """Whether all files are what was written, and the recording is the one that they were made of.

        Raises:
            InputError: the recording cannot be read.
        """
        whole = all(content.holds(out_dir / name, verify) for name, content in self.files.items())
        return whole and sha256_of(path) == self.sha256

    def report(self, job: Job) -> ClipReport | None:
        """What the clip's JSON says of it; None where the clip has to be done again."""
        try:
            whole = self.holds(job.out_dir, job.clips[self.clip], job.options.verify)
            return ClipReport.read(job.out_dir / f"{self.clip}.json") if whole else None
        except InputError:  # separating it again will say what is wrong
            return None


class Manifest:
    """The manifest of one folder, open for what is done now.

    Nothing is written before the first clip, so that a call in which every clip fails leaves no trace. What writes
    raises OutputError where the place cannot be written to or is full.
    """

    def __init__(self, out_dir: Path, fingerprint: Fingerprint, about: Mapping[str, Any], restart: bool) -> None:
        """Reads what is there.

        Raises:
            UsageError: it was made under another fingerprint, and this is no restart; or it cannot be read, or is
                another program's.
        """
        self.path = out_dir / MANIFEST_NAME
        self._head = {"run": fingerprint.to_json(), "restart": restart, "about": dict(about)}
        self._begun = False
        self._synced_s = time.monotonic()
        contents = list(self._contents())
        self._past = _past(contents)
        if self._past.fingerprint is None and any(map(_is_foreign, contents)):
            raise UsageError(f"{self.path}: is no manifest of `s5 separate`; give another folder for the output")
        if self._past.fingerprint is not None and not restart:
            self._check_same(fingerprint)

    def _check_same(self, fingerprint: Fingerprint, most: int = 3) -> None:
        try:
            different = fingerprint.differences(self._past.fingerprint or {})
        except RecursionError:  # no call of ours wrote that
            different = ["something else"]
        if different:
            more = f" (and {len(different) - most} more)" if len(different) > most else ""
            raise UsageError(
                f"{self.path.parent}: the results there were made with {'; '.join(different[:most])}{more};"
                " --restart begins again, or give another folder"
            )

    @property
    def done(self) -> Mapping[str, Record]:
        """The clips that earlier calls did under this fingerprint, by name; none in a restart."""
        return {} if self._head["restart"] else self._past.done

    def finished(self, job: Job) -> dict[str, ClipReport]:
        """The clips of a job that earlier calls did and that need not be done again."""
        records = [record for record in self.done.values() if record.clip in job.clips]
        with ThreadPoolExecutor(N_CHECKERS) as pool:
            reports = pool.map(lambda record: record.report(job), records)
            return {report.name: report for report in reports if report is not None}

    @property
    def halves(self) -> Iterator[Path]:
        """What a killed process left of clips that it was moving into place."""
        out_dir = self.path.parent
        for clip, files in self._past.writing.items():
            if not (out_dir / f"{clip}.json").exists():
                yield from (out_dir / file for file in files)

    def write_begin(self, clip: str, files: Iterable[str]) -> None:
        """The files of a clip, and those that they replace, are going to be touched."""
        lines: list[Mapping[str, Any]] = [{"writing": clip, "files": list(files)}]
        if not self._begun:
            self._cut_torn_line()
            lines.insert(0, self._head)
        self._append(*lines)
        self._begun = True

    def write_done(self, record: Record) -> None:
        """All files of the clip are in place."""
        self._append(record.to_json())

    def _append(self, *contents: Mapping[str, Any]) -> None:
        with writable(self.path), self.path.open("ab") as file:
            lines = (json.dumps(each, ensure_ascii=False, allow_nan=False) for each in contents)
            file.writelines(line.encode(errors="backslashreplace") + b"\n" for line in lines)
            file.flush()
            if time.monotonic() - self._synced_s >= SYNC_EVERY_S:
                os.fsync(file.fileno())
                self._synced_s = time.monotonic()

    def sync(self) -> None:
        """Everything that was written is on the disk, also should the machine's power fail."""
        if self._begun:
            with writable(self.path), self.path.open("r+b") as file:
                os.fsync(file.fileno())

    def _cut_torn_line(self) -> None:
        with writable(self.path):
            if self.path.exists():
                os.truncate(self.path, self.path.read_bytes().rfind(b"\n") + 1)

    def _contents(self) -> Iterator[Any]:
        """Every line that can be read. What a failing disk, or something worse, made of the others is done again."""
        try:
            lines = self.path.read_bytes().split(b"\n")[:-1]  # what follows the last newline is torn
        except FileNotFoundError:
            return
        except OSError as error:
            raise UsageError(f"{self.path}: cannot be read ({error.strerror or error}); give another folder") from error
        for line in lines:
            with suppress(ValueError, RecursionError):
                yield json.loads(line)


@dataclass
class _Past:
    """What a manifest tells of the calls before this one."""

    fingerprint: Mapping[str, Any] | None = None  # of the last one
    done: dict[str, Record] = field(default_factory=dict)  # since that fingerprint was last begun
    writing: dict[str, Sequence[str]] = field(default_factory=dict)  # clips of which the end is not told


def _past(contents: Iterable[Any]) -> _Past:
    past = _Past()
    for content in contents:
        match content:
            case {"run": dict(fingerprint), "restart": bool(restart)}:
                if restart or fingerprint != past.fingerprint:
                    past.done = {}
                past.fingerprint = fingerprint
            case {"writing": str(clip), "files": list(files)}:
                past.done.pop(clip, None)
                past.writing[clip] = [file for file in files if _is_name(file)]
            case {"clip": str(clip), "input": {"file": str(file), "sha256": str(sha256)}, "files": dict(files)}:
                with suppress(ValueError):
                    contents = {name: Content.read(content) for name, content in files.items()}
                    past.done[clip] = Record(clip, file, sha256, contents)
                    past.writing.pop(clip, None)
    return past


def _is_foreign(content: Any) -> bool:
    """Whether a line was written by nothing that is called like this file here, as lists of training data often are."""
    return isinstance(content, dict) and content.keys().isdisjoint(("run", "writing", "clip"))


def _is_name(file: object) -> bool:
    """Whether it is that of a clip's file: one in the folder itself, or in that of a stage."""
    if not isinstance(file, str) or "\0" in file or Path(file).is_absolute():
        return False
    parts = Path(file).parts
    return ".." not in parts and (len(parts) == 1 or (len(parts) == 3 and parts[0] == STAGES))
