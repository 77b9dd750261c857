"""Finding rows again: all that were filed, however many, and no others."""

import numpy as np
import pytest

from s5cli.tune.index import Index, settled


@pytest.mark.parametrize("n_rows", [1, 2, 100, 30_000])
def test_every_row_is_found_and_no_other(n_rows):
    random = np.random.default_rng(n_rows)
    rows = np.unique(random.integers([0, -1, -1, 0], [2000, 18, 18, 10**6], (2 * n_rows, 4)), axis=0)
    random.shuffle(rows)
    known, others = rows.T[:, :n_rows], rows.T[:, n_rows:]
    index = Index(np.ascontiguousarray(known))
    asked = random.integers(0, n_rows, 5000)
    found, there = index.find(known[:, asked])
    np.testing.assert_array_equal(found, asked)
    assert there.all()
    assert not index.find(np.ascontiguousarray(others))[1].any()


def test_rows_that_differ_little_or_much():
    rows = np.array([[0, 0, 0, 1, 2**40, -(2**40)], [0, 1, -1, 0, 2**40, 2**40]])
    found, there = Index(rows).find(rows)
    assert found.tolist() == [0, 1, 2, 3, 4, 5]
    assert there.all()


@pytest.mark.parametrize("number", [2**40 + 1, -(2**40) - 1, 2**63 - 1, -(2**63)])
def test_numbers_too_large_to_be_filed(number):
    with pytest.raises(ValueError, match=r"; an index takes numbers up to 2\^40 in size"):
        Index(np.array([[0, number], [0, 1]]))


def test_a_half_full_house_settles_and_a_crowded_one_does_not():
    hashes = np.random.default_rng(0).integers(-(2**63), 2**63, 100)
    places = settled(hashes, 9)
    assert sorted(places[places >= 0].tolist()) == list(range(100))
    assert settled(hashes, 6) is None
