"""The page of a clip: what came in, what came out beside what should have, and the decision trace of every query."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from s5cli.report.cards import sound_section
from s5cli.report.collect import Clip
from s5cli.report.flags import Flag
from s5cli.report.markup import NONE, Node, document, named, node, plain, span
from s5cli.report.sounds import Missing, Track
from s5cli.run.record import ClipReport
from s5cli.score.clip import ClipResult
from s5cli.trace import QueryTrace

ROOT = "../../"


@dataclass(frozen=True)
class Place:
    """Where a clip stands among all; keys of its neighbours in name order, None at the ends."""

    key: str
    number: int  # from 1
    n_clips: int
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Page:
    """All that the page of a clip shows."""

    clip: Clip
    place: Place
    tracks: tuple[Track | Missing, ...]
    result: ClipResult | None
    flags: tuple[Flag, ...]
    troubles: tuple[str, ...]  # of which the tracks do not speak themselves


def page_html(page: Page) -> bytes:
    """The page, which lies two folders below the report's own."""
    clip = page.clip
    content = [_heading(page), *_notices(page), sound_section(clip, page.tracks, page.result)]
    if clip.report is not None and clip.queries:
        content.append(_trace(clip.report))
    return document(clip.name, ROOT, "clip.js", _navigation(page.place), node("main", {"id": "main"}, *content))


# --- the top ----------------------------------------------------------------------------------------------------------


def _navigation(place: Place) -> Element:
    return node(
        "header",
        {"class": "bar"},
        node("a", {"href": f"{ROOT}index.html", "id": "up"}, "← All clips"),
        node(
            "nav",
            {"aria-label": "Clips", "class": "walk", "data-key": place.key},
            _neighbour("previous", "Previous", place.before),
            span("muted numbers", f"{place.number} of {place.n_clips}"),
            _neighbour("next", "Next", place.after),
        ),
        node("span", {"class": "tools", "id": "tools"}),
    )


def _neighbour(name: str, text: str, key: str | None) -> Element:
    link = {"id": name, "rel": name[:4]}
    return node("a", link | ({"href": f"../{key}/index.html"} if key else {"aria-disabled": "true"}), text)


def _heading(page: Page) -> Element:
    lines: list[Node] = [node("h1", {}, page.clip.name)]
    if page.flags:
        lines.append(node("p", {"class": "flags"}, *(flag_mark(flag) for flag in page.flags)))
    facts = [*_facts(page)]
    if facts:
        lines.append(node("dl", {"class": "facts"}, *facts))
    return node("div", {"class": "heading"}, *lines)


def flag_mark(flag: Flag) -> Element:
    return node("span", {"class": f"flag {flag.tone}", "title": flag.meaning}, flag.name)


def _facts(page: Page) -> Iterator[Element]:
    result = page.result
    if result is not None:
        yield _fact("CAPI-SDRi", f"{plain(result.score.capi_sdri_db)} dB")
        yield _fact("matched", str(result.score.tp))
        yield _fact("surplus", str(result.score.fp))
        yield _fact("missed", str(result.score.fn))
    durations = [track.duration_s for track in page.tracks if isinstance(track, Track)]
    if durations:
        yield _fact("length", f"{durations[0]:.2f} s")
    if page.clip.report is not None and page.clip.report.clipped_samples:
        yield _fact("clipped", f"{page.clip.report.clipped_samples} samples")
    if page.clip.mixture is not None:
        yield _fact("mixture", str(page.clip.mixture))


def _fact(name: str, value: str) -> Element:
    return node("div", {}, node("dt", {}, name), node("dd", {}, value))


def _notices(page: Page) -> Iterator[Element]:
    if page.clip.failure is not None:
        yield node("p", {"class": "notice bad"}, node("strong", {}, "Not separated. "), page.clip.failure)
    for trouble in page.troubles:
        yield node("p", {"class": "notice bad"}, trouble)
    for warning in page.clip.report.warnings if page.clip.report else ():
        yield node("p", {"class": "notice warn"}, node("strong", {}, "Warning. "), warning)


# --- the decision trace -----------------------------------------------------------------------------------------------


def _trace(report: ClipReport) -> Element:
    """A table with a row for each query, in the order and under the names that the system gave, window by window."""
    stages = stage_names(report.trace.queries)
    columns = ("Query", "Slot", "Confidence", *stages, "Outcome")
    windows = [(f"Window from {start_s:g} s", trace.queries) for start_s, trace in report.by_window]
    bodies = [_body(queries, stages, title) for title, queries in windows or [("", report.trace.queries)]]
    head = node("thead", {}, node("tr", {}, *(node("th", {"scope": "col"}, name) for name in columns)))
    scroll = {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": "Decision trace"}
    table = node("div", scroll, node("table", {"class": "trace"}, head, *bodies))
    return node("section", {"aria-labelledby": "trace"}, node("h2", {"id": "trace"}, "Decision trace"), table)


def stage_names(queries: Iterable[QueryTrace]) -> list[str]:
    """The stages of several queries in one order; a stage that only some met stands after the one that it followed.

    >>> from s5cli.trace import Stage
    >>> met = (["tag", "end"], ["tag", "redo"])
    >>> a, b = (QueryTrace("Speech", 1, stages=tuple(map(Stage, names))) for names in met)
    >>> stage_names([a, b])
    ['tag', 'redo', 'end']
    """
    order: list[str] = []
    for query in queries:
        place = 0
        for stage in query.stages:
            if stage.name not in order:
                order.insert(place, stage.name)
            place = order.index(stage.name) + 1
    return order


def _body(queries: Sequence[QueryTrace], stages: Sequence[str], title: str) -> Element:
    head = node("th", {"colspan": str(len(stages) + 4), "scope": "rowgroup"}, title)
    rows = [_query_row(query, stages) for query in queries]
    return node("tbody", {}, *([node("tr", {"class": "window"}, head)] if title else ()), *rows)


def _query_row(query: QueryTrace, stages: Sequence[str]) -> Element:
    state = "kept" if query.reported is not None else "asked" if query.slot is not None else "unasked"
    return node(
        "tr",
        {"class": state},
        node("th", {"scope": "row"}, query.label),
        node("td", {}, NONE if query.slot is None else str(query.slot)),
        node("td", {}, plain(query.confidence)),
        *(node("td", {"class": "said"}, *_said(query, name)) for name in stages),
        node("td", {"class": "outcome"}, *_outcome(query)),
    )


def _said(query: QueryTrace, name: str) -> Iterator[Node]:
    """The numbers and notes of a stage; where it has neither, that the query met it."""
    met = [stage for stage in query.stages if stage.name == name]
    for stage in met:
        yield from (node("span", {}, named(number, value)) for number, value in stage.numbers.items())
        if stage.note or not stage.numbers:
            yield span("muted", stage.note or "yes")
    if not met:
        yield NONE


def _outcome(query: QueryTrace) -> tuple[Node, ...]:
    if query.reported is not None:
        return (node("a", {"href": f"#stem-{query.reported}"}, f"stem {query.reported}"),)
    reason = query.reason or "not reported"
    return (span("by", query.dropped_by), f": {reason}") if query.dropped_by else (reason,)
