"""Steps that look first whether their result is cached, and file it if it was not.

`caching(system, cache)` is the system itself with each of its steps wrapped. Waveforms never leave the step that made
them; what the flow moves about are `CachedWaveform`s, which name them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

import numpy as np
import numpy.typing as npt

from s5cli.errors import InputError
from s5cli.knobs import Plain, Setting
from s5cli.scene import EMPTY, Floats, Ints
from s5cli.score.metric import sdr_matrix, sdri_matrix
from s5cli.steps.step import Step, with_steps
from s5cli.system import System
from s5cli.tune.clips import HeldClip
from s5cli.tune.evidence import CachedResult, Inputs, Store, digest, digest_of_bytes, result_key, waveform_name

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[Any]
S = TypeVar("S", bound=System)

NOT_A_NUMBER = "the system answers with NaN or infinity, of which no score can be made; give another system or device"
WAVEFORMS = "waveforms:"
"""What stands before the path of waveforms in a cached result: its array holds their numbers within the result."""


def with_setting(system: S, setting: Setting) -> S:
    """The system with other values for its knobs."""
    twin = copy.copy(system)
    twin.setting = setting
    return twin


def caching(system: S, cache: Cache) -> S:
    """The system for `CachedClip`s, with steps that run only where nothing is cached."""
    return with_steps(system, lambda name, step: CachedStep(step, cache.steps[name], cache))


# --- fingerprints -----------------------------------------------------------------------------------------------------


def step_fingerprint(name: str, step: Step, parts: Mapping[object, str], options: Mapping[str, Plain]) -> str:
    """Hash of what a step computes: its class and its fields.

    Args:
        name: of the attribute that holds the step.
        parts: hash of each of the system's parts by its identity, or by its role where the system does not keep it.
        options: of the system, which a field that is neither a part nor a plain value may depend on.
    """
    anything = [sorted(parts.values()), sorted(options.items())]
    about = [_hashed(getattr(step, one.name), f"{name}.{one.name}", parts, anything) for one in fields(step)]  # type: ignore[arg-type]
    return digest([_class_name(step), *about])


def _hashed(value: Any, place: str, parts: Mapping[object, str], anything: Any) -> Any:
    """A field as JSON: plain values as they are, parts by their hash; what is unknown may hold anything."""
    if id(value) in parts:
        return ["part", parts[id(value)]]
    if value is None or isinstance(value, bool | int | float | str):
        return ["plain", value]
    if isinstance(value, np.ndarray):
        return ["array", digest_of(value)]
    if isinstance(value, list | tuple):
        return ["list", *(_hashed(one, f"{place}[{number}]", parts, anything) for number, one in enumerate(value))]
    if is_dataclass(value):
        inner = ((one.name, getattr(value, one.name)) for one in fields(value))
        return [_class_name(value), *(_hashed(one, f"{place}.{name}", parts, anything) for name, one in inner)]
    return [_class_name(value), place, anything]


def _class_name(value: object) -> str:
    return f"{type(value).__module__}:{type(value).__qualname__}"


def digest_of(numbers: Array) -> str:
    """SHA-256 of an array of floats or booleans. Floats count as the float32 in which networks compute."""
    plain = numbers.astype(np.float32) + np.float32(0) if numbers.dtype.kind == "f" else numbers  # -0 is 0
    return digest_of_bytes(f"{plain.dtype}{plain.shape}".encode() + plain.tobytes())


# --- what is known ----------------------------------------------------------------------------------------------------


class BudgetSpentError(Exception):
    """More query lists would have to be asked than allowed."""


class Cache:
    """What is cached of some clips, and what of it one search has asked for.

    A search takes as known what it asked for itself. What earlier searches left saves it the networks, but does not
    change what it does: the same data, seed and options give the same result with any cache.

    `new_lists` counts the query lists that were asked: class lists once for each clip, whatever steps they go to;
    inputs of steps that take no class lists once for each step and clip. `allow` bounds it.
    """

    def __init__(self, store: Store, steps: Mapping[str, str], clips: Iterable[str]) -> None:
        self.store = store
        self.steps = dict(steps)  # name of each step to its fingerprint
        self.stored = {one.key: one for one in store.results(set(self.steps.values()), set(clips))}
        self.asked: dict[str, CachedResult] = {}
        self.exhausted = False  # the next list would be one too many
        self._most_new_lists: int | None = None
        self._new_lists: set[tuple[str, ...]] = set()

    @property
    def new_lists(self) -> int:
        return len(self._new_lists)

    def take_stored(self) -> None:
        """Takes as asked whatever is stored, by whatever search it was: for pictures, in which nothing is chosen."""
        self.asked.update(self.stored)

    def start_counting(self) -> None:
        """Sets the count to zero, without a bound."""
        self._new_lists = set()
        self.allow(None)

    def allow(self, most_new_lists: int | None) -> None:
        """From the beginning of the count; None: any number."""
        self._most_new_lists, self.exhausted = most_new_lists, False

    def charge(self, lists: Iterable[tuple[str, ...] | None]) -> None:
        """Counts query lists (see `query_list`) that are about to be asked.

        Raises:
            BudgetSpentError: they are too many; none is counted then.
        """
        counted = self._new_lists | {one for one in lists if one is not None}
        if self._most_new_lists is not None and len(counted) > self._most_new_lists:
            self.exhausted = True
            raise BudgetSpentError
        self._new_lists = counted

    def add(self, results: Sequence[CachedResult]) -> None:
        self.store.add(results)
        self.stored.update((one.key, one) for one in results)


def query_list(step: str, clip: str, inputs: Sequence[Array]) -> tuple[str, ...] | None:
    """What counts as one query list, from one clip's inputs of a step; None: it asks for nothing."""
    lists = [row.tolist() for row in inputs if row.dtype.kind in "iu" and row.ndim == 1]
    if not inputs or (lists and all(index == EMPTY for classes in lists for index in classes)):
        return None
    return (clip, json.dumps(lists)) if lists else (clip, step, json.dumps(plain(inputs)))


