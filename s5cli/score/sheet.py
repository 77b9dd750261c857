"""The score sheet: what each score is called, what it says, and what a clip adds to it.

Every score is a sum over clips divided by a sum over clips, so that values, intervals and paired differences are all
taken from the same two columns, for all clips, for the clips of a kind, or for a class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from s5cli.labels import N_SLOTS
from s5cli.score.bootstrap import DEFAULT, Bootstrap, Interval, Ratios, intervals, spread
from s5cli.score.metric import mixture_score

if TYPE_CHECKING:
    from s5cli.score.clip import ClipResult
    from s5cli.score.metric import TrivialScores

Terms = tuple[float, float]
"""What a clip adds to a score's numerator and denominator; (0, 0) where it has no part in it."""
NOTHING: Terms = (0.0, 0.0)


@dataclass(frozen=True)
class Score:
    """One score of the sheet."""

    key: str  # its name in JSON, which ends with the unit
    name: str
    unit: Literal["dB", "%"]
    better: Literal[-1, 0, 1]  # 1: higher is better, -1: lower is, 0: neither
    meaning: str
    terms: Callable[[ClipResult], Terms]


# -------------------------------------------------------------------------------------------------- what a clip adds
def mean_terms(values: Sequence[float | None]) -> Terms:
    """Of a mean over those values that are there.

    >>> mean_terms([1.5, None, 2.5])
    (4.0, 2.0)
    """
    present = [value for value in values if value is not None]
    return float(sum(present)), float(len(present))


def share_terms(part: int, whole: int) -> Terms:
    """Of a share in percent."""
    return 100.0 * part, float(whole)


def _slots(clip: ClipResult) -> Terms:
    """Right slots of all: sources paired with equal labels, and slots that are silent on both sides."""
    n_est, n_ref = clip.score.tp + clip.score.fp, clip.score.tp + clip.score.fn
    n_slots = max(N_SLOTS, n_est, n_ref)
    return share_terms(clip.score.tp + n_slots - max(n_est, n_ref), n_slots)


def _twin_correlation(clip: ClipResult) -> Terms:
    found = [twins.correlation for twins in clip.twins if twins.correlation is not None]
    return 100 * sum(found), float(len(found))


SCORES: tuple[Score, ...] = (
    Score("capi_sdri_db", "CAPI-SDRi", "dB", 1,
          "ranking score: stems paired by label, 0 for missed and surplus ones",
          lambda clip: mean_terms([clip.score.capi_sdri_db])),
    Score("casa_sdri_db", "CASA-SDRi", "dB", 1,
          "stems paired by sound; 0 also for pairs with a wrong label",
          lambda clip: mean_terms([clip.sources.casa_sdri_db])),
    Score("blind_sdri_db", "label-blind SDRi", "dB", 1,
          "all pairs by sound, labels ignored: the separation alone",
          lambda clip: mean_terms([pair.sdri_db for pair in clip.sources.pairs])),
    Score("ca_sdri_db", "CA-SDRi (2025)", "dB", 1,
          "CAPI-SDRi of clips that repeat no class, the score of 2025",
          lambda clip: NOTHING if clip.repeats_a_class else mean_terms([clip.score.capi_sdri_db])),
    Score("si_sdri_db", "SI-SDRi", "dB", 1,
          "of pairs by label; a stem's volume does not change it",
          lambda clip: mean_terms([quality.si_sdri_db for quality in clip.qualities])),
    Score("level_db", "level", "dB", 0,
          "of these stems against references; far below 0 games SDR",
          lambda clip: mean_terms([quality.level_db for quality in clip.qualities])),
    Score("twin_sdri_db", "two of a class", "dB", 1,
          "SDRi of pairs whose class has several references and stems",
          lambda clip: mean_terms([twins.sdri_db for twins in clip.twins])),
    Score("twin_correlation_percent", "correlation of two", "%", -1,
          "of the stems of one class, if several: 100 is one sound twice",
          _twin_correlation),
    Score("accuracy_mixture_percent", "mixture accuracy", "%", 1,
          "clips whose labels are all right",
          lambda clip: share_terms(clip.score.exact, 1)),
    Score("accuracy_source_percent", "source accuracy", "%", 1,
          "TP / (TP + FP + FN) of labels, silence not counted",
          lambda clip: share_terms(clip.score.tp, clip.score.tp + clip.score.fp + clip.score.fn)),
    Score("accuracy_slot_percent", "source acc. (2025)", "%", 1,
          "right slots of three, silence counted as a label",
          _slots),
    Score("accuracy_heard_percent", "label of pair", "%", 1,
          "pairs by sound whose label is right",
          lambda clip: share_terms(sum(pair.right for pair in clip.sources.pairs), len(clip.sources.pairs))),
    Score("false_alarm_percent", "false alarms", "%", -1,
          "clips without targets that were given a stem",
          lambda clip: NOTHING if clip.ref_labels else share_terms(bool(clip.est_labels), 1)),
)  # fmt: skip


