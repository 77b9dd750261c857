"""Laws of CASA-SDRi and of the confusion of sources matched by sound."""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s5cli.labels import SILENCE
from s5cli.score.casa import SourceScore, casa_sdri_from_matrices, confusion
from tests.score.test_metric import N_SAMPLES, clip, labels, noise, seeds
from tests.score.whole import capi_sdri, casa_sdri

present = st.lists(st.sampled_from(["Cough", "Pour", "Speech"]), max_size=4)


def naive(
    est_labels: Sequence[str], est: np.ndarray, ref_labels: Sequence[str], ref: np.ndarray, mix: np.ndarray
) -> float | None:
    """The definition word by word: every matching of min(n, m) pairs is tried."""

    def snr(s: np.ndarray, x: np.ndarray) -> float:
        eps = 1.1920929e-07
        return float(10 * np.log10((sum(s * s) + eps) / (sum((s - x) ** 2) + eps)))

    ests = [(x, name) for x, name in zip(est, est_labels, strict=True) if name != "silence"]
    refs = [(s, name) for s, name in zip(ref, ref_labels, strict=True) if name != "silence"]
    if not ests and not refs:
        return None
    n = min(len(ests), len(refs))
    matchings = [list(zip(e, r, strict=True)) for e in permutations(ests, n) for r in permutations(refs, n)]
    best = max(matchings, key=lambda pairs: sum(snr(s, x) for (x, _), (s, _) in pairs))
    gained = [snr(s, x) - snr(s, mix) for (x, given), (s, true) in best if given == true]
    return sum(gained) / max(len(ests), len(refs))


@settings(max_examples=40, deadline=None)
@given(labels, labels, seeds)
def test_agrees_with_the_definition_word_by_word(est_labels: list[str], ref_labels: list[str], seed: int) -> None:
    est, ref, mixture = clip(seed, len(est_labels), len(ref_labels))
    score = casa_sdri(est_labels, est, ref_labels, ref, mixture)
    assert score.casa_sdri_db == pytest.approx(naive(est_labels, est, ref_labels, ref, mixture), abs=1e-9)
    audible = [[name for name in names if name != SILENCE] for names in (est_labels, ref_labels)]
    assert sorted([*score.surplus, *(pair.est_label for pair in score.pairs)]) == sorted(audible[0])
    assert sorted([*score.missed, *(pair.ref_label for pair in score.pairs)]) == sorted(audible[1])
    assert not (score.missed and score.surplus)


def test_a_clip_by_hand() -> None:
    """The mixture is at 0 dB to either reference; stems at 20 and 6.02 dB, the second under a wrong label."""
    ref, mixture = np.eye(2), np.ones(2)
    est = np.array([[1.0, 0.1], [0.5, 1.0]])
    stems, truth = ["Cough", "Speech"], ["Cough", "Pour"]
    found = casa_sdri(stems, est, truth, ref, mixture)
    assert found.casa_sdri_db == pytest.approx(20 / 2, abs=1e-4)
    assert [pair.sdri_db for pair in found.pairs] == pytest.approx([20, 10 * np.log10(4)], abs=1e-4)
    assert [pair.right for pair in found.pairs] == [True, False]
    assert capi_sdri(stems, est, truth, ref, mixture).capi_sdri_db == pytest.approx(20 / 3, abs=1e-4)
    swapped = ["Pour", "Cough"]
    assert casa_sdri(swapped, est, truth, ref, mixture).casa_sdri_db == 0
    by_label = capi_sdri(swapped, est, truth, ref, mixture).capi_sdri_db
    assert by_label == pytest.approx(-5 * np.log10(1.81 * 1.25), abs=1e-4), "a swap looks like bad separation there"


