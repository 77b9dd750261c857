"""CAPI-SDRi, the label accuracies, and the trivial answers that any score must be read against.

Pure functions of arrays and labels, float64 inside, no files. A clip's score needs two small matrices, SDR and SDRi
between every estimated stem and every reference, so whoever keeps the matrices can score any choice of labels again
without audio (a stem that is dropped gets the label `silence`).

Letters: n estimates, m references, t samples, g gains.
Source: CAPI-SDRi, arXiv:2601.22504; the evaluation of DCASE 2026 Task 4, arXiv:2604.00776.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from s5cli.labels import SILENCE
from s5cli.scene import Floats

EPS = 1.1920929e-07
"""float32 epsilon, added to both energies of an SDR as torchmetrics' `signal_noise_ratio` does."""
SI_EPS = 1e-10
"""Bounds SI-SDR to ±100 dB. Relative to the signals' energies, so that it does not spoil the invariance to scale."""

Audio = npt.NDArray[np.float32] | Floats


# ------------------------------------------------------------------------------------------------- one pair of signals
def sdr_db(signal_energy: float | Floats, error_energy: float | Floats) -> Floats:
    """10·log10((‖s‖² + eps) / (‖s − ŝ‖² + eps)): plain signal-to-noise ratio, neither scaled nor centred.

    A silent estimate has the error s itself, hence 0 dB, which is more than most mixtures have:

    >>> float(sdr_db(4.0, 4.0))
    0.0
    """
    return _float64(10 * np.log10((signal_energy + EPS) / (error_energy + EPS)))


def si_sdr_db(est: Audio, ref: Audio) -> float | None:
    """Scale-invariant SDR of an estimate [t] against its reference [t], -100 to 100 dB; None if either is silent.

    10·log10(ρ² / (1 − ρ²)) with ρ the normalised correlation: the energy of what is proportional to the reference over
    the energy of the rest (arXiv:1811.02508).

    >>> round(si_sdr_db(np.array([3.0, 1.0]), np.array([1.0, 0.0])), 3)
    9.542
    """
    s, x = _float64(ref), _float64(est)
    if not (s.any() and x.any()):
        return None
    rho2 = min(float(s @ x) ** 2 / (float(s @ s) * float(x @ x)), 1.0)
    return float(10 * np.log10((rho2 + SI_EPS) / (1 - rho2 + SI_EPS)))


def correlation(one: Audio, other: Audio) -> float | None:
    """|⟨x, y⟩| / (‖x‖·‖y‖) of two signals [t], 0 to 1; None if either is silent.

    >>> correlation(np.array([1.0, 1.0]), np.array([-2.0, -2.0]))
    1.0
    """
    x, y = _float64(one), _float64(other)
    return min(abs(float(x @ y)) / float(np.sqrt((x @ x) * (y @ y))), 1.0) if x.any() and y.any() else None


def level_db(est: Audio, ref: Audio) -> float | None:
    """20·log10(rms(est) / rms(ref)) of two signals [t]; None if either is silent.

    >>> round(level_db(np.array([0.1, 0.1]), np.array([1.0, -1.0])), 6)
    -20.0
    """
    s, x = _float64(ref), _float64(est)
    return float(10 * np.log10((x @ x) / (s @ s))) if s.any() and x.any() else None


def _float64(values: npt.ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)


# ---------------------------------------------------------------------------------------------------------- one clip
def sdr_matrix(est: Audio, ref: Audio) -> Floats:
    """SDR in dB of every estimate [n, t] against every reference [m, t]: [n, m]."""
    e, r = _float64(est), _float64(ref)
    error = [[np.square(r_j - e_i).sum() for r_j in r] for e_i in e]
    return sdr_db(np.square(r).sum(-1), _float64(error).reshape(len(e), len(r)))


def sdri_matrix(sdr: Floats, ref: Audio, mixture: Audio) -> Floats:
    """Improvement in dB [n, m] of an SDR matrix over taking mixture channel 0 [t] for each reference [m, t]."""
    return sdr - sdr_matrix(mixture[np.newaxis], ref)


