"""Confidence intervals of scores: clips are drawn again, with replacement, and the scores taken anew each time.

A score is a sum over clips divided by a sum over clips (a mean over those clips that have a value; TP over TP + FP +
FN), so a resample is a weighted sum, and all scores of all resamples are two matrix products. Intervals are BCa: the
quantiles of the resampled scores, corrected for the bias and the skewness that the sample itself shows.

Letters: n clips, k scores, r resamples.
Source: B. Efron, Better Bootstrap Confidence Intervals, JASA 82 (1987) 171-185.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from s5cli.errors import UsageError
from s5cli.scene import Bools, Floats, Ints

METHOD = "BCa bootstrap over clips"
MAX_WEIGHTS = 1 << 22  # held at once; 32 MiB as float64
TOLERANCE = 1e-9  # relative; resampled sums of equal values differ by rounding only


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are drawn. The same seed and number of clips give the same resamples, which is what pairs runs.

    Raises:
        UsageError: a negative number of resamples, or a level that is not between 0 and 100 %.
    """

    resamples: int = 2000  # 0: no intervals
    seed: int = 0
    level_percent: float = 95.0

    def __post_init__(self) -> None:
        if self.resamples < 0:
            raise UsageError(f"{self.resamples} resamples: give 0 (no intervals) or more; 2000 is usual")
        if not 0 < self.level_percent < 100:
            raise UsageError(f"level of {self.level_percent} %: an interval's level is between 0 and 100 %")


DEFAULT = Bootstrap()


@dataclass(frozen=True)
class Interval:
    """Where a score lies with the confidence that was asked for; without width where all clips agree."""

    low: float
    high: float


@dataclass(frozen=True)
class Ratios:
    """Scores as sums over clips divided by sums over clips: what each clip adds to both. 0 and 0 where it is silent."""

    numerator: Floats  # [n, k]
    denominator: Floats  # [n, k], not negative


@dataclass(frozen=True)
class Spread:
    """Scores of a set of clips, and how they vary when clips are drawn again or left out; nan where there is none."""

    estimate: Floats  # [k]
    resampled: Floats  # [r, k]
    without_clip: Floats  # [n, k], each clip left out once
    n_clips: Ints  # [k], that have a part in the score

    def __sub__(self, other: "Spread") -> "Spread":
        """The differences of two systems' scores on the same clips, in the same order, drawn with the same seed."""
        return Spread(
            self.estimate - other.estimate,
            self.resampled - other.resampled,
            self.without_clip - other.without_clip,
            np.minimum(self.n_clips, other.n_clips),
        )


def spread(ratios: Ratios, bootstrap: Bootstrap = DEFAULT) -> Spread:
    """Scores [k] from what each clip adds to them.

    >>> found = spread(Ratios(np.array([[3.0], [0.0], [6.0]]), np.array([[1.0], [0.0], [2.0]])))
    >>> found.estimate.tolist(), found.without_clip[:, 0].tolist(), found.n_clips.tolist()
    ([3.0], [3.0, 3.0, 3.0], [2])
    """
    upper, lower = ratios.numerator, ratios.denominator
    resampled = [_divided(weights @ upper, weights @ lower) for weights in _weights(len(upper), bootstrap)]
    return Spread(
        _divided(upper.sum(0), lower.sum(0)),
        np.concatenate(resampled) if resampled else np.zeros((0, upper.shape[1])),
        _divided(upper.sum(0) - upper, lower.sum(0) - lower),
        np.count_nonzero(lower > 0, axis=0),
    )


def _weights(n: int, bootstrap: Bootstrap) -> Iterator[Floats]:
    """How often each clip was drawn, [some of r, n] at a time: n draws with replacement in every resample."""
    random = np.random.default_rng(bootstrap.seed)
    at_once = max(1, MAX_WEIGHTS // max(n, 1))
    for start in range(0, bootstrap.resamples if n else 0, at_once):
        rows = min(at_once, bootstrap.resamples - start)
        drawn = random.integers(n, size=(rows, n)) + n * np.arange(rows)[:, np.newaxis]
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def _divided(upper: Floats, lower: Floats) -> Floats:
    """nan where the denominator is 0. (Sums of counts are exact, so one that should be 0 is.)"""
    return np.asarray(np.divide(upper, lower, out=np.full(upper.shape, np.nan), where=lower > 0))


def intervals(found: Spread, level_percent: float = DEFAULT.level_percent) -> list[Interval | None]:
    """A BCa interval for each score; None where fewer than two clips have a part in it, or nothing was resampled.

    >>> clips = np.random.default_rng(1).normal(5.0, 2.0, size=(100, 1))
    >>> found = intervals(spread(Ratios(clips, np.ones((100, 1)))))[0]
    >>> round(float(clips.mean()), 2), round(found.low, 2), round(found.high, 2)
    (4.85, 4.52, 5.19)
    """
    columns = zip(found.estimate, found.resampled.T, found.without_clip.T, found.n_clips, strict=True)
    return [_bca(*column, level_percent) for column in columns]


def _bca(
    estimate: float, resampled: Floats, without_clip: Floats, n_clips: int, level_percent: float
) -> Interval | None:
    """Quantiles at Φ(z₀ + (z₀ ± z) / (1 − a(z₀ ± z))): z₀ the bias, a the acceleration."""
    resampled = resampled[np.isfinite(resampled)]
    if n_clips < 2 or not np.isfinite(estimate) or not len(resampled):
        return None
    bias, z = _bias(estimate, resampled), ndtri(0.5 + level_percent / 200)
    acceleration = _acceleration(without_clip[np.isfinite(without_clip)])
    ends = bias + np.array([-z, z])
    low, high = np.quantile(resampled, ndtr(bias + ends / (1 - acceleration * ends)))
    return Interval(float(low), float(high))


def _bias(estimate: float, resampled: Floats) -> float:
    """Φ⁻¹ of the share of resamples below the estimate, ties by half, kept away from 0 and 1 where Φ⁻¹ is infinite."""
    ties: Bools = np.abs(resampled - estimate) <= TOLERANCE * (1 + abs(estimate))
    share = float(np.mean(((resampled < estimate) & ~ties) + 0.5 * ties))
    least = 0.5 / len(resampled)
    return float(ndtri(np.clip(share, least, 1 - least)))


def _acceleration(without_clip: Floats) -> float:
    """A sixth of the skewness of the clips' influence, by the jackknife."""
    influence = without_clip.mean() - without_clip
    scale = float(np.square(influence).sum()) ** 1.5
    return float((influence**3).sum() / (6 * scale)) if scale > 0 else 0.0
