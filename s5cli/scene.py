"""The nouns and verbs that every system shares.

Letters in shape comments, everywhere: b batch, m microphones (FOA channels), s slots (3), k classes (18),
f frequency bins, n frames, t samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

RATE_HZ = 32_000
N_CHANNELS = 4

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scene:
    """One mixture: 32 kHz first-order ambisonics, channel order W, Y, Z, X (ACN)."""

    name: str
    audio: Tensor  # [m, t] float32


@dataclass(frozen=True)
class Tags:
    """What a tagger says of a batch: softmax over 18 classes and silence (index 18), per track."""

    probabilities: Floats  # [b, s, k + 1]


@dataclass(frozen=True)
class Queries:
    """What is asked of a separator: up to three classes a clip, empty slots last; arrays with a leading clip axis."""

    classes: Ints  # [b, s], class index, EMPTY where the slot is unused
    confidence: Floats  # [b, s], 0 where empty

    @property
    def active(self) -> Bools:  # [b, s]
        return np.asarray(self.classes != EMPTY)


EMPTY = -1
"""The class index of an unused slot."""


def by_length(waveforms: Sequence[Tensor], rows: Iterable[int], most: int) -> list[list[int]]:
    """`rows` in groups of waveforms of one length, at most `most` to a group: what may share a forward pass."""
    groups: dict[int, list[int]] = {}
    for row in rows:
        groups.setdefault(waveforms[row].shape[-1], []).append(row)
    return [group[i : i + most] for group in groups.values() for i in range(0, len(group), most)]


@dataclass(frozen=True)
class Stem:
    """One separated source of one clip, as a system reports it."""

    label: str
    slot: int  # the query's own index; file names count reported stems from 0 instead
    confidence: float  # 0…1
    audio: Tensor  # [t] float32
    support: float | None = None  # 0…1, what re-tagging gave the label; None where the system does not re-tag
    energy_db: float | None = None  # power relative to mixture channel 0
    separator: str = "a"


class Tap(Protocol):
    """Looks at a step's result: progress, `--explain`, the tuner's cache and tests. It must not change it."""

    def __call__(self, step: str, result: Any) -> None: ...


def quiet(step: str, result: Any) -> None:
    """The tap that looks at nothing."""


class Tagger(Protocol):
    """Scenes (or single-channel stems) to class probabilities. `nparams` counts as the official code does."""

    nparams: int

    def __call__(self, scenes: Sequence[Scene]) -> Tags: ...


class Separator(Protocol):
    """Scenes and their queries to one waveform a slot, [s, t] per clip; unused slots are exactly zero."""

    nparams: int

    def __call__(self, scenes: Sequence[Scene], queries: Queries) -> list[Tensor]: ...


class System(Protocol):
    """A method from a paper: a batch of scenes to the reported stems of each, in slot order.

    `queries`, if given, are what a user named: they replace the taggers' proposals and none of them is dropped.
    `nparams` counts parameters as the official code does.
    """

    nparams: int

    def __call__(
        self, scenes: Sequence[Scene], tap: Tap = quiet, queries: Queries | None = None
    ) -> list[list[Stem]]: ...
