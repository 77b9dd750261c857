"""The tuner's score is the metric's, clip for clip."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s5cli.labels import CLASSES, SILENCE
from s5cli.scene import EMPTY
from s5cli.score.metric import capi_sdri_from_matrices
from s5cli.tune.score import NO_REFERENCE, Outcome, References, WaveformScores
from tests.score.whole import dataset_score


def labels_of(classes):
    return [CLASSES[index] if index >= 0 else SILENCE for index in classes]


def score(classes, sdr_db, sdri_db, references, unseen):
    """Of stems with waveforms of their own: matrices [b, s, m]."""
    b, s, m = sdr_db.shape
    waveforms = WaveformScores(sdr_db.reshape(b * s, m), sdri_db.reshape(b * s, m))
    return waveforms.score(classes, np.arange(b * s).reshape(b, s), references, unseen)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 5), st.integers(1, 4), st.sampled_from([3, 3, 18]))
def test_the_same_as_the_metric(seed, m, s, n_classes):
    """Few classes, so that several stems and references share one; also more references than slots, and none."""
    random = np.random.default_rng(seed)
    est = random.integers(EMPTY, n_classes, (6, s))
    ref = np.where(random.random((6, m)) < 0.3, NO_REFERENCE, random.integers(0, n_classes, (6, m)))
    sdr = random.choice([0.0, -7.5, 12.0], (6, s, m)) + random.integers(0, 2) * random.normal(0, 20, (6, s, m))
    base = random.normal(-3, 5, (6, 1, m))
    found = score(est, sdr, sdr - base, References(ref), np.zeros(6, bool))
    clips = []
    for row in range(6):
        here = ref[row] != NO_REFERENCE
        args = labels_of(est[row]), labels_of(ref[row][here]), sdr[row][:, here], (sdr - base)[row][:, here]
        clips.append(capi_sdri_from_matrices(*args))
        expected = np.nan if clips[-1].capi_sdri_db is None else clips[-1].capi_sdri_db
        if np.unique(sdr[row][:, here]).size == sdr[row][:, here].size:  # else equal assignments may differ at will
            np.testing.assert_allclose(found.capi_sdri_db[row], expected, atol=1e-9)
        assert (found.tp[row], found.fp[row], found.fn[row]) == (clips[-1].tp, clips[-1].fp, clips[-1].fn)
    whole = dataset_score(clips)
    assert found.accuracy_mixture_percent() == pytest.approx(whole.accuracy_mixture_percent)
    if whole.accuracy_source_percent is not None:
        assert found.accuracy_source_percent() == pytest.approx(whole.accuracy_source_percent)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_silent_stems_go_to_the_first_reference_as_in_the_metric(seed):
    random = np.random.default_rng(seed)
    est, ref = random.integers(EMPTY, 3, (1, 3)), random.integers(0, 3, (1, 3))
    sdr, sdri = np.zeros((1, 3, 3)), np.tile(random.normal(3, 5, 3), (1, 3, 1))
    found = score(est, sdr, sdri, References(ref), np.zeros(1, bool)).capi_sdri_db[0]
    expected = capi_sdri_from_matrices(labels_of(est[0]), labels_of(ref[0]), sdr[0], sdri[0]).capi_sdri_db
    np.testing.assert_allclose(found, np.nan if expected is None else expected, atol=1e-9)


def test_means_leave_out_clips_without_a_score():
    none = np.zeros(3, np.int16)
    outcome = Outcome(np.array([1.0, np.nan, 4.0]), none, none, none, np.zeros(3, bool))
    assert outcome.mean_db() == 2.5
    assert outcome.mean_db(np.array([True, True, False])) == 1
    assert np.isnan(outcome.mean_db(np.array([False, True, False])))


def test_unseen_clips_have_no_score():
    sdr = np.ones((2, 1, 1))
    found = score(np.array([[3], [3]]), sdr, sdr, References(np.array([[3], [3]])), np.array([False, True]))
    assert found.capi_sdri_db[0] == 1
    assert np.isnan(found.capi_sdri_db[1])


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 4), st.integers(1, 4), st.sampled_from([2, 5, 18]))
def test_waveforms_by_number_score_as_their_matrices(seed, m, s, n_classes):
    """Of few classes most clips have a choice to make, of many nearly none; order in memory does not matter."""
    random = np.random.default_rng(seed)
    b, n = 20, 30
    waveforms = WaveformScores(random.normal(0, 20, (n, m)), random.normal(5, 9, (n, m)))
    classes = np.asarray(random.integers(EMPTY, n_classes, (b, s)), order=random.choice(["C", "F"]))
    numbers = np.asarray(random.integers(0, n, (b, s)), order=random.choice(["C", "F"]))
    references = References(np.where(random.random((b, m)) < 0.3, NO_REFERENCE, random.integers(0, n_classes, (b, m))))
    unseen = random.random(b) < 0.2
    found = waveforms.score(classes, numbers, references, unseen)
    expected = score(classes, waveforms.sdr_db[numbers], waveforms.sdri_db[numbers], references, unseen)
    np.testing.assert_allclose(found.capi_sdri_db, expected.capi_sdri_db, atol=1e-12)
    for one, other in zip(found.arrays[1:], expected.arrays[1:], strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
