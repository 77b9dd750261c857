"""The decision trail of a clip as a table: a row for each query, with what it met on its way."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from s5cli.explain import QueryLife
from s5cli.report.markup import Node, node, span
from s5cli.report.record import Record
from s5cli.report.wording import NONE, decibels, plain

COLUMNS = ("Query", "Slot", "Proposed by", "Fused", "Support", "Energy", "Separator", "Outcome")


def trail_section(record: Record) -> Element:
    """Queries in the order in which the record has them, window by window: those that were asked first."""
    bodies = (
        [_body(window.queries, f"Window from {window.start_s:g} s") for window in record.windows]
        if record.windows
        else [_body(record.queries)]
    )
    table = node(
        "table",
        {"class": "trail"},
        node("thead", {}, node("tr", {}, *(node("th", {"scope": "col"}, name) for name in COLUMNS))),
        *bodies,
    )
    scroll = {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": "Decision trail"}
    heading = node("h2", {"id": "trail"}, "Decision trail")
    return node("section", {"aria-labelledby": "trail"}, heading, node("div", scroll, table))


def _body(queries: Sequence[QueryLife], title: str = "") -> Element:
    head = node("th", {"colspan": str(len(COLUMNS)), "scope": "rowgroup"}, title)
    rows = [_query_row(query) for query in queries]
    return node("tbody", {}, *([node("tr", {"class": "window"}, head)] if title else ()), *rows)


def _query_row(query: QueryLife) -> Element:
    cells = (
        NONE if query.slot is None else str(query.slot),
        ", ".join(f"{proposal.tagger} {plain(proposal.probability)}" for proposal in query.proposals) or NONE,
        plain(query.confidence),
        _supports(query),
        decibels(query.energy_db),
        query.separator or NONE,
    )
    state = "kept" if query.reported is not None else "asked" if query.slot is not None else "unasked"
    return node(
        "tr",
        {"class": state},
        node("th", {"scope": "row"}, query.label),
        *(node("td", {}, cell) for cell in cells),
        node("td", {"class": "outcome"}, *_outcome(query)),
    )


def _supports(query: QueryLife) -> str:
    """In the order in which they were found, without repeating one."""
    found = (query.support_first, query.support_second, query.support)
    return " → ".join(dict.fromkeys(plain(support) for support in found if support is not None)) or NONE


def _outcome(query: QueryLife) -> tuple[Node, ...]:
    if query.reported is not None:
        return (node("a", {"href": f"#stem-{query.reported}"}, f"stem {query.reported}"),)
    reason = query.reason or "not reported"
    return (span("by", query.dropped_by), f": {reason}") if query.dropped_by else (reason,)
