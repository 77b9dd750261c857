"""Thresholds of a system tuned on a data set, and what they are worth on clips that they were not tuned on."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from s5cli.study.rows import Variant
from s5cli.tune.clips import DevSet
from s5cli.tune.crossval import HeldOut, folds
from s5cli.tune.result import ends, finite, plain, scores
from s5cli.tune.score import Outcome
from s5cli.tune.search import Candidate, Milestone
from s5cli.tune.trials import Progress
from s5cli.tune.tuner import Options, begun


@dataclass(frozen=True)
class Tuned:
    """A system's thresholds: the best on all clips, and the held-out score of cross-validation."""

    milestones: tuple[Milestone, ...]
    held_out: HeldOut
    n_targets: tuple[int, ...]  # of each clip
    labels: tuple[tuple[str, ...], ...]  # reported of each clip with the best thresholds

    @property
    def best(self) -> Candidate:
        return self.milestones[-1].best

    def false_alarm_percent(self, outcome: Outcome) -> float | None:
        """Share of the clips without targets that were given a stem."""
        empty = np.array(self.n_targets) == 0
        return float(100 * (outcome.fp[empty] > 0).mean()) if empty.any() else None

    def to_json(self) -> dict[str, Any]:
        """Thresholds and scores, numbers in the unit that their name ends with."""
        gain = self.held_out.gain
        return {
            "knobs": {name: plain(value) for name, value in self.best.setting.values.items()},
            "stages": [{"stage": one.stage, "capi_sdri_db": one.best.score_db} for one in self.milestones],
            "same_clips": scores(self.best.outcome),
            "held_out": scores(self.held_out.tuned),
            "gain_db": finite(gain.mean_db),
            "gain_interval_db": ends(gain.interval),
            "folds": [
                {"clips": clips, "in_sample_db": finite(tuned), "held_out_db": finite(score)}
                for clips, tuned, score in self.held_out.folds
            ],
        }


def tuned(variant: Variant, data: DevSet, cache: Path, options: Options, progress: Progress) -> Tuned:
    """Cross-validation of the whole search, then the search on all clips, as `s5 tune` does them.

    Raises:
        UsageError: folds that cannot be made.
        InputError: a clip that cannot be used.
        WeightsError: weights that are missing, damaged or not licensed yet.
        OutputError: the cache cannot be written to.
    """
    own = replace(options, system_options={})  # the entry has its options already
    held = folds(data.references.count, options.folds, options.seed)
    tuning = begun(variant.entry, data, cache, own, lambda line: progress(f"{variant.title}, {line}"))
    validated = tuning.cross_validated(held)
    milestones = tuning.milestones(validated)
    labels = tuple(tuning.search.trials.labels(milestones[-1].best.setting))
    return Tuned(milestones, validated, tuple(data.references.count.tolist()), labels)
