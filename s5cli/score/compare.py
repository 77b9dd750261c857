"""Two runs on the same clips, compared clip by clip.

A difference is always B minus A, of the very scores that `s5 evaluate` gives for each run. Its interval comes from the
same resamples of clips for both, so what makes a clip hard for both runs cancels out.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s5cli.dataset import open_dataset, read_stems, recorded
from s5cli.errors import InputError
from s5cli.scene import Floats
from s5cli.score import metric, sheet
from s5cli.score.bootstrap import DEFAULT, METHOD, Bootstrap, Interval, Ratios, intervals, spread
from s5cli.score.clip import ClipResult
from s5cli.score.evaluate import Progress, score_files
from s5cli.score.sheet import SCORES, Score

EQUAL = 0.01
"""dB or percentage points. Clips that differ by less are called equal: a 16-bit step, another device."""


@dataclass(frozen=True)
class Difference:
    """One score of two runs."""

    key: str
    name: str
    unit: str
    a: float | None
    b: float | None
    difference: float | None  # b - a
    interval: Interval | None
    n_paired: int  # clips that have the score in both runs
    n_unpaired: int  # clips that have it in one run only
    n_better: int | None  # of the paired, by at least `EQUAL`; None of a score where neither more nor less is better
    n_worse: int | None
    n_equal: int


@dataclass(frozen=True)
class ClipPair:
    """One clip in two runs."""

    soundscape: str
    ref_labels: tuple[str, ...]
    labels_a: tuple[str, ...]
    labels_b: tuple[str, ...]
    capi_sdri_a_db: float | None
    capi_sdri_b_db: float | None
    casa_sdri_a_db: float | None  # unmoved where CAPI-SDRi moved: the labels changed, not the sound, or the reverse
    casa_sdri_b_db: float | None

    @property
    def difference_db(self) -> float | None:
        """CAPI-SDRi of B minus that of A; None where either run has none."""
        if self.capi_sdri_a_db is None or self.capi_sdri_b_db is None:
            return None
        return self.capi_sdri_b_db - self.capi_sdri_a_db


@dataclass(frozen=True)
class Comparison:
    """Two runs on the clips that both of them cover."""

    run_a: str
    run_b: str
    differences: tuple[Difference, ...]
    clips: tuple[ClipPair, ...]
    n_only_a: int  # clips that the other run does not cover, and that are left out
    n_only_b: int
    bootstrap: Bootstrap

    def moved(self, most: int) -> tuple[ClipPair, ...]:
        """The clips whose CAPI-SDRi differs most, at most so many; equal ones are no movement."""
        found = [clip for clip in self.clips if abs(clip.difference_db or 0.0) >= EQUAL]
        return tuple(sorted(found, key=lambda clip: -abs(clip.difference_db or 0.0))[:most])

    def to_json(self, most: int) -> dict[str, Any]:
        """All of it; `moved` are the clips that moved most, at most so many."""
        return {
            "run_a": self.run_a,
            "run_b": self.run_b,
            "n_clips": len(self.clips),
            "n_only_a": self.n_only_a,
            "n_only_b": self.n_only_b,
            "differences": {found.key: asdict(found) for found in self.differences},
            "bootstrap": asdict(self.bootstrap) | {"method": METHOD},
            "moved": [clip.soundscape for clip in self.moved(most)],
            "clips": [asdict(clip) | {"difference_db": clip.difference_db} for clip in self.clips],
        }


def compare(
    run_a: Path,
    run_b: Path,
    reference: Path,
    soundscapes: Path | None = None,
    common: bool = False,
    progress: Progress = iter,
    bootstrap: Bootstrap = DEFAULT,
) -> Comparison:
    """Two folders of stems against one folder of references; see `s5cli.score.evaluate.evaluate`.

    `common` compares the clips that both runs cover, where they do not cover the same ones.

    Raises:
        UsageError: a folder that does not exist.
        InputError: what `evaluate` raises; runs that cover different clips; with `common`, no clip that both cover.
    """
    data = open_dataset(reference, soundscapes)
    for run in (run_a, run_b):
        read_stems(run, data)  # which complains of a folder that is no run
    in_a, in_b = (recorded(run, data.mixtures) for run in (run_a, run_b))
    names = [name for name in data.mixtures if name in in_a & in_b]
    _check_coverage(run_a, run_b, (len(in_a - in_b), len(in_b - in_a), len(names)), common)
    a, b = (score_files(run, data, names, progress) for run in (run_a, run_b))
    return Comparison(
        run_a=str(run_a),
        run_b=str(run_b),
        differences=differences(a, b, bootstrap),
        clips=tuple(_pair(clip_a, clip_b) for clip_a, clip_b in zip(a, b, strict=True)),
        n_only_a=len(in_a - in_b),
        n_only_b=len(in_b - in_a),
        bootstrap=bootstrap,
    )


def _check_coverage(run_a: Path, run_b: Path, counts: tuple[int, int, int], common: bool) -> None:
    only_a, only_b, n_common = counts
    if n_common == 0:
        raise InputError(f"{run_a} and {run_b} have no clip in common; compare runs on the same clips")
    if (only_a or only_b) and not common:
        raise InputError(
            f"{run_a} and {run_b} cover different clips: {only_a} only in the first, {only_b} only in the second, "
            f"{n_common} in both; finish the runs, or compare the {n_common} with --common"
        )


def _pair(a: ClipResult, b: ClipResult) -> ClipPair:
    return ClipPair(
        soundscape=a.soundscape,
        ref_labels=a.ref_labels,
        labels_a=a.est_labels,
        labels_b=b.est_labels,
        capi_sdri_a_db=a.score.capi_sdri_db,
        capi_sdri_b_db=b.score.capi_sdri_db,
        casa_sdri_a_db=a.sources.casa_sdri_db,
        casa_sdri_b_db=b.sources.casa_sdri_db,
    )


# --------------------------------------------------------------------------------------------------------- differences
def differences(
    a: Sequence[ClipResult], b: Sequence[ClipResult], bootstrap: Bootstrap = DEFAULT
) -> tuple[Difference, ...]:
    """Every score of the sheet, and the margin over the best trivial answer, of two runs on the same clips."""
    scores_a, scores_b = _scores(a), _scores(b)
    ratios_a, ratios_b = _ratios(scores_a, a), _ratios(scores_b, b)
    spread_a, spread_b = spread(ratios_a, bootstrap), spread(ratios_b, bootstrap)
    found = spread_b - spread_a
    ends = intervals(found, bootstrap.level_percent)
    moves = _by_clip(ratios_b) - _by_clip(ratios_a)  # [n, k]
    unpaired = (ratios_a.denominator > 0) != (ratios_b.denominator > 0)
    values = np.stack([spread_a.estimate, spread_b.estimate, found.estimate], axis=1)  # [k, 3]
    return tuple(
        _difference(score, values[k], ends[k], moves[:, k], int(unpaired[:, k].sum()))
        for k, score in enumerate(scores_a)
    )


def _scores(clips: Sequence[ClipResult]) -> tuple[Score, ...]:
    trivial = metric.trivial_scores([clip.products for clip in clips], [clip.est_labels for clip in clips])
    return (*SCORES, sheet.best_margin(trivial))


def _ratios(scores: Sequence[Score], clips: Sequence[ClipResult]) -> Ratios:
    return sheet.ratios([[score.terms(clip) for score in scores] for clip in clips], len(scores))


def _by_clip(ratios: Ratios) -> Floats:
    """Each clip's own score [n, k], nan where it has none."""
    with np.errstate(invalid="ignore"):
        return np.asarray(ratios.numerator / ratios.denominator)


def _difference(score: Score, values: Floats, interval: Interval | None, moves: Floats, n_unpaired: int) -> Difference:
    """`values` [3] are those of both runs and of their difference, `moves` [n] those of the clips."""
    a, b, difference = map(sheet.value, values)
    paired = moves[np.isfinite(moves)]
    gains = paired * score.better
    return Difference(
        score.key,
        score.name,
        score.unit,
        a,
        b,
        difference,
        interval,
        n_paired=len(paired),
        n_unpaired=n_unpaired,
        n_better=int((gains >= EQUAL).sum()) if score.better else None,
        n_worse=int((gains <= -EQUAL).sum()) if score.better else None,
        n_equal=int((np.abs(paired) < EQUAL).sum()),
    )
