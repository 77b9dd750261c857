"""What tuning is worth on clips that it has not seen: k-fold cross-validation of the whole search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from s5cli.errors import UsageError
from s5cli.scene import Bools, Floats, Ints
from s5cli.score.bootstrap import Bootstrap, Interval, Ratios, Spread, intervals, spread
from s5cli.tune.score import Outcome
from s5cli.tune.search import Candidate, Search
from s5cli.tune.trials import Trials

MARGINS_DB = (0.1, 0.05, 0.02, 0.01, 0.0)
"""From which one is chosen; and beyond them, to leave all classes alike."""
NONE_DB = float("inf")


@dataclass(frozen=True)
class Gain:
    """A mean over clips and where it lies with 95 % confidence; None where that cannot be said."""

    mean_db: float
    interval: Interval | None


@dataclass(frozen=True)
class HeldOut:
    """Scores of clips by thresholds that were tuned without them."""

    tuned: Outcome
    untuned: Outcome  # the defaults on the same clips
    margins_db: tuple[float, ...]  # for per-class values, by fold
    by_margin_db: Mapping[float, float]  # held-out score of every margin
    folds: tuple[tuple[float, float, float], ...]  # clips, score where tuned, score where held out
    labels: tuple[tuple[str, ...], ...]  # that each clip is given by the thresholds that were tuned without it

    @property
    def margin_db(self) -> float:
        """The margin with the highest held-out score, the larger of equals."""
        return best_margin(self.by_margin_db)

    @property
    def score(self) -> Gain:
        return gained(bootstrapped(self.tuned.capi_sdri_db))

    @property
    def gain(self) -> Gain:
        """Over the defaults, drawn in pairs."""
        return gained(bootstrapped(self.tuned.capi_sdri_db) - bootstrapped(self.untuned.capi_sdri_db))


def folds(n_targets: Ints, count: int, seed: int = 0) -> list[Bools]:
    """Which clips each fold holds out, [b] each: every clip once, those with each number of targets spread evenly.

    Raises:
        UsageError: fewer than two folds, or more than clips.

    >>> [fold.astype(int).tolist() for fold in folds(np.array([0, 0, 3, 3]), 2)]
    [[1, 0, 1, 0], [0, 1, 0, 1]]
    """
    if not 2 <= count <= len(n_targets):
        raise UsageError(f"{count} folds of {len(n_targets)} clips; give 2 or more, and at most one for each clip")
    random = np.random.default_rng(seed)
    shuffled = random.permutation(len(n_targets))
    by_targets = shuffled[np.argsort(n_targets[shuffled], kind="stable")]
    number = np.empty(len(n_targets), dtype=np.int64)
    number[by_targets] = np.arange(len(n_targets)) % count
    return [number == fold for fold in range(count)]


def cross_validate(
    search: Search, start: Candidate, folds: Sequence[Bools], per_class: bool, new_lists: int
) -> HeldOut:
    """Tunes once for each fold without its clips, then scores these.

    The margin that a fold is scored with is the one that did best on the other folds, so that its clips had no say in
    that either. Of the new query lists that may be asked, every fold gets its share, and one share is left over.
    """
    tuned = []
    for number, fold in enumerate(folds):
        search.trials.cache.allow(new_lists * (number + 1) // (len(folds) + 1))
        tuned.append(_tuned(search, start, ~fold, per_class, number))
    margins = list(tuned[0])
    scores = {m: joined([by_margin[m].outcome for by_margin in tuned], folds) for m in margins}
    chosen = [best_margin({m: scores[m].mean_db(~fold) for m in margins}) for fold in folds]
    held_out = joined([tuned[k][margin].outcome for k, margin in enumerate(chosen)], folds)
    rows = tuple(
        (int(fold.sum()), tuned[k][margin].score_db, held_out.mean_db(fold))
        for k, (fold, margin) in enumerate(zip(folds, chosen, strict=True))
    )
    by_fold = [search.trials.labels(tuned[k][margin].setting) for k, margin in enumerate(chosen)]
    labels = tuple(by_fold[k][clip] for clip, k in enumerate(number_of(folds).tolist()))
    return HeldOut(held_out, start.outcome, tuple(chosen), {m: scores[m].mean_db() for m in margins}, rows, labels)


def _tuned(search: Search, start: Candidate, clips: Bools, per_class: bool, number: int) -> dict[float, Candidate]:
    """The best setting for some clips under every margin."""
    trials: Trials = search.trials
    inner, progress = replace(search, clips=clips), trials.progress
    trials.progress = lambda line: progress(f"fold {number + 1}, {line}")
    try:
        *_, last = inner.stages(replace(start, score_db=start.outcome.mean_db(clips)))
        found = {NONE_DB: last.best}
        for margin in MARGINS_DB if per_class else ():
            found[margin] = inner.by_class(last.best, margin)
        return found
    finally:
        trials.progress = progress


def best_margin(scores_db: Mapping[float, float]) -> float:
    """The margin with the highest score; the larger of equals.

    >>> best_margin({float("inf"): 1.0, 0.1: 1.5, 0.0: 1.5})
    0.1
    """
    return max(scores_db, key=lambda margin: (scores_db[margin], margin))


def joined(outcomes: Sequence[Outcome], folds: Sequence[Bools]) -> Outcome:
    """Of every clip the outcome of its own fold."""
    which = number_of(folds)
    columns = zip(*(outcome.arrays for outcome in outcomes), strict=True)
    return Outcome(*(np.stack(column)[which, np.arange(len(which))] for column in columns))


def number_of(folds: Sequence[Bools]) -> Ints:
    """The fold that each clip is in, [b].

    >>> number_of([np.array([False, True]), np.array([True, False])])
    array([1, 0])
    """
    return np.asarray(np.argmax(np.stack(folds), axis=0))


def gained(found: Spread) -> Gain:
    """A mean, or the difference of two means over the same clips, with its interval."""
    return Gain(float(found.estimate[0]), intervals(found)[0])


def bootstrapped(values_db: Floats) -> Spread:
    """Mean of the clips that have a value."""
    scored = ~np.isnan(values_db)
    return spread(Ratios(np.where(scored, values_db, 0.0)[:, None], scored.astype(np.float64)[:, None]), Bootstrap())
