"""The nouns and verbs that every system is made of.

Letters in shape comments, everywhere: b batch, m microphones (FOA channels), s slots (3), k classes (18),
f frequency bins, n frames, t samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt

from s5cli.labels import CLASSES

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


RATE_HZ = 32_000
N_CHANNELS = 4

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Waveforms = npt.NDArray[Any]
"""[b, s], one waveform [t] in each place: a flow moves them about and never looks inside. Tensors, or in a tuner's
replay the numbers under which it remembers them."""

Subtype = Literal["PCM_16", "PCM_24", "FLOAT"]
"""Sample formats of stems."""

EMPTY = -1
"""The class index of an unused slot."""


@dataclass(frozen=True)
class Scene:
    """One mixture: 32 kHz first-order ambisonics, channel order W, Y, Z, X (ACN)."""

    name: str
    audio: Tensor  # [m, t] float32


def by_length(
    waveforms: Sequence[Tensor], rows: Iterable[int], most: int, n_numbers: float = math.inf
) -> list[list[int]]:
    """`rows` in groups of waveforms of one length: what may share a forward pass.

    At most `most` to a group, and no more than `n_numbers` samples of all channels, if that is not one waveform alone.
    """
    groups: dict[int, list[int]] = {}
    for row in rows:
        groups.setdefault(waveforms[row].shape[-1], []).append(row)
    found = []
    for group in groups.values():
        size = max(1, int(min(most, n_numbers / max(1, waveforms[group[0]].numel()))))
        found += [group[i : i + size] for i in range(0, len(group), size)]
    return found


# --- what networks say and are asked ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tags:
    """What a tagger says of a batch: softmax over 18 classes and silence (index 18), per track."""

    probabilities: Floats  # [b, s, k + 1]
    frames: Floats | None = None  # [b, n, k], probability that a class sounds in a frame; None: the tagger does not say


@dataclass(frozen=True)
class Tracks:
    """As `Tags`, of a tagger that says of every track when it sounds."""

    probabilities: Floats  # [b, s, k + 1]
    activity: Floats  # [b, s, n, k], probability that the class sounds in a frame rather than silence


@dataclass(frozen=True)
class Queries:
    """What is asked of a separator: up to three classes a clip, empty slots last; arrays with a leading clip axis."""

    classes: Ints  # [b, s], class index, EMPTY where the slot is unused
    confidence: Floats  # [b, s], 0 where empty
    sounding: Floats | None = field(default=None, kw_only=True, repr=False)
    """[b, s, n], 0 or 1, whether each sounds in stretches of 40 ms, where whoever asks knows it."""

    @property
    def active(self) -> Bools:  # [b, s]
        return np.asarray(self.classes != EMPTY)


@dataclass(frozen=True)
class Stem:
    """One separated source of one clip, as a system reports it."""

    label: str
    slot: int  # the query's own index; file names count reported stems from 0 instead
    confidence: float  # 0…1
    audio: Tensor  # [t] float32
    numbers: Mapping[str, float] = field(default_factory=dict)  # what else the system says of it, by name with unit

    def save(self, path: str | Path, subtype: Subtype = "PCM_16") -> int:
        """Writes a mono 32 kHz WAV, or FLAC where the name ends so, all or nothing; returns how many samples clipped.

        Raises:
            UsageError: FLAC of samples that it does not hold.
            OutputError: the place cannot be written to or is full.
        """
        n_clipped: int = import_module("s5cli.audio").write_stem(path, self.audio, subtype)  # it builds on this file
        return n_clipped


@dataclass(frozen=True)
class Stems(Queries):
    """A batch of queries and the waveform that answers each; unused slots are zero."""

    slot: Ints  # [b, s], the query's own place in the list that was asked
    waveforms: Waveforms  # [b, s]
    numbers: Mapping[str, Floats] = field(default_factory=dict)  # [b, s] each, what is known of them, by name with unit

    def where(self, take: Bools, other: Stems) -> Stems:
        """These stems, with those of `other` in the slots to take, [b, s]. Numbers that only one has are left out."""
        return Stems(
            classes=np.where(take, other.classes, self.classes),
            confidence=np.where(take, other.confidence, self.confidence),
            slot=np.where(take, other.slot, self.slot),
            waveforms=np.where(take, other.waveforms, self.waveforms),
            numbers={
                name: np.where(take, other.numbers[name], values)
                for name, values in self.numbers.items()
                if name in other.numbers
            },
        )

    def only(self, keep: Bools) -> Self:
        """The stems of the slots to keep, [b, s]; the others count as unused."""
        return replace(self, classes=np.where(keep, self.classes, EMPTY))

    def clips(self) -> list[list[Stem]]:
        """The stems of each clip in the order of the slots, their audio on the CPU and the caller's own."""
        return [
            [
                Stem(
                    label=CLASSES[index],
                    slot=int(self.slot[row, place]),
                    confidence=float(self.confidence[row, place]),
                    audio=self.waveforms[row, place].cpu().clone(),
                    numbers={name: float(values[row, place]) for name, values in self.numbers.items()},
                )
                for place, index in enumerate(classes)
                if index != EMPTY
            ]
            for row, classes in enumerate(self.classes.tolist())
        ]


def places(classes: Ints) -> Ints:
    """Each query's own place in its list, EMPTY where there is none. Shapes: [b, s].

    >>> places(np.array([[15, 7, -1]]))
    array([[ 0,  1, -1]])
    """
    return np.where(classes == EMPTY, EMPTY, np.arange(classes.shape[1]))


# --- verbs ------------------------------------------------------------------------------------------------------------


class Part(Protocol):
    """A network behind its adapter. `nparams` counts as the official code does."""

    nparams: int

    def exercise(self, scene: Scene) -> None:
        """One forward pass as a clip takes it, for whoever counts what it costs."""


class Tagger(Part, Protocol):
    """Scenes (or single-channel stems) to class probabilities, of frames too where the tagger can."""

    def __call__(self, scenes: Sequence[Scene]) -> Tags: ...


class Separator(Part, Protocol):
    """Scenes and their queries to one waveform a slot, [s, t] per clip; unused slots are exactly zero."""

    def __call__(self, scenes: Sequence[Scene], queries: Queries) -> list[Tensor]: ...
