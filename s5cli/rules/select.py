"""Step 6 of the tagging-driven system: the better of two separators, slot by slot (Jeong & Kim 2026)."""

from itertools import combinations, permutations

import numpy as np

from s5cli.scene import EMPTY, Bools, Floats, Ints, Queries


def match(classes: Ints, correlation: Floats) -> Ints:
    """B's slot for each of A's: among permutations within a class, the one with the highest Σ |correlation|.

    Without it both slots of a class that fills two could end up with the same source. Ties: the slots as they are.
    Shapes: classes [b, s], correlation [b, s of A, s of B] to [b, s].

    Raises:
        ValueError: the correlation is not [b, s, s].

    >>> match(np.array([[15, 15, 7]]), np.array([[[0.1, -0.9, 0], [0.8, 0.2, 0], [0.9, 0.9, 0.1]]]))
    array([[1, 0, 2]])
    """
    b, s = classes.shape
    if correlation.shape != (b, s, s):
        raise ValueError(f"correlation must be {(b, s, s)}, not {correlation.shape}")
    found = np.tile(np.arange(s), (b, 1))
    rows = np.flatnonzero(repeating(classes))  # few: in all others there is nothing to choose
    orders = np.array(list(permutations(range(s))))  # [p, s], the identity first
    allowed = (classes[rows][:, orders] == classes[rows, None, :]).all(axis=2)  # [r, p]
    likeness = np.abs(correlation[rows])[:, np.arange(s), orders].sum(axis=2)
    found[rows] = orders[np.where(allowed, likeness, -1.0).argmax(axis=1)]
    return found


def repeating(classes: Ints) -> Bools:
    """Clips [b] in which two used slots [b, s] are of one class."""
    found = np.zeros(len(classes), dtype=np.bool_)
    for one, other in combinations(classes.T, 2):
        found |= (one == other) & (one != EMPTY)
    return found


def better(queries: Queries, support_a: Floats, support_b: Floats) -> Bools:
    """Which slots keep B's stem: those where re-tagging supports the query class more than in A's; A's on ties.

    Shapes: [b, s] throughout, B's support in the order that `match` gives.

    >>> better(Queries(np.array([[15, 7]]), np.ones((1, 2))), np.array([[0.2, 0.7]]), np.array([[0.7, 0.7]]))
    array([[ True, False]])
    """
    return queries.active & (support_b > support_a)
