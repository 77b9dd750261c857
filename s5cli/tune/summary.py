"""A result in words and columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from s5cli.score.bootstrap import Interval
from s5cli.tune.crossval import NONE_DB
from s5cli.tune.result import Result, plain
from s5cli.tune.score import Outcome


def lines(result: Result) -> Iterator[str]:
    """What a person wants to know of a search, line by line."""
    yield f"{result.system}, {len(result.tuned.unseen)} clips of {result.data}"
    yield ""
    yield f"{'':28}{'CAPI-SDRi':>10}{'mixture %':>11}{'source %':>10}"
    yield _row("defaults", result.untuned)
    yield _row("tuned, on the same clips", result.tuned)
    if result.held_out:
        label = f"tuned, {len(result.held_out.folds)} folds held out"
        yield _row(label, result.held_out.tuned) + _bracket(result.held_out.score.interval)
        gain = result.held_out.gain
        yield f"{'gain on held-out clips':28}{gain.mean_db:+10.3f}{'':21}{_bracket(gain.interval)}"
    yield ""
    yield from _stages(result)
    yield from _margin(result)
    yield ""
    for name, value in result.setting.values.items():
        yield f"{name:28}{_value(plain(value))}"
    yield ""
    yield _effort(result)
    yield from (f"warning: {warning}" for warning in result.warnings)


def _row(label: str, outcome: Outcome) -> str:
    numbers = (outcome.mean_db(), outcome.accuracy_mixture_percent(), outcome.accuracy_source_percent())
    return f"{label:28}{numbers[0]:10.3f}{numbers[1]:11.2f}{numbers[2]:10.2f}"


def _bracket(interval: Interval | None) -> str:
    return "" if interval is None else f"  95 %: {interval.low:+.3f} to {interval.high:+.3f} dB"


def _stages(result: Result) -> Iterator[str]:
    before = None
    for one in result.milestones:
        gain = "" if before is None else f"{one.best.score_db - before:+10.3f}"
        yield f"{'after ' + one.stage:28}{one.best.score_db:10.3f}{gain}"
        before = one.best.score_db


def _margin(result: Result) -> Iterator[str]:
    found = result.held_out.by_margin_db if result.held_out else {}
    if len(found) > 1:
        tried = ", ".join(f"{_named(margin)}: {score:.3f}" for margin, score in sorted(found.items()))
        yield f"held-out score by the margin for values of single classes (dB): {tried}"


def _named(margin_db: float) -> str:
    return "none" if margin_db == NONE_DB else f"{margin_db:g}"


def _value(value: float | Mapping[str, float]) -> str:
    if isinstance(value, float):
        return f"{value:10.4g}"
    return "  " + ", ".join(f"{label} {number:.4g}" for label, number in value.items())


def _effort(result: Result) -> str:
    effort = result.effort
    unresolved = f"; {effort.unresolved} of them ask what nobody has asked yet, and were not scored"
    return (
        f"{effort.settings} settings replayed on all clips{unresolved if effort.unresolved else ''};"
        f" networks ran for {effort.new_lists} query lists beyond those of the defaults"
    )
