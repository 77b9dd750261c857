"""Exact CAPI-SDRi and label counts of many clips at once, from the matrices of SDR and SDRi.

The same measure as `s5cli.score.metric.capi_sdri_from_matrices`, with a leading clip axis and without audio.
Letters: b clips, s estimated stems, m references, n waveforms.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations, permutations

import numpy as np
import numpy.typing as npt

from s5cli.labels import N_CLASSES
from s5cli.scene import EMPTY, Bools, Floats, Ints

Counts = npt.NDArray[np.int16]

NO_REFERENCE = -2
"""The class index of a place without a reference; unlike EMPTY, so that no unused slot is taken for its answer."""
PAIR_DB = 1e4
"""Worth of one more pair, far above any sum of SDRs: first as many pairs as possible, then the best of these."""

FIRST_DB = 1e-9
"""Of references that a stem fits alike, as a silent one does, the first is taken, as in the metric."""


@dataclass(frozen=True)
class References:
    """What there is to be found in every clip."""

    classes: Ints  # [b, m], NO_REFERENCE where there are fewer

    @cached_property
    def count(self) -> Ints:  # [b]
        return np.asarray((self.classes != NO_REFERENCE).sum(axis=1))

    def partners(self, classes: Ints) -> Ints:
        """For stems of these classes [s, b] the only reference of that class, m (none) or m + 1 (several): [s, b]."""
        places, first = self._partners
        return places.take(classes + first)

    @cached_property
    def _partners(self) -> tuple[Ints, Ints]:
        """`partners` of every class of every clip, EMPTY first, [b · 19]; and where class 0 of each clip is, [b]."""
        b, m = self.classes.shape
        same = self.classes[:, None, :] == np.arange(EMPTY, N_CLASSES)[:, None]  # [b, 19, m]
        number, first = same.sum(axis=2), same.argmax(axis=2) if m else 0
        found = np.select([number == 0, number == 1], [m, first], m + 1)
        return found.ravel().astype(np.int64), np.arange(b) * (N_CLASSES + 1) - EMPTY


@dataclass(frozen=True)
class Outcome:
    """One setting's score of every clip."""

    capi_sdri_db: Floats  # [b], nan where a clip has neither stems nor references, or is unseen
    tp: Counts  # [b]
    fp: Counts  # [b]
    fn: Counts  # [b]
    unseen: Bools  # [b], clips whose networks have not been asked what this setting asks

    @property
    def arrays(self) -> tuple[Floats, Counts, Counts, Counts, Bools]:
        return self.capi_sdri_db, self.tp, self.fp, self.fn, self.unseen

    def mean_db(self, clips: Bools | None = None) -> float:
        """Mean CAPI-SDRi of these clips, those without a score left out; nan if there are none."""
        values = self.capi_sdri_db if clips is None else self.capi_sdri_db[clips]
        scored = values[~np.isnan(values)]
        return float(scored.mean()) if len(scored) else float("nan")

    def accuracy_mixture_percent(self) -> float:
        """Share of clips whose labels are exactly right; nan of no clips."""
        return float(100 * (self.fp + self.fn == 0).mean()) if len(self.tp) else float("nan")

    def accuracy_source_percent(self) -> float:
        """TP / (TP + FP + FN); nan of no sources."""
        whole = int(self.tp.sum() + self.fp.sum() + self.fn.sum())
        return 100 * int(self.tp.sum()) / whole if whole else float("nan")


def score_of(gain_db: Floats, n_pairs: Ints, n_stems: Ints, references: References, unseen: Bools) -> Outcome:
    """Outcome of clips with so many stems, of which some are paired with a reference and gain so much in all; [b]."""
    fp, fn = n_stems - n_pairs, references.count - n_pairs
    entries = fp + references.count  # pairs, and what is left over on both sides
    value = gain_db / np.where((entries > 0) & ~unseen, entries, np.nan)
    return Outcome(value, n_pairs.astype(np.int16), fp.astype(np.int16), fn.astype(np.int16), unseen)


def paired(stems: Ints, references: Ints, sdr_db: Floats, sdri_db: Floats) -> tuple[Floats, Ints]:
    """What the best assignment gains, and its number of pairs, [b] each; the first of equals.

    Shapes: classes [s, b] and [m, b], matrices [s, m, b].
    """
    same = stems[:, None] == references
    worth = same * (sdr_db + (PAIR_DB - FIRST_DB * np.arange(len(references))[:, None]))
    pairs = assignments(len(stems), len(references))
    totals = worth[pairs].sum(axis=1)  # [assignments, b]
    best = totals.argmax(axis=0), np.arange(totals.shape[1])
    gain = (same * sdri_db)[pairs].sum(axis=1)[best]
    return gain, np.rint(np.maximum(totals[best], 0) / PAIR_DB).astype(np.int64)


@lru_cache
def assignments(n: int, m: int) -> tuple[Ints, Ints]:
    """All ways to pair each of the fewer with one of the more, as stems and references: [assignments, pairs] each.

    >>> assignments(1, 2)
    (array([[0],
           [0]]), array([[0],
           [1]]))
    """
    fewer, more = sorted((n, m))
    found = list(permutations(range(more), fewer))
    orders = np.array(found, dtype=np.int64).reshape(len(found), fewer)
    plain = np.broadcast_to(np.arange(fewer), orders.shape)
    return (plain, orders) if n <= m else (orders, plain)


# --- waveforms by number ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WaveformScores:
    """Every waveform against the references of its clip."""

    sdr_db: Floats  # [n, m]
    sdri_db: Floats  # [n, m]

    @cached_property
    def gains_db(self) -> Floats:
        """[n · (m + 2)], SDRi, and zeros for stems without a partner or with several (see `References.partners`)."""
        return np.pad(self.sdri_db, ((0, 0), (0, 2))).ravel()

    def score(self, classes: Ints, numbers: Ints, references: References, unseen: Bools) -> Outcome:
        """Outcome of stems of these classes [b, s] (EMPTY: none) whose waveforms have these numbers [b, s].

        In each class as many pairs as possible, those with the highest summed SDR; each gives its SDRi, every stem or
        reference left over a zero, and a clip's value is the mean of all of these. Few clips have two sources or stems
        of a class; in all others a stem has one partner at most, and there is nothing to choose. Of unseen clips
        numbers and classes may be anything.

        >>> waveforms = WaveformScores(np.array([[9.0, 1.0], [8.0, 7.0]]), np.array([[12.0, 4.0], [11.0, 10.0]]))
        >>> references = References(np.array([[5, 15]]))
        >>> found = waveforms.score(np.array([[5, 5]]), np.array([[0, 1]]), references, np.array([False]))
        >>> found.capi_sdri_db, found.tp, found.fp, found.fn
        (array([4.]), array([1], dtype=int16), array([1], dtype=int16), array([1], dtype=int16))
        """
        stems, numbers = np.ascontiguousarray(classes.T), numbers.T  # [s, b]
        partners, m = references.partners(stems), self.sdr_db.shape[1]
        gain = self.gains_db.take(numbers * (m + 2) + partners, mode="clip").sum(axis=0)
        n_pairs = counted(partners < m)
        rows = np.flatnonzero(contested(partners, m))
        if len(rows):
            chosen = numbers.take(rows, axis=1)
            gain[rows], n_pairs[rows] = paired(
                stems.take(rows, axis=1),
                references.classes.take(rows, axis=0).T,
                self.sdr_db.take(chosen, axis=0, mode="clip").swapaxes(1, 2),
                self.sdri_db.take(chosen, axis=0, mode="clip").swapaxes(1, 2),
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
