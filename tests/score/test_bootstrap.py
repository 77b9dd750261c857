"""Laws of the confidence intervals: they cover the truth, agree with another program's, and are pure functions."""

import time

import numpy as np
import pytest
import scipy.stats

from s5cli.errors import UsageError
from s5cli.score import bootstrap
from s5cli.score.bootstrap import Bootstrap, Interval, Ratios, Spread, intervals, spread


def means(values: np.ndarray) -> Ratios:
    """Plain means of the columns [n, k]."""
    return Ratios(values, np.ones_like(values))


def coverage(draw, truth: float, n: int, n_samples: int = 200) -> float:
    """Share of samples of n clips whose interval holds the truth; each sample is a column of its own."""
    found = intervals(spread(means(draw(np.random.default_rng(7), (n, n_samples))), Bootstrap(1000, 3)))
    return float(np.mean([ends is not None and ends.low <= truth <= ends.high for ends in found]))


def test_the_mean_of_normal_samples_is_covered() -> None:
    assert 0.9 <= coverage(lambda random, size: random.normal(8.0, 5.0, size), 8.0, 40) <= 0.99


def test_skewed_scores_and_shares_are_covered() -> None:
    assert coverage(lambda random, size: random.gamma(2.0, 2.0, size), 4.0, 60) >= 0.9
    assert coverage(lambda random, size: (random.random(size) < 0.8).astype(float), 0.8, 100) >= 0.9


def test_other_levels_cover_otherwise() -> None:
    values = np.random.default_rng(5).normal(0, 1, (40, 200))
    inside = [ends.low <= 0 <= ends.high for ends in intervals(spread(means(values), Bootstrap(1000)), 50.0) if ends]
    assert 0.4 <= np.mean(inside) <= 0.6


def test_agrees_with_scipy_where_the_sample_is_skewed() -> None:
    sample = np.random.default_rng(2).exponential(3.0, 60)
    ours = intervals(spread(means(sample[:, np.newaxis]), Bootstrap(20_000)))[0]
    theirs = scipy.stats.bootstrap((sample,), np.mean, n_resamples=20_000, method="BCa", random_state=1)
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert ours is not None
    assert [ours.low, ours.high] == pytest.approx(list(theirs.confidence_interval), abs=0.03 * width)
    symmetric = 2 * 1.96 * sample.std(ddof=1) / np.sqrt(60)
    assert ours.high - sample.mean() > sample.mean() - ours.low + 0.1 * symmetric, "skewness shows"


def test_a_ratio_is_resampled_as_a_ratio() -> None:
    """TP over sources: clips with many sources weigh more, and clips without any take no part."""
    random = np.random.default_rng(4)
    sources = random.integers(0, 4, 300).astype(float)
    hits = np.floor(random.random(300) * (sources + 1))
    found = spread(Ratios(hits[:, np.newaxis], sources[:, np.newaxis]), Bootstrap(4000))
    drawn = random.integers(300, size=(4000, 300))
    theirs = hits[drawn].sum(1) / sources[drawn].sum(1)
    assert found.estimate[0] == hits.sum() / sources.sum()
    assert found.n_clips[0] == np.count_nonzero(sources)
    assert found.resampled.std() == pytest.approx(theirs.std(), rel=0.05)
    assert found.resampled.mean() == pytest.approx(theirs.mean(), abs=0.1 * theirs.std())


def test_leaving_out_is_leaving_out() -> None:
    random = np.random.default_rng(6)
    ratios = Ratios(random.random((7, 2)), random.integers(0, 2, (7, 2)).astype(float))
    found = spread(ratios, Bootstrap(10))
    for clip in range(7):
        kept = [row for row in range(7) if row != clip]
        less = spread(Ratios(ratios.numerator[kept], ratios.denominator[kept]), Bootstrap(0))
        assert found.without_clip[clip] == pytest.approx(less.estimate)


def test_the_seed_decides_and_the_memory_at_hand_does_not(monkeypatch) -> None:
    ratios = means(np.random.default_rng(1).normal(size=(50, 2)))
    first = spread(ratios, Bootstrap(300, 5)).resampled
    assert np.array_equal(first, spread(ratios, Bootstrap(300, 5)).resampled)
    assert not np.array_equal(first, spread(ratios, Bootstrap(300, 6)).resampled)
    monkeypatch.setattr(bootstrap, "MAX_WEIGHTS", 7 * 50 + 1)
    assert spread(ratios, Bootstrap(300, 5)).resampled == pytest.approx(first, abs=1e-12)


def test_pairing_cancels_what_two_runs_have_in_common() -> None:
    random = np.random.default_rng(8)
    a = random.normal(8.0, 6.0, (200, 1))
    b = a + 0.3 + random.normal(0, 0.5, (200, 1))
    alone_a, alone_b = spread(means(a)), spread(means(b))
    apart = [intervals(alone)[0] for alone in (alone_a, alone_b)]
    paired = intervals(alone_b - alone_a)[0]
    assert paired is not None
    assert apart[0] is not None
    assert 0.1 < paired.low < 0.3 < paired.high < 0.5
    assert paired.high - paired.low < (apart[0].high - apart[0].low) / 5
    mirrored = intervals(alone_a - alone_b)[0]
    assert mirrored is not None
    assert [-mirrored.high, -mirrored.low] == pytest.approx([paired.low, paired.high], abs=1e-9)


def test_one_clip_says_nothing_of_chance_and_equal_clips_leave_none() -> None:
    ratios = Ratios(np.array([[3.0, 0.0, 0.1], [0.0, 0.0, 0.1], [0.0, 0.0, 0.1]]), np.array([[1.0, 0.0, 1.0]] * 3))
    ratios.denominator[1:, 0] = 0
    assert intervals(spread(ratios)) == [None, None, Interval(pytest.approx(0.1), pytest.approx(0.1))]
    assert intervals(spread(Ratios(np.zeros((0, 2)), np.zeros((0, 2))))) == [None, None]
    assert intervals(spread(means(np.arange(9.0).reshape(9, 1)), Bootstrap(resamples=0))) == [None]


def test_one_changed_clip_of_many_gives_an_interval_that_touches_zero() -> None:
    moves = np.zeros((50, 1))
    moves[17] = 10.0
    ends = intervals(spread(means(moves)))[0]
    assert ends is not None
    assert ends.low == 0
    assert 0.4 < ends.high <= 1.2


@pytest.mark.parametrize(("wrong", "named"), [({"resamples": -1}, "-1 resamples"), ({"level_percent": 100}, "100 %")])
def test_impossible_settings_are_the_user_s_mistake(wrong: dict[str, int], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Bootstrap(**wrong)


def test_the_evaluation_set_takes_less_than_a_second() -> None:
    """2,567 clips, 2,000 resamples, eleven scores; processor time, the better of two, for others may be busy."""
    ratios = means(np.random.default_rng(0).normal(size=(2567, 11)))
    times_s = []
    for _ in range(2):
        start_s = time.process_time()
        found: Spread = spread(ratios, Bootstrap(2000))
        assert len(intervals(found)) == 11
        times_s.append(time.process_time() - start_s)
    assert min(times_s) < 1
