"""Replay: a system's own decisions over all clips at once, its steps looked up instead of run, scored exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from s5cli.knobs import Setting
from s5cli.scene import Ints, Queries, Scene
from s5cli.tune.clips import DevSet
from s5cli.tune.evidence import Inputs, Pass
from s5cli.tune.form import Array
from s5cli.tune.record import TAKES, Memory, TunableSystem, steps_of, with_setting, with_steps
from s5cli.tune.score import Outcome, References
from s5cli.tune.table import Clips, NothingKnownError, Table
from s5cli.tune.takes import Takes


@dataclass(frozen=True)
class Replay:
    """A system over a development set, as far as it is remembered. Free of networks once made."""

    system: TunableSystem  # tables in the place of its steps
    content: Ints  # [b]
    takes: Takes
    references: References

    def __call__(self, setting: Setting, queries: Queries | None = None) -> Outcome:
        """The score of every clip under one setting; `queries` [b, s] replace what the taggers propose."""
        clips = Clips(self.content)
        try:
            answer = with_setting(self.system, setting).decide(cast(Sequence[Scene], clips), queries=queries)
        except NothingKnownError:
            return unknown(len(clips))
        return self.takes.score(answer.classes, answer.waveforms, self.references, clips.unseen)


def unknown(n_clips: int) -> Outcome:
    """Nothing is known of any clip."""
    none = np.zeros(n_clips, dtype=np.int16)
    return Outcome(np.full(n_clips, np.nan), none, none, none, np.ones(n_clips, dtype=np.bool_))


def replay_of(system: TunableSystem, memory: Memory, data: DevSet) -> Replay:
    """The system over what the memory holds of these clips."""
    contents = {clip.key: number for number, clip in enumerate({clip.key: clip for clip in data.clips}.values())}
    passes = sorted(memory.passes.values(), key=lambda one: contents[one.clip])  # what clips ask in turn lies in turn
    first, takes = _takes(passes, data.references.classes.shape[1])
    tables = {
        name: _table(step.gives, [one for one in passes if one.step == memory.steps[name]], contents, first)
        for name, step in steps_of(system).items()
    }
    content = np.array([contents[clip.key] for clip in data.clips], dtype=np.int64)
    return Replay(with_steps(system, lambda name, step: tables[name]), content, takes, data.references)


def _takes(passes: Sequence[Pass], n_references: int) -> tuple[dict[str, int], Takes]:
    """The number of the first waveform of every pass, and all waveforms."""
    first, n_takes = {}, 0
    for one in passes:
        first[one.key] = n_takes
        n_takes += len(one.sdr_db)
    sdr_db, sdri_db = np.zeros((2, max(n_takes, 1), n_references))
    for one in passes:
        rows, m = slice(first[one.key], first[one.key] + len(one.sdr_db)), one.sdr_db.shape[1]
        sdr_db[rows, :m], sdri_db[rows, :m] = one.sdr_db, one.sdri_db
    return first, Takes(sdr_db, sdri_db)


def _table(gives: type, passes: Sequence[Pass], contents: Mapping[str, int], takes: Mapping[str, int]) -> Table:
    asked = [[contents[one.clip], *_numbers(one.inputs, takes)] for one in passes]
    arrays: dict[str, Array] = {}
    for name in passes[0].arrays if passes else ():
        column = np.stack([one.arrays[name] for one in passes])
        if name.startswith(TAKES):
            first = np.array([takes[one.key] for one in passes])
            column = column + first.reshape(-1, *[1] * (column.ndim - 1))
        arrays[name.removeprefix(TAKES)] = column
    return Table(gives, np.array(asked, dtype=np.int64).reshape(len(passes), -1 if passes else 1), arrays)


def _numbers(inputs: Inputs, takes: Mapping[str, int]) -> list[int]:
    """What a step was asked of a clip; waveforms by their number."""
    return [one if isinstance(one, int) else _take(one, takes) for column in inputs for one in column]


def _take(name: str, takes: Mapping[str, int]) -> int:
    key, _, number = name.rpartition(":")
    return takes[key] + int(number)