@given(present, seeds, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_is_capi_sdri_where_labels_are_right_and_stems_resemble_their_references(names, seed, random) -> None:
    _, ref, mixture = clip(seed, 0, len(names))
    order = random.sample(range(len(names)), len(names))
    est = 0.8 * ref[order] + 0.1 * noise(seed + 5, len(names))
    stems = [names[index] for index in order]
    blind, by_label = casa_sdri(stems, est, names, ref, mixture), capi_sdri(stems, est, names, ref, mixture)
    assert blind.casa_sdri_db == pytest.approx(by_label.capi_sdri_db, abs=1e-9)
    assert {(pair.i_est, pair.i_ref) for pair in blind.pairs} == {(pair.i_est, pair.i_ref) for pair in by_label.pairs}


@given(st.integers(0, 4), st.integers(0, 4), seeds)
@settings(max_examples=30, deadline=None)
def test_is_capi_sdri_where_there_is_one_class_only(n_est: int, n_ref: int, seed: int) -> None:
    """Too many or too few stems of a class cost both alike."""
    est, ref, mixture = clip(seed, n_est, n_ref)
    sides = (["Cough"] * n_est, est, ["Cough"] * n_ref, ref, mixture)
    assert casa_sdri(*sides).casa_sdri_db == pytest.approx(capi_sdri(*sides).capi_sdri_db, abs=1e-12)


@given(present, present, seeds, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_pairs_do_not_depend_on_labels_nor_on_order(est_labels, ref_labels, seed, random) -> None:
    est, ref, mixture = clip(seed, len(est_labels), len(ref_labels))
    score = casa_sdri(est_labels, est, ref_labels, ref, mixture)
    renamed = casa_sdri(["Typing"] * len(est), est, ["Typing"] * len(ref), ref, mixture)
    assert [(p.i_est, p.i_ref, p.sdri_db) for p in renamed.pairs] == [
        (p.i_est, p.i_ref, p.sdri_db) for p in score.pairs
    ]
    i, j = (random.sample(range(len(names)), len(names)) for names in (est_labels, ref_labels))
    other = casa_sdri([est_labels[k] for k in i], est[i], [ref_labels[k] for k in j], ref[j], mixture)
    assert other.casa_sdri_db == pytest.approx(score.casa_sdri_db, abs=1e-9)


@pytest.mark.parametrize("stem", [np.zeros(N_SAMPLES), noise(9)[0]], ids=["silent", "the same"])
def test_stems_that_cannot_be_told_apart_are_matched_in_favour_of_their_labels(stem: np.ndarray) -> None:
    _, ref, mixture = clip(3, 0, 3)
    truth = ["Cough", "Pour", "Speech"]
    for stems in permutations(truth):
        sides = (stems, np.stack([stem] * 3), truth, ref, mixture)
        assert casa_sdri(*sides).casa_sdri_db == pytest.approx(capi_sdri(*sides).capi_sdri_db, abs=1e-9)


@pytest.mark.parametrize(
    ("est_labels", "ref_labels", "expected"),
    [
        ([], [], None),
        ([SILENCE], [SILENCE], None),
        (["Cough"], [], 0.0),
        ([], ["Cough"], 0.0),
        (["Pour"], ["Cough"], 0),
    ],
)
def test_what_is_not_paired_scores_zero_and_no_source_scores_nothing(est_labels, ref_labels, expected) -> None:
    est, ref, mixture = clip(0, len(est_labels), len(ref_labels))
    assert casa_sdri(est_labels, est, ref_labels, ref, mixture).casa_sdri_db == expected


def test_results_are_plain_values() -> None:
    est, ref, mixture = clip(3, 1, 1)
    score = casa_sdri(["Cough"], est.astype(np.float32), ["Cough"], ref.astype(np.float32), mixture)
    assert isinstance(score, SourceScore)
    assert type(score.casa_sdri_db) is float
    assert [type(value) for value in vars(score.pairs[0]).values()] == [str, str, int, int, float, float]


# ----------------------------------------------------------------------------------------------------------- confusion
def test_confusion_counts_every_source_once() -> None:
    sdr = np.array([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]])
    clips = [
        (["Cough", "Pour", "Pour"], ["Cough", "Speech", "Pour"]),
        (["Pour"], ["Speech", "Cough"]),
        (["Typing", "Speech"], ["Speech"]),
        (["Cough"], []),
    ]
    scores = []
    for est_labels, ref_labels in clips:
        part = sdr[: len(est_labels), : len(ref_labels)]
        scores.append(casa_sdri_from_matrices(est_labels, ref_labels, part, part))
    found = confusion(scores)
    assert found.labels == ("Cough", "Pour", "Speech", "Typing")
    assert found.counts.tolist() == [
        [1, 0, 0, 0, 1],
        [0, 1, 0, 0, 0],
        [0, 2, 0, 1, 0],
        [0, 0, 0, 0, 0],
        [1, 0, 1, 0, 0],
    ]
    assert found.counts[:-1].sum() == sum(len(refs) for _, refs in clips)
    assert found.counts[:, :-1].sum() == sum(len(ests) for ests, _ in clips)
    assert found.most_frequent(1) == [("Speech", "Pour", 2)]


def test_nothing_to_confuse() -> None:
    assert confusion([]).counts.tolist() == [[0]]
    assert confusion([]).most_frequent(3) == []
