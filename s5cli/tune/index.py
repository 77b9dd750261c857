"""Rows of integers found again, thousands at once, each in two looks (cuckoo hashing; Pagh & Rodler 2004).

Letters: p rows that are known, b that are looked for, n integers in each. Rows lie across memory, [n, p] and [n, b].
"""

from __future__ import annotations

import numpy as np

from s5cli.scene import Bools, Ints

MULTIPLIER = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd
SECOND = np.uint64(0xC2B2AE3D27D4EB4F)  # another odd number without a pattern, for the second place of a row
LARGEST = 2**40  # that an index takes: up to here factors were always found
NOBODY = -1
MAX_ROUNDS = 100  # of moving rows about; one place in four is used, so a dozen will do


class Index:
    """Different rows of integers, and where each of them stands. Exact: rows that are found are compared in full."""

    def __init__(self, rows: Ints) -> None:
        """`rows` [n, p], all different, at least one.

        Raises:
            ValueError: numbers above 2^40 in size, for which there may be no factors.
        """
        if rows.min() < -LARGEST or rows.max() > LARGEST:
            raise ValueError(f"rows hold {rows.min()} to {rows.max()}; an index takes numbers up to 2^40 in size")
        self.factors, self.hashes = separating(rows)
        self.rows = rows.astype(np.min_scalar_type(-1 - int(np.abs(rows).max())))  # the smaller, the more in a cache
        n_bits = max(4, (4 * len(self.hashes) - 1).bit_length())
        while (places := settled(self.hashes, n_bits)) is None:
            n_bits += 1
        self.shift, self.places = np.uint64(64 - n_bits), np.maximum(places, 0)

    def find(self, rows: Ints) -> tuple[Ints, Bools]:
        """For each of these rows [n, b] the number of its equal, and whether it has one; else any number."""
        hashes = hashed(rows, self.factors)
        first, second = (self.places.take(place) for place in choices(hashes, self.shift))
        found = np.where(self.hashes.take(first) == hashes, first, second)
        return found, (self.rows.take(found, axis=1) == rows).all(axis=0)


def hashed(rows: Ints, factors: Ints) -> Ints:
    """One number for each row: equal rows, equal numbers. Shapes: [n, b] and factors [n, 1] to [b]."""
    return np.asarray((rows * factors).sum(axis=0))


def choices(hashes: Ints, shift: np.uint64) -> tuple[Ints, Ints]:
    """The two places that each hash may stand in."""
    plain = hashes.view(np.uint64)
    return (plain >> shift).view(np.int64), (plain * SECOND >> shift).view(np.int64)


def separating(rows: Ints) -> tuple[Ints, Ints]:
    """Factors [n, 1] under which no two of these rows [n, p] have the same hash, and the hashes [p].

    >>> factors, hashes = separating(np.array([[0, 0, 1], [15, 15, 15], [-1, 7, -1]]))
    >>> len(set(hashes.tolist()))
    3
    """
    base = MULTIPLIER
    while True:
        powers = [pow(base, 1 + power, 2**64) for power in range(len(rows))]
        factors = np.array(powers, dtype=np.uint64).view(np.int64)[:, None]
        hashes = hashed(rows, factors)
        if len(np.unique(hashes)) == len(hashes):
            return factors, hashes
        base += 2


def settled(hashes: Ints, n_bits: int) -> Ints | None:
    """Who stands in each of 2^n_bits places, NOBODY in most; each has a choice of two. None: they do not all fit.

    Whoever comes takes the place, and who stood there goes to its other one.
    """
    choice = np.stack(choices(hashes, np.uint64(64 - n_bits)))
    places = np.full(1 << n_bits, NOBODY, dtype=np.int64)
    side, homeless = np.zeros(len(hashes), dtype=np.int64), np.arange(len(hashes))
    for _ in range(MAX_ROUNDS):
        if not len(homeless):
            return places
        wanted = choice[side[homeless], homeless]
        before = places[wanted]
        places[wanted] = homeless
        stays = places[wanted] == homeless  # of several who want one place the last gets it
        ousted = before[stays]
        homeless = np.concatenate([homeless[~stays], ousted[ousted != NOBODY]])
        side[homeless] ^= 1
    return None
