"""What a system declares beside its flow: knobs that are searched, options that are chosen, rows of its ablation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from s5cli.errors import UsageError, nearest
from s5cli.labels import CLASSES, N_CLASSES
from s5cli.scene import Floats, Ints

Axis = Literal["linear", "db", "logit"]
UNITS: Mapping[Axis, str] = {"linear": "", "db": "dB", "logit": "logit"}
DIGITS: Mapping[Axis, int] = {"linear": 6, "db": 2, "logit": 2}
"""Decimals to which values are searched and written on each axis."""
Plain = bool | int | float | str

# --- knobs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Knob:
    """One threshold: its default, the range that it may be in, how a tuner searches it, whether classes may differ.

    `axis` says what kind of number it is and how finely it is searched: a plain number or probability, a level in dB, a
    raw logit. An end of the range may be infinite where the threshold can switch a rule off; `span` then says where the
    finite values lie that are searched. Knobs of one `stage` are searched together; stages follow one another as a
    flow's table of knobs has them.
    """

    default: float
    low: float
    high: float
    axis: Axis = "linear"
    per_class: bool = False
    stage: str = "thresholds"
    span: tuple[float, float] | None = None  # None: from low to high

    @property
    def searched(self) -> tuple[float, float]:
        """The finite ends of what is searched.

        Raises:
            ValueError: an infinite range without a span.
        """
        low, high = self.span or (self.low, self.high)
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"a knob from {self.low} to {self.high} needs a span of finite values to search")
        return low, high

    def grid(self, n_points: int, *others: float) -> list[float]:
        """Evenly spaced values on the knob's axis, with its default, others, and infinite ends beside them.

        >>> Knob(0.3, 0, 1).grid(3, 0.7)
        [0.0, 0.3, 0.5, 0.7, 1.0]
        >>> Knob(0, -math.inf, math.inf, "logit", span=(-4, 4)).grid(3)
        [-inf, -4.0, 0.0, 4.0, inf]
        """
        ends = [end for end in (self.low, self.high) if math.isinf(end)]
        values = np.concatenate([np.linspace(*self.searched, n_points), [self.default, *others]])
        finite = values[np.isfinite(values)]
        return [float(value) for value in np.unique([*np.round(finite, DIGITS[self.axis]), *ends])]

    def near(self, value: float, n_points: int) -> list[float]:
        """The grid, and around a value the steps of a grid ten times as fine."""
        low, high = self.searched
        step = (high - low) / (n_points - 1)
        around = value + step * np.linspace(-1, 1, 21) if math.isfinite(value) else np.array([])
        return self.grid(n_points, *np.clip(around, low, high).tolist())

    def distance(self, value: float | Floats) -> float:
        """How far values are from the default on average, the searched range counting as 1, infinity as 1 too."""
        low, high = self.searched
        if isinstance(value, float):  # a search asks this of every setting, and NumPy is slow with single numbers
            return abs(min(max(value, low), high) - min(max(self.default, low), high)) / (high - low)
        away = np.abs(np.clip(value, low, high) - np.clip(self.default, low, high)) / (high - low)
        return float(np.mean(away))


def per_stage(name: str, knob: Knob, n_stages: int) -> dict[str, Knob]:
    """One knob for each of a system's like stages, `<name>_1` and so on, searched stage after stage.

    >>> list(per_stage("silence", Knob(0.5, 0, 1), 2))
    ['silence_1', 'silence_2']
    """
    return {f"{name}_{stage}": replace(knob, stage=f"stage {stage}") for stage in range(1, n_stages + 1)}


# --- options ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Option:
    """A choice that is made and not searched: its type is that of its default."""

    default: Plain
    help: str
    choices: tuple[Plain, ...] = ()  # all that it may be; none: anything of its type
    low: float = -math.inf  # of a number
    high: float = math.inf

    def parsed(self, name: str, given: object) -> Plain:
        """What was given, as a value of the option's type; text is read as a command line writes it.

        Raises:
            UsageError: it is of another type, out of range, or none of the choices.

        >>> Option(3, "number of stages", low=1).parsed("stages", "2"), Option(True, "").parsed("x", "off")
        (2, False)
        """
        value = self._read(given)
        is_beyond = isinstance(value, int | float) and not self.low <= value <= self.high
        if value is None or is_beyond or (self.choices and value not in self.choices):
            hint = nearest(str(given), map(str, self.choices))
            raise UsageError(f"option {name!r} is {given!r}{hint}; give {self.expected}")
        return value

    def _read(self, given: object) -> Plain | None:
        """None where it cannot be read as the option's type."""
        kind = type(self.default)
        if kind is bool:
            words = dict.fromkeys(("true", "on", "yes", "1"), True) | dict.fromkeys(("false", "off", "no", "0"), False)
            return words.get(str(given).lower()) if isinstance(given, str | bool) else None
        if isinstance(given, bool):
            return None
        if kind is float and isinstance(given, int | float):
            return float(given)
        if isinstance(given, kind) and not isinstance(given, str):
            return given
        if not isinstance(given, str):
            return None
        try:
            return kind(given)
        except ValueError:
            return None

    @property
    def expected(self) -> str:
        """What may be given, in words."""
        if self.choices:
            return " or ".join(str(choice) for choice in self.choices)
        word = {bool: "on or off", int: "a whole number", float: "a number", str: "a text"}[type(self.default)]
        ends = [f"from {self.low:g}"] * math.isfinite(self.low) + [f"to {self.high:g}"] * math.isfinite(self.high)
        return " ".join([word, *ends])


