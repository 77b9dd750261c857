"""CASA-SDRi: stems matched to references by sound alone, so that a wrong label cannot hide a right separation.

CAPI-SDRi pairs by label: a good stem under a wrong label, and a bad stem, lose alike. Here pairs are made without
labels, then the labels are looked at. The mean SDRi of all pairs is what the separation is worth whatever its labels
say; CASA-SDRi gives a zero to pairs whose labels differ and to sources left over; what lies between is the price of
labels.

Source: arXiv:2511.07075 (v4), our reading of it for mixtures whose classes may repeat.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from s5cli.labels import CLASSES, SILENCE
from s5cli.scene import Floats, Ints

TIE_DB = 1e-9
"""Where matchings are equally good (all stems silent, or all the mixture) the one with more right labels is taken."""


@dataclass(frozen=True)
class SourcePair:
    """An estimate and the reference that it was matched with, whatever their labels."""

    ref_label: str
    est_label: str
    i_est: int
    i_ref: int
    sdr_db: float
    sdri_db: float

    @property
    def right(self) -> bool:
        """Whether the estimate has its reference's label."""
        return self.est_label == self.ref_label


@dataclass(frozen=True)
class SourceScore:
    """One clip matched by sound: its CASA-SDRi (None when neither side has a source), the pairs, and what is left."""

    casa_sdri_db: float | None
    pairs: tuple[SourcePair, ...]
    missed: tuple[str, ...]  # labels of references without an estimate
    surplus: tuple[str, ...]  # labels of estimates without a reference


def casa_sdri_from_matrices(
    est_labels: Sequence[str], ref_labels: Sequence[str], sdr: Floats, sdri: Floats
) -> SourceScore:
    """Score of one clip from the SDR and SDRi matrices [n, m] between its estimates and its references.

    min(n, m) pairs are formed by the one-to-one assignment with the highest summed SDR, regardless of labels. A pair
    with equal labels gives its SDRi, one with different labels a zero, each estimate or reference left over a zero;
    the clip's value is the mean of these max(n, m) entries. Rows and columns labelled `silence` are ignored.

    >>> sdr = np.array([[9.0, 1.0], [2.0, 7.0]])
    >>> score = casa_sdri_from_matrices(["Cough", "Typing"], ["Cough", "Speech"], sdr, sdr + 3)
    >>> score.casa_sdri_db, [(pair.ref_label, pair.est_label, pair.sdri_db) for pair in score.pairs]
    (6.0, [('Cough', 'Cough', 12.0), ('Speech', 'Typing', 10.0)])
    """
    ests, refs = _audible(est_labels), _audible(ref_labels)
    pairs = tuple(
        SourcePair(ref_labels[j], est_labels[i], i, j, float(sdr[i, j]), float(sdri[i, j]))
        for i, j in _matching(est_labels, ests, ref_labels, refs, sdr)
    )
    n_entries = max(len(ests), len(refs))
    return SourceScore(
        sum(pair.sdri_db for pair in pairs if pair.right) / n_entries if n_entries else None,
        pairs,
        missed=tuple(ref_labels[j] for j in refs if j not in {pair.i_ref for pair in pairs}),
        surplus=tuple(est_labels[i] for i in ests if i not in {pair.i_est for pair in pairs}),
    )


def _audible(labels: Sequence[str]) -> list[int]:
    return [index for index, label in enumerate(labels) if label != SILENCE]


def _matching(
    est_labels: Sequence[str], ests: list[int], ref_labels: Sequence[str], refs: list[int], sdr: Floats
) -> list[tuple[int, int]]:
    """Estimate and reference of each pair."""
    equal = np.array([[est_labels[i] == ref_labels[j] for j in refs] for i in ests], bool).reshape(len(ests), len(refs))
    rows, columns = linear_sum_assignment(sdr[np.ix_(ests, refs)] + TIE_DB * equal, maximize=True)
    return [(ests[row], refs[column]) for row, column in zip(rows, columns, strict=True)]


# ---------------------------------------------------------------------------------------------------------- many clips
@dataclass(frozen=True)
class Confusion:
    """How often a source of one class was given another: a row for each true class, a column for each given one.

    The last row holds surplus estimates, by the class that they were given; the last column missed references.
    """

    labels: tuple[str, ...]  # k classes that occur on either side, in official order
    counts: Ints  # [k + 1, k + 1]; the last of all is 0

    def most_frequent(self, most: int) -> list[tuple[str, str, int]]:
        """True class, given class and count of the most frequent wrong labels, at most so many."""
        found = [
            (self.labels[row], self.labels[column], int(self.counts[row, column]))
            for row, column in np.argwhere(self.counts[:-1, :-1])
            if row != column
        ]
        return sorted(found, key=lambda entry: -entry[2])[:most]


def confusion(scores: Sequence[SourceScore]) -> Confusion:
    """Counts over clips of sources matched by sound.

    >>> sdr = np.array([[9.0, 1.0]])
    >>> found = confusion([casa_sdri_from_matrices(["Typing"], ["Cough", "Speech"], sdr, sdr)])
    >>> found.labels, found.counts.tolist()
    (('Cough', 'Speech', 'Typing'), [[0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]])
    """
    cells: list[tuple[str | None, str | None]] = []
    for score in scores:
        cells += [(pair.ref_label, pair.est_label) for pair in score.pairs]
        cells += [(label, None) for label in score.missed] + [(None, label) for label in score.surplus]
    occurring = {label for cell in cells for label in cell}
    labels = tuple(label for label in CLASSES if label in occurring)
    index: dict[str | None, int] = {label: row for row, label in enumerate((*labels, None))}
    counts = np.zeros((len(index), len(index)), np.int64)
    for true, given in cells:
        counts[index[true], index[given]] += 1
    return Confusion(labels, counts)
