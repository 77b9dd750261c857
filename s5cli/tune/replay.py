"""Replay: a system's own decisions over all clips at once, its steps looked up instead of run, scored exactly.

Where a step is asked what it has never been asked of a clip, the clip is marked as unseen; nothing is ever estimated.
Letters: b clips, p cached results, s slots, n whole numbers that a step is asked about.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from s5cli.knobs import Setting
from s5cli.scene import Bools, Ints, Scene
from s5cli.steps.step import steps_of, with_steps
from s5cli.system import Decision, System
from s5cli.trace import ClipTrace
from s5cli.tune.cache import WAVEFORMS, Array, Cache, assembled, digest_of, with_setting
from s5cli.tune.clips import DevSet
from s5cli.tune.evidence import CachedResult, waveform_place
from s5cli.tune.score import Outcome, References, WaveformScores

MAX_KEY = 2**62
NEVER_ASKED = -2  # the number of a waveform that no other result holds

# --- rows of whole numbers --------------------------------------------------------------------------------------------


class Rows:
    """Different rows of whole numbers, in the order of their first columns, and where each of them stands.

    A row is one number, whose digits are its columns; numbers are found by bisection, then compared in full. Rows lie
    across memory, [n, p].
    """

    def __init__(self, rows: Ints) -> None:
        """`rows` [n, p], all different, at least one; `order` [p] is where each of the sorted rows stood.

        Raises:
            ValueError: whole numbers too large to make one of a row.
        """
        self._digits: list[tuple[int, int, Ints | None]] = []
        keys, n_keys = np.zeros(rows.shape[1], dtype=np.int64), 1
        for column in rows:
            low, base, known = int(column.min()), int(column.max()) - int(column.min()) + 1, None
            if n_keys * base > MAX_KEY:
                known, keys = np.unique(keys, return_inverse=True)
                n_keys = len(known)
            if n_keys * base > MAX_KEY:
                raise ValueError(f"{low} to {low + base - 1} are too far apart to be looked up")
            self._digits.append((low, base, known))
            keys, n_keys = keys * base + (column - low), n_keys * base
        self.order: Ints = np.argsort(keys)
        self.keys = keys[self.order]
        self.rows = rows[:, self.order].astype(np.min_scalar_type(-1 - int(np.abs(rows).max())))  # small: in a cache

    def find(self, rows: Ints) -> tuple[Ints, Bools]:
        """For each of these rows [n, b] the place of its equal among the sorted, and whether it has one; else any."""
        keys: Ints = np.zeros(rows.shape[1], dtype=np.int64)
        for (low, base, known), column in zip(self._digits, rows, strict=True):
            keys = keys if known is None else np.searchsorted(known, keys)
            keys = keys * base
            keys += column
            keys -= low
        found = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return found, (self.rows.take(found, axis=1) == rows).all(axis=0)


# --- steps, looked up -------------------------------------------------------------------------------------------------


class NothingKnownError(Exception):
    """A step of which nothing is cached for any clip."""


@dataclass(frozen=True)
class Clips:
    """All clips of a replay, in the place of scenes; steps mark those of which they do not know what is asked."""

    content: Ints  # [b], numbers of contents: files that hold the same share one
    unseen: Bools = field(init=False)  # [b]

    def __post_init__(self) -> None:
        object.__setattr__(self, "unseen", np.zeros(len(self.content), dtype=np.bool_))

    def __len__(self) -> int:
        return len(self.content)


class Table:
    """All cached results of one step, found by content and inputs. Takes the place of the step in a replay.

    Arrays are kept, and answered, with the clips last in memory: [b, s] in Fortran's order. For NumPy a few long runs
    through memory are several times as fast as a thousand runs of three slots, and a flow need not know of it.
    Waveforms are numbers within their clip.
    """

    def __init__(
        self, gives: type, results: Iterable[CachedResult], contents: Mapping[str, int], first: Mapping[str, int]
    ) -> None:
        """`contents`: number of each clip's content; `first`: number of the first waveform of each result."""
        self.gives, self.first = gives, first
        self.digests: dict[str, int] = {}  # of the floats and booleans that were asked
        self._all: tuple[Clips, Any] | None = None  # a step that is asked nothing has one answer for all settings
        self._coded: dict[int, tuple[Array, Ints]] = {}  # by place of an input, the last array and its numbers
        by_shape: dict[tuple[tuple[int, ...], ...], list[CachedResult]] = {}
        for one in results:
            by_shape.setdefault(one.input_shapes, []).append(one)
        self.known = {shapes: self._looked_up(found, contents) for shapes, found in by_shape.items()}

    def __call__(self, clips: Clips, *inputs: Array) -> Any:
        if inputs:
            return self._found(clips, inputs)
        if self._all is None or self._all[0].content is not clips.content:
            known = Clips(clips.content)
            self._all = known, self._found(known, ())
        np.logical_or(clips.unseen, self._all[0].unseen, out=clips.unseen)
        return self._all[1]

    def _found(self, clips: Clips, inputs: Sequence[Array]) -> Any:
        asked = [self._numbers(place, column) for place, column in enumerate(inputs)]
        shapes = tuple(one.shape[1:] for one in asked)
        if shapes not in self.known:
            raise NothingKnownError
        rows, arrays = self.known[shapes]
        flat = (one.T if one.ndim == 2 else one.reshape(len(clips), -1).T for one in asked)
        places, known = rows.find(np.concatenate([clips.content[None], *flat]))
        np.logical_or(clips.unseen, ~known, out=clips.unseen)
        return assembled(self.gives, {path: array.take(places, axis=-1).T for path, array in arrays.items()})

    def _numbers(self, place: int, column: Array) -> Ints:
        """An input as whole numbers: floats and booleans of a clip are one number, that of their digest."""
        if column.dtype.kind in "iu":
            return column
        if place not in self._coded or self._coded[place][0] is not column:
            numbers = [self.digests.get(digest_of(row), -1) for row in column]
            self._coded[place] = column, np.array(numbers, dtype=np.int64)
        return self._coded[place][1]

    def _looked_up(self, results: Sequence[CachedResult], contents: Mapping[str, int]) -> tuple[Rows, dict[str, Array]]:
        """The rows that were asked, and the arrays that were answered, clips last."""
        asked = [[contents[one.clip], *(n for column in one.inputs for n in self._filed(column))] for one in results]
        rows = Rows(np.ascontiguousarray(np.array(asked, dtype=np.int64).T))
        arrays: dict[str, Array] = {}
        for path in results[0].arrays:
            column = np.stack([one.arrays[path] for one in results])[rows.order]
            if path.startswith(WAVEFORMS):
                first = np.array([self.first[one.key] for one in results])[rows.order]
                column = column + first[:, None]
            arrays[path.removeprefix(WAVEFORMS)] = np.ascontiguousarray(column.T)
        return rows, arrays

    def _filed(self, column: Any) -> list[int]:
        """An input as it was filed, as whole numbers."""
        if isinstance(column, str):
            return [self.digests.setdefault(column, len(self.digests))]
        if isinstance(column, int):
            return [column]
        if column and isinstance(column[0], str):
            named = (waveform_place(name) for name in column)  # of which nothing is known where weights were exchanged
            return [self.first[key] + number if key in self.first else NEVER_ASKED for key, number in named]
        return column if not column or isinstance(column[0], int) else [int(one) for one in np.ravel(column)]


