"""Settings to scores: replayed where all that they ask is known, else with networks first, within a budget."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from s5cli.knobs import Setting
from s5cli.tune.clips import DevSet, held_batches
from s5cli.tune.record import BudgetSpentError, Memory, TunableSystem, recording, with_setting
from s5cli.tune.replay import Replay, replay_of
from s5cli.tune.score import Outcome
from s5cli.tune.workers import Workers

MAX_REMEMBERED = 6000  # outcomes, of some 20 kB each with 1,512 clips

Tell = Callable[[str], None]
"""Told what is being done, in a few words; progress for instance."""


def untold(line: str) -> None:
    """The `tell` that tells nobody."""


@dataclass(frozen=True)
class Effort:
    """What a search has cost."""

    settings: int  # replayed over all clips
    unresolved: int  # of these, given up because of query lists that nobody was asked
    new_lists: int  # query lists that networks ran for, beyond those of the defaults


class Trials:
    """A system, what is remembered of it on a development set, and the means to learn more."""

    def __init__(
        self, system: TunableSystem, memory: Memory, data: DevSet, batch_size: int = 4, n_workers: int = 1,
        tell: Tell = untold,
    ) -> None:  # fmt: skip
        self.system, self.memory, self.data = system, memory, data
        self.batch_size, self.n_workers, self.tell = batch_size, n_workers, tell
        self._workers: Workers | None = None
        self._known: OrderedDict[bytes, Outcome] = OrderedDict()
        self._tried: dict[bytes, bool] = {}  # whether it was scored

    @property
    def workers(self) -> Workers:
        """Processes that hold the replay over all that is remembered by now."""
        if self._workers is None:
            self._workers = Workers(replay_of(self.system, self.memory, self.data), self.n_workers)
        return self._workers

    @property
    def replay(self) -> Replay:
        """Over all that is remembered by now."""
        return self.workers.replay

    @property
    def effort(self) -> Effort:
        unresolved = sum(not scored for scored in self._tried.values())
        return Effort(len(self._tried), unresolved, self.memory.new_lists)

    def outcomes(self, settings: Sequence[Setting]) -> list[Outcome]:
        """Of each setting as far as it is known: clips may be unseen."""
        keys = [key_of(setting) for setting in settings]
        todo = {key: setting for key, setting in zip(keys, settings, strict=True) if key not in self._known}
        found = dict(zip(todo, self.workers.outcomes(list(todo.values())), strict=True))
        self._tried.update((key, not outcome.unseen.any()) for key, outcome in found.items())
        answers = [found[key] if key in found else self._known[key] for key in keys]
        self._remember(found)
        return answers

    def exact(self, setting: Setting) -> Outcome:
        """The outcome with networks run for whatever is unseen, whatever that costs.

        Raises:
            InputError: a clip that cannot be used.
        """
        self.fill([setting])
        return self.outcomes([setting])[0]

    def fill(self, settings: Iterable[Setting]) -> bool:
        """Runs networks for what these settings ask and nobody knows. False: the budget did not suffice."""
        before = len(self.memory.passes)
        try:
            for setting in () if self.memory.exhausted else settings:
                self._learn(setting)
        except BudgetSpentError:
            pass
        finally:
            if len(self.memory.passes) > before:
                self._forget()
        return not self.memory.exhausted

    def _learn(self, setting: Setting) -> None:
        recorder = recording(with_setting(self.system, setting), self.memory)
        unseen = np.flatnonzero(self.replay(setting).unseen).tolist()
        done = 0
        for batch in held_batches([self.data.clips[row] for row in unseen], self.batch_size):
            recorder.decide(batch)
            done += len(batch)
            self.tell(f"networks: {done} of {len(unseen)} clips")

    def _forget(self) -> None:
        """What has unseen clips may be known better now."""
        if self._workers is not None:
            self._workers.close()
        self._workers = None
        for key in [key for key, outcome in self._known.items() if outcome.unseen.any()]:
            del self._known[key]

    def _remember(self, found: dict[bytes, Outcome]) -> None:
        self._known.update(found)
        while len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)


def key_of(setting: Setting) -> bytes:
    """Equal settings, equal keys: a table of equal values is one value."""
    values = [np.ravel(setting.values[name]) for name in sorted(setting.values)]
    return b"|".join((row[:1] if (row == row[0]).all() else row).astype(np.float64).tobytes() for row in values)
