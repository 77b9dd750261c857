"""Looking up: exact, whatever the hashes; what was never asked is unseen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s5cli.scene import Tags
from s5cli.tune import index
from s5cli.tune.table import Clips, NothingKnownError, Table


@pytest.mark.parametrize("multiplier", [index.MULTIPLIER, 1, 3])  # small ones: hashes that many rows share
@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_found_is_what_was_filed(multiplier, seed):
    random = np.random.default_rng(seed)
    asked = np.unique(random.integers([0, -1, -1, -1], 3, (12, 4)), axis=0)
    known = random.random(len(asked)) < 0.7
    known[0] = True
    values = random.random((len(asked), 2))
    before = index.MULTIPLIER
    index.MULTIPLIER = multiplier
    try:
        made = Table(Tags, asked[known], {"probabilities": values[known]})
        clips = Clips(np.ascontiguousarray(asked[:, 0]))
        found = made(clips, asked[:, 1:3], asked[:, 3:])
    finally:
        index.MULTIPLIER = before
    np.testing.assert_array_equal(clips.unseen, ~known)
    np.testing.assert_array_equal(found.probabilities[known], values[known])


def test_a_step_that_is_asked_nothing_answers_once_for_all():
    made = Table(Tags, np.array([[0], [2]]), {"probabilities": np.array([[1.0], [2.0]])})
    content = np.array([2, 0, 1, 2])
    first, second = Clips(content), Clips(content)
    answer = made(first)
    assert made(second) is answer
    assert first.unseen.tolist() == second.unseen.tolist() == [False, False, True, False]
    assert answer.probabilities[[0, 1, 3], 0].tolist() == [2, 1, 2]


def test_nothing_known():
    with pytest.raises(NothingKnownError):
        Table(Tags, np.zeros((0, 1), np.int64), {})(Clips(np.zeros(2, np.int64)))