# --- the whole --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """Clips of whose results all arrays have the same shapes, such as those of one length."""

    system: System  # tables in the place of its steps
    rows: Ints  # [b], of these clips among all
    content: Ints  # [b]
    first: Ints  # [b, 1], number of the clip's first waveform among all
    waveforms: WaveformScores
    references: References

    def __call__(self, setting: Setting) -> Outcome:
        clips = Clips(self.content)
        try:
            stems = self._decided(setting, clips).stems()
        except NothingKnownError:
            return unknown(len(clips))
        return self.waveforms.score(stems.classes, stems.waveforms + self.first, self.references, clips.unseen)

    def traces(self, setting: Setting) -> list[ClipTrace]:
        return self._decided(setting, Clips(self.content)).trace()

    def _decided(self, setting: Setting, clips: Clips) -> Decision:
        return with_setting(self.system, setting)(cast(Sequence[Scene], clips))


@dataclass(frozen=True)
class Replay:
    """A system over a development set, as far as it is cached. Free of networks once made."""

    groups: tuple[Group, ...]

    def __call__(self, setting: Setting) -> Outcome:
        """The score of every clip under one setting."""
        outcomes = [group(setting) for group in self.groups]
        if len(outcomes) == 1:
            return outcomes[0]
        back = np.argsort(np.concatenate([group.rows for group in self.groups]))
        return Outcome(*(np.concatenate(arrays)[back] for arrays in zip(*(o.arrays for o in outcomes), strict=True)))

    def traces(self, setting: Setting) -> list[ClipTrace]:
        """What becomes of every query of every clip, under a setting whose query lists are all known.

        Raises:
            NothingKnownError: they are not.
        """
        rows = [row for group in self.groups for row in group.rows.tolist()]
        found = [clip for group in self.groups for clip in group.traces(setting)]
        return [found[place] for place in np.argsort(rows).tolist()]


