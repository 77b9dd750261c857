"""Scoring by number is scoring by matrices, with and without a choice of partners."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from s5cli.scene import EMPTY
from s5cli.tune.score import NO_REFERENCE, References, score
from s5cli.tune.takes import Takes


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 4), st.integers(1, 4), st.sampled_from([2, 5, 18]))
def test_the_same_as_from_matrices(seed, m, s, n_classes):
    """Of few classes most clips have a choice to make, of many nearly none; order in memory does not matter."""
    random = np.random.default_rng(seed)
    b, n = 20, 30
    takes = Takes(random.normal(0, 20, (n, m)), random.normal(5, 9, (n, m)))
    classes = np.asarray(random.integers(EMPTY, n_classes, (b, s)), order=random.choice(["C", "F"]))
    numbers = np.asarray(random.integers(0, n, (b, s)), order=random.choice(["C", "F"]))
    references = References(np.where(random.random((b, m)) < 0.3, NO_REFERENCE, random.integers(0, n_classes, (b, m))))
    unseen = random.random(b) < 0.2
    found = takes.score(classes, numbers, references, unseen)
    expected = score(classes, takes.sdr_db[numbers], takes.sdri_db[numbers], references, unseen)
    np.testing.assert_allclose(found.capi_sdri_db, expected.capi_sdri_db, atol=1e-12)
    for one, other in zip(found.arrays[1:], expected.arrays[1:], strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
