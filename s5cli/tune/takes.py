"""All waveforms that are remembered, by number, and the score of any choice among them.

Letters: n waveforms, b clips, s stems, m references.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from s5cli.scene import EMPTY, Bools, Floats, Ints
from s5cli.tune.score import Outcome, References, paired, score_of


@dataclass(frozen=True)
class Takes:
    """Every waveform against the references of its clip."""

    sdr_db: Floats  # [n, m]
    sdri_db: Floats  # [n, m]

    @cached_property
    def gains_db(self) -> Floats:
        """[n · (m + 2)], SDRi, and zeros for stems without a partner or with several (see `References.partners`)."""
        return np.pad(self.sdri_db, ((0, 0), (0, 2))).ravel()

    def score(self, classes: Ints, numbers: Ints, references: References, unseen: Bools) -> Outcome:
        """Outcome of stems of these classes [b, s] (EMPTY: none) whose waveforms have these numbers [b, s].

        The measure is that of `score.score`. Few clips have two sources or stems of a class; in all others a stem has
        one partner at most, and there is nothing to choose.
        """
        stems, numbers = np.ascontiguousarray(classes.T), numbers.T  # [s, b]
        partners, m = references.partners(stems), self.sdr_db.shape[1]
        gain = self.gains_db.take(numbers * (m + 2) + partners).sum(axis=0)
        n_pairs = counted(partners < m)
        rows = np.flatnonzero(contested(partners, m))
        if len(rows):
            chosen = numbers.take(rows, axis=1)
            gain[rows], n_pairs[rows] = paired(
                stems.take(rows, axis=1),
                references.classes.take(rows, axis=0).T,
                self.sdr_db.take(chosen, axis=0).swapaxes(1, 2),
                self.sdri_db.take(chosen, axis=0).swapaxes(1, 2),
            )
        return score_of(gain, n_pairs, counted(stems != EMPTY), references, unseen)


def counted(flags: Bools) -> Ints:
    """How many of each clip, [s, b] to [b]; few enough for a byte."""
    return np.asarray(flags.view(np.int8).sum(axis=0, dtype=np.int8))


def contested(partners: Ints, m: int) -> Bools:
    """Clips [b] in which some stem has a choice of references, or a reference one of stems. Shape: [s, b].

    >>> contested(np.array([[0, 2, 1, 3], [1, 2, 1, 2]]), m=2)  # 2: no partner, 3: several
    array([False, False,  True,  True])
    """
    found = (partners > m).any(axis=0)
    for one, other in combinations(partners, 2):
        found |= (one == other) & (one < m)
    return np.asarray(found)
