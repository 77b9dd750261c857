"""The JSON files of a run, read with suspicion: of another version, unfinished, damaged, or made to harm."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s5cli import official
from s5cli.errors import InputError
from s5cli.explain import Proposal, QueryLife

RUN_RECORD = "run.json"
_DAMAGE = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


@dataclass(frozen=True)
class StemFile:
    """A stem that a run wrote, and what the system thought of it."""

    path: Path
    label: str
    confidence: float | None
    support: float | None
    energy_db: float | None  # relative to mixture channel 0
    separator: str | None


@dataclass(frozen=True)
class Window:
    """A stretch of a long recording with queries of its own."""

    start_s: float
    queries: tuple[QueryLife, ...]


@dataclass(frozen=True)
class Record:
    """What a run says of one clip. Of a clip that could not be separated, `failure` is all there is."""

    name: str
    file: Path | None = None  # the mixture, where the run found it
    stems: tuple[StemFile, ...] = ()
    queries: tuple[QueryLife, ...] = ()
    windows: tuple[Window, ...] = ()  # that share the queries; none where the clip was taken whole
    warnings: tuple[str, ...] = ()
    clipped_samples: int = 0
    failure: str | None = None


@dataclass(frozen=True)
class About:
    """What `run.json` says of the whole run; nothing yet if it is not finished."""

    system: str | None = None
    nparams: int | None = None
    device: str | None = None
    version: str | None = None
    finished: str | None = None
    channel_order: str | None = None
    knobs: tuple[tuple[str, str], ...] = ()
    failed: tuple[Record, ...] = ()


def read_about(folder: Path) -> About | None:
    """What the run in a folder says of itself; None if it is not finished.

    Raises:
        InputError: `run.json` is damaged.
    """
    path = folder / RUN_RECORD
    if not path.exists():
        return None
    try:
        return _about(json.loads(path.read_bytes()))
    except _DAMAGE as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path}: damaged ({reason}); let the run finish again, or delete the file") from error


def _about(content: Mapping[str, Any]) -> About:
    return About(
        system=_text_or_none(content.get("system")),
        nparams=_whole_or_none(content.get("nparams")),
        device=_text_or_none(content.get("device")),
        version=_text_or_none(content.get("versions", {}).get("s5cli")),
        finished=_text_or_none(content.get("finished")),
        channel_order=_text_or_none(content.get("channel_order")),
        knobs=tuple((name, _knob(value)) for name, value in content.get("knobs", {}).items()),
        failed=tuple(
            Record(_text(failure["name"]), Path(_text(failure["file"])), failure=_text(failure["reason"]))
            for failure in _list(content.get("failed", ()))
        ),
    )


def _knob(value: Any) -> str:
    return "per class" if isinstance(value, dict) else f"{_number(value):g}"


def read_records(folder: Path) -> dict[str, Record]:
    """The clips that are done, by name. One whose `<clip>.json` is damaged is there as a failure that says so."""
    records = (_read(path) for path in sorted(folder.glob("*.json")) if path.name != RUN_RECORD)
    return {record.name: record for record in records if record is not None}


def _read(path: Path) -> Record | None:
    """None where the file is JSON about something else."""
    try:
        content = json.loads(path.read_bytes())
        return _record(content, path) if isinstance(content, dict) and {"name", "stems"} <= content.keys() else None
    except _DAMAGE as error:
        return Record(path.stem, failure=f"{path.name} is damaged: {type(error).__name__}: {error}")


def _record(content: Mapping[str, Any], path: Path) -> Record:
    if content["name"] != path.stem:
        raise ValueError(f"it is about {content['name']!r}")
    stems = tuple(_stem(entry, path) for entry in _list(content["stems"]))
    dropped = tuple(_query(entry) for entry in _list(content.get("dropped", ())))
    known = content.get("queries")  # None in a record of an older version
    queries = (*_reported(stems), *dropped) if known is None else tuple(_query(entry) for entry in _list(known))
    file = _text_or_none(content.get("file"))
    return Record(
        name=path.stem,
        file=None if file is None else Path(file),
        stems=stems,
        queries=queries,
        windows=_windows(_list(content.get("windows", ())), queries),
        warnings=tuple(_text(warning) for warning in _list(content.get("warnings", ()))),
        clipped_samples=int(_number(content.get("clipped_samples", 0))),
    )


def _stem(entry: Mapping[str, Any], path: Path) -> StemFile:
    file, label = _text(entry["file"]), _text(entry["label"])
    if official.parse_stem_file_name(file, path.stem) != label:
        raise ValueError(f"{file!r} is not a stem of {label!r}")  # which also keeps it inside the folder
    return StemFile(
        path=path.with_name(file),
        label=label,
        confidence=_number_or_none(entry.get("confidence")),
        support=_number_or_none(entry.get("support")),
        energy_db=_number_or_none(entry.get("energy_db")),
        separator=_text_or_none(entry.get("separator")),
    )


def _query(entry: Mapping[str, Any]) -> QueryLife:
    """Inverse of `QueryLife.to_json`."""
    return QueryLife(
        label=_text(entry["label"]),
        proposals=tuple(Proposal(_text(who), _number(p)) for who, p in entry.get("proposals", {}).items()),
        confidence=_number(entry["confidence"]),
        slot=_whole_or_none(entry.get("slot")),
        support_first=_number_or_none(entry.get("support_first")),
        support_second=_number_or_none(entry.get("support_second")),
        support=_number_or_none(entry.get("support")),
        energy_db=_number_or_none(entry.get("energy_db")),
        separator=_text_or_none(entry.get("separator")),
        dropped_by=entry.get("dropped_by"),
        reason=_text_or_none(entry.get("reason")),
        reported=_whole_or_none(entry.get("reported")),
    )


def _windows(entries: Sequence[Mapping[str, Any]], queries: Sequence[QueryLife]) -> tuple[Window, ...]:
    """The queries of a long recording are those of its windows, one after the other."""
    windows, end = [], 0
    for entry in entries:
        start, end = end, end + int(_number(entry["n_queries"]))
        windows.append(Window(_number(entry["start_s"]), tuple(queries[start:end])))
    if windows and end != len(queries):
        raise ValueError(f"its windows have {end} queries, not {len(queries)}")
    return tuple(windows)


def _reported(stems: Sequence[StemFile]) -> tuple[QueryLife, ...]:
    """The queries behind the stems, as far as a record of an older version tells."""
    return tuple(
        QueryLife(
            label=stem.label,
            proposals=(),
            confidence=math.nan if stem.confidence is None else stem.confidence,
            support=stem.support,
            energy_db=stem.energy_db,
            separator=stem.separator,
            reported=number,
        )
        for number, stem in enumerate(stems)
    )


# -------------------------------------------------------------------------------------------------- values from JSON
def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} where a text should be")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{value!r} where a number should be")
    return float(value)


def _list(value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{value!r} where a list should be")
    return value


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _number_or_none(value: Any) -> float | None:
    return None if value is None else _number(value)


def _whole_or_none(value: Any) -> int | None:
    return None if value is None else int(_number(value))
