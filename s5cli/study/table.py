"""Rows of a study: what a paper's table shows of each system, beside what needs no separation at all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from s5cli.score.bootstrap import Interval
from s5cli.score.evaluate import Evaluation
from s5cli.score.metric import ReferenceProducts, trivial_scores
from s5cli.study.tuned import Tuned
from s5cli.tune.crossval import Gain
from s5cli.tune.result import finite
from s5cli.tune.score import Outcome

COLUMNS = (
    "", "CAPI-SDRi dB", "95 %", "over defaults dB", "95 %", "mixture %", "source %", "false alarms %",
    "best trivial dB", "margin dB", "SI-SDRi dB", "level dB",
    "two of a class dB", "correlation",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line of the table; None where there is nothing to take a mean of, or where it was not asked."""

    title: str
    capi_sdri_db: float | None
    interval: Interval | None
    accuracy_mixture_percent: float | None
    accuracy_source_percent: float | None
    false_alarm_percent: float | None
    trivial_db: float | None = None  # the best answer without separation, under the same labels
    si_sdri_db: float | None = None
    level_db: float | None = None
    twin_sdri_db: float | None = None  # of two stems of one class
    twin_correlation: float | None = None  # of these stems, median
    gain_db: float | None = None  # over the system's default thresholds, on the same clips
    gain_interval: Interval | None = None

    @property
    def margin_db(self) -> float | None:
        """What the separation adds to the best trivial answer."""
        if self.capi_sdri_db is None or self.trivial_db is None:
            return None
        return self.capi_sdri_db - self.trivial_db


def evaluated(title: str, found: Evaluation) -> Row:
    """A run as a row."""
    score = found.overall
    alike = [twins.correlation for clip in found.clips for twins in clip.twins if twins.correlation is not None]
    return Row(
        title=title,
        capi_sdri_db=score.capi_sdri_db,
        interval=score.intervals.get("capi_sdri_db"),
        accuracy_mixture_percent=score.accuracy_mixture_percent,
        accuracy_source_percent=score.accuracy_source_percent,
        false_alarm_percent=score.false_alarm_percent,
        trivial_db=found.own_trivial.best_db,
        si_sdri_db=score.si_sdri_db,
        level_db=score.level_db,
        twin_sdri_db=score.twin_sdri_db,
        twin_correlation=float(np.median(alike)) if alike else None,
    )


def tuned_rows(found: Tuned, products: Sequence[ReferenceProducts]) -> tuple[Row, Row]:
    """A search as two rows: on the clips that it looked at, without intervals, which would feign; and held out."""
    held_out, best = found.held_out, found.best
    gain = Gain(best.score_db - held_out.untuned.mean_db(), None)
    same = _replayed("  tuned, on the same clips", found, best.outcome, Gain(best.score_db, None), gain)
    title = f"  tuned, {len(held_out.folds)} folds held out"
    held = _replayed(title, found, held_out.tuned, held_out.score, held_out.gain)
    return (
        replace(same, trivial_db=trivial_scores(products, found.labels).best_db),
        replace(held, trivial_db=trivial_scores(products, held_out.labels).best_db),
    )


def _replayed(title: str, found: Tuned, outcome: Outcome, score: Gain, gain: Gain) -> Row:
    return Row(
        title=title,
        capi_sdri_db=finite(score.mean_db),
        interval=score.interval,
        accuracy_mixture_percent=finite(outcome.accuracy_mixture_percent()),
        accuracy_source_percent=finite(outcome.accuracy_source_percent()),
        false_alarm_percent=found.false_alarm_percent(outcome),
        gain_db=finite(gain.mean_db),
        gain_interval=gain.interval,
    )


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """The rows as a table in Markdown, its columns aligned; columns that say nothing are left out."""
    cells = [[cell or "–" for cell in _cells(row)] for row in rows]
    told = [column for column in range(len(COLUMNS)) if any(line[column] != "–" for line in cells)]
    table = [[line[column] for column in told] for line in (COLUMNS, *cells)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    head, *rest = (_joined(line, widths) for line in table)
    yield head
    yield _joined(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])], widths)
    yield from rest


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Text to the left, numbers to the right."""
    padded = [
        cell.rjust(width) if at else cell.ljust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.title,
        _number(row.capi_sdri_db),
        _ends(row.interval),
        _number(row.gain_db, "+"),
        _ends(row.gain_interval, "+"),
        _number(row.accuracy_mixture_percent, digits=1),
        _number(row.accuracy_source_percent, digits=1),
        _number(row.false_alarm_percent, digits=1),
        _number(row.trivial_db),
        _number(row.margin_db, "+"),
        _number(row.si_sdri_db),
        _number(row.level_db),
        _number(row.twin_sdri_db),
        _number(row.twin_correlation),
    )


def _number(value: float | None, sign: str = "", digits: int = 2) -> str:
    return "" if value is None else f"{value:{sign}.{digits}f}"


def _ends(interval: Interval | None, sign: str = "") -> str:
    return "" if interval is None else f"{interval.low:{sign}.2f} to {interval.high:{sign}.2f}"
