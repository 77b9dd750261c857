"""The report's first page: what the run was, and a row for each clip, which the page's script sorts and filters."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from s5cli.labels import CLASSES
from s5cli.report.collect import Clip, Run
from s5cli.report.flags import Flag, all_flags
from s5cli.report.markup import NONE, Node, document, node, plain, span
from s5cli.report.page import flag_mark
from s5cli.score.clip import ClipResult
from s5cli.score.evaluate import Summary
from s5cli.score.metric import mean

SEPARATOR = "\n"  # of flags and labels in attributes
TONE_WEIGHT = {"bad": 100, "warn": 10, "calm": 1}  # sorting by flags puts the alarming first


@dataclass(frozen=True)
class Outcome:
    """What became of a clip's page, and so its row in the list."""

    key: str  # the folder of the page
    clip: Clip
    flags: tuple[Flag, ...]
    result: ClipResult | None
    troubles: tuple[str, ...] = ()  # sounds that should be there and are not

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes of the stems, then of the references that have no stem."""
        return (*(stem.label for stem in self.clip.stems), *self.missed_labels)

    @property
    def missed_labels(self) -> tuple[str, ...]:
        if self.result is None:
            return ()
        matched = {pair.i_ref for pair in self.result.score.pairs}
        return tuple(label for i, label in enumerate(self.result.ref_labels) if i not in matched)

    @property
    def surplus(self) -> frozenset[int]:
        """Numbers of the stems that match no reference."""
        if self.result is None:
            return frozenset()
        return frozenset(range(len(self.clip.stems))) - {pair.i_est for pair in self.result.score.pairs}


@dataclass(frozen=True)
class Column:
    """`kind`: "text" sorts by what is read, "number" by `data-value`, clips without one last."""

    name: str
    kind: str
    meaning: str


CLIP = Column("Clip", "text", "name of the recording")
LABELS = Column("Labels", "text", "classes of the stems, and of references that were missed")
CAPI = Column("CAPI-SDRi", "number", "the ranking score in dB")
SI = Column("SI-SDRi", "number", "mean over the matched stems in dB; the level does not change it")
CONFIDENCE = Column("Confidence", "number", "of the least confident stem")
DROPPED = Column("Dropped", "number", "queries that were asked and not reported")
FLAGGED = Column("Flags", "number", "what makes a clip worth a look")


def listing_html(run: Run, rows: Sequence[Outcome], scores: Summary | None, clip_folder: str) -> bytes:
    """The page; `scores` where clips were scored, `clip_folder` holds the clips' folders."""
    columns = (CLIP, LABELS, *((CAPI, SI) if scores else ()), CONFIDENCE, DROPPED, FLAGGED)
    head = node("thead", {}, node("tr", {}, *map(_column_head, columns)))
    body = node("tbody", {}, *(_row(row, columns, clip_folder) for row in rows))
    table = node("table", {"class": "clips", "id": "clips"}, head, body)
    name = run.folder.resolve().name
    content = (
        node("div", {"class": "heading"}, node("h1", {}, name), *_about(run), _tiles(rows, scores)),
        _filters(rows, all_flags(run.about.drops if run.about else {})),
        *([_legend()] if scores else []),
        table,
        node("p", {"class": "nothing", "id": "none", "hidden": ""}, "No clip is like that."),
    )
    bar = node("header", {"class": "bar"}, span("muted", "s5 report"), node("span", {"class": "tools", "id": "tools"}))
    return document(f"{name} · s5 report", "", "list.js", bar, node("main", {"id": "main"}, *content))


# --- the top ----------------------------------------------------------------------------------------------------------


def _about(run: Run) -> Iterator[Element]:
    about = run.about
    if about is None:
        yield node("p", {"class": "notice warn"}, "This run is not finished: it has no run.json yet.")
        return
    millions, date = f"{about.nparams / 1e6:.1f} M parameters", about.finished[:16].replace("T", " ")
    facts = (about.system, millions, about.device, f"s5cli {about.version}", date)
    yield node("p", {"class": "muted"}, " · ".join(fact for fact in facts if fact))
    values = [f"{name} {_setting(value)}" for name, value in [*about.knobs.items(), *about.options.items()]]
    if values:
        title = " and ".join(["Thresholds"] * bool(about.knobs) + ["options"] * bool(about.options)).capitalize()
        yield node("details", {"class": "muted"}, node("summary", {}, title), ", ".join(values))


def _setting(value: object) -> str:
    """A threshold, one for each class, or an option.

    >>> _setting(0.25), _setting("-inf"), _setting({"Speech": 0.5, "Dishes": 0.1}), _setting(True)
    ('0.25', '−inf', 'by class (0.1 to 0.5)', 'on')
    """
    if isinstance(value, Mapping):
        ends = [_setting(end) for end in sorted(value.values(), key=float)[:: max(1, len(value) - 1)]]
        return f"by class ({' to '.join(dict.fromkeys(ends))})"
    if isinstance(value, bool):
        return "on" if value else "off"
    return (value if isinstance(value, str) else f"{value:g}").replace("-", "−")


