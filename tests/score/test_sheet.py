"""The score sheet: every score is what its definition says, over all clips and over any part of them."""

from collections import Counter
from dataclasses import fields

import numpy as np
import pytest

from s5cli.labels import SILENCE
from s5cli.score import metric, sheet
from s5cli.score.bootstrap import Bootstrap
from s5cli.score.clip import ClipResult, score_clip
from s5cli.score.evaluate import Summary, evaluation, summary
from tests.score.scored import scored_clips
from tests.score.whole import dataset_score

QUICK = Bootstrap(200)


@pytest.fixture(scope="module")
def clips() -> list[ClipResult]:
    return scored_clips(150)


def labelled(stems: list[str], truth: list[str]) -> ClipResult:
    """A clip of which only the labels matter."""
    random = np.random.default_rng(len(stems))
    ref = random.standard_normal((len(truth), 50))
    return score_clip("clip", stems, random.standard_normal((len(stems), 50)), truth, ref, random.standard_normal(50))


def test_every_score_is_a_field_with_its_unit() -> None:
    names = {field.name for field in fields(Summary)}
    for score in sheet.SCORES:
        assert score.key in names
        assert score.key.endswith({"dB": "_db", "%": "_percent"}[score.unit])
        assert len(score.meaning) < 70
        assert len(score.name) < 20


def test_sums_over_sums_are_the_metric_s_own_means(clips: list[ClipResult]) -> None:
    found, official = summary(clips, QUICK), dataset_score([clip.score for clip in clips])
    assert found.capi_sdri_db == pytest.approx(official.capi_sdri_db, abs=1e-12)
    assert found.accuracy_mixture_percent == pytest.approx(official.accuracy_mixture_percent, abs=1e-12)
    assert found.accuracy_source_percent == pytest.approx(official.accuracy_source_percent, abs=1e-12)
    qualities = [quality for clip in clips for quality in clip.qualities]
    assert found.si_sdri_db == pytest.approx(metric.mean(quality.si_sdri_db for quality in qualities), abs=1e-12)
    assert found.casa_sdri_db == pytest.approx(metric.mean(clip.sources.casa_sdri_db for clip in clips), abs=1e-12)
    by_sound = [pair for clip in clips for pair in clip.sources.pairs]
    assert found.blind_sdri_db == pytest.approx(np.mean([pair.sdri_db for pair in by_sound]), abs=1e-12)
    assert found.accuracy_heard_percent == pytest.approx(100 * np.mean([pair.right for pair in by_sound]), abs=1e-12)
    empty = [clip for clip in clips if not clip.ref_labels]
    assert found.false_alarm_percent == pytest.approx(100 * np.mean([bool(clip.est_labels) for clip in empty]))
    for key, ends in found.intervals.items():
        assert ends.low < vars(found)[key] < ends.high, key


def test_wrong_labels_and_bad_separation_are_told_apart(clips: list[ClipResult]) -> None:
    """All labels wrong: the separation is worth what it was, and every score that looks at labels falls to nothing."""
    good = [clip for clip in clips if clip.score.exact and clip.ref_labels]
    found = summary(good, QUICK)
    assert found.casa_sdri_db == pytest.approx(found.capi_sdri_db, abs=0.5)
    assert found.accuracy_source_percent == 100
    random = np.random.default_rng(1)
    ref, noise = random.standard_normal((2, 400)), random.standard_normal((2, 400))
    mixture = ref.sum(0) + random.standard_normal(400)
    right = score_clip("a", ["Cough", "Pour"], ref + 0.2 * noise, ["Cough", "Pour"], ref, mixture)
    wrong = score_clip("a", ["Typing", "Speech"], ref + 0.2 * noise, ["Cough", "Pour"], ref, mixture)
    assert summary([right]).blind_sdri_db == summary([wrong]).blind_sdri_db > 15
    assert summary([right]).casa_sdri_db == pytest.approx(summary([right]).blind_sdri_db)
    nothing = summary([wrong])
    assert (nothing.casa_sdri_db, nothing.capi_sdri_db, nothing.accuracy_heard_percent) == (0, 0, 0)


# -------------------------------------------------------------------------------------------------------- 2025's scores
def test_ca_sdri_is_capi_sdri_of_the_clips_without_same_class_sources(clips: list[ClipResult]) -> None:
    apart = [clip for clip in clips if not clip.repeats_a_class]
    assert 0 < len(apart) < len(clips)
    found = summary(clips, QUICK)
    assert found.ca_sdri_db == summary(apart, QUICK).capi_sdri_db
    assert found.ca_sdri_db != found.capi_sdri_db
    assert summary(apart, QUICK).ca_sdri_db == summary(apart, QUICK).capi_sdri_db
    repeated = [clip for clip in clips if clip.repeats_a_class]
    assert summary(repeated, QUICK).ca_sdri_db is None