def plain(inputs: Sequence[Array]) -> Inputs:
    """What one clip's inputs are filed under."""
    return tuple(_plain(row) for row in inputs)


def _plain(row: Array) -> Any:
    if row.dtype == object:
        return [waveform.name for waveform in row]
    return row.tolist() if row.dtype.kind in "iu" else digest_of(row)


# --- steps ------------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class CachedClip:
    """A clip in the place of a scene. It is read from disk when a step has to be run for it."""

    key: str
    read: Callable[[], HeldClip]
    waveforms: dict[str, list[Tensor]] = field(default_factory=dict)  # [t] of each result computed so far

    @cached_property
    def held(self) -> HeldClip:
        return self.read()


@dataclass(frozen=True)
class CachedWaveform:
    """One waveform, by name. The step that made it is run again if its sound is needed and not at hand."""

    step: CachedStep
    clip: CachedClip
    key: str  # of the result
    number: int
    inputs: tuple[Array, ...]  # of the step, one row of each

    @property
    def name(self) -> str:
        return waveform_name(self.key, self.number)

    @property
    def audio(self) -> Tensor:
        """[t]"""
        if self.key not in self.clip.waveforms:
            self.step.run([self.clip], [row[None] for row in self.inputs], [self.key])
        return self.clip.waveforms[self.key][self.number]


@dataclass(frozen=True)
class CachedStep:
    """A step that is run for what is not cached."""

    step: Step
    fingerprint: str
    cache: Cache

    def __call__(self, clips: Sequence[CachedClip], *inputs: Array) -> Any:
        of_clip = [tuple(column[row] for column in inputs) for row in range(len(clips))]
        asked = [plain(one) for one in of_clip]
        keys = [result_key(self.fingerprint, clip.key, one) for clip, one in zip(clips, asked, strict=True)]
        new = [row for row, key in enumerate(keys) if key not in self.cache.asked]
        self.cache.charge(query_list(self.fingerprint, clips[row].key, of_clip[row]) for row in new)
        rows = [row for row in new if keys[row] not in self.cache.stored]
        if rows:
            result = self.run([clips[row] for row in rows], [one[rows] for one in inputs], [keys[row] for row in rows])
            self.cache.add([self._filed(clips[row], asked[row], result, place) for place, row in enumerate(rows)])
        self.cache.asked.update((keys[row], self.cache.stored[keys[row]]) for row in new)
        return self._assembled(clips, of_clip, [self.cache.asked[key] for key in keys])

    def run(self, clips: Sequence[CachedClip], inputs: Sequence[Array], keys: Sequence[str]) -> dict[str, Array]:
        """The step itself. The arrays of its result; waveforms stay with their clips.

        Raises:
            InputError: it answers a clip with NaN or infinity as sound, or with NaN as number.
        """
        result = dict(arrays_of(self.step([clip.held for clip in clips], *map(with_audio, inputs))))
        for row, (clip, key) in enumerate(zip(clips, keys, strict=True)):
            clip.waveforms[key] = [one for array in result.values() if array.dtype == object for one in array[row]]
            numbers = [array[row] for array in result.values() if array.dtype.kind == "f"]
            if not all(one.isfinite().all() for one in clip.waveforms[key]) or any(
                np.isnan(one).any() for one in numbers
            ):
                raise InputError(f"{clip.held.name}: {NOT_A_NUMBER}")
        return result

    def _filed(self, clip: CachedClip, asked: Inputs, result: Mapping[str, Array], row: int) -> CachedResult:
        key = result_key(self.fingerprint, clip.key, asked)
        sdr, sdri = against_references(clip.held, clip.waveforms[key])
        return CachedResult(key, self.fingerprint, clip.key, asked, numbered(result, row), sdr, sdri)

    def _assembled(
        self, clips: Sequence[CachedClip], inputs: Sequence[tuple[Array, ...]], results: Sequence[CachedResult]
    ) -> Any:
        """The result as the flow takes it, every waveform a `CachedWaveform`."""
        found = {}
        for path in results[0].arrays:
            column = np.stack([one.arrays[path] for one in results])
            if path.startswith(WAVEFORMS):
                numbers, column = column, np.empty(column.shape, dtype=object)
                for row, slot in np.ndindex(*numbers.shape):
                    about = self, clips[row], results[row].key, int(numbers[row, slot]), inputs[row]
                    column[row, slot] = CachedWaveform(*about)
            found[path.removeprefix(WAVEFORMS)] = column
        return assembled(self.step.gives, found)