@dataclass(frozen=True)
class Pair:
    """An estimate and the reference it was matched with."""

    label: str
    i_est: int
    i_ref: int
    sdr_db: float
    sdri_db: float


@dataclass(frozen=True)
class ClipScore:
    """One clip: its CAPI-SDRi (None when neither side has a label), the matched pairs, and what is left over."""

    capi_sdri_db: float | None
    pairs: tuple[Pair, ...]
    fp: int
    fn: int

    @property
    def tp(self) -> int:
        """Size of the intersection of the two multisets of labels: each class has as many pairs as both sides hold."""
        return len(self.pairs)

    @property
    def exact(self) -> bool:
        """Whether the two multisets of labels are equal."""
        return self.fp + self.fn == 0


def capi_sdri_from_matrices(
    est_labels: Sequence[str], ref_labels: Sequence[str], sdr: Floats, sdri: Floats
) -> ClipScore:
    """Score of one clip from the SDR and SDRi matrices [n, m] between its estimates and its references.

    In each class, min(n, m) pairs are formed by the one-to-one assignment with the highest mean SDR; each gives its
    SDRi, each estimate or reference left over gives a zero, and the clip's value is the mean of all of these. Rows and
    columns labelled `silence` are ignored.

    >>> sdr = np.array([[9.0, 1.0], [8.0, 7.0]])
    >>> score = capi_sdri_from_matrices(["Cough", "Cough"], ["Cough", "Speech"], sdr, sdr + 3)
    >>> score.capi_sdri_db, score.pairs[0].i_est, score.tp, score.fp, score.fn
    (4.0, 0, 1, 1, 1)
    """
    ests, refs = _indices_by_label(est_labels), _indices_by_label(ref_labels)
    shared = [label for label in ests if label in refs]
    pairs = tuple(pair for label in shared for pair in _match(label, ests[label], refs[label], sdr, sdri))
    fp = sum(map(len, ests.values())) - len(pairs)
    fn = sum(map(len, refs.values())) - len(pairs)
    n_entries = len(pairs) + fp + fn
    return ClipScore(sum(pair.sdri_db for pair in pairs) / n_entries if n_entries else None, pairs, fp, fn)


def _indices_by_label(labels: Sequence[str]) -> dict[str, list[int]]:
    indices: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        if label != SILENCE:
            indices.setdefault(label, []).append(index)
    return indices


def _match(label: str, ests: list[int], refs: list[int], sdr: Floats, sdri: Floats) -> list[Pair]:
    rows, columns = linear_sum_assignment(sdr[np.ix_(ests, refs)], maximize=True)
    indices = [(ests[row], refs[column]) for row, column in zip(rows, columns, strict=True)]
    return [Pair(label, i, j, float(sdr[i, j]), float(sdri[i, j])) for i, j in indices]


# --------------------------------------------------------------------------------------------------------- many clips
def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are not None; None if there are none.

    >>> mean([1.0, None, 2.0])
    1.5
    """
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None


def percent(part: int, whole: int) -> float | None:
    """A share in percent; None of nothing."""
    return 100 * part / whole if whole else None


# ---------------------------------------------------------------------------------------------------- trivial answers
COARSE_GAINS_DB = np.linspace(-60.0, 20.0, 801)
FINE_GAINS_DB = np.linspace(-0.1, 0.1, 201)


@dataclass(frozen=True)
class ReferenceProducts:
    """What remains of a clip's audio for scoring its mixture at any gain: the inner products with its references."""

    labels: tuple[str, ...]
    ref_energy: Floats  # [m] ‖s‖²
    ref_dot_mixture: Floats  # [m] ⟨s, x⟩
    mixture_energy: float  # ‖x‖²


def reference_products(labels: Sequence[str], ref: Audio, mixture: Audio) -> ReferenceProducts:
    """Inner products of references [m, t] and mixture channel 0 [t]."""
    r, x = _float64(ref), _float64(mixture)
    return ReferenceProducts(tuple(labels), np.square(r).sum(-1), r @ x, float(x @ x))


