"""Step 4 of the tagging-driven system: does re-tagging a stem confirm its query? (Jeong & Kim 2026, "Verify")."""

import numpy as np

from s5cli.knobs import Setting
from s5cli.rules.pick import compact_order, pick
from s5cli.scene import EMPTY, Bools, Floats, Queries


def support(probability: Floats) -> Floats:
    """The largest probability that any track of a re-tagged stem gives its query class: 0 for unused slots.

    Shapes: [b, s, tracks] to [b, s].

    >>> support(np.array([[[0.1, 0.6, 0.3], [0.0, 0.0, 0.0]]]))
    array([[0.6, 0. ]])
    """
    return np.asarray(probability.max(axis=-1))


def verify(queries: Queries, support: Floats, setting: Setting) -> Bools:
    """Which queries stay: all but those with support < verify *and* fused confidence < drop (both may differ by class).

    Shapes: [b, s] throughout. Empty slots do not stay.

    >>> queries = Queries(np.array([[15, 7, -1]]), np.array([[0.9, 0.4, 0.0]]))
    >>> verify(queries, np.array([[0.05, 0.05, 0.0]]), Setting({"verify": 0.1, "drop": 0.5}))
    array([[ True, False, False]])
    """
    unconfirmed = support < setting.of("verify", queries.classes)
    unsure = queries.confidence < setting.of("drop", queries.classes)
    return queries.active & ~(unconfirmed & unsure)


def compact(queries: Queries, keep: Bools) -> Queries:
    """The cleaned list: what is kept, in its order, gaps closed, empty slots last. Shapes: [b, s].

    >>> compact(Queries(np.array([[3, 15, 7]]), np.array([[0.8, 0.4, 0.3]])), np.array([[True, False, True]]))
    Queries(classes=array([[ 3,  7, -1]]), confidence=array([[0.8, 0.3, 0. ]]))
    """
    found = compact_order(keep)
    kept = found != EMPTY
    classes, confidence = pick(np.maximum(found, 0), queries.classes, queries.confidence)
    return Queries(np.where(kept, classes, EMPTY), np.where(kept, confidence, 0.0))
