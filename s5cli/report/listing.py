"""The report's first page: what the run was, and a row for each clip, which the page's script sorts and filters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from s5cli.labels import CLASSES
from s5cli.report.collect import Run
from s5cli.report.flags import FLAGS, Flag
from s5cli.report.markup import Node, document, node, span
from s5cli.report.page import flag_mark
from s5cli.report.record import Record
from s5cli.report.wording import NONE, plain
from s5cli.score.clip import ClipResult
from s5cli.score.evaluate import Summary
from s5cli.score.metric import mean

SEPARATOR = "|"  # of flags and labels in attributes; in neither
TONE_WEIGHT = {"bad": 100, "warn": 10, "calm": 1}  # sorting by flags puts the alarming first


@dataclass(frozen=True)
class Row:
    """One clip in the list; `key` is the folder of its page."""

    key: str
    record: Record
    flags: tuple[Flag, ...]
    result: ClipResult | None

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes of the stems, then of the references that have no stem."""
        return (*self.stem_labels, *self.missed_labels)

    @property
    def stem_labels(self) -> tuple[str, ...]:
        return tuple(stem.label for stem in self.record.stems)

    @property
    def missed_labels(self) -> tuple[str, ...]:
        if self.result is None:
            return ()
        matched = {pair.i_ref for pair in self.result.score.pairs}
        return tuple(label for i, label in enumerate(self.result.ref_labels) if i not in matched)

    @property
    def false_alarms(self) -> frozenset[int]:
        """Numbers of the stems that match no reference."""
        if self.result is None:
            return frozenset()
        return frozenset(range(len(self.record.stems))) - {pair.i_est for pair in self.result.score.pairs}

    @property
    def least_confidence(self) -> float | None:
        return min((stem.confidence for stem in self.record.stems if stem.confidence is not None), default=None)

    @property
    def n_dropped(self) -> int:
        return sum(query.dropped_by in {"verify", "gate"} for query in self.record.queries)


@dataclass(frozen=True)
class Column:
    """`kind`: "text" sorts by what is read, "number" by `data-value`, clips without one last."""

    name: str
    kind: str
    meaning: str


CLIP = Column("Clip", "text", "name of the recording")
LABELS = Column("Labels", "text", "classes of the stems; + false alarm, − missed")
CAPI = Column("CAPI-SDRi", "number", "the ranking score in dB")
SI = Column("SI-SDRi", "number", "mean over the matched stems in dB; the level does not change it")
CONFIDENCE = Column("Confidence", "number", "of the least confident stem")
DROPPED = Column("Dropped", "number", "queries that were asked and dropped again")
FLAGGED = Column("Flags", "number", "what makes a clip worth a look")


def listing_html(run: Run, rows: Sequence[Row], scores: Summary | None, clip_folder: str) -> bytes:
    """The page; `scores` where clips were scored, `clip_folder` holds the clips' folders."""
    columns = (CLIP, LABELS, *((CAPI, SI) if scores else ()), CONFIDENCE, DROPPED, FLAGGED)
    table = node(
        "table",
        {"class": "clips", "id": "clips"},
        node("thead", {}, node("tr", {}, *map(_column_head, columns))),
        node("tbody", {}, *(_row(row, scores is not None, clip_folder) for row in rows)),
    )
    name = run.folder.resolve().name
    content = (
        node("div", {"class": "heading"}, node("h1", {}, name), *_about(run), _tiles(rows, scores)),
        _filters(rows),
        table,
        node("p", {"class": "nothing", "id": "none", "hidden": ""}, "No clip is like that."),
    )
    bar = node("header", {"class": "bar"}, span("muted", "s5 report"), node("span", {"class": "tools", "id": "tools"}))
    return document(f"{name} · s5 report", "", "list.js", bar, node("main", {"id": "main"}, *content))


# ------------------------------------------------------------------------------------------------------------ the top
def _about(run: Run) -> Iterator[Element]:
    about = run.about
    if not run.is_finished:
        yield node("p", {"class": "notice warn"}, "This run is not finished: it has no run.json yet.")
        return
    millions = None if about.nparams is None else f"{about.nparams / 1e6:.1f} M parameters"
    version = None if about.version is None else f"s5cli {about.version}"
    date = None if about.finished is None else about.finished[:16].replace("T", " ")
    facts = (about.system, millions, about.device, version, date)
    yield node("p", {"class": "muted"}, " · ".join(fact for fact in facts if fact))
    if about.knobs:
        knobs = ", ".join(f"{name} {value}" for name, value in about.knobs)
        yield node("details", {"class": "muted"}, node("summary", {}, "Thresholds"), knobs)


