"""Rules of systems that separate first and name afterwards: which class a stem is, and whether it is silent."""

from itertools import permutations

import numpy as np

from s5cli.scene import EMPTY, Bools, Floats, Ints


def energy(logits: Floats) -> Floats:
    """−ln Σ exp(logits) over classes, [b, s, k] to [b, s]: low where some class is near, high where none is.

    Source: Liu et al., "Energy-based Out-of-distribution Detection" (NeurIPS 2020), at a temperature of 1.

    >>> energy(np.zeros((1, 1, 2))).round(3)
    array([[-0.693]])
    """
    highest = logits.max(axis=-1, keepdims=True)
    return np.asarray(-highest[..., 0] - np.log(np.exp(logits - highest).sum(axis=-1)))


def softmax(logits: Floats) -> Floats:
    """Over classes, [b, s, k] to the same."""
    return np.asarray(np.exp(logits + energy(logits)[..., None]))


def of_class(values: Floats, classes: Ints) -> Floats:
    """The value of each slot's class, [b, s, k] and [b, s] to [b, s]; empty slots get class 0's, mask them."""
    return np.asarray(np.take_along_axis(values, np.maximum(classes, 0)[..., None], axis=2)[..., 0])


def assigned(logits: Floats, wanted: Ints) -> Ints:
    """Which stem answers each class that is wanted: the order of stems of largest total logit, [b, s, k] and [b, s].

    >>> logits = np.zeros((1, 2, 3))
    >>> logits[0, 1, 2] = 5
    >>> assigned(logits, np.array([[2, EMPTY]]))
    array([[1, 0]])
    """
    orders = np.array(list(permutations(range(logits.shape[1]))))  # [p, s]
    told = np.take_along_axis(logits, np.maximum(wanted, 0)[:, None], axis=2)  # [b, stem, slot]
    told = np.where((wanted == EMPTY)[:, None], 0.0, told)
    totals = sum(told[:, orders[:, slot], slot] for slot in range(orders.shape[1]))  # [b, p]
    return np.asarray(orders[np.argmax(totals, axis=1)])


def doubled(classes: Ints, values: Floats, active: Bools) -> Bools:
    """Active slots of a class that an earlier or another active slot has with a lower value, [b, s] each.

    >>> doubled(np.array([[3, 3, 5]]), np.array([[-4.0, -9.0, -4.0]]), np.array([[True, True, True]]))
    array([[ True, False, False]])
    """
    slots = classes.shape[1]
    found = np.zeros(classes.shape, dtype=np.bool_)
    for one in range(slots):
        for other in range(slots):
            same = active[:, one] & active[:, other] & (classes[:, one] == classes[:, other])
            first = values[:, other] < values[:, one] if other > one else values[:, other] <= values[:, one]
            found[:, one] |= same & first & (one != other)
    return found