# --------------------------------------------------------------------------------- above the answers without separation
def margin_scores(trivial: TrivialScores) -> tuple[Score, ...]:
    """CAPI-SDRi minus that of each trivial answer under the same labels; the mixture's gain is not searched again."""
    gain = 0.0 if trivial.mixture_gain_db is None else float(10 ** (trivial.mixture_gain_db / 20))
    return (
        _margin("over_silent_db", "above no stems at all", None),
        _margin("over_zero_stems_db", "above stems of zeros", 0.0),
        _margin("over_mixture_db", "above the mixture at its best gain", gain),
    )


def best_margin(trivial: TrivialScores) -> Score:
    """The margin over the best of the trivial answers, which is the smallest."""
    answers = (trivial.silent_db, trivial.zero_stems_db, trivial.mixture_db)
    best = max(range(3), key=lambda index: -np.inf if answers[index] is None else float(answers[index] or 0.0))
    return replace(margin_scores(trivial)[best], key="over_trivial_db", name="above trivial")


def _margin(key: str, name: str, gain: float | None) -> Score:
    def terms(clip: ClipResult) -> Terms:
        if clip.score.capi_sdri_db is None:
            return NOTHING
        return clip.score.capi_sdri_db - trivial_score(clip, gain), 1.0

    return Score(key, name, "dB", 1, "CAPI-SDRi minus that of this answer under the same labels", terms)


def trivial_score(clip: ClipResult, gain: float | None) -> float:
    """CAPI-SDRi in dB of answering each of the clip's labels with mixture channel 0 times a gain; None is no answer."""
    scores = None if gain is None else mixture_score(clip.products, clip.est_labels, np.array([gain]))
    return 0.0 if scores is None else float(scores[0])


# ---------------------------------------------------------------------------------------------------------- of a class
CLASS_KEYS = ("capi_sdri_db", "sdri_db", "si_sdri_db", "level_db", "recall_percent", "precision_percent")


def class_terms(clip: ClipResult, label: str) -> tuple[Terms, ...]:
    """What a clip adds to the scores of a class, in the order of `CLASS_KEYS`.

    The class's CAPI-SDRi is the mean over its entries in the clips' scores: SDRi of its pairs, zeros for what is left
    over. The next three are means over its pairs.
    """
    matched = [both for both in zip(clip.score.pairs, clip.qualities, strict=True) if both[0].label == label]
    sdri_db = [pair.sdri_db for pair, _ in matched]
    n_ref, n_est, n_matched = clip.ref_labels.count(label), clip.est_labels.count(label), len(matched)
    return (
        (sum(sdri_db), float(n_ref + n_est - n_matched)),
        mean_terms(sdri_db),
        mean_terms([quality.si_sdri_db for _, quality in matched]),
        mean_terms([quality.level_db for _, quality in matched]),
        share_terms(n_matched, n_ref),
        share_terms(n_matched, n_est),
    )


# ----------------------------------------------------------------------------------------------------------- measuring
@dataclass(frozen=True)
class Measured:
    """Scores of a set of clips by their keys. An interval is there only where there is something to draw from."""

    values: Mapping[str, float | None]
    intervals: Mapping[str, Interval]


def measure(scores: Sequence[Score], clips: Sequence[ClipResult], bootstrap: Bootstrap = DEFAULT) -> Measured:
    """Values and intervals of scores over clips."""
    terms = [[score.terms(clip) for score in scores] for clip in clips]
    return measured([score.key for score in scores], terms, bootstrap)


def measure_class(label: str, clips: Sequence[ClipResult], bootstrap: Bootstrap = DEFAULT) -> Measured:
    """Values and intervals of `CLASS_KEYS` over the clips in which the class occurs on either side."""
    concerned = [clip for clip in clips if label in clip.ref_labels or label in clip.est_labels]
    return measured(CLASS_KEYS, [class_terms(clip, label) for clip in concerned], bootstrap)


def measured(keys: Sequence[str], terms: Sequence[Sequence[Terms]], bootstrap: Bootstrap = DEFAULT) -> Measured:
    """Values and intervals from what each clip adds to each score: terms of n clips and k scores.

    >>> found = measured(["x_db", "y_percent"], [[(2.0, 1.0), NOTHING], [(4.0, 1.0), NOTHING]])
    >>> found.values, sorted(found.intervals)
    ({'x_db': 3.0, 'y_percent': None}, ['x_db'])
    """
    found = spread(ratios(terms, len(keys)), bootstrap)
    ends = intervals(found, bootstrap.level_percent)
    return Measured(
        {key: value(number) for key, number in zip(keys, found.estimate, strict=True)},
        {key: interval for key, interval in zip(keys, ends, strict=True) if interval},
    )


def ratios(terms: Sequence[Sequence[Terms]], n_scores: int) -> Ratios:
    """Terms of n clips and k scores as two arrays [n, k]."""
    table = np.array(terms, np.float64).reshape(len(terms), n_scores, 2)
    return Ratios(table[..., 0], table[..., 1])


def value(number: float) -> float | None:
    """A plain number, None where there is none (nan)."""
    return None if np.isnan(number) else float(number)