def _tiles(rows: Sequence[Outcome], scores: Summary | None) -> Element:
    n_failed = sum(row.clip.report is None for row in rows)
    tiles = [
        _tile("clips", f"{len(rows):,}"),
        _tile("stems", f"{sum(len(row.clip.stems) for row in rows):,}"),
        _tile("nothing reported", f"{sum(not row.clip.stems for row in rows) - n_failed:,}"),
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


# --- the filters ------------------------------------------------------------------------------------------------------


def _filters(rows: Sequence[Outcome], known: Sequence[Flag]) -> Element:
    labels = Counter(label for row in rows for label in set(row.labels))
    flags = Counter(flag for row in rows for flag in row.flags)
    options = [node("option", {"value": label}, f"{label} ({labels[label]:,})") for label in CLASSES if labels[label]]
    buttons = [_flag_button(flag, flags[flag]) for flag in known if flags[flag]]
    search = {"type": "search", "id": "search", "placeholder": "name or class", "autocomplete": "off"}
    return node(
        "form",
        {"class": "filters", "id": "filters", "role": "search"},
        node("label", {"for": "search"}, "Find"),
        node("input", search | {"aria-keyshortcuts": "/", "spellcheck": "false"}),
        node("label", {"for": "class"}, "Class"),
        node("select", {"id": "class"}, node("option", {"value": ""}, "all"), *options),
        node("div", {"class": "flags", "role": "group", "aria-label": "Flags"}, *buttons),
        node("output", {"id": "count", "class": "muted numbers", "aria-live": "polite"}, f"{len(rows):,} clips"),
    )


def _flag_button(flag: Flag, count: int) -> Element:
    attributes = {"type": "button", "class": f"flag {flag.tone}", "aria-pressed": "false", "data-flag": flag.name}
    count_shown = span("numbers", f"{count:,}")
    return node("button", attributes | {"title": flag.meaning}, f"{flag.name} ", count_shown)


# --- the rows ---------------------------------------------------------------------------------------------------------


def _column_head(column: Column) -> Element:
    button = node("button", {"type": "button", "title": column.meaning}, column.name)
    return node("th", {"scope": "col", "data-kind": column.kind, "aria-sort": "none"}, button)


def _row(row: Outcome, columns: Sequence[Column], clip_folder: str) -> Element:
    """Of which every cell knows the name of its column, for windows too narrow for a table."""
    result = row.result
    numbers: dict[Column, tuple[float | None, int]] = {
        CAPI: (result.score.capi_sdri_db if result else None, 2),
        SI: (mean(quality.si_sdri_db for quality in result.qualities) if result else None, 2),
        CONFIDENCE: (min((stem.confidence for stem in row.clip.stems), default=None), 2),
        DROPPED: (sum(query.slot is not None and query.reported is None for query in row.clip.queries) or None, 0),
    }
    cells = [node("td", {"class": "labels"}, *_chips(row))]
    cells += [_number(column.name, *numbers[column]) for column in columns if column in numbers]
    weight = sum(TONE_WEIGHT[flag.tone] for flag in row.flags)
    flags = [mark for flag in row.flags for mark in (flag_mark(flag), " ")]
    cells.append(node("td", {"class": "flags", "data-value": str(weight)}, *flags))
    link = node("a", {"href": f"{clip_folder}/{row.key}/index.html"}, row.clip.name)
    attributes = {
        "data-key": row.key,
        "data-labels": SEPARATOR.join(row.labels),
        "data-flags": SEPARATOR.join(flag.name for flag in row.flags),
    }
    return node("tr", attributes, node("th", {"scope": "row"}, link), *cells)


def _chips(row: Outcome) -> Iterator[Node]:
    for number, stem in enumerate(row.clip.stems):
        yield span("chip extra", f"+ {stem.label}") if number in row.surplus else span("chip", stem.label)
        yield " "
    for label in row.missed_labels:
        yield span("chip missed", f"− {label}")
        yield " "
    if row.clip.failure is not None:
        yield span("muted", row.clip.failure)


def _legend() -> Element:
    """What + and − before a label mean."""
    return node(
        "p",
        {"class": "muted", "id": "legend"},
        *(span("chip extra", "+ Class"), ": a stem that matches no reference; "),
        *(span("chip missed", "− Class"), ": a reference that no stem matches"),
    )


def _number(name: str, value: float | None, digits: int) -> Element:
    attributes = {"class": "number", "data-name": name} | ({} if value is None else {"data-value": repr(float(value))})
    return node("td", attributes, plain(value, digits))
