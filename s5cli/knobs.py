"""Knobs: every threshold of every system, declared once beside its flow with default, range and axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from s5cli.errors import UsageError, nearest
from s5cli.labels import CLASSES, N_CLASSES
from s5cli.scene import Floats, Ints

Axis = Literal["linear", "db", "logit"]


@dataclass(frozen=True)
class Knob:
    """One threshold: its default, the range a tuner searches and that range's axis, whether classes may differ.

    Knobs of one `stage` are searched together; stages follow one another as a flow's table of knobs has them.
    """

    default: float
    low: float
    high: float
    axis: Axis = "linear"
    per_class: bool = False
    stage: str = "thresholds"


@dataclass(frozen=True)
class Setting:
    """One value for every knob of a system; a per-class knob may hold 18 values."""

    values: Mapping[str, float | Floats]

    def scalar(self, name: str) -> float:
        """The value of a knob that is the same for all classes."""
        value = self.values[name]
        if isinstance(value, np.ndarray):
            raise UsageError(f"knob {name!r} takes one value, not one per class")
        return float(value)

    def of(self, name: str, classes: Ints) -> Floats:
        """The knob's value for each class index in `classes` (any shape; empty slots get class 0's, mask them)."""
        value = np.asarray(self.values[name], dtype=np.float64)
        if value.ndim == 0:
            return np.broadcast_to(value, classes.shape)
        return value.take(np.maximum(classes, 0).T).T  # in the order that the classes have in memory


def setting(knobs: Mapping[str, Knob], given: Mapping[str, float | Mapping[str, float]] | None = None) -> Setting:
    """Defaults, overridden by `given` (a number, or a table from class name to number, other classes keep the default).

    Raises:
        UsageError: an unknown knob or class, a value outside the knob's range, or a table for a knob without one.

    >>> setting({"drop": Knob(0.5, 0, 1, per_class=True)}, {"drop": {"Speech": 0.25}}).of("drop", np.array([15, 0]))
    array([0.25, 0.5 ])
    """
    values: dict[str, float | Floats] = {name: knob.default for name, knob in knobs.items()}
    for name, value in (given or {}).items():
        if name not in knobs:
            raise UsageError(
                f"unknown knob {name!r}{nearest(name, knobs)}; this system has {', '.join(knobs) or 'none'}"
            )
        values[name] = (
            _table(name, knobs[name], value) if isinstance(value, Mapping) else _number(name, knobs[name], value)
        )
    return Setting(values)


def _number(name: str, knob: Knob, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"knob {name!r} must be a number, not {value!r}")
    if not knob.low <= value <= knob.high:
        raise UsageError(f"knob {name!r} is {value}, outside {knob.low} to {knob.high}")
    return float(value)


def _table(name: str, knob: Knob, value: Mapping[str, object]) -> Floats:
    if not knob.per_class:
        raise UsageError(f"knob {name!r} takes one value, not one per class")
    table = np.full(N_CLASSES, knob.default)
    for label, number in value.items():
        if label not in CLASSES:
            raise UsageError(f"knob {name!r} names an unknown class {label!r}{nearest(label, CLASSES)}")
        table[CLASSES.index(label)] = _number(f"{name}.{label}", knob, number)
    return table