# --- a system's values ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """One value for every knob of a system (18 of them where classes differ), and one for every option."""

    values: Mapping[str, float | Floats]
    options: Mapping[str, Plain] = field(default_factory=dict)

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

    def moved(self, values: Mapping[str, float | Floats]) -> "Setting":
        """The same with other values for some knobs."""
        return Setting({**self.values, **values}, self.options)

    @property
    def key(self) -> bytes:
        """Equal settings, equal keys: a table of equal values is one value."""
        rows = [np.ravel(self.values[name]).astype(np.float64) for name in sorted(self.values)]
        knobs = b"|".join((row[:1] if (row == row[0]).all() else row).tobytes() for row in rows)
        return knobs + repr(sorted(self.options.items())).encode()

    def to_json(self) -> dict[str, float | str | dict[str, float | str]]:
        """The knobs as JSON holds them: a number, or a table by class; infinity, which JSON does not know, as text.

        >>> Setting({"drop": 0.5, "energy_db": -math.inf}).to_json()
        {'drop': 0.5, 'energy_db': '-inf'}
        """
        return {
            name: dict(zip(CLASSES, map(finite_or_text, value.tolist()), strict=True))
            if isinstance(value, np.ndarray)
            else finite_or_text(value)
            for name, value in self.values.items()
        }


def finite_or_text(value: float) -> float | str:
    """A number, infinity as text."""
    return value if math.isfinite(value) else str(value)


def setting(
    knobs: Mapping[str, Knob],
    given: Mapping[str, float | Mapping[str, float]] | None = None,
    options: Mapping[str, Option] | None = None,
    chosen: Mapping[str, object] | None = None,
) -> Setting:
    """Defaults, overridden by `given` knobs (a number, or a table from class name to number, other classes keep the
    default) and `chosen` options.

    Raises:
        UsageError: an unknown knob, option or class, a value outside its range, or a table for a knob without one.

    >>> setting({"drop": Knob(0.5, 0, 1, per_class=True)}, {"drop": {"Speech": 0.25}}).of("drop", np.array([15, 0]))
    array([0.25, 0.5 ])
    """
    values: dict[str, float | Floats] = {name: knob.default for name, knob in knobs.items()}
    for name, value in (given or {}).items():
        _check_known("knob", name, knobs)
        knob = knobs[name]
        values[name] = _table(name, knob, value) if isinstance(value, Mapping) else _number(name, knob, value)
    known = options or {}
    made: dict[str, Plain] = {name: option.default for name, option in known.items()}
    for name, text in (chosen or {}).items():
        _check_known("option", name, known)
        made[name] = known[name].parsed(name, text)
    return Setting(values, made)


def _check_known(kind: str, name: str, known: Mapping[str, Any]) -> None:
    if name not in known:
        raise UsageError(f"unknown {kind} {name!r}{nearest(name, known)}; this system has {', '.join(known) or 'none'}")


def _number(name: str, knob: Knob, value: object) -> float:
    if value in ("inf", "-inf"):  # as JSON holds them
        value = float(str(value))
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


def read_options(texts: Sequence[str]) -> dict[str, str]:
    """What `--option name=value` was given, several times perhaps.

    Raises:
        UsageError: no `=` in it, or a name given twice.

    >>> read_options(["stages=2", "whisper=off"])
    {'stages': '2', 'whisper': 'off'}
    """
    found: dict[str, str] = {}
    for one in texts:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise UsageError(f"option {one!r}; write it as name=value, such as stages=2")
        if name in found:
            raise UsageError(f"option {name!r} is given twice; give it once")
        found[name] = value
    return found


# --- ablation ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AblationRow:
    """One row of `s5 study ablation`: the system with something switched off, or given what it had to find out."""

    title: str  # may hold {name}, the system's name, and {ROLE}, the name of the part in that role
    knobs: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Plain] = field(default_factory=dict)
    without: tuple[str, ...] = ()  # roles of parts that are taken out
    true_labels: bool = False  # the references' classes are named to it
    tunable: bool = False  # whether thresholds are searched for it in `--tuned`
    flow: str | None = None  # another flow, "module:Class", made of this system's parts…
    roles: Mapping[str, str] = field(default_factory=dict)  # …in these roles of its own, each by a role of this system
