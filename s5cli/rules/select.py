"""Step 6 of the tagging-driven system: the better of two separators, slot by slot (Jeong & Kim 2026)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from s5cli.scene import Bools, Floats, Ints, Queries


@dataclass(frozen=True)
class Selection:
    """Which of separator B's slots stands against each of A's, and where it is the better one."""

    match: Ints  # [b, s], B's slot
    from_b: Bools  # [b, s]


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
    orders = np.array(list(permutations(range(s))))  # [p, s], the identity first
    allowed = (classes[:, orders] == classes[:, None, :]).all(axis=2)  # [b, p]
    likeness = np.abs(correlation)[:, np.arange(s), orders].sum(axis=2)
    return np.asarray(orders[np.where(allowed, likeness, -1.0).argmax(axis=1)])


def select(queries: Queries, correlation: Floats, support_a: Floats, support_b: Floats) -> Selection:
    """Each slot keeps the stem with the higher support for its query class, A's on ties.

    Shapes: supports [b, s], correlation [b, s, s]; B's support in B's own slot order. Raises as `match` does.

    >>> select(Queries(np.array([[15]]), np.array([[1.0]])), np.ones((1, 1, 1)), np.array([[0.2]]), np.array([[0.7]]))
    Selection(match=array([[0]]), from_b=array([[ True]]))
    """
    order = match(queries.classes, correlation)
    better = np.take_along_axis(support_b, order, axis=1) > support_a
    return Selection(order, queries.active & better)
