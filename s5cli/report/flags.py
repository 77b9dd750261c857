"""Short words that make a clip worth a look, each with its meaning."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from s5cli.report.collect import Clip
from s5cli.score.casa import SourcePair
from s5cli.score.clip import ClipResult
from s5cli.trace import Drop

LOW_CONFIDENCE = 0.5
ALIKE_DB = 3.0  # SDR from which a stem sounds like a reference: less than half of its energy is missing or wrong
Tone = Literal["bad", "warn", "calm"]


@dataclass(frozen=True)
class Flag:
    """A word, what it means, and how alarming it is."""

    name: str
    meaning: str
    tone: Tone


FAILED = Flag("failed", "the run could not separate the clip, or its record is damaged", "bad")
INCOMPLETE = Flag("incomplete", "audio that should be there is missing or damaged", "bad")
FALSE_ALARM = Flag("false alarm", "the clip has no targets and was given a stem", "bad")
SURPLUS = Flag("surplus stem", "a stem whose class no reference has, or one too many", "bad")
MISSED = Flag("missed", "a reference without a stem of its class", "bad")
WRONG_LABEL = Flag("wrong label", "a stem sounds like a reference of another class", "bad")
WORSE = Flag("worse than mixture", "a matched stem is further from its reference than the mixture is", "bad")
CLIPPED = Flag("clipped", "stems went over full scale and were cut there", "warn")
WARNING = Flag("warning", "the run warned of something", "warn")
LOW = Flag("low confidence", "a stem was reported with little confidence", "warn")
DROPPED = Flag("dropped", "a query was asked, and its stem was then not reported", "calm")
NOTHING = Flag("nothing reported", "no stem was reported", "calm")
ALARMS = (FAILED, INCOMPLETE, FALSE_ALARM, SURPLUS, MISSED, WRONG_LABEL, WORSE, CLIPPED, WARNING, LOW)


def all_flags(drops: Mapping[str, Drop]) -> tuple[Flag, ...]:
    """Every flag that a clip may have, the alarming first; `drops` are the rules that the run's system declares."""
    rules = (_flag_of(rule, drop) for rule, drop in drops.items() if drop.flagged)
    return (*ALARMS, *rules, DROPPED, NOTHING)


def flags_of(
    clip: Clip,
    result: ClipResult | None,
    drops: Mapping[str, Drop],
    is_incomplete: bool = False,
    low_confidence: float = LOW_CONFIDENCE,
) -> tuple[Flag, ...]:
    """The flags of a clip in the order of `all_flags`; `result` where it was scored.

    >>> [flag.name for flag in flags_of(Clip("a", None, "not audio", None, None), None, {})]
    ['failed']
    """
    if clip.report is None:
        return (FAILED,)
    raised = {*_of_report(clip, low_confidence), *_of_queries(clip, drops), *(_of_score(result) if result else ())}
    if is_incomplete:
        raised.add(INCOMPLETE)
    return tuple(flag for flag in all_flags(drops) if flag in raised)


def _of_report(clip: Clip, low_confidence: float) -> Iterator[Flag]:
    if clip.report is not None and clip.report.clipped_samples:
        yield CLIPPED
    if clip.report is not None and clip.report.warnings:
        yield WARNING
    if any(stem.confidence < low_confidence for stem in clip.stems):
        yield LOW
    if not clip.stems:
        yield NOTHING


def _of_queries(clip: Clip, drops: Mapping[str, Drop]) -> Iterator[Flag]:
    """Of a rule that the system declares its own flag, if it has one; else a general one for stems that were lost."""
    for query in clip.queries:
        drop = drops.get(query.dropped_by or "")
        if query.reported is None and query.dropped_by and drop:
            yield _flag_of(query.dropped_by, drop)
        elif query.reported is None and query.slot is not None:
            yield DROPPED


def _flag_of(rule: str, drop: Drop) -> Flag:
    return Flag(f"{DROPPED.name}: {rule}", drop.title, "calm")


def _of_score(result: ClipResult) -> Iterator[Flag]:
    if result.score.fp:
        yield SURPLUS if result.ref_labels else FALSE_ALARM
    if result.score.fn:
        yield MISSED
    if wrong_labels(result):
        yield WRONG_LABEL
    if any(pair.sdri_db < 0 for pair in result.score.pairs):
        yield WORSE


def wrong_labels(result: ClipResult) -> list[SourcePair]:
    """Pairs by sound of a surplus stem and a missed reference: alike, and the stem is closer than the mixture."""
    ests, refs = ({getattr(pair, side) for pair in result.score.pairs} for side in ("i_est", "i_ref"))
    return [
        pair
        for pair in result.sources.pairs
        if pair.i_est not in ests and pair.i_ref not in refs and pair.sdr_db >= ALIKE_DB and pair.sdri_db > 0
    ]
