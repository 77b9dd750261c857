"""Remembering: a system whose steps look first whether their answer is known, and file it if it was not.

`recording(system, memory)` is the system itself, with each of its steps wrapped. Waveforms never leave the step that
made them; what the flow moves about are `Take`s, which name them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from s5cli.knobs import Knob, Setting
from s5cli.scene import EMPTY, Floats, Queries, Scene, System, Tap
from s5cli.score.metric import sdr_matrix, sdri_matrix
from s5cli.steps.answer import Answer
from s5cli.steps.step import Step
from s5cli.tune.clips import HeldClip
from s5cli.tune.evidence import Inputs, Pass, Store, digest, pass_key, take_name
from s5cli.tune.form import Array, arrays_of, assembled

if TYPE_CHECKING:
    from torch import Tensor


class TunableSystem(System, Protocol):
    """A system whose decisions can be looked at before they become stems."""

    knobs: Mapping[str, Knob]
    setting: Setting

    def decide(self, scenes: Sequence[Scene], tap: Tap = ..., queries: Queries | None = ...) -> Answer: ...


def steps_of(system: TunableSystem) -> dict[str, Step]:
    """The steps of a system by the name of the attribute that holds them."""
    return {name: value for name, value in vars(system).items() if isinstance(value, Step)}


def with_steps(system: TunableSystem, wrap: Callable[[str, Step], Any]) -> TunableSystem:
    """The system with something else in the place of each step; its own code is not touched."""
    twin = copy.copy(system)
    for name, step in steps_of(system).items():
        setattr(twin, name, wrap(name, step))
    return twin


def with_setting(system: TunableSystem, setting: Setting) -> TunableSystem:
    """The system with other values for its knobs."""
    twin = copy.copy(system)
    twin.setting = setting
    return twin


def step_fingerprint(step: Step, parts: Mapping[int, str]) -> str:
    """Hash of what a step computes: its class, and of each of its parts what `parts` says by identity."""
    kind = type(step)
    held = [parts[id(getattr(step, field.name))] for field in fields(step)]  # type: ignore[arg-type]
    return digest([f"{kind.__module__}:{kind.__qualname__}", *held])


class BudgetSpentError(Exception):
    """Networks would have to run for more query lists than allowed."""


class Memory:
    """What is known of some clips: read from a store once, added to while networks run.

    `new_lists` counts what separators were newly asked, one for each clip and list of classes; `allow` bounds it.
    """

    def __init__(self, store: Store, steps: Mapping[str, str], clips: Iterable[str]) -> None:
        self.store = store
        self.steps = dict(steps)  # name of each step to its fingerprint
        self.passes = {one.key: one for one in store.passes(set(self.steps.values()), set(clips))}
        self.exhausted = False  # the next list would be one too many
        self._most_new_lists: int | None = None
        self._new_lists: set[tuple[str, tuple[int | str, ...]]] = set()

    def of(self, name: str) -> list[Pass]:
        """All passes of a step."""
        return [one for one in self.passes.values() if one.step == self.steps[name]]

    @property
    def new_lists(self) -> int:
        return len(self._new_lists)

    def start_counting(self) -> None:
        """Sets the count to zero, without a bound."""
        self._new_lists = set()
        self.allow(None)

    def allow(self, most_new_lists: int | None) -> None:
        """From the beginning of the count; None: any number."""
        self._most_new_lists, self.exhausted = most_new_lists, False

    def charge(self, asked: Iterable[tuple[str, Inputs]]) -> None:
        """Counts lists that are about to be asked: the clip and inputs of each.

        Raises:
            BudgetSpentError: they are too many; none is counted then.
        """
        lists = {(clip, inputs[0]) for clip, inputs in asked if inputs and set(inputs[0]) != {EMPTY}}
        counted = self._new_lists | lists
        if self._most_new_lists is not None and len(counted) > self._most_new_lists:
            self.exhausted = True
            raise BudgetSpentError
        self._new_lists = counted

    def add(self, passes: Sequence[Pass]) -> None:
        self.store.add(passes)
        self.passes.update((one.key, one) for one in passes)


def recording(system: TunableSystem, memory: Memory) -> TunableSystem:
    """The system for `HeldClip`s, with steps that run only where the memory knows nothing."""
    return with_steps(system, lambda name, step: Recorded(step, memory.steps[name], memory))


@dataclass(frozen=True)
class Take:
    """One waveform, by name. The step that made it is run again if its sound is asked for and not at hand."""

    recorded: Recorded
    clip: HeldClip
    key: str  # of the pass
    number: int
    asked: tuple[Array, ...]  # the inputs of the pass, one row of each

    @property
    def name(self) -> str:
        return take_name(self.key, self.number)

    @property
    def waveform(self) -> Tensor:
        """[t]"""
        if self.key not in self.clip.heard:
            self.recorded.run([self.clip], [row[None] for row in self.asked], [self.key])
        return self.clip.heard[self.key][self.number]


@dataclass(frozen=True)
class Recorded:
    """A step that remembers."""

    step: Step
    fingerprint: str
    memory: Memory

    def __call__(self, clips: Sequence[HeldClip], *inputs: Array) -> Any:
        asked = [plain(tuple(column[row] for column in inputs)) for row in range(len(clips))]
        keys = [pass_key(self.fingerprint, clip.key, one) for clip, one in zip(clips, asked, strict=True)]
        rows = [row for row, key in enumerate(keys) if key not in self.memory.passes]
        if rows:
            chosen = [clips[row] for row in rows]
            self.memory.charge((clips[row].key, asked[row]) for row in rows)
            result = self.run(chosen, [column[rows] for column in inputs], [keys[row] for row in rows])
            self.memory.add([self._pass(clips[row], asked[row], result, place) for place, row in enumerate(rows)])
        return self._recalled(clips, inputs, keys)

    def run(self, clips: Sequence[HeldClip], inputs: Sequence[Array], keys: Sequence[str]) -> dict[str, Array]:
        """The step itself. The arrays of its result; waveforms stay with their clips."""
        result = dict(arrays_of(self.step(clips, *map(sounding, inputs))))
        for row, (clip, key) in enumerate(zip(clips, keys, strict=True)):
            takes = [array[row] for array in result.values() if array.dtype == object]
            clip.heard[key] = list(np.concatenate(takes)) if takes else []
        return result

    def _pass(self, clip: HeldClip, asked: Inputs, result: Mapping[str, Array], row: int) -> Pass:
        key = pass_key(self.fingerprint, clip.key, asked)
        sdr, sdri = against_references(clip, clip.heard[key])
        return Pass(key, self.fingerprint, clip.key, asked, numbered(result, row), sdr, sdri)

    def _recalled(self, clips: Sequence[HeldClip], inputs: Sequence[Array], keys: Sequence[str]) -> Any:
        """The result as the flow takes it, every waveform a `Take`."""
        passes, found = [self.memory.passes[key] for key in keys], {}
        for name in passes[0].arrays:
            column = np.stack([one.arrays[name] for one in passes])
            takes = name.startswith(TAKES)
            found[name.removeprefix(TAKES)] = self._takes(clips, inputs, keys, column) if takes else column
        return assembled(self.step.gives, found)

    def _takes(self, clips: Sequence[HeldClip], inputs: Sequence[Array], keys: Sequence[str], numbers: Array) -> Array:
        found = np.empty(numbers.shape, dtype=object)
        for row, slot in np.ndindex(*numbers.shape):
            asked = tuple(column[row] for column in inputs)
            found[row, slot] = Take(self, clips[row], keys[row], int(numbers[row, slot]), asked)
        return found


TAKES = "take:"
"""In a pass's arrays, what stands before the path of waveforms: there, each is a number within the pass."""