def _tiles(rows: Sequence[Row], scores: Summary | None) -> Element:
    n_failed = sum(row.record.failure is not None for row in rows)
    tiles = [
        _tile("clips", f"{len(rows):,}"),
        _tile("stems", f"{sum(len(row.record.stems) for row in rows):,}"),
        _tile("without targets", f"{sum(not row.record.stems for row in rows) - n_failed:,}"),
        _tile("failed", f"{n_failed:,}"),
    ]
    if scores:
        tiles += [
            _tile("CAPI-SDRi", f"{plain(scores.capi_sdri_db)} dB"),
            _tile("SI-SDRi", f"{plain(scores.si_sdri_db)} dB"),
            _tile("right mixtures", _percent(scores.accuracy_mixture_percent)),
            _tile("right sources", _percent(scores.accuracy_source_percent)),
            _tile("scored", f"{scores.n_clips:,}"),
        ]
    return node("dl", {"class": "tiles"}, *tiles)


def _tile(name: str, value: str) -> Element:
    return node("div", {}, node("dt", {}, name), node("dd", {"class": "numbers"}, value))


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{plain(value, 1)} %"


# -------------------------------------------------------------------------------------------------------- the filters
def _filters(rows: Sequence[Row]) -> Element:
    labels = Counter(label for row in rows for label in set(row.labels))
    flags = Counter(flag for row in rows for flag in row.flags)
    options = [node("option", {"value": label}, f"{label} ({labels[label]:,})") for label in CLASSES if labels[label]]
    search = {"type": "search", "id": "search", "placeholder": "name or class", "autocomplete": "off"}
    return node(
        "form",
        {"class": "filters", "id": "filters", "role": "search"},
        node("label", {"for": "search"}, "Find"),
        node("input", search | {"aria-keyshortcuts": "/", "spellcheck": "false"}),
        node("label", {"for": "class"}, "Class"),
        node("select", {"id": "class"}, node("option", {"value": ""}, "all"), *options),
        node(
            "div",
            {"class": "flags", "role": "group", "aria-label": "Flags"},
            *(_flag_button(flag, flags[flag]) for flag in FLAGS if flags[flag]),
        ),
        node("output", {"id": "count", "class": "muted numbers", "aria-live": "polite"}, f"{len(rows):,} clips"),
    )


def _flag_button(flag: Flag, count: int) -> Element:
    attributes = {
        "type": "button",
        "class": f"flag {flag.tone}",
        "aria-pressed": "false",
        "data-flag": flag.name,
        "title": flag.meaning,
    }
    return node("button", attributes, f"{flag.name} ", span("numbers", f"{count:,}"))


# ----------------------------------------------------------------------------------------------------------- the rows
def _column_head(column: Column) -> Element:
    button = node("button", {"type": "button", "title": column.meaning}, column.name)
    return node("th", {"scope": "col", "data-kind": column.kind, "aria-sort": "none"}, button)


def _row(row: Row, scored: bool, clip_folder: str) -> Element:
    result = row.result
    cells = [node("td", {"class": "labels"}, *_chips(row))]
    if scored:
        si_sdri_db = mean(quality.si_sdri_db for quality in result.qualities) if result else None
        cells += [_number(result.score.capi_sdri_db if result else None), _number(si_sdri_db)]
    cells += [_number(row.least_confidence), _number(row.n_dropped, 0) if row.n_dropped else _number(None)]
    weight = sum(TONE_WEIGHT[flag.tone] for flag in row.flags)
    flags = [mark for flag in row.flags for mark in (flag_mark(flag), " ")]
    cells.append(node("td", {"class": "flags", "data-value": str(weight)}, *flags))
    link = node("a", {"href": f"{clip_folder}/{row.key}/index.html"}, row.record.name)
    attributes = {
        "data-key": row.key,
        "data-labels": SEPARATOR.join(row.labels),
        "data-flags": SEPARATOR.join(flag.name for flag in row.flags),
    }
    return node("tr", attributes, node("th", {"scope": "row"}, link), *cells)


def _chips(row: Row) -> Iterator[Node]:
    for number, label in enumerate(row.stem_labels):
        extra = number in row.false_alarms
        yield (
            node("span", {"class": "chip extra", "title": "false alarm"}, f"+ {label}")
            if extra
            else span("chip", label)
        )
        yield " "
    for label in row.missed_labels:
        yield node("span", {"class": "chip missed", "title": "missed"}, f"− {label}")
        yield " "
    if row.record.failure is not None:
        yield span("muted", row.record.failure)


def _number(value: float | None, digits: int = 2) -> Element:
    attributes = {"class": "number"} | ({} if value is None else {"data-value": repr(float(value))})
    return node("td", attributes, plain(value, digits))
