"""Scores of a clip from its audio, and of many clips: what the program reads off matrices that it keeps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np  # noqa: F401  # in the examples

from s5cli.score.casa import SourceScore, casa_sdri_from_matrices
from s5cli.score.metric import Audio, ClipScore, capi_sdri_from_matrices, mean, percent, sdr_matrix, sdri_matrix


def capi_sdri(
    est_labels: Sequence[str], est: Audio, ref_labels: Sequence[str], ref: Audio, mixture: Audio
) -> ClipScore:
    """Score of one clip from estimates [n, t], references [m, t] and mixture channel 0 [t].

    >>> s = np.array([[1.0, 0.0]])
    >>> round(capi_sdri(["Cough"], 0 * s, ["Cough"], s, np.array([1.0, 2.0])).capi_sdri_db, 3)  # silence gains!
    6.021
    """
    sdr = sdr_matrix(est, ref)
    return capi_sdri_from_matrices(est_labels, ref_labels, sdr, sdri_matrix(sdr, ref, mixture))


def casa_sdri(
    est_labels: Sequence[str], est: Audio, ref_labels: Sequence[str], ref: Audio, mixture: Audio
) -> SourceScore:
    """Score of one clip from estimates [n, t], references [m, t] and mixture channel 0 [t].

    >>> s, x = np.array([[1.0, 0.0]]), np.array([1.0, 2.0])
    >>> casa_sdri(["Pour"], s, ["Cough"], s, x).casa_sdri_db, casa_sdri([], s[:0], [], s[:0], x).casa_sdri_db
    (0.0, None)
    """
    sdr = sdr_matrix(est, ref)
    return casa_sdri_from_matrices(est_labels, ref_labels, sdr, sdri_matrix(sdr, ref, mixture))


@dataclass(frozen=True)
class DatasetScore:
    """Means over clips; None where there is nothing to take a mean of (the official code divides by zero there)."""

    capi_sdri_db: float | None
    accuracy_mixture_percent: float | None
    accuracy_source_percent: float | None


def dataset_score(scores: Sequence[ClipScore]) -> DatasetScore:
    """Mean CAPI-SDRi of the clips that have one, share of clips with exactly the right labels, TP / (TP + FP + FN)."""
    n_sources = sum(score.tp + score.fp + score.fn for score in scores)
    return DatasetScore(
        mean([score.capi_sdri_db for score in scores]),
        percent(sum(score.exact for score in scores), len(scores)),
        percent(sum(score.tp for score in scores), n_sources),
    )
