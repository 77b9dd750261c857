"""Matching two separators' slots and choosing between them."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s5cli.rules.select import better, match
from s5cli.scene import EMPTY, Queries


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_matching_is_the_best_permutation_within_classes(seed):
    rng = np.random.default_rng(seed)
    classes, correlation = rng.integers(-1, 3, (4, 3)), rng.uniform(-1, 1, (4, 3, 3))
    for row, found in enumerate(match(classes, correlation)):
        allowed = [p for p in permutations(range(3)) if all(classes[row, p] == classes[row])]
        used = [i for i in range(3) if classes[row, i] != EMPTY]  # where an unused slot goes does not matter
        best = max(sum(abs(correlation[row, i, p[i]]) for i in used) for p in allowed)
        assert tuple(found) in allowed
        assert sum(abs(correlation[row, i, found[i]]) for i in used) == pytest.approx(best)


def test_different_classes_stay_in_place():
    correlation = np.ones((1, 3, 3)) - np.eye(3)  # every other slot looks more alike
    assert match(np.array([[1, 2, 3]]), correlation).tolist() == [[0, 1, 2]]
    assert match(np.array([[1, EMPTY, EMPTY]]), np.zeros((1, 3, 3))).tolist() == [[0, 1, 2]]


def test_two_slots_never_take_the_same_stem_of_b():
    """B has the two speakers the other way round; its first slot is the better heard one."""
    queries = Queries(np.array([[15, 15, EMPTY]]), np.array([[0.9, 0.8, 0.0]]))
    swapped = np.array([[[0.0, -1.0, 0], [1.0, 0.0, 0], [0, 0, 0]]])
    order = match(queries.classes, swapped)
    assert order.tolist() == [[1, 0, 2]]
    support_b = np.take_along_axis(np.array([[0.9, 0.2, 0.0]]), order, axis=1)
    assert better(queries, np.array([[0.5, 0.5, 0.0]]), support_b).tolist() == [[False, True, False]]


def test_ties_and_unused_slots_stay_with_a():
    queries = Queries(np.array([[15, 7, EMPTY]]), np.array([[0.9, 0.8, 0.0]]))
    chosen = better(queries, np.array([[0.5, 0.5, 0.0]]), np.array([[0.5, 0.6, 1.0]]))
    assert chosen.tolist() == [[False, True, False]]


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"\(1, 3, 3\)"):
        match(np.zeros((1, 3), int), np.zeros((1, 2, 3)))
    assert match(np.zeros((0, 3), int), np.zeros((0, 3, 3))).shape == (0, 3)
