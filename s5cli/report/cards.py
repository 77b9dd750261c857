"""The sounds of a clip on its page: a card for each, every stem beside the reference that it was matched with."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from xml.etree.ElementTree import Element

from s5cli.report.collect import Clip
from s5cli.report.flags import wrong_labels
from s5cli.report.markup import Node, decibels, named, node, plain, span
from s5cli.report.sounds import Missing, Source, Track
from s5cli.report.spectrogram import N_BANDS, RANGE_DB, TICKS_HZ, height_of
from s5cli.run.record import StemReport
from s5cli.score.clip import ClipResult

TIME_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
MOST_TICKS = 11
MATCHED, WRONG_LABEL, SURPLUS, FALSE_ALARM, MISSED = "matched", "wrong label", "surplus", "false alarm", "missed"


def sound_section(clip: Clip, tracks: Sequence[Track | Missing], result: ClipResult | None) -> Element:
    """The mixture, then stems and references; the number of a card is the key that plays it."""
    mixture, *others = tracks
    numbers = {track.source: number for number, track in enumerate(tracks, 1)}
    rows = [_row(clip, cards, numbers) for cards in _rows(result, others)]
    if clip.report is not None and not clip.stems:
        rows.insert(0, node("p", {"class": "nothing"}, "Nothing was reported in this clip."))
    if any(isinstance(track, Track) for track in tracks):
        scale = f"Mel spectrograms on one scale: white is the clip's loudest point, black {RANGE_DB:.0f} dB below it."
        rows.append(node("p", {"class": "legend muted"}, span("ramp"), scale))
    return node("section", {"aria-label": "Sounds", "class": "sounds"}, _card(mixture, 1, "", ()), *rows)


@dataclass(frozen=True)
class _Shown:
    """A stem or reference as it is shown; a verdict and scores where it was scored."""

    track: Track | Missing
    verdict: str = ""
    scores: tuple[str, ...] = ()


def _rows(result: ClipResult | None, tracks: Sequence[Track | Missing]) -> Iterator[tuple[_Shown, ...]]:
    """What stands side by side: pairs by label in the order of the stems, pairs by sound, and what is left over.

    Where nothing was scored, stems and references merely stand beside each other.
    """
    stems = {track.source.number: track for track in tracks if track.source.role == "stem"}
    references = {track.source.number: track for track in tracks if track.source.role == "reference"}
    if result is None:
        for both in zip_longest(stems.values(), references.values()):
            yield tuple(_Shown(track) for track in both if track is not None)
        return
    matched = zip(result.score.pairs, result.qualities, strict=True)
    for pair, quality in sorted(matched, key=lambda both: both[0].i_est):
        level = f"level {decibels(quality.level_db)}"
        scores = (f"SDRi {decibels(pair.sdri_db)}", f"SI-SDRi {decibels(quality.si_sdri_db)}", level)
        yield _Shown(stems.pop(pair.i_est), MATCHED, scores), _Shown(references.pop(pair.i_ref))
    for by_sound in wrong_labels(result):
        score = f"SDRi {decibels(by_sound.sdri_db)} by sound"
        yield _Shown(stems.pop(by_sound.i_est), WRONG_LABEL, (score,)), _Shown(references.pop(by_sound.i_ref), MISSED)
    surplus = [_Shown(stem, SURPLUS if result.ref_labels else FALSE_ALARM) for stem in stems.values()]
    left = [*surplus, *(_Shown(reference, MISSED) for reference in references.values())]
    yield from (tuple(left[first : first + 2]) for first in range(0, len(left), 2))


def _row(clip: Clip, cards: Sequence[_Shown], numbers: Mapping[Source, int]) -> Element:
    found = []
    for card in cards:
        source = card.track.source
        told = _opinions(clip.stems[source.number]) if source.role == "stem" else ()
        found.append(_card(card.track, numbers[source], card.verdict, (*told, *card.scores)))
    return node("div", {"class": "pair" if len(found) > 1 else "alone"}, *found)


def _opinions(stem: StemReport) -> Iterator[str]:
    """What the system says of a stem."""
    yield f"confidence {plain(stem.confidence)}"
    yield from (named(name, value) for name, value in stem.numbers.items())
    yield f"energy {decibels(stem.energy_db)}"


def _card(track: Track | Missing, number: int, verdict: str, facts: Sequence[str]) -> Element:
    source = track.source
    title = source.role.capitalize() + ("" if source.role == "mixture" else f" {source.number}")
    caption: list[Node] = [node("kbd", {}, str(number)), span("role", title), node("strong", {}, source.label)]
    if verdict:
        caption.append(node("span", {"class": f"flag {'good' if verdict == MATCHED else 'bad'}"}, verdict))
    told = [*facts, *(_of_track(track) if isinstance(track, Track) else ())]
    caption.append(span("details numbers", *(node("span", {}, fact) for fact in told)))
    attributes = {"class": f"track {source.role}", "id": f"{source.role}-{source.number}", "data-track": str(number)}
    label, player = f"{title}, {source.label}", {"controls": "", "preload": "metadata"}
    body = (
        (_picture(track, label), node("audio", player | {"src": track.audio_url, "aria-label": label}))
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
    size = {"width": str(track.picture_width), "height": str(N_BANDS)}
    image = {"src": track.picture_url, "alt": f"Spectrogram of {label}", **size, "loading": "lazy", "decoding": "async"}
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
