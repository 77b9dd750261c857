"""Stems on disk scored against references on disk, beside the answers that need no separation at all.

Clips are read one after the other and only small numbers are kept of each, so memory does not grow with the data set.
What each score is called and says stands in `s5cli.score.sheet`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from s5cli import official
from s5cli.dataset import DataSet, open_dataset, read_mixture, read_sources, read_stems
from s5cli.labels import CLASSES
from s5cli.official import SourceFile
from s5cli.score import metric, sheet
from s5cli.score.bootstrap import DEFAULT, METHOD, Bootstrap, Interval
from s5cli.score.casa import Confusion, confusion
from s5cli.score.clip import ClipResult, score_clip

Progress = Callable[[Sequence[str]], Iterable[str]]
"""Passes the names of the clips through, one by one; a progress bar for instance."""


# --------------------------------------------------------------------------------------------------------- many clips
@dataclass(frozen=True)
class Summary:
    """Scores of a set of clips, as `s5cli.score.sheet` defines them; None where there is nothing to take a mean of."""

    n_clips: int
    n_clips_without_stem: int
    n_pairs: int
    n_silent_pairs: int  # matched stems (or references) of digital silence: in CAPI-SDRi, not in SI-SDRi and level
    capi_sdri_db: float | None
    si_sdri_db: float | None
    level_db: float | None
    accuracy_mixture_percent: float | None
    accuracy_source_percent: float | None
    casa_sdri_db: float | None
    blind_sdri_db: float | None
    ca_sdri_db: float | None
    accuracy_slot_percent: float | None
    accuracy_heard_percent: float | None
    false_alarm_percent: float | None
    twin_sdri_db: float | None
    twin_correlation_percent: float | None
    intervals: Mapping[str, Interval]  # of those scores above that have one, by their names


@dataclass(frozen=True)
class ClassResult:
    """One class over all clips."""

    label: str
    n_ref: int
    n_est: int
    n_matched: int
    sdri_db: float | None  # mean over matched pairs, as the next two
    si_sdri_db: float | None
    level_db: float | None
    recall_percent: float | None
    precision_percent: float | None
    capi_sdri_db: float | None  # mean over matched pairs and a zero for each missed or surplus source
    intervals: Mapping[str, Interval]  # of the scores above, by their names


@dataclass(frozen=True)
class Margin:
    """CAPI-SDRi minus that of a trivial answer under the same labels."""

    value_db: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Evaluation:
    """A set of stems scored, with the trivial answers under the stems' own labels and under the references' labels."""

    clips: tuple[ClipResult, ...]
    overall: Summary
    own_trivial: metric.TrivialScores
    true_trivial: metric.TrivialScores
    by_n_targets: Mapping[str, Summary]
    by_repeats: Mapping[str, Summary]  # of the clips with targets: "without" and "with" a class twice
    classes: tuple[ClassResult, ...]  # those that occur
    margins: Mapping[str, Margin]  # over each trivial answer under the stems' own labels, and over the best one
    confusion: Confusion
    bootstrap: Bootstrap  # how the intervals were drawn

    @property
    def over_trivial_db(self) -> float | None:
        """CAPI-SDRi minus the best trivial answer under the same labels: what the separation itself is worth."""
        score, trivial = self.overall.capi_sdri_db, self.own_trivial.best_db
        return None if score is None or trivial is None else score - trivial

    def to_json(self) -> dict[str, Any]:
        """All of it, numbers in the unit that their name ends with, null where there is no value."""
        return {
            "overall": asdict(self.overall),
            "trivial": {"own_labels": asdict(self.own_trivial), "true_labels": asdict(self.true_trivial)},
            "over_trivial_db": self.over_trivial_db,
            "margins": {key: asdict(margin) for key, margin in self.margins.items()},
            "by_n_targets": {name: asdict(kind) for name, kind in self.by_n_targets.items()},
            "by_repeats": {name: asdict(kind) for name, kind in self.by_repeats.items()},
            "classes": {result.label: asdict(result) for result in self.classes},
            "confusion": {"labels": list(self.confusion.labels), "counts": self.confusion.counts.tolist()},
            "bootstrap": asdict(self.bootstrap) | {"method": METHOD},
            "meaning": {score.key: f"{score.name}: {score.meaning}" for score in sheet.SCORES},
            "clips": [clip.to_json() for clip in self.clips],
        }


def summary(clips: Sequence[ClipResult], bootstrap: Bootstrap = DEFAULT) -> Summary:
    """Scores of any set of clips."""
    found = sheet.measure(sheet.SCORES, clips, bootstrap)
    qualities = [quality for clip in clips for quality in clip.qualities]
    return Summary(
        n_clips=len(clips),
        n_clips_without_stem=sum(not clip.est_labels for clip in clips),
        n_pairs=len(qualities),
        n_silent_pairs=sum(quality.level_db is None for quality in qualities),
        intervals=found.intervals,
        **found.values,
    )


def evaluation(clips: Sequence[ClipResult], bootstrap: Bootstrap = DEFAULT) -> Evaluation:
    """All that is reported of a set of clips; intervals of each kind of clips come from resamples of that kind."""
    products = [clip.products for clip in clips]
    overall = summary(clips, bootstrap)
    own_trivial = metric.trivial_scores(products, [clip.est_labels for clip in clips])
    above = sheet.measure((*sheet.margin_scores(own_trivial), sheet.best_margin(own_trivial)), clips, bootstrap)
    return Evaluation(
        clips=tuple(clips),
        overall=overall,
        own_trivial=own_trivial,
        true_trivial=metric.trivial_scores(products, [clip.ref_labels for clip in clips]),
        by_n_targets=_by_n_targets(clips, bootstrap),
        by_repeats=_by_repeats(clips, bootstrap),
        classes=_by_class(clips, bootstrap),
        margins={key: Margin(value, above.intervals.get(key)) for key, value in above.values.items()},
        confusion=confusion([clip.sources for clip in clips]),
        bootstrap=bootstrap,
    )


def _by_n_targets(clips: Sequence[ClipResult], bootstrap: Bootstrap) -> dict[str, Summary]:
    kinds: dict[int, list[ClipResult]] = {}
    for clip in clips:
        kinds.setdefault(len(clip.ref_labels), []).append(clip)
    return {str(n): summary(kind, bootstrap) for n, kind in sorted(kinds.items())}


def _by_repeats(clips: Sequence[ClipResult], bootstrap: Bootstrap) -> dict[str, Summary]:
    apart = [clip for clip in clips if clip.ref_labels and not clip.repeats_a_class]
    repeated = [clip for clip in clips if clip.repeats_a_class]
    return {"without": summary(apart, bootstrap), "with": summary(repeated, bootstrap)}


def _by_class(clips: Sequence[ClipResult], bootstrap: Bootstrap) -> tuple[ClassResult, ...]:
    n_ref = Counter(label for clip in clips for label in clip.ref_labels)
    n_est = Counter(label for clip in clips for label in clip.est_labels)
    n_matched = Counter(pair.label for clip in clips for pair in clip.score.pairs)
    counts = {label: (n_ref[label], n_est[label], n_matched[label]) for label in CLASSES}
    found: dict[str, Any]  # `sheet.Measured` each
    found = {label: sheet.measure_class(label, clips, bootstrap) for label in CLASSES if any(counts[label])}
    return tuple(
        ClassResult(label, *counts[label], **one.values, intervals=one.intervals) for label, one in found.items()
    )


def official_results(result: Evaluation) -> official.DevResults:
    """The same scores in the challenge's own form for stored waveforms, where every slot's probability is 1."""
    clips = tuple(
        official.DevClip(
            soundscape=clip.soundscape,
            ref_labels=clip.ref_labels,
            est_labels=clip.est_labels,
            probabilities=(1.0,) * len(official.padded(clip.est_labels, "")),
            capi_sdri_db=clip.score.capi_sdri_db,
            tp=clip.score.tp,
            fp=clip.score.fp,
            fn=clip.score.fn,
        )
        for clip in result.clips
    )
    score = result.overall
    return official.DevResults(clips, score.capi_sdri_db, score.accuracy_mixture_percent, score.accuracy_source_percent)


# ------------------------------------------------------------------------------------------------------------ folders
def evaluate(
    estimates: Path,
    reference: Path,
    soundscapes: Path | None = None,
    progress: Progress = iter,
    bootstrap: Bootstrap = DEFAULT,
) -> Evaluation:
    """Score a folder of stems against a folder of references.

    Args:
        estimates: `<soundscape>_<number>_<Class>.wav` files, or a folder with `eval_out/`. A soundscape that has none
            of these is an empty answer.
        reference: the references, named alike, or a folder with `oracle_target/`.
        soundscapes: the mixtures; by default `soundscape/` beside the references, else the files there.
        progress: see `Progress`.
        bootstrap: how the confidence intervals are drawn.

    Raises:
        UsageError: a folder that does not exist, or two mixtures of one name.
        InputError: no mixtures, no stems, a file that belongs to no mixture, is not mono, not 32 kHz, or not as long;
            references that are missing, or stems in a slot that is taken or that a clip does not have.
    """
    data = open_dataset(reference, soundscapes)
    return evaluation(score_files(estimates, data, [*data.mixtures], progress), bootstrap)


def score_files(
    estimates: Path, data: DataSet, names: Sequence[str], progress: Progress = iter
) -> tuple[ClipResult, ...]:
    """The named soundscapes of a data set, scored one by one; raises as `evaluate` does."""
    stems = read_stems(estimates, data)
    return tuple(
        _score_files(name, data.mixtures[name], stems[name], data.references[name]) for name in progress(names)
    )


def _score_files(name: str, mixture: Path, stems: Sequence[SourceFile], references: Sequence[SourceFile]) -> ClipResult:
    omni = read_mixture(mixture)
    est, ref = (read_sources(sources, mixture, len(omni)) for sources in (stems, references))
    labels = [[source.label for source in sources] for sources in (stems, references)]
    return score_clip(name, labels[0], est, labels[1], ref, omni)
