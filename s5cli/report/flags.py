"""Short words that make a clip worth a look, each with its meaning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from s5cli.report.record import Record
from s5cli.score.clip import ClipResult

LOW_CONFIDENCE = 0.5
Tone = Literal["bad", "warn", "calm"]


@dataclass(frozen=True)
class Flag:
    """A word, what it means, and how alarming it is."""

    name: str
    meaning: str
    tone: Tone


FAILED = Flag("failed", "the run could not separate the clip", "bad")
INCOMPLETE = Flag("incomplete", "audio that should be there is missing or damaged", "bad")
FALSE_ALARM = Flag("false alarm", "a stem whose class no reference has, or one too many", "bad")
MISSED = Flag("missed", "a reference without a stem of its class", "bad")
WORSE = Flag("worse than mixture", "a matched stem is further from its reference than the mixture is", "bad")
CLIPPED = Flag("clipped", "stems went over full scale and were cut there", "warn")
WARNING = Flag("warning", "the run warned of something", "warn")
LOW = Flag("low confidence", "a stem was reported with little confidence", "warn")
DROPPED = Flag("dropped", "a query was asked, and its stem was then judged not to be there", "calm")
CROWDED = Flag("crowded out", "a query was believed, but the slots went to others", "calm")
NO_TARGETS = Flag("no targets", "nothing was reported", "calm")
FLAGS = (
    FAILED,
    INCOMPLETE,
    FALSE_ALARM,
    MISSED,
    WORSE,
    CLIPPED,
    WARNING,
    LOW,
    DROPPED,
    CROWDED,
    NO_TARGETS,
)


def flags_of(
    record: Record, result: ClipResult | None, is_incomplete: bool = False, low_confidence: float = LOW_CONFIDENCE
) -> tuple[Flag, ...]:
    """The flags of a clip in the order of `FLAGS`; `result` where it was scored.

    >>> [flag.name for flag in flags_of(Record("a", failure="not audio"), None)]
    ['failed']
    """
    if record.failure is not None:
        return (FAILED,)
    raised = {*_of_record(record, low_confidence), *(_of_score(result) if result else ())}
    if is_incomplete:
        raised.add(INCOMPLETE)
    return tuple(flag for flag in FLAGS if flag in raised)


def _of_record(record: Record, low_confidence: float) -> Iterator[Flag]:
    if record.clipped_samples:
        yield CLIPPED
    if record.warnings:
        yield WARNING
    if any(stem.confidence is not None and stem.confidence < low_confidence for stem in record.stems):
        yield LOW
    if any(query.dropped_by in {"verify", "gate"} for query in record.queries):
        yield DROPPED
    if any(query.dropped_by == "rank" for query in record.queries):
        yield CROWDED
    if not record.stems:
        yield NO_TARGETS


def _of_score(result: ClipResult) -> Iterator[Flag]:
    if result.score.fp:
        yield FALSE_ALARM
    if result.score.fn:
        yield MISSED
    if any(pair.sdri_db < 0 for pair in result.score.pairs):
        yield WORSE
