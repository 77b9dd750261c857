"""Folds hold every clip out once and are alike."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s5cli.errors import UsageError
from s5cli.tune.crossval import folds


@given(st.lists(st.integers(0, 3), min_size=5, max_size=80), st.integers(2, 5), st.integers(0, 9))
def test_every_clip_is_held_out_once_and_targets_are_spread_evenly(n_targets, count, seed):
    n_targets = np.array(n_targets)
    found = np.stack(folds(n_targets, count, seed))
    assert (found.sum(axis=0) == 1).all()
    for number in range(4):
        per_fold = found[:, n_targets == number].sum(axis=1)
        assert per_fold.max() - per_fold.min() <= 1
    assert found.sum(axis=1).max() - found.sum(axis=1).min() <= 1
    np.testing.assert_array_equal(found, np.stack(folds(n_targets, count, seed)))


def test_the_seed_matters():
    n_targets = np.zeros(40, int)
    assert not np.array_equal(folds(n_targets, 4, 0), folds(n_targets, 4, 1))


@pytest.mark.parametrize("count", [1, 6])
def test_impossible_folds(count):
    with pytest.raises(UsageError, match=f"{count} folds of 5 clips"):
        folds(np.zeros(5, int), count)
