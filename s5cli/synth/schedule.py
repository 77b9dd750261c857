"""When an event may start."""

from collections.abc import Sequence
from itertools import pairwise


def allowed_starts(
    spans: Sequence[tuple[int, int]], length: int, n_samples: int, max_overlap: int
) -> list[tuple[int, int]]:
    """Ranges [begin, end) of starts at which an event of `length` may be added to `spans` in a scene of `n_samples`.

    >>> allowed_starts([(2, 4)], length=2, n_samples=10, max_overlap=1)
    [(0, 1), (4, 9)]
    """
    edges = sorted({0, n_samples, *(edge for span in spans for edge in span)})
    full = [
        (begin, end)
        for begin, end in pairwise(edges)
        if sum(first <= begin and end <= last for first, last in spans) >= max_overlap
    ]
    allowed, at, last = [], 0, n_samples - length + 1
    for begin, end in full:
        if at < min(begin - length + 1, last):
            allowed.append((at, min(begin - length + 1, last)))
        at = max(at, end)
    return [*allowed, (at, last)] if at < last else allowed