@dataclass(frozen=True)
class TrivialScores:
    """CAPI-SDRi in dB of answers that need no separation; None where no clip has a score."""

    silent_db: float | None  # no stem at all
    zero_stems_db: float | None  # an all-zero stem for each label
    mixture_db: float | None  # mixture channel 0 times one gain for the whole data set, for each label
    mixture_gain_db: float | None  # the gain that gives the highest score

    @property
    def best_db(self) -> float | None:
        """The highest of the three."""
        return max((s for s in (self.silent_db, self.zero_stems_db, self.mixture_db) if s is not None), default=None)


def trivial_scores(clips: Sequence[ReferenceProducts], est_labels: Sequence[Sequence[str]]) -> TrivialScores:
    """What the trivial answers score on these clips under the given labels of each clip.

    The best gain is searched from -60 to 20 dB in steps of 0.1 dB, then of 0.001 dB around the best of these. (Where a
    class has more references than labels, the matched one may change with the gain, so the score has small jumps.)
    """
    no_labels: list[tuple[str, ...]] = [()] * len(clips)
    gain_db = _best_gain_db(clips, est_labels)
    return TrivialScores(
        silent_db=_score_at(clips, no_labels, 0.0),
        zero_stems_db=_score_at(clips, est_labels, 0.0),
        mixture_db=None if gain_db is None else _score_at(clips, est_labels, 10 ** (gain_db / 20)),
        mixture_gain_db=gain_db,
    )


def _best_gain_db(clips: Sequence[ReferenceProducts], est_labels: Sequence[Sequence[str]]) -> float | None:
    best_db = 0.0
    for steps_db in (COARSE_GAINS_DB, FINE_GAINS_DB):
        scores = mixture_scores(clips, est_labels, 10 ** ((best_db + steps_db) / 20))
        if scores is None:
            return None
        best_db += float(steps_db[scores.argmax()])
    return round(best_db, 3)


def _score_at(clips: Sequence[ReferenceProducts], est_labels: Sequence[Sequence[str]], gain: float) -> float | None:
    scores = mixture_scores(clips, est_labels, np.array([gain]))
    return None if scores is None else float(scores[0])


def mixture_scores(
    clips: Sequence[ReferenceProducts], est_labels: Sequence[Sequence[str]], gains: Floats
) -> Floats | None:
    """Mean CAPI-SDRi [g] of answering every label with mixture channel 0 times a gain; None if no clip has a score."""
    scores = [mixture_score(clip, labels, gains) for clip, labels in zip(clips, est_labels, strict=True)]
    present = [score for score in scores if score is not None]
    return _float64(np.mean(present, axis=0)) if present else None


def mixture_score(clip: ReferenceProducts, est_labels: Sequence[str], gains: Floats) -> Floats | None:
    """One clip's CAPI-SDRi [g] where every label is answered with mixture channel 0 times a gain; None as ever.

    All stems are the same, so each class takes the references with the highest SDR.
    """
    ests, refs = _indices_by_label(est_labels), _indices_by_label(clip.labels)
    sdr, mixture_sdr = _mixture_sdr(clip, gains), _mixture_sdr(clip, np.ones(1))
    total, n_entries = np.zeros(len(gains)), 0
    for label in ests.keys() | refs.keys():
        i_refs, n_est = refs.get(label, []), len(ests.get(label, []))
        n_entries += max(n_est, len(i_refs))
        taken = np.argsort(-sdr[:, i_refs], axis=1, kind="stable")[:, :n_est]
        total += np.take_along_axis((sdr - mixture_sdr)[:, i_refs], taken, axis=1).sum(1)
    return total / n_entries if n_entries else None


def _mixture_sdr(clip: ReferenceProducts, gains: Floats) -> Floats:
    """SDR [g, m] of mixture channel 0 times each gain against each reference: ‖s − g·x‖² = ‖s‖² − 2g⟨s, x⟩ + g²‖x‖²."""
    g = gains[:, None]
    error = clip.ref_energy - 2 * g * clip.ref_dot_mixture + g**2 * clip.mixture_energy
    return sdr_db(clip.ref_energy, np.maximum(error, 0.0))