def numbered(result: Mapping[str, Array], row: int) -> dict[str, Array]:
    """One clip's arrays of a result, waveforms counted through."""
    found, first = {}, 0
    for path, array in result.items():
        if array.dtype == object:
            found[TAKES + path] = first + np.arange(array.shape[1])
            first += array.shape[1]
        else:
            found[path] = array[row]
    return found


def plain(inputs: Sequence[Array]) -> Inputs:
    """What one clip's inputs are filed under."""
    return tuple(
        tuple(take.name for take in row) if row.dtype == object else tuple(int(index) for index in row)
        for row in inputs
    )


def sounding(column: Array) -> Array:
    """An input as the step itself takes it: for each `Take` its waveform."""
    if column.dtype != object:
        return column
    found = np.empty(column.shape, dtype=object)
    for place in np.ndindex(*column.shape):
        take: Any = column[place]  # a `Take`
        found[place] = take.waveform
    return found


def against_references(clip: HeldClip, takes: Sequence[Tensor]) -> tuple[Floats, Floats]:
    """SDR and SDRi [n, m] of waveforms against the clip's references, as `s5 evaluate` has them."""
    empty = np.zeros((0, clip.audio.shape[-1]), np.float32)
    stems = np.stack([take.cpu().numpy() for take in takes]) if takes else empty
    sdr = sdr_matrix(stems, clip.references)
    return sdr, sdri_matrix(sdr, clip.references, clip.audio[0].numpy())
