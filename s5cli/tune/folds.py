"""Folds of clips for cross-validation, alike in how many targets their clips hold."""

from __future__ import annotations

import numpy as np

from s5cli.errors import UsageError
from s5cli.scene import Bools, Ints


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