@pytest.mark.parametrize(
    ("stems", "truth", "right", "slots"),
    [
        (["Cough"], ["Cough", "Pour"], 2, 3),
        ([], [], 3, 3),
        (["Cough", "Pour", "Speech"], [], 0, 3),
        (["Pour"], ["Cough"], 2, 3),
        (["Cough", "Cough"], ["Cough"], 2, 3),
        (["Cough"] * 4, ["Cough"], 1, 4),
    ],
)
def test_accuracy_of_2025_counts_slots_and_silence(stems, truth, right: int, slots: int) -> None:
    assert summary([labelled(stems, truth)]).accuracy_slot_percent == pytest.approx(100 * right / slots)


def test_accuracy_of_2025_over_many_clips_slot_by_slot(clips: list[ClipResult]) -> None:
    right = 0
    for clip in clips:
        padded = [Counter((*labels, *[SILENCE] * (3 - len(labels)))) for labels in (clip.est_labels, clip.ref_labels)]
        right += (padded[0] & padded[1]).total()
    assert summary(clips, QUICK).accuracy_slot_percent == pytest.approx(100 * right / (3 * len(clips)))


# ------------------------------------------------------------------------------------------------- margins and classes
def test_margins_are_differences_to_the_trivial_answers(clips: list[ClipResult]) -> None:
    result = evaluation(clips, QUICK)
    score, trivial, margins = result.overall.capi_sdri_db, result.own_trivial, result.margins
    assert margins["over_silent_db"].value_db == pytest.approx(score - trivial.silent_db)
    assert margins["over_zero_stems_db"].value_db == pytest.approx(score - trivial.zero_stems_db)
    assert margins["over_mixture_db"].value_db == pytest.approx(score - trivial.mixture_db)
    best = margins["over_trivial_db"]
    assert best.value_db == pytest.approx(result.over_trivial_db)
    assert best == margins["over_mixture_db"]
    assert best.interval is not None
    assert best.interval.low < best.value_db < best.interval.high
    width = best.interval.high - best.interval.low
    ends = result.overall.intervals["capi_sdri_db"]
    assert width < ends.high - ends.low, "the same clips are hard for both"


def test_the_margin_is_over_the_best_answer_whichever_that_is() -> None:
    """A mixture that is nearly its reference: silence under the label loses what the mixture had."""
    random = np.random.default_rng(0)
    ref = random.standard_normal((1, 400))
    mixture = ref[0] + 0.1 * random.standard_normal(400)
    clips = [score_clip(name, ["Pour"], np.zeros((1, 400)), ["Pour"], ref, mixture) for name in ("a", "b")]
    result = evaluation([*clips, score_clip("c", [], ref[:0], ["Pour"], ref, mixture)], QUICK)
    assert result.own_trivial.zero_stems_db < -10
    assert result.over_trivial_db == pytest.approx(result.margins["over_trivial_db"].value_db)
    assert result.margins["over_zero_stems_db"].value_db == pytest.approx(0, abs=1e-9)


def test_margins_where_nothing_can_be_scored() -> None:
    result = evaluation([labelled([], [])], QUICK)
    assert result.over_trivial_db is None
    assert {(margin.value_db, margin.interval) for margin in result.margins.values()} == {(None, None)}


def test_entries_of_all_classes_are_the_entries_of_all_clips(clips: list[ClipResult]) -> None:
    result = evaluation(clips, QUICK)
    n_entries = [found.n_ref + found.n_est - found.n_matched for found in result.classes]
    assert sum(n_entries) == sum(clip.score.tp + clip.score.fp + clip.score.fn for clip in clips)
    total = sum(n * found.capi_sdri_db for n, found in zip(n_entries, result.classes, strict=True))
    assert total == pytest.approx(sum(pair.sdri_db for clip in clips for pair in clip.score.pairs))
    for found in result.classes:
        share = found.n_matched / (found.n_ref + found.n_est - found.n_matched)
        assert found.capi_sdri_db == pytest.approx(found.sdri_db * share)
        assert found.intervals["recall_percent"].low <= found.recall_percent <= found.intervals["recall_percent"].high


def test_more_clips_give_narrower_intervals() -> None:
    few, many = (summary(scored_clips(n), QUICK).intervals["capi_sdri_db"] for n in (30, 480))
    assert 2 < (few.high - few.low) / (many.high - many.low) < 8


def test_two_of_a_class_are_told_apart_or_are_one_sound_twice() -> None:
    random = np.random.default_rng(5)
    ref = random.standard_normal((3, 4000))
    labels, mixture = ["Cough", "Cough", "Pour"], ref.sum(axis=0)
    apart = score_clip("a", labels, ref, labels, ref, mixture)
    twice = score_clip("a", labels, np.stack([ref[0], 0.5 * ref[0], ref[2]]), labels, ref, mixture)
    assert apart.twins[0].correlation == pytest.approx(0, abs=0.05)
    assert twice.twins[0].correlation == pytest.approx(1)
    assert apart.twins[0].sdri_db > twice.twins[0].sdri_db
    assert apart.twins[0].sdri_db == pytest.approx(np.mean([pair.sdri_db for pair in apart.score.pairs[:2]]))
    found = summary([apart, twice], QUICK)
    assert found.twin_correlation_percent == pytest.approx(50, abs=3)
    once = score_clip("a", ["Cough", "Pour"], ref[[0, 2]], labels, ref, mixture)
    assert once.twins == ()
    assert summary([once], QUICK).twin_sdri_db is None
