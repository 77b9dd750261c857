"""Stems on disk scored against references on disk, beside the answers that need no separation at all.

Clips are read one after the other and only small numbers are kept of each, so memory does not grow with the data set.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s5cli import metric, official
from s5cli.audio import Samples, read_audio
from s5cli.errors import InputError, UsageError
from s5cli.labels import CLASSES
from s5cli.official import SourceFile
from s5cli.scene import RATE_HZ

SUFFIXES = (".wav", ".flac")
EVAL_OUT, ORACLE_TARGET, SOUNDSCAPE = "eval_out", "oracle_target", "soundscape"

Progress = Callable[[Sequence[str]], Iterable[str]]
"""Passes the names of the clips through, one by one; a progress bar for instance."""


# ----------------------------------------------------------------------------------------------------------- one clip
@dataclass(frozen=True)
class PairQuality:
    """What plain SDR does not show of a matched pair; None where the stem or its reference is digital silence."""

    si_sdri_db: float | None  # over mixture channel 0
    level_db: float | None  # of the stem, relative to its reference


@dataclass(frozen=True)
class ClipResult:
    """One evaluated clip."""

    soundscape: str
    ref_labels: tuple[str, ...]
    est_labels: tuple[str, ...]
    score: metric.ClipScore
    qualities: tuple[PairQuality, ...]  # one for each of `score.pairs`
    products: metric.ReferenceProducts

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
            "tp": self.score.tp,
            "fp": self.score.fp,
            "fn": self.score.fn,
            "pairs": [asdict(pair) | asdict(quality) for pair, quality in pairs],
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
    score = metric.capi_sdri(est_labels, est, ref_labels, ref, mixture)
    qualities = tuple(_quality(est[pair.i_est], ref[pair.i_ref], mixture) for pair in score.pairs)
    products = metric.reference_products(ref_labels, ref, mixture)
    return ClipResult(soundscape, tuple(ref_labels), tuple(est_labels), score, qualities, products)


def _quality(est: metric.Audio, ref: metric.Audio, mixture: metric.Audio) -> PairQuality:
    after, before = metric.si_sdr_db(est, ref), metric.si_sdr_db(mixture, ref)
    improvement = None if after is None or before is None else after - before
    return PairQuality(improvement, metric.level_db(est, ref))


# --------------------------------------------------------------------------------------------------------- many clips
@dataclass(frozen=True)
class Summary:
    """Scores of a set of clips; None where there is nothing to take a mean of."""

    n_clips: int
    n_clips_without_stem: int
    n_pairs: int
    n_silent_pairs: (
        int  # matched stems (or references) that are digital silence: in CAPI-SDRi, not in the next two means
    )
    capi_sdri_db: float | None
    si_sdri_db: float | None
    level_db: float | None
    accuracy_mixture_percent: float | None
    accuracy_source_percent: float | None


@dataclass(frozen=True)
class Group:
    """The clips of one kind, e.g. those with two targets."""

    name: str
    summary: Summary


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


@dataclass(frozen=True)
class Evaluation:
    """A set of stems scored, with the trivial answers under the stems' own labels and under the references' labels."""

    clips: tuple[ClipResult, ...]
    overall: Summary
    own_trivial: metric.TrivialScores
    true_trivial: metric.TrivialScores
    by_n_targets: tuple[Group, ...]
    by_repeats: tuple[Group, ...]  # of the clips with targets: no class twice, a class twice
    classes: tuple[ClassResult, ...]  # those that occur
    false_alarm_percent: float | None  # share of the clips without targets that were given a stem

    @property
    def over_trivial_db(self) -> float | None:
        """CAPI-SDRi minus the best trivial answer under the same labels: what the separation itself is worth."""
        score, trivial = self.overall.capi_sdri_db, self.own_trivial.best_db
        return None if score is None or trivial is None else score - trivial

    def to_json(self) -> dict[str, Any]:
        """All of it, numbers in the unit that their name ends with, null where there is no value."""
        return {
            "overall": asdict(self.overall) | {"false_alarm_percent": self.false_alarm_percent},
            "trivial": {"own_labels": asdict(self.own_trivial), "true_labels": asdict(self.true_trivial)},
            "over_trivial_db": self.over_trivial_db,
            "by_n_targets": {group.name: asdict(group.summary) for group in self.by_n_targets},
            "by_repeats": {group.name: asdict(group.summary) for group in self.by_repeats},
            "classes": {result.label: asdict(result) for result in self.classes},
            "clips": [clip.to_json() for clip in self.clips],
        }


def summary(clips: Sequence[ClipResult]) -> Summary:
    """Scores of any set of clips."""
    score = metric.dataset_score([clip.score for clip in clips])
    qualities = [quality for clip in clips for quality in clip.qualities]
    return Summary(
        n_clips=len(clips),
        n_clips_without_stem=sum(not clip.est_labels for clip in clips),
        n_pairs=len(qualities),
        n_silent_pairs=sum(quality.level_db is None for quality in qualities),
        capi_sdri_db=score.capi_sdri_db,
        si_sdri_db=metric.mean(quality.si_sdri_db for quality in qualities),
        level_db=metric.mean(quality.level_db for quality in qualities),
        accuracy_mixture_percent=score.accuracy_mixture_percent,
        accuracy_source_percent=score.accuracy_source_percent,
    )


def evaluation(clips: Sequence[ClipResult]) -> Evaluation:
    """All that is reported of a set of clips."""
    products = [clip.products for clip in clips]
    empty = [clip for clip in clips if not clip.ref_labels]
    return Evaluation(
        clips=tuple(clips),
        overall=summary(clips),
        own_trivial=metric.trivial_scores(products, [clip.est_labels for clip in clips]),
        true_trivial=metric.trivial_scores(products, [clip.ref_labels for clip in clips]),
        by_n_targets=_by_n_targets(clips),
        by_repeats=_by_repeats(clips),
        classes=_by_class(clips),
        false_alarm_percent=metric.percent(sum(bool(clip.est_labels) for clip in empty), len(empty)),
    )


def _by_n_targets(clips: Sequence[ClipResult]) -> tuple[Group, ...]:
    numbers = sorted({len(clip.ref_labels) for clip in clips})
    return tuple(Group(str(n), summary([clip for clip in clips if len(clip.ref_labels) == n])) for n in numbers)


def _by_repeats(clips: Sequence[ClipResult]) -> tuple[Group, ...]:
    apart = summary([clip for clip in clips if clip.ref_labels and not clip.repeats_a_class])
    return Group("without", apart), Group("with", summary([clip for clip in clips if clip.repeats_a_class]))


def _by_class(clips: Sequence[ClipResult]) -> tuple[ClassResult, ...]:
    n_ref = Counter(label for clip in clips for label in clip.ref_labels)
    n_est = Counter(label for clip in clips for label in clip.est_labels)
    matched = [both for clip in clips for both in zip(clip.score.pairs, clip.qualities, strict=True)]
    return tuple(
        _class_result(label, n_ref[label], n_est[label], [both for both in matched if both[0].label == label])
        for label in CLASSES
        if n_ref[label] or n_est[label]
    )


def _class_result(label: str, n_ref: int, n_est: int, matched: list[tuple[metric.Pair, PairQuality]]) -> ClassResult:
    return ClassResult(
        label=label,
        n_ref=n_ref,
        n_est=n_est,
        n_matched=len(matched),
        sdri_db=metric.mean(pair.sdri_db for pair, _ in matched),
        si_sdri_db=metric.mean(quality.si_sdri_db for _, quality in matched),
        level_db=metric.mean(quality.level_db for _, quality in matched),
        recall_percent=metric.percent(len(matched), n_ref),
        precision_percent=metric.percent(len(matched), n_est),
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
    estimates: Path, reference: Path, soundscapes: Path | None = None, progress: Progress = iter
) -> Evaluation:
    """Score a folder of stems against a folder of references.

    Args:
        estimates: `<soundscape>_<number>_<Class>.wav` files, or a folder with `eval_out/`. A soundscape that has none
            of these is an empty answer.
        reference: the references, named alike, or a folder with `oracle_target/`.
        soundscapes: the mixtures; by default `soundscape/` beside the references, else the files there.
        progress: see `Progress`.

    Raises:
        UsageError: a folder that does not exist, or two mixtures of one name.
        InputError: no mixtures, no stems, a file that belongs to no mixture, is not mono, not 32 kHz, or not as long.
    """
    oracle = _reference_folder(reference)
    mixtures = _mixtures(soundscapes or oracle.resolve().parent)
    references = official.read_sources(oracle, mixtures, SUFFIXES)
    stems = official.read_sources(_stem_folder(estimates), mixtures, SUFFIXES)
    return evaluation(
        [_score_files(name, mixtures[name], stems[name], references[name]) for name in progress([*mixtures])]
    )


def _reference_folder(reference: Path) -> Path:
    """Only a folder called `oracle_target` may be empty (a data set without targets); else it is the wrong folder."""
    if (reference / ORACLE_TARGET).is_dir():
        return reference / ORACLE_TARGET
    if not reference.is_dir():
        raise UsageError(f"{reference}: no such folder")
    if reference.name != ORACLE_TARGET and not _holds_audio(reference):
        raise InputError(f"{reference}: holds neither references nor {ORACLE_TARGET}/")
    return reference


def _holds_audio(folder: Path) -> bool:
    return any(path.suffix in SUFFIXES for path in folder.iterdir())


def _mixtures(folder: Path) -> dict[str, Path]:
    inner = folder / SOUNDSCAPE
    folder = inner if inner.is_dir() else folder
    mixtures = official.soundscapes(folder, SUFFIXES)
    if not mixtures:
        raise InputError(f"{folder}: holds no mixtures (.wav, .flac); name their folder with --soundscapes")
    return mixtures


def _stem_folder(estimates: Path) -> Path:
    """A folder without any stem is an answer only if a run was recorded in it; else it is probably the wrong folder."""
    folder = estimates / EVAL_OUT if (estimates / EVAL_OUT).is_dir() else estimates
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    if not _holds_audio(folder) and not any(estimates.glob("*.json")):
        raise InputError(
            f"{folder}: holds neither stems nor the record of a run; name the output folder of s5 separate"
        )
    return folder


def _score_files(name: str, mixture: Path, stems: Sequence[SourceFile], references: Sequence[SourceFile]) -> ClipResult:
    audio = _read(mixture)
    est, ref = (_read_sources(sources, mixture, audio.shape[1]) for sources in (stems, references))
    labels = [[source.label for source in sources] for sources in (stems, references)]
    return score_clip(name, labels[0], est, labels[1], ref, audio[0])


def _read_sources(sources: Sequence[SourceFile], mixture: Path, n_samples: int) -> Samples:
    """Sources as [n, t]."""
    audio = np.zeros((len(sources), n_samples), np.float32)
    for row, source in zip(audio, sources, strict=True):
        found = _read(source.path)
        if found.shape[0] != 1:
            raise InputError(f"{source.path}: {found.shape[0]} channels, not 1; stems and references are mono")
        if found.shape[1] != n_samples:
            raise InputError(
                f"{source.path}: {found.shape[1]} samples, but its mixture {mixture.name} has {n_samples}; "
                "stems and references are as long as the mixture"
            )
        row[:] = found[0]
    return audio


def _read(path: Path) -> Samples:
    audio, rate_hz = read_audio(path)
    if rate_hz != RATE_HZ:
        raise InputError(f"{path}: {rate_hz} Hz, not {RATE_HZ} Hz; scores are defined at {RATE_HZ} Hz only")
    return audio