def unknown(n_clips: int) -> Outcome:
    """Nothing is known of any clip."""
    none = np.zeros(n_clips, dtype=np.int16)
    return Outcome(np.full(n_clips, np.nan), none, none, none, np.ones(n_clips, dtype=np.bool_))


def replay_of(system: System, cache: Cache, data: DevSet) -> Replay:
    """The system over what a search has asked of these clips."""
    of_clip: dict[str, list[CachedResult]] = {clip.key: [] for clip in data.clips}
    for one in cache.asked.values():
        of_clip[one.clip].append(one)
    groups: dict[Any, list[int]] = {}
    alike = _shapes(of_clip)
    for row, clip in enumerate(data.clips):
        groups.setdefault(alike[clip.key], []).append(row)
    return Replay(tuple(_group(system, cache.steps, data, of_clip, np.array(rows)) for rows in groups.values()))


def _shapes(of_clip: Mapping[str, Sequence[CachedResult]]) -> dict[str, frozenset[Any]]:
    """For each clip the shapes of its arrays, as far as clips differ in them: frames of clips of several lengths."""
    found: dict[Any, set[Any]] = {}
    for results in of_clip.values():
        for one in results:
            found.setdefault((one.step, one.input_shapes), set()).add(one.shapes)
    several = {about for about, shapes in found.items() if len(shapes) > 1}
    return {
        clip: frozenset(
            (one.step, one.input_shapes, one.shapes) for one in results if (one.step, one.input_shapes) in several
        )
        for clip, results in of_clip.items()
    }


def _group(
    system: System, steps: Mapping[str, str], data: DevSet, of_clip: Mapping[str, Sequence[CachedResult]], rows: Ints
) -> Group:
    keys = [data.clips[row].key for row in rows.tolist()]
    contents = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    results = [one for key in contents for one in of_clip[key]]
    references = data.references.classes[rows]
    first, start, waveforms = _waveforms(contents, of_clip, references.shape[1])
    tables = {
        name: Table(step.gives, [one for one in results if one.step == steps[name]], contents, first)
        for name, step in steps_of(system).items()
    }
    content = np.array([contents[key] for key in keys], dtype=np.int64)
    replayed = with_steps(system, lambda name, step: tables[name])
    return Group(replayed, rows, content, start[content][:, None], waveforms, References(references))


def _waveforms(
    contents: Iterable[str], of_clip: Mapping[str, Sequence[CachedResult]], n_references: int
) -> tuple[dict[str, int], Ints, WaveformScores]:
    """For each result the number of its first waveform within the clip, for each clip that among all; and all."""
    first: dict[str, int] = {}
    starts, n_all = [], 0
    for clip in contents:
        starts.append(n_all)
        for one in of_clip[clip]:
            first[one.key] = n_all - starts[-1]
            n_all += len(one.sdr_db)
    sdr_db, sdri_db = np.zeros((2, max(n_all, 1), n_references))
    for clip, start in zip(contents, starts, strict=True):
        for one in of_clip[clip]:
            place, m = start + first[one.key], one.sdr_db.shape[1]
            rows = slice(place, place + len(one.sdr_db))
            sdr_db[rows, :m], sdri_db[rows, :m] = one.sdr_db, one.sdri_db
    return first, np.array(starts, dtype=np.int64), WaveformScores(sdr_db, sdri_db)