def numbered(result: Mapping[str, Array], row: int) -> dict[str, Array]:
    """One clip's arrays of a result, waveforms counted through."""
    found, first = {}, 0
    for path, array in result.items():
        if array.dtype == object:
            found[WAVEFORMS + path] = first + np.arange(array.shape[1])
            first += array.shape[1]
        else:
            found[path] = array[row]
    return found


def with_audio(column: Array) -> Array:
    """An input as the step itself takes it: for each `CachedWaveform` its samples."""
    if column.dtype != object:
        return column
    found = np.empty(column.shape, dtype=object)
    for place in np.ndindex(*column.shape):
        waveform: Any = column[place]  # a `CachedWaveform`
        found[place] = waveform.audio
    return found


def against_references(clip: HeldClip, waveforms: Sequence[Tensor]) -> tuple[Floats, Floats]:
    """SDR and SDRi [n, m] of waveforms against the clip's references, as `s5 evaluate` has them.

    Waveforms of another length than the clip, such as enrolments, are no stems: NaN.
    """
    n_samples, sdr = clip.audio.shape[-1], np.full((len(waveforms), len(clip.references)), np.nan)
    stems: Ints = np.flatnonzero([len(one) == n_samples for one in waveforms])
    if len(stems):
        sdr[stems] = sdr_matrix(np.stack([waveforms[n].cpu().numpy() for n in stems.tolist()]), clip.references)
    return sdr, sdri_matrix(sdr, clip.references, clip.audio[0].numpy())


# --- results as named arrays ------------------------------------------------------------------------------------------


def arrays_of(result: Any, prefix: str = "") -> Iterator[tuple[str, Array]]:
    """Every array of a result under its path, such as `tags_4ch.probabilities`; nothing of what is None.

    Raises:
        TypeError: the result holds something else.
    """
    for one in fields(result):
        value, path = getattr(result, one.name), prefix + one.name
        if is_dataclass(value):
            yield from arrays_of(value, f"{path}.")
        elif isinstance(value, np.ndarray):
            yield path, value
        elif value is not None:
            raise TypeError(f"a step gives arrays, but {path} is of type {type(value).__name__}")


def assembled(kind: type, arrays: Mapping[str, Array], prefix: str = "") -> Any:
    """Inverse of `arrays_of` for a result of this kind.

    >>> from s5cli.scene import Tags
    >>> found = assembled(Tags, dict(arrays_of(Tags(np.zeros((1, 3, 19))))))
    >>> found.probabilities.shape, found.frames
    ((1, 3, 19), None)
    """
    found = []
    for name, inner in _members(kind):
        path = prefix + name
        known = inner is not None and any(one.startswith(f"{path}.") for one in arrays)
        found.append(assembled(inner, arrays, f"{path}.") if inner and known else arrays.get(path))
    return kind(*found)


@lru_cache
def _members(kind: type) -> tuple[tuple[str, type | None], ...]:
    """Names of the fields, and of what dataclass they are, if of one."""
    hints, found = get_type_hints(kind), list[tuple[str, Any]]()
    for one in fields(kind):
        kinds: tuple[Any, ...] = (hints[one.name], *get_args(hints[one.name]))
        found.append((one.name, next((inner for inner in kinds if is_dataclass(inner)), None)))
    return tuple(found)
