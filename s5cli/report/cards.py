"""The sounds of a clip on its page: a card for each, every stem beside the reference that it was matched with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from xml.etree.ElementTree import Element

from s5cli.report.collect import Clip
from s5cli.report.markup import Node, node, span
from s5cli.report.record import StemFile
from s5cli.report.sounds import Missing, Source, Track
from s5cli.report.spectrogram import N_BANDS, RANGE_DB, TICKS_HZ, height_of
from s5cli.report.wording import decibels, plain
from s5cli.score.clip import ClipResult

TIME_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
MOST_TICKS = 11


def sound_section(clip: Clip, tracks: Sequence[Track | Missing], result: ClipResult | None) -> Element:
    """The mixture, then stems and references; the number of a card is the key that plays it."""
    mixture, *others = tracks
    numbers = {track.source: number for number, track in enumerate(tracks, 1)}
    rows = [_row(clip, pair, numbers) for pair in _side_by_side(result, others)]
    if clip.record.failure is None and not clip.record.stems:
        rows.insert(0, node("p", {"class": "nothing"}, "No targets: the system reported nothing in this clip."))
    if any(isinstance(track, Track) for track in tracks):
        scale = f"Mel spectrograms on one scale: white is the clip's loudest point, black {RANGE_DB:.0f} dB below it."
        rows.append(node("p", {"class": "legend muted"}, span("ramp"), scale))
    return node(
        "section",
        {"aria-label": "Sounds", "class": "sounds" + (" paired" if clip.references else "")},
        _card(mixture, 1, "", ()),
        *rows,
    )


@dataclass(frozen=True)
class _Pair:
    """A stem and the reference it was matched with, or either alone; scores where it was matched."""

    stem: Track | Missing | None
    reference: Track | Missing | None
    verdict: str = ""
    scores: tuple[str, ...] = ()


def _side_by_side(result: ClipResult | None, tracks: Sequence[Track | Missing]) -> Iterator[_Pair]:
    """Matched pairs in the order of the stems, then stems without a reference, then references without a stem.

    Where nothing was scored they merely stand beside each other.
    """
    stems = {track.source.number: track for track in tracks if track.source.role == "stem"}
    references = {track.source.number: track for track in tracks if track.source.role == "reference"}
    if result is not None:
        both = zip(result.score.pairs, result.qualities, strict=True)
        for pair, quality in sorted(both, key=lambda matched: matched[0].i_est):
            scores = (
                f"SDRi {decibels(pair.sdri_db)}",
                f"SI-SDRi {decibels(quality.si_sdri_db)}",
                f"level {decibels(quality.level_db)}",
            )
            yield _Pair(stems.pop(pair.i_est), references.pop(pair.i_ref), "matched", scores)
        yield from (_Pair(stem, None, "false alarm") for stem in stems.values())
        yield from (_Pair(None, reference, "missed") for reference in references.values())
    else:
        yield from (_Pair(*both) for both in zip_longest(stems.values(), references.values()))


def _row(clip: Clip, pair: _Pair, numbers: dict[Source, int]) -> Element:
    cards: list[Node] = []
    if pair.stem is not None:
        stem = clip.record.stems[pair.stem.source.number]
        cards.append(_card(pair.stem, numbers[pair.stem.source], pair.verdict, (*_opinions(stem), *pair.scores)))
    elif clip.references:
        cards.append(_gap("No stem for this reference." if pair.verdict else ""))
    if pair.reference is not None:
        verdict = pair.verdict if pair.stem is None else ""
        cards.append(_card(pair.reference, numbers[pair.reference.source], verdict, ()))
    elif clip.references:
        cards.append(_gap("No reference for this stem." if pair.verdict else ""))
    return node("div", {"class": "pair"}, *cards)


def _gap(text: str) -> Element:
    return node("p", {"class": "nothing"}, text)


def _opinions(stem: StemFile) -> Iterator[str]:
    if stem.confidence is not None:
        yield f"confidence {plain(stem.confidence)}"
    if stem.support is not None:
        yield f"support {plain(stem.support)}"
    if stem.energy_db is not None:
        yield f"energy {decibels(stem.energy_db)}"
    if stem.separator is not None:
        yield f"separator {stem.separator}"


def _card(track: Track | Missing, number: int, verdict: str, facts: Sequence[str]) -> Element:
    source = track.source
    title = source.role.capitalize() + ("" if source.role == "mixture" else f" {source.number}")
    caption: list[Node] = [node("kbd", {}, str(number)), span("role", title), node("strong", {}, source.label)]
    if verdict:
        caption.append(node("span", {"class": f"flag {'good' if verdict == 'matched' else 'bad'}"}, verdict))
    told = [*facts, *(_of_track(track) if isinstance(track, Track) else ())]
    caption.append(span("details numbers", *(span("", fact) for fact in told)))
    attributes = {"class": f"track {source.role}", "id": f"{source.role}-{source.number}", "data-track": str(number)}
    label = f"{title}, {source.label}"
    body = (
        (_picture(track, label), _player(track, label))
        if isinstance(track, Track)
        else (node("p", {"class": "notice bad"}, track.trouble),)
    )
    return node("figure", attributes, node("figcaption", {}, *caption), *body)


def _of_track(track: Track) -> Iterator[str]:
    yield "silent" if track.peak_db is None else f"peak {decibels(track.peak_db)}FS"
    if track.gain_db:
        yield f"played at {decibels(track.gain_db)}"


def _picture(track: Track, label: str) -> Element:
    frequencies = [
        node("span", {"style": f"bottom:{100 * height_of(hz):.2f}%"}, f"{hz // 1000} k" if hz >= 1000 else str(hz))
        for hz in TICKS_HZ
    ]
    times = [
        node("span", {"style": f"left:{100 * tick_s / track.duration_s:.3f}%"}, f"{tick_s:g}")
        for tick_s in ticks_s(track.duration_s)
    ]
    image = {
        "src": track.picture_url,
        "alt": f"Spectrogram of {label}",
        "width": str(track.picture_width),
        "height": str(N_BANDS),
        "loading": "lazy",
        "decoding": "async",
    }
    return node(
        "div",
        {"class": "picture"},
        node("div", {"class": "hertz", "aria-hidden": "true"}, *frequencies),
        node("div", {"class": "screen"}, node("img", image), node("i", {"class": "cursor"})),
        node("div", {"class": "seconds", "aria-hidden": "true"}, *times, span("unit", "s")),
    )


def ticks_s(duration_s: float) -> list[float]:
    """Round times along a duration, at most eleven, the end itself left to the unit.

    >>> ticks_s(3.2)
    [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    """
    step_s = next((step for step in TIME_STEPS_S if duration_s / step <= MOST_TICKS), duration_s)
    return [round(index * step_s, 1) for index in range(math.ceil(0.97 * duration_s / step_s))]


def _player(track: Track, label: str) -> Element:
    return node("audio", {"controls": "", "preload": "metadata", "src": track.audio_url, "aria-label": label})
