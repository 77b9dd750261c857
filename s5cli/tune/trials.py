"""Settings to scores: replayed where all that they ask is known, else with networks first, within a budget.

Many settings are replayed by several processes, which share the evidence of the one that started them.
"""

import multiprocessing
import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from s5cli.errors import InputError
from s5cli.knobs import Setting
from s5cli.system import System
from s5cli.tune.cache import NOT_A_NUMBER, Array, BudgetSpentError, Cache, CachedClip, caching, with_setting
from s5cli.tune.clips import DevSet, batches, held
from s5cli.tune.replay import Replay, replay_of
from s5cli.tune.score import Outcome
from s5cli.workers import leave_to_parent

MAX_REMEMBERED = 6000  # outcomes, of some 20 kB each with 1,512 clips
CHUNK = 32  # settings at most; large enough to hide what passing on a chunk costs
FEW = 16  # settings that are sooner done here

Stacked = tuple[Array, ...]  # the arrays of outcomes, [settings, b] each
_replay: Replay | None = None

Progress = Callable[[str], None]
"""Told what is being done, in a few words."""


def no_progress(line: str) -> None:
    """The `Progress` that is not shown."""


@dataclass(frozen=True)
class Effort:
    """What a search has cost."""

    settings: int  # replayed over all clips
    unresolved: int  # of these, given up because they ask for query lists beyond the budget
    new_lists: int  # query lists that were asked beyond those of the defaults


class Trials:
    """A system, what was asked of it on a development set, and the means to ask more."""

    def __init__(
        self, system: System, cache: Cache, data: DevSet, batch_size: int = 4, n_workers: int = 1,
        progress: Progress = no_progress,
    ) -> None:  # fmt: skip
        self.system, self.cache, self.data = system, cache, data
        self.batch_size, self.n_workers, self.progress = batch_size, n_workers, progress
        self._workers: Workers | None = None
        self._known: OrderedDict[bytes, Outcome] = OrderedDict()
        self._tried: dict[bytes, bool] = {}  # whether it was scored

    @property
    def workers(self) -> "Workers":
        """Processes that hold the replay over all that was asked by now."""
        if self._workers is None:
            self._workers = Workers(replay_of(self.system, self.cache, self.data), self.n_workers)
        return self._workers

    @property
    def replay(self) -> Replay:
        """Over all that was asked by now."""
        return self.workers.replay

    @property
    def effort(self) -> Effort:
        unresolved = sum(not scored for scored in self._tried.values())
        return Effort(len(self._tried), unresolved, self.cache.new_lists)

    def outcomes(self, settings: Sequence[Setting]) -> list[Outcome]:
        """Of each setting as far as it is known: clips may be unseen."""
        keys = [setting.key for setting in settings]
        todo = {key: setting for key, setting in zip(keys, settings, strict=True) if key not in self._known}
        found = dict(zip(todo, map(self._checked, self.workers.outcomes(list(todo.values()))), strict=True))
        self._tried.update((key, not outcome.unseen.any()) for key, outcome in found.items())
        answers = [found[key] if key in found else self._known[key] for key in keys]
        self._known.update(found)
        while len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return answers

    def _checked(self, outcome: Outcome) -> Outcome:
        """Raises InputError for a clip without a score that has stems or references: a mean would leave it out."""
        lost = ~np.isfinite(outcome.capi_sdri_db) & ~outcome.unseen & (outcome.tp + outcome.fp + outcome.fn > 0)
        if lost.any():
            raise InputError(f"{self.data.clips[lost.argmax()].name}: {NOT_A_NUMBER}")
        return outcome

    def exact(self, setting: Setting) -> Outcome:
        """The outcome with everything asked that is unseen, whatever that costs.

        Raises:
            InputError: a clip that cannot be used.
        """
        self.fill([setting])
        return self.outcomes([setting])[0]

    def labels(self, setting: Setting) -> list[tuple[str, ...]]:
        """The labels that every clip is given, under a setting whose query lists are all known."""
        return [tuple(query.label for query in clip.reported) for clip in self.replay.traces(setting)]

    def fill(self, settings: Iterable[Setting]) -> bool:
        """Asks what these settings ask and is unseen; networks run where nothing is cached.

        False: the budget did not suffice.
        """
        before = len(self.cache.asked)
        try:
            for setting in () if self.cache.exhausted else settings:
                self._ask(setting)
        except BudgetSpentError:
            pass
        finally:
            if len(self.cache.asked) > before:
                self._forget()
        return not self.cache.exhausted

    def _ask(self, setting: Setting) -> None:
        system = caching(with_setting(self.system, setting), self.cache)
        unseen = np.flatnonzero(self.replay(setting).unseen).tolist()
        done = 0
        for batch in batches([self.data.clips[row] for row in unseen], self.batch_size):
            system([CachedClip(clip.key, partial(held, clip)) for clip in batch])  # type: ignore[misc]
            done += len(batch)
            self.progress(f"networks: {done} of {len(unseen)} clips")

    def _forget(self) -> None:
        """What has unseen clips may be known better now."""
        if self._workers is not None:
            self._workers.close()
        self._workers = None
        for key in [key for key, outcome in self._known.items() if outcome.unseen.any()]:
            del self._known[key]


# --- workers ----------------------------------------------------------------------------------------------------------


def usable_workers() -> int:
    """Cores of this process where processes can share memory by forking, else one."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


class Workers:
    """Processes that hold a replay. Started when there is enough to do, then kept, since a start takes 0.1 s."""

    def __init__(self, replay: Replay, count: int = 1) -> None:
        self.replay, self.count = replay, count
        self._pool: ProcessPoolExecutor | None = None

    def outcomes(self, settings: Sequence[Setting]) -> Iterator[Outcome]:
        """In the order of the settings."""
        if self.count < 2 or len(settings) <= FEW:
            yield from map(self.replay, settings)
            return
        size = min(CHUNK, -(-len(settings) // self.count))
        chunks = [settings[start : start + size] for start in range(0, len(settings), size)]
        for stacked in self._started().map(_outcomes, chunks):
            yield from (Outcome(*arrays) for arrays in zip(*stacked, strict=True))

    def close(self) -> None:
        """Ends the processes."""
        if self._pool is not None:
            self._pool.shutdown()
        self._pool = None

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            fork = multiprocessing.get_context("fork")
            self._pool = ProcessPoolExecutor(self.count, fork, initializer=_adopt, initargs=(self.replay,))
        return self._pool


def _adopt(replay: Replay) -> None:
    global _replay
    _replay = replay
    leave_to_parent()


def _outcomes(settings: Sequence[Setting]) -> Stacked:
    """Stacked, since thousands of small arrays take long from one process to another."""
    if _replay is None:
        raise RuntimeError("a worker without evidence")
    outcomes = [_replay(setting) for setting in settings]
    return tuple(np.stack(arrays) for arrays in zip(*(outcome.arrays for outcome in outcomes), strict=True))
