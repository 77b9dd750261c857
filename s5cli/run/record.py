"""What became of a clip, and of all clips of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from s5cli.errors import ClipsFailedError, InputError
from s5cli.explain import ClipTrail, Proposal, QueryLife


@dataclass(frozen=True)
class StemReport:
    """One written stem. `slot` is the query's own place; file names count the written stems."""

    file: str
    label: str
    confidence: float
    support: float | None
    energy_db: float | None
    separator: str
    slot: int


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
    trail: ClipTrail
    warnings: tuple[str, ...]
    clipped_samples: int
    file: str = ""
    windows: tuple[WindowReport, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What `<clip>.json` holds. The queries of a long recording are those of its `windows`, one after the other."""
        content = {
            "name": self.name,
            "duration_s": self.duration_s,
            "stems": [asdict(stem) for stem in self.stems],
            "dropped": [query.to_json() for query in self.trail.dropped],
            "warnings": list(self.warnings),
            "file": self.file,
            "clipped_samples": self.clipped_samples,
            **self.trail.to_json(),
        }
        return content | ({"windows": [asdict(window) for window in self.windows]} if self.windows else {})

    @classmethod
    def read(cls, path: Path) -> ClipReport:
        """The report in a `<clip>.json`.

        Raises:
            InputError: it cannot be read, or another program wrote it.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                name=content["name"],
                duration_s=content["duration_s"],
                stems=tuple(StemReport(**stem) for stem in content["stems"]),
                trail=ClipTrail(tuple(_query(query) for query in content["queries"])),
                warnings=tuple(content["warnings"]),
                clipped_samples=content["clipped_samples"],
                file=content["file"],
                windows=tuple(WindowReport(**window) for window in content.get("windows", ())),
            )
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise InputError(f"{path}: no report of a clip can be read from it ({error}); separate it again") from error

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files of the clip, the JSON last."""
        return (*(stem.file for stem in self.stems), f"{self.name}.json")


def _query(content: Mapping[str, Any]) -> QueryLife:
    proposals = tuple(Proposal(tagger, probability) for tagger, probability in content["proposals"].items())
    return QueryLife(**{**content, "proposals": proposals})


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
        reasons = [failure.reason for failure in self.failed]
        if n_clips > 1 and reasons:
            separator = " " if len(reasons) == 1 else "\n  "
            raise ClipsFailedError(separator.join([f"{len(reasons)} of {n_clips} clips failed:", *reasons]))
        if reasons:
            raise ClipsFailedError(reasons[0])


def as_json(content: Mapping[str, Any]) -> bytes:
    """A JSON file's content, for people too."""
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
