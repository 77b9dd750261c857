"""The staged search for thresholds, of which it knows nothing but what stands beside a flow: default, range and stage.

First the knobs of each stage together on a grid, stage after stage; then a short coordinate descent over all; then, one
class at a time, the knobs that may differ by class, a change being kept only if it gains more than a margin.
Source: Jeong & Kim, DCASE 2026; class-wise sweeps also Kwon et al. 2026.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, product

import numpy as np

from s5cli.knobs import Knob, Setting
from s5cli.labels import CLASSES, N_CLASSES
from s5cli.scene import Bools, Floats
from s5cli.tune.score import Outcome
from s5cli.tune.trials import Trials

STAGE_SETTINGS = 1331  # on the grid of one stage: 11 values for each of three knobs
MAX_POINTS = 41  # of one knob
CLASS_POINTS = 21
MAX_DESCENTS = 3
AT_ONCE = 4  # promising settings whose unseen query lists are asked before looking again; then twice as many, …
HOPE_DB = 10.0  # what an unseen clip is thought able to score, or as much as the best clip so far
LEAST_GAIN_DB = 1e-9  # what rounding could feign


@dataclass(frozen=True)
class Candidate:
    """A setting and its score."""

    setting: Setting
    outcome: Outcome
    score_db: float  # over the clips that the search looks at


@dataclass(frozen=True)
class Milestone:
    """How far the search had come after a stage."""

    stage: str
    best: Candidate


@dataclass(frozen=True)
class Promise:
    """What a setting may score once its unseen clips are known."""

    likely_db: float
    most_db: float
    n_unseen: int


@dataclass(frozen=True)
class Search:
    """A search that looks at some of the clips only."""

    trials: Trials
    knobs: Mapping[str, Knob]
    clips: Bools  # [b]

    def candidate(self, setting: Setting) -> Candidate:
        """A setting whose query lists are all asked, whatever that costs."""
        return self._of(setting, self.trials.exact(setting))

    def stages(self, start: Candidate) -> Iterator[Milestone]:
        """One value for every knob, better and better: after each stage of the flow, and after the descent."""
        best = start
        for stage, names in stages(self.knobs).items():
            self.trials.progress(f"{stage}: {', '.join(names)}")
            grids = [self.knobs[name].grid(points(len(names)), best.setting.scalar(name)) for name in names]
            best = self.best(best, [best.setting.moved(dict(zip(names, one, strict=True))) for one in product(*grids)])
            yield Milestone(stage, best)
        yield Milestone("descent", self.descend(best))

    def descend(self, best: Candidate) -> Candidate:
        """Each knob in turn over its range and close to where it is, until nothing gains."""
        for _ in range(MAX_DESCENTS):
            before = best.score_db
            for name, knob in self.knobs.items():
                self.trials.progress(f"descent: {name}")
                values = knob.near(best.setting.scalar(name), MAX_POINTS)
                best = self.best(best, [best.setting.moved({name: value}) for value in values])
            if best.score_db <= before + LEAST_GAIN_DB:
                break
        return best

    def by_class(self, best: Candidate, margin_db: float) -> Candidate:
        """Class by class a value of its own for each knob that may have one, where it gains more than the margin."""
        for index, name in product(range(N_CLASSES), [name for name, knob in self.knobs.items() if knob.per_class]):
            self.trials.progress(f"per class, margin {margin_db:g} dB: {name} of {CLASSES[index]}")
            found = self.best(best, self.sweep(best.setting, name, index))
            if found.score_db > best.score_db + margin_db:
                best = found
        return best

    def sweep(self, setting: Setting, name: str, index: int) -> list[Setting]:
        """One class's value of one knob over its range."""
        table = np.broadcast_to(np.asarray(setting.values[name], dtype=np.float64), (N_CLASSES,))
        values = self.knobs[name].grid(CLASS_POINTS, float(table[index]))
        return [setting.moved({name: replaced(table, index, value)}) for value in values]

    def best(self, start: Candidate, settings: Sequence[Setting]) -> Candidate:
        """The best of the settings (and of `start`), exactly; of equals the one nearest to the defaults.

        Settings that ask for more than is known are taken in the order of what they promise, as long as they might be
        better than the best and the budget lasts.
        """
        best, waiting = start, list(settings)
        for turn in count():
            outcomes = self.trials.outcomes(waiting)
            known = [i for i, outcome in enumerate(outcomes) if not outcome.unseen.any()]
            best = self._best(best, [self._of(waiting[i], outcomes[i]) for i in known])
            promises = {i: self._promise(outcomes[i], start.outcome) for i in set(range(len(waiting))) - set(known)}
            hopeful = [i for i, promise in promises.items() if promise.most_db > best.score_db]
            hopeful.sort(key=lambda i: (-promises[i].likely_db, promises[i].n_unseen, i))
            if not hopeful or not self.trials.fill([waiting[i] for i in hopeful[: AT_ONCE << turn]]):
                break
            waiting = [waiting[i] for i in hopeful]
        return best

    def _of(self, setting: Setting, outcome: Outcome) -> Candidate:
        return Candidate(setting, outcome, outcome.mean_db(self.clips))

    def _best(self, start: Candidate, found: Sequence[Candidate]) -> Candidate:
        best = start
        for one in found:
            gain = one.score_db - best.score_db
            if gain > LEAST_GAIN_DB or (gain > -LEAST_GAIN_DB and self._distance(one) < self._distance(best)):
                best = one
        return best

    def _promise(self, outcome: Outcome, start: Outcome) -> Promise:
        """Unseen clips count as `start` has them, or at most as its best clip or `HOPE_DB`, whichever is more."""
        before, found = start.capi_sdri_db[self.clips], outcome.capi_sdri_db[self.clips]
        unseen = outcome.unseen[self.clips]
        hope_db = max([HOPE_DB, *before[~np.isnan(before)]])
        likely = np.where(unseen, before, found)
        most = np.where(unseen, np.where(np.isnan(before), before, hope_db), found)
        return Promise(_mean(likely), _mean(most), int(outcome.unseen.sum()))

    def _distance(self, one: Candidate) -> float:
        """How far from the defaults, each knob's searched range counting as 1."""
        return sum(knob.distance(one.setting.values[name]) for name, knob in self.knobs.items())


def _mean(values: Floats) -> float:
    scored = values[~np.isnan(values)]
    return float(scored.mean()) if len(scored) else float("-inf")


def stages(knobs: Mapping[str, Knob]) -> dict[str, list[str]]:
    """Names of the knobs by stage, in the order in which stages first appear.

    >>> stages({"a": Knob(0, 0, 1, stage="x"), "b": Knob(0, 0, 1, stage="y"), "c": Knob(0, 0, 1, stage="x")})
    {'x': ['a', 'c'], 'y': ['b']}
    """
    found: dict[str, list[str]] = {}
    for name, knob in knobs.items():
        found.setdefault(knob.stage, []).append(name)
    return found


def points(n_knobs: int) -> int:
    """Values for each of so many knobs that are searched together.

    >>> points(1), points(2), points(3)
    (41, 36, 11)
    """
    return max(3, min(MAX_POINTS, int(STAGE_SETTINGS ** (1 / n_knobs) + 1e-9)))


def replaced(table: Floats, index: int, value: float) -> Floats:
    """A copy of a table with one class's value replaced."""
    copy = np.array(table)
    copy[index] = value
    return copy
