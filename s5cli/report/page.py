"""The page of a clip: what came in, what came out beside what should have, and the decision trail of every query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from s5cli.report.cards import sound_section
from s5cli.report.collect import Clip
from s5cli.report.flags import Flag
from s5cli.report.markup import Node, document, node, span
from s5cli.report.sounds import Missing, Track
from s5cli.report.trail import trail_section
from s5cli.report.wording import plain
from s5cli.score.clip import ClipResult

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
    record = page.clip.record
    content = [_heading(page), *_notices(page), sound_section(page.clip, page.tracks, page.result)]
    if record.queries:
        content.append(trail_section(record))
    return document(record.name, ROOT, "clip.js", _navigation(page.place), node("main", {"id": "main"}, *content))


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
        yield _fact("false alarms", str(result.score.fp))
        yield _fact("missed", str(result.score.fn))
    durations = [track.duration_s for track in page.tracks if isinstance(track, Track)]
    if durations:
        yield _fact("length", f"{durations[0]:.2f} s")
    if page.clip.record.clipped_samples:
        yield _fact("clipped", f"{page.clip.record.clipped_samples} samples")
    if page.clip.mixture is not None:
        yield _fact("mixture", str(page.clip.mixture))


def _fact(name: str, value: str) -> Element:
    return node("div", {}, node("dt", {}, name), node("dd", {}, value))


def _notices(page: Page) -> Iterator[Element]:
    record = page.clip.record
    if record.failure is not None:
        yield node("p", {"class": "notice bad"}, node("strong", {}, "Not separated. "), record.failure)
    for trouble in page.troubles:
        yield node("p", {"class": "notice bad"}, trouble)
    for warning in record.warnings:
        yield node("p", {"class": "notice warn"}, node("strong", {}, "Warning. "), warning)
