"""One clip's stems against its references: every number that a score sheet takes from it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from s5cli.score import metric
from s5cli.score.casa import SourceScore, casa_sdri_from_matrices


@dataclass(frozen=True)
class PairQuality:
    """What plain SDR does not show of a matched pair; None where the stem or its reference is digital silence."""

    si_sdri_db: float | None  # over mixture channel 0
    level_db: float | None  # of the stem, relative to its reference


@dataclass(frozen=True)
class TwinQuality:
    """How well two or more references of one class were told apart, where as many stems were given."""

    correlation: float | None  # largest normalised correlation of two of the stems, 0 to 1
    sdri_db: float  # mean of their pairs


@dataclass(frozen=True)
class ClipResult:
    """One evaluated clip."""

    soundscape: str
    ref_labels: tuple[str, ...]
    est_labels: tuple[str, ...]
    score: metric.ClipScore
    qualities: tuple[PairQuality, ...]  # one for each of `score.pairs`
    products: metric.ReferenceProducts
    sources: SourceScore  # the same stems, matched by sound instead of label
    twins: tuple[TwinQuality, ...] = ()  # one for each class that repeats on both sides

    @property
    def repeats_a_class(self) -> bool:
        """Whether two of the references are of one class."""
        return len(set(self.ref_labels)) < len(self.ref_labels)

    def to_json(self) -> dict[str, Any]:
        """Labels, counts and pairs of this clip."""
        pairs = zip(self.score.pairs, self.qualities, strict=True)
        return {
            "soundscape": self.soundscape,
            "ref_labels": list(self.ref_labels),
            "est_labels": list(self.est_labels),
            "capi_sdri_db": self.score.capi_sdri_db,
            "casa_sdri_db": self.sources.casa_sdri_db,
            "tp": self.score.tp,
            "fp": self.score.fp,
            "fn": self.score.fn,
            "pairs": [asdict(pair) | asdict(quality) for pair, quality in pairs],
            "twins": [asdict(twins) for twins in self.twins],
            "pairs_by_sound": [asdict(pair) for pair in self.sources.pairs],
        }


def score_clip(
    soundscape: str,
    est_labels: Sequence[str],
    est: metric.Audio,
    ref_labels: Sequence[str],
    ref: metric.Audio,
    mixture: metric.Audio,
) -> ClipResult:
    """Everything that is kept of one clip: estimates [n, t], references [m, t], mixture channel 0 [t]."""
    sdr = metric.sdr_matrix(est, ref)
    sdri = metric.sdri_matrix(sdr, ref, mixture)
    score = metric.capi_sdri_from_matrices(est_labels, ref_labels, sdr, sdri)
    sources = casa_sdri_from_matrices(est_labels, ref_labels, sdr, sdri)
    qualities = tuple(_quality(est[pair.i_est], ref[pair.i_ref], mixture) for pair in score.pairs)
    products = metric.reference_products(ref_labels, ref, mixture)
    repeated = {label for label in ref_labels if ref_labels.count(label) > 1}
    twins = tuple(_twins(label, est, score.pairs) for label in sorted(set(est_labels) & repeated))
    found = tuple(one for one in twins if one)
    return ClipResult(soundscape, tuple(ref_labels), tuple(est_labels), score, qualities, products, sources, found)


def _twins(label: str, est: metric.Audio, pairs: Sequence[metric.Pair]) -> TwinQuality | None:
    """None where fewer than two of the references have a stem."""
    own = [pair for pair in pairs if pair.label == label]
    if len(own) < 2:
        return None
    alike = [metric.correlation(est[a.i_est], est[b.i_est]) for a, b in combinations(own, 2)]
    sdri_db = sum(pair.sdri_db for pair in own) / len(own)
    return TwinQuality(max((value for value in alike if value is not None), default=None), sdri_db)


def _quality(est: metric.Audio, ref: metric.Audio, mixture: metric.Audio) -> PairQuality:
    after, before = metric.si_sdr_db(est, ref), metric.si_sdr_db(mixture, ref)
    improvement = None if after is None or before is None else after - before
    return PairQuality(improvement, metric.level_db(est, ref))
