"""What a search found: thresholds, and all that is needed to judge them, as a TOML file that `s5 separate` takes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s5cli.errors import UsageError
from s5cli.knobs import Setting, finite_or_text
from s5cli.labels import CLASSES
from s5cli.scene import Floats
from s5cli.score.bootstrap import Interval
from s5cli.tune.crossval import NONE_DB, HeldOut
from s5cli.tune.score import Outcome
from s5cli.tune.search import Milestone
from s5cli.tune.trials import Effort
from s5cli.weights.places import read_toml, toml_value

Table = Mapping[str, Any]


@dataclass(frozen=True)
class Result:
    """Thresholds for a system, and how they were come by."""

    system: str
    setting: Setting
    untuned: Outcome
    tuned: Outcome
    milestones: tuple[Milestone, ...]
    held_out: HeldOut | None  # None: nothing to tune, or no folds
    seed: int
    data: str  # folder
    fingerprint: str  # of the data
    weights: Mapping[str, str]  # sha256 by part
    effort: Effort
    program: str
    date: str

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against taking the thresholds."""
        return tuple(_warnings(self))

    def to_json(self) -> dict[str, Any]:
        """Everything, numbers in the unit that their name ends with; an infinite margin as None, meaning never."""
        return {
            "system": self.system,
            "program": self.program,
            "date": self.date,
            "options": dict(self.setting.options),
            "knobs": {name: plain(value) for name, value in self.setting.values.items()},
            "score": {"tuned": scores(self.tuned), "default": scores(self.untuned)},
            "stages": [{"stage": one.stage, "capi_sdri_db": one.best.score_db} for one in self.milestones],
            "held_out": _held_out(self.held_out, self.seed) if self.held_out else {},
            "data": {"folder": self.data, "clips": len(self.tuned.unseen), "fingerprint": self.fingerprint},
            "weights": dict(self.weights),
            "search": vars(self.effort),
            "warnings": list(self.warnings),
        }

    def to_toml(self) -> str:
        """The same, in the form of a thresholds file."""
        return "".join(f"{line}\n" for line in toml(self.to_json()))


def check_place(path: Path) -> None:
    """Finds out before a long search whether its result can be written.

    Raises:
        UsageError: the folder does not exist, the path is one, or something else than an earlier result lies there.
    """
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; name a file for the thresholds")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path}: its folder does not exist; make it, or name another file")
    if path.is_file() and path.stat().st_size and not _is_result(path):
        raise UsageError(f"{path}: is there and no result of `s5 tune`; name another file, so that it is not lost")


def _is_result(path: Path) -> bool:
    try:
        return {"program", "system", "knobs", "search"} <= read_toml(path).keys()
    except (OSError, ValueError):
        return False


def _warnings(result: Result) -> Iterator[str]:
    held_out = result.held_out
    if held_out is None:
        return
    gain, interval = held_out.gain.mean_db, held_out.gain.interval
    if not gain > 0:
        yield (
            f"tuning does not transfer: clips that it has not seen change by {gain:+.3f} dB against the defaults;"
            " keep the defaults, or tune on more data"
        )
    elif interval is None or interval.low <= 0:
        low, high = (interval.low, interval.high) if interval else (math.nan, math.nan)
        yield (
            f"it is not certain that tuning transfers: on clips that it has not seen it gains {gain:+.3f} dB,"
            f" 95 % interval {low:+.3f} to {high:+.3f}"
        )
    if len(held_out.by_margin_db) > 1 and held_out.margin_db == NONE_DB:
        yield "values for single classes gain nothing on clips that the search has not seen; all classes are left alike"


def scores(outcome: Outcome) -> dict[str, float | None]:
    """Score and accuracies over all clips; None where there is nothing to take a mean of."""
    values = {
        "capi_sdri_db": outcome.mean_db(),
        "accuracy_mixture_percent": outcome.accuracy_mixture_percent(),
        "accuracy_source_percent": outcome.accuracy_source_percent(),
    }
    return {name: finite(value) for name, value in values.items()}


def _held_out(found: HeldOut, seed: int) -> dict[str, Any]:
    return {
        **scores(found.tuned),
        "interval_db": ends(found.score.interval),
        "gain_db": finite(found.gain.mean_db),
        "gain_interval_db": ends(found.gain.interval),
        "folds": len(found.folds),
        "seed": seed,
        "margin_db": finite(found.margin_db),
        "by_margin": [
            {"margin_db": finite(margin), "capi_sdri_db": finite(score)}
            for margin, score in sorted(found.by_margin_db.items())
        ],
        "by_fold": [
            {"clips": clips, "in_sample_db": finite(tuned), "held_out_db": finite(score)}
            for clips, tuned, score in found.folds
        ],
    }


def ends(interval: Interval | None) -> list[float] | None:
    """As JSON holds them."""
    return None if interval is None else [interval.low, interval.high]


def finite(value: float) -> float | None:
    """None where there was nothing to take a mean of, or for an infinite margin."""
    return value if math.isfinite(value) else None


def plain(value: float | Floats) -> float | str | dict[str, float | str]:
    """A knob as a thresholds file writes it: one number if all classes agree; infinity, which JSON lacks, as text."""
    numbers = [finite_or_text(float(number)) for number in np.ravel(value)]
    return numbers[0] if len(set(numbers)) == 1 else dict(zip(CLASSES, numbers, strict=True))


def toml(content: Table, path: str = "") -> Iterator[str]:
    """Plain values as lines of TOML; what is None is left out, since TOML has no such thing.

    >>> list(toml({"a": 1, "b": {"c": [0.5], "d": None}, "e": [{"f": "x"}]}))
    ['a = 1', '', '[b]', 'c = [0.5]', '', '[[e]]', 'f = "x"']
    """
    tables = {key: value for key, value in content.items() if isinstance(value, Mapping)}
    lists = {key: value for key, value in content.items() if _of_tables(value)}
    for key, value in content.items():
        if key not in tables and key not in lists and value is not None:
            yield f"{key} = {toml_value(value)}"
    for key, value in tables.items():
        yield from ("", f"[{path}{key}]")
        yield from toml(value, f"{path}{key}.")
    for key, value in lists.items():
        for one in value:
            yield from ("", f"[[{path}{key}]]")
            yield from toml(one, f"{path}{key}.")


def _of_tables(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(one, Mapping) for one in value)


# --- in words and columns ---------------------------------------------------------------------------------------------


def lines(result: Result) -> Iterator[str]:
    """What a person wants to know of a search, line by line."""
    yield f"{result.system}, {len(result.tuned.unseen)} clips of {result.data}"
    yield ""
    yield f"{'':28}{'CAPI-SDRi':>10}{'mixture %':>11}{'source %':>10}"
    yield _row("defaults", result.untuned)
    if not result.setting.values:
        yield from ("", f"{result.system} has no thresholds, so there is nothing to search; this is its score as it is")
        return
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
        yield f"{name:28}{_knob(plain(value))}"
    for name, chosen in result.setting.options.items():
        yield f"{'option ' + name:28}{chosen!s:>10}"
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


def _knob(value: float | str | Mapping[str, float | str]) -> str:
    if isinstance(value, Mapping):
        return "  " + ", ".join(f"{label} {float(number):.4g}" for label, number in value.items())
    return f"{float(value):10.4g}"


def _effort(result: Result) -> str:
    effort = result.effort
    unresolved = f"; {effort.unresolved} of them ask for more query lists than allowed, and were not scored"
    return (
        f"{effort.settings} settings replayed on all clips{unresolved if effort.unresolved else ''};"
        f" {effort.new_lists} query lists asked beyond those of the defaults"
    )
