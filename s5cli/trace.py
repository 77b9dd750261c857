"""The decision trace: what became of every query of a clip, in words and numbers that the system itself chose.

One generic record for all systems. `<clip>.json` holds it, `--explain` and the report show it, the tuner counts in it;
none of them knows the stages or rules of any system by name. A number's name ends in its unit (`energy_db`); one
without a unit is a probability or a share.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
UNITS = {"_db": "dB", "_s": "s", "_ms": "ms", "_hz": "Hz", "_deg": "°", "_percent": "%"}


@dataclass(frozen=True)
class Drop:
    """A rule by which a system drops queries, as it declares it."""

    title: str  # for tables and pictures
    flagged: bool = True  # whether a clip in which it dropped something deserves a look in a report


@dataclass(frozen=True)
class Stage:
    """What one stage of a system said of a query."""

    name: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    note: str = ""  # what is no number, such as which of two separators was taken

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = {"stage": self.name, "numbers": dict(self.numbers)}
        return plain | ({"note": self.note} if self.note else {})

    def __str__(self) -> str:
        """For people.

        >>> str(Stage("pass 1", {"support": 0.25, "energy_db": -6.02}))
        'pass 1: support 0.25, energy -6.0 dB'
        """
        told = [*(worded(name, value) for name, value in self.numbers.items()), *([self.note] if self.note else [])]
        return f"{self.name}: {', '.join(told)}" if told else self.name


@dataclass(frozen=True)
class QueryTrace:
    """What became of one query: asked for or not, what each stage said, and by whom it was dropped."""

    label: str
    confidence: float  # 0…1, how sure the system was of it when it chose its queries
    slot: int | None = None  # its place among the queries asked; None: it was proposed and not asked
    stages: tuple[Stage, ...] = ()  # in the order of the flow
    dropped_by: str | None = None  # one of the system's `drops`
    reason: str | None = None  # why, in a sentence
    reported: int | None = None  # the number in the stem's file name

    def to_json(self) -> dict[str, Any]:
        """Plain values under the names of the fields."""
        return dict(vars(self)) | {"stages": [stage.to_json() for stage in self.stages]}

    def __str__(self) -> str:
        """One line for people.

        >>> print(QueryTrace("Speech", 0.9, slot=0, stages=(Stage("tagger", {"p": 0.9}),), reported=0))
        Speech: confidence 0.9 · tagger: p 0.9 · reported as stem 0
        """
        end = f"reported as stem {self.reported}" if self.reported is not None else f"dropped: {self.reason}"
        return f"{self.label}: " + " · ".join([f"confidence {self.confidence:.3g}", *map(str, self.stages), end])


@dataclass(frozen=True)
class ClipTrace:
    """All queries of one clip: those that were asked in slot order, then those that were not."""

    queries: tuple[QueryTrace, ...]
    silence: tuple[float, ...] = ()  # probability of silence of each slot that was not asked, where the system knows it

    @property
    def reported(self) -> tuple[QueryTrace, ...]:
        return tuple(query for query in self.queries if query.reported is not None)

    @property
    def dropped(self) -> tuple[QueryTrace, ...]:
        return tuple(query for query in self.queries if query.reported is None)

    def to_json(self) -> list[dict[str, Any]]:
        """Each query as `QueryTrace.to_json` has it."""
        return [query.to_json() for query in self.queries]

    @property
    def is_finite(self) -> bool:
        """Whether every number in it is one that JSON can hold."""
        numbers = [
            number
            for query in self.queries
            for number in (query.confidence, *(n for stage in query.stages for n in stage.numbers.values()))
        ]
        return all(map(math.isfinite, [*numbers, *self.silence]))


def worded(name: str, value: float) -> str:
    """A named number for people, its unit behind it.

    >>> worded("energy_db", -6.02), worded("p_4ch", 0.25), worded("onset_s", 1.5)
    ('energy -6.0 dB', 'p 4ch 0.25', 'onset 1.50 s')
    """
    title, unit = titled(name)
    return " ".join([title, plain(name, value), *([unit] if unit else [])])


def plain(name: str, value: float) -> str:
    """A named number for people, without its unit.

    >>> plain("energy_db", -6.02), plain("p_4ch", 0.25)
    ('-6.0', '0.25')
    """
    _, unit = titled(name)
    digits = 1 if unit in ("dB", "%", "°", "Hz") else 2
    return f"{round(value, digits) + 0.0:.{digits}f}" if unit else f"{value:.3g}"


def titled(name: str) -> tuple[str, str]:
    """A number's name as people write it, and its unit, empty where it has none.

    >>> titled("energy_db"), titled("support")
    (('energy', 'dB'), ('support', ''))
    """
    ending = next((ending for ending in UNITS if name.endswith(ending)), "")
    return name.removesuffix(ending).replace("_", " "), UNITS.get(ending, "")


def read_trace(queries: Sequence[Any], silence: Sequence[Any] = ()) -> ClipTrace:
    """Inverse of `ClipTrace.to_json`, with suspicion: of another version, damaged, or made to harm.

    Raises:
        TypeError: a value is not of its field's kind.
        LookupError: a field is missing.
    """
    return ClipTrace(tuple(_query(query) for query in queries), tuple(number(value) for value in silence))


def _query(content: Mapping[str, Any]) -> QueryTrace:
    return QueryTrace(
        label=text(content["label"]),
        confidence=number(content["confidence"]),
        slot=optional(whole, content["slot"]),
        stages=tuple(
            Stage(text(stage["stage"]), numbers(stage["numbers"]), text(stage.get("note", "")))
            for stage in listed(content["stages"])
        ),
        dropped_by=optional(text, content["dropped_by"]),
        reason=optional(text, content["reason"]),
        reported=optional(whole, content["reported"]),
    )


# --- values from JSON, of the kind that they should be ----------------------------------------------------------------


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} where a text should be")
    return value


def number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{value!r} where a number should be")
    return float(value)


def number_or_infinity(value: Any) -> float | str:
    """Infinity as text, since JSON does not know it."""
    return str(value) if value in ("inf", "-inf") else number(value)


def numbers(value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{value!r} where named numbers should be")
    return {text(name): number(one) for name, one in value.items()}


def listed(value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{value!r} where a list should be")
    return value


def whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} where a whole number should be")
    return value


def optional(read: Callable[[Any], T], value: Any) -> T | None:
    return None if value is None else read(value)
