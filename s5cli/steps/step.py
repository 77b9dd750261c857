"""What every step has in common, and how a flow holds audio without touching it."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np
from torch import Tensor, stack

from s5cli.scene import EMPTY, Ints, Queries, Waveforms

S = TypeVar("S")


@runtime_checkable
class Step(Protocol):
    """An expensive part of a flow that no knob changes: what it gives depends on the scenes and its inputs alone.

    A step is a frozen dataclass held by a system as an attribute. Its fields are the taggers and separators that it
    uses and plain values, such as options. It is called with scenes and arrays with a leading clip axis: class lists
    [b, s], `Waveforms` [b, s] (enrolments, other stems), numbers of any shape such as activities [b, n, k]. It gives a
    dataclass of such arrays (or of such dataclasses, or None); clips do not influence one another, and no rule is
    applied. So others can put something in its place that remembers its answers clip by clip, and run the system's own
    decisions again.
    """

    gives: ClassVar[type]

    def __call__(self, *inputs: Any) -> Any: ...


def steps_of(system: object) -> dict[str, Step]:
    """The steps of a system by the name of the attribute that holds them."""
    return {name: value for name, value in vars(system).items() if isinstance(value, Step)}


def with_steps(system: S, wrap: Callable[[str, Step], Any]) -> S:
    """The system with something else in the place of each step; its own code is not touched."""
    twin = copy.copy(system)
    for name, step in steps_of(system).items():
        setattr(twin, name, wrap(name, step))
    return twin


def asked(classes: Ints) -> Queries:
    """A list of classes as a separator takes it; how sure of each the taggers were is not its business."""
    return Queries(classes, np.where(classes == EMPTY, 0.0, 1.0))


def waveforms(audio: Sequence[Tensor], slots: int) -> Waveforms:
    """A separator's answer, one [s, t] tensor per clip, as [b, s] waveforms."""
    found = np.empty((len(audio), slots), dtype=object)
    for row, stems in enumerate(audio):
        for slot in range(slots):
            found[row, slot] = stems[slot]
    return found


def wide(audio: Tensor) -> Tensor:
    """In float64, where it lies if that device can; Apple's cannot."""
    return (audio.cpu() if audio.device.type == "mps" else audio).double()


def stacked(row: Waveforms) -> Tensor:
    """The waveforms of one clip as one tensor [s, t] (a device for all: that of the first)."""
    return stack([waveform.to(row[0].device) for waveform in row])
