"""What every step has in common, and how a flow holds audio without touching it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from torch import Tensor, stack

from s5cli.scene import EMPTY, Ints, Queries

Waveforms = npt.NDArray[Any]
"""[b, s], one waveform [t] in each place: a flow moves them about and never looks inside. Tensors, or in a tuner's
replay the numbers under which it remembers them."""


@runtime_checkable
class Step(Protocol):
    """An expensive part of a flow that no knob changes: what it gives depends on the scenes and its inputs alone.

    A step is a frozen dataclass whose fields are the taggers and separators that it uses, held by a system as an
    attribute. It is called with scenes and arrays with a leading clip axis, each of class indices or `Waveforms`, and
    gives a dataclass of such arrays (or of such dataclasses); clips do not influence one another. So a tuner can put
    in its place what remembers it, clip by clip, and run the system's own decisions again.
    """

    gives: ClassVar[type]

    def __call__(self, *inputs: Any) -> Any: ...


def waveforms(audio: Sequence[Tensor], slots: int) -> Waveforms:
    """A separator's answer, one [s, t] tensor per clip, as [b, s] waveforms."""
    found = np.empty((len(audio), slots), dtype=object)
    for row, stems in enumerate(audio):
        for slot in range(slots):
            found[row, slot] = stems[slot]
    return found


def stacked(row: Waveforms) -> Tensor:
    """The waveforms of one clip as one tensor [s, t] (a device for all: that of the first)."""
    return stack([waveform.to(row[0].device) for waveform in row])


def asked(classes: Ints) -> Queries:
    """Class indices [b, s] as a separator takes them. It is asked for classes alone, whatever the confidence."""
    return Queries(classes, np.where(classes == EMPTY, 0.0, 1.0))
