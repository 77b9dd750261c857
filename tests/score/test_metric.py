"""Laws of CAPI-SDRi, the accuracies and the trivial answers."""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s5cli.labels import SILENCE
from s5cli.score import metric
from s5cli.score.metric import ClipScore, capi_sdri_from_matrices, reference_products, trivial_scores
from tests.score.whole import DatasetScore, capi_sdri, dataset_score

N_SAMPLES = 400
labels = st.lists(st.sampled_from(["Cough", "Pour", "Speech", SILENCE]), max_size=4)
seeds = st.integers(0, 2**31)


def noise(seed: int, n: int = 1) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((n, N_SAMPLES))


def clip(seed: int, n_est: int, n_ref: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimates that have something of the references, references, and mixture channel 0."""
    ref, mixture = noise(seed, n_ref), noise(seed + 1)[0]
    mixture += ref.sum(0)
    est = 0.5 * noise(seed + 2, n_est) + (ref[np.arange(n_est) % n_ref] if n_ref else 0)
    return est, ref, mixture


def naive(est_labels: Sequence[str], est: np.ndarray, ref_labels: Sequence[str], ref: np.ndarray, mix: np.ndarray):
    """The definition word by word: every subset and permutation is tried."""

    def snr(s: np.ndarray, x: np.ndarray) -> float:
        eps = 1.1920929e-07
        return 10 * np.log10((sum(s * s) + eps) / (sum((s - x) ** 2) + eps))

    entries: list[float] = []
    for label in sorted({*est_labels, *ref_labels} - {"silence"}):
        ests = [x for x, name in zip(est, est_labels, strict=True) if name == label]
        refs = [s for s, name in zip(ref, ref_labels, strict=True) if name == label]
        n = min(len(ests), len(refs))
        choices = [list(zip(e, r, strict=True)) for e in permutations(ests, n) for r in permutations(refs, n)]
        best = max(choices, key=lambda pairs: sum(snr(s, x) for x, s in pairs))
        entries += [snr(s, x) - snr(s, mix) for x, s in best] + [0.0] * abs(len(ests) - len(refs))
    return np.mean(entries) if entries else None


@settings(max_examples=60, deadline=None)
@given(labels, labels, seeds)
def test_agrees_with_the_definition_word_by_word(est_labels: list[str], ref_labels: list[str], seed: int) -> None:
    est, ref, mixture = clip(seed, len(est_labels), len(ref_labels))
    score = capi_sdri(est_labels, est, ref_labels, ref, mixture)
    assert score.capi_sdri_db == pytest.approx(naive(est_labels, est, ref_labels, ref, mixture), abs=1e-9)
    audible = [[name for name in names if name != SILENCE] for names in (est_labels, ref_labels)]
    shared = sum(min(audible[0].count(name), audible[1].count(name)) for name in set(audible[0]))
    assert (score.tp, score.fp, score.fn) == (shared, len(audible[0]) - shared, len(audible[1]) - shared)
    assert score.exact == (sorted(audible[0]) == sorted(audible[1]))


@settings(max_examples=40, deadline=None)
@given(labels, labels, seeds, st.randoms(use_true_random=False))
def test_the_order_of_stems_and_references_does_not_matter(est_labels, ref_labels, seed, random) -> None:
    est, ref, mixture = clip(seed, len(est_labels), len(ref_labels))
    i, j = (random.sample(range(len(names)), len(names)) for names in (est_labels, ref_labels))
    score = capi_sdri(est_labels, est, ref_labels, ref, mixture)
    other = capi_sdri([est_labels[k] for k in i], est[i], [ref_labels[k] for k in j], ref[j], mixture)
    assert other.capi_sdri_db == pytest.approx(score.capi_sdri_db, abs=1e-9)
    assert {(i[p.i_est], j[p.i_ref]) for p in other.pairs} == {(p.i_est, p.i_ref) for p in score.pairs}


@given(seeds)
def test_only_the_common_level_is_free(seed: int) -> None:
    """Everything louder changes nothing (but for eps); a stem alone must have the level of its reference."""
    est, ref, mixture = clip(seed, 2, 2)
    names = ["Cough", "Cough"]
    score = capi_sdri(names, est, names, ref, mixture).capi_sdri_db
    assert score is not None
    assert capi_sdri(names, 8 * est, names, 8 * ref, 8 * mixture).capi_sdri_db == pytest.approx(score, abs=1e-4)
    assert capi_sdri(names, 8 * est, names, ref, mixture).capi_sdri_db < score - 6


@given(seeds)
def test_a_perfect_stem_is_bounded_by_eps_and_the_mixture_improves_nothing(seed: int) -> None:
    _, ref, mixture = clip(seed, 1, 2)
    names = ["Cough", "Pour"]
    perfect = capi_sdri(names, ref, names, ref, mixture)
    bound_db = [10 * np.log10((s @ s + metric.EPS) / metric.EPS) for s in ref]
    assert [pair.sdr_db for pair in perfect.pairs] == pytest.approx(bound_db, abs=1e-9)
    assert capi_sdri(names, np.stack([mixture] * 2), names, ref, mixture).capi_sdri_db == 0


@given(seeds)
def test_silence_has_an_sdr_of_zero_and_so_improves_on_a_bad_mixture(seed: int) -> None:
    _, ref, mixture = clip(seed, 1, 1)
    mixture = mixture + 3 * noise(seed + 3)[0]
    score = capi_sdri(["Cough"], np.zeros_like(ref), ["Cough"], ref, mixture)
    assert score.pairs[0].sdr_db == 0
    assert score.capi_sdri_db == pytest.approx(-float(metric.sdr_matrix(mixture[None], ref)[0, 0]), abs=1e-12)
    assert score.capi_sdri_db > 5


@pytest.mark.parametrize(
    ("est_labels", "ref_labels", "expected"),
    [
        ([], [], None),
        ([SILENCE] * 3, [SILENCE] * 3, None),
        (["Cough"], [], 0.0),
        (["Cough", "Cough", SILENCE], [SILENCE] * 3, 0.0),
        ([], ["Cough"], 0.0),
        (["Pour"], ["Cough"], 0.0),
    ],
)
def test_no_pair_scores_zero_and_no_label_scores_nothing(est_labels, ref_labels, expected) -> None:
    est, ref, mixture = clip(0, len(est_labels), len(ref_labels))
    assert capi_sdri(est_labels, est, ref_labels, ref, mixture).capi_sdri_db == expected


def test_the_assignment_follows_sdr_and_not_its_improvement() -> None:
    sdr = np.array([[5.0, 4.0]])
    sdri = np.array([[1.0, 9.0]])
    assert capi_sdri_from_matrices(["Cough"], ["Cough"] * 2, sdr, sdri).capi_sdri_db == 0.5


def test_dropping_a_stem_is_calling_it_silence() -> None:
    est, ref, mixture = clip(1, 3, 2)
    sdr = metric.sdr_matrix(est, ref)
    sdri = metric.sdri_matrix(sdr, ref, mixture)
    masked = capi_sdri_from_matrices(["Cough", SILENCE, "Pour"], ["Pour", "Cough"], sdr, sdri)
    without = capi_sdri(["Cough", "Pour"], est[[0, 2]], ["Pour", "Cough"], ref, mixture)
    assert masked.capi_sdri_db == pytest.approx(without.capi_sdri_db, abs=1e-12)
    assert (masked.tp, masked.fp, masked.fn) == (without.tp, without.fp, without.fn) == (2, 0, 0)


# ------------------------------------------------------------------------------------------------- SI-SDR and level
@given(seeds, st.floats(1e-4, 1e4), st.booleans())
def test_si_sdr_ignores_level_and_polarity_and_level_sees_only_level(seed: int, gain: float, flip: bool) -> None:
    est, ref, _ = (x[0] for x in clip(seed, 1, 1))
    si_sdr, level = metric.si_sdr_db(est, ref), metric.level_db(est, ref)
    signed = -gain if flip else gain
    assert metric.si_sdr_db(signed * est, ref) == pytest.approx(si_sdr, abs=1e-6)
    assert metric.level_db(signed * est, ref) == pytest.approx(level + 20 * np.log10(gain), abs=1e-6)
    assert metric.level_db(ref, ref) == 0


@given(seeds)
def test_si_sdr_compares_the_reference_s_share_with_the_rest(seed: int) -> None:
    est, ref, _ = (x[0] for x in clip(seed, 1, 1))
    share = np.linalg.lstsq(ref[:, None], est, rcond=None)[0][0] * ref
    rest = est - share
    assert metric.si_sdr_db(est, ref) == pytest.approx(10 * np.log10((share @ share) / (rest @ rest)), abs=1e-6)


def test_si_sdr_of_the_extremes() -> None:
    s, other = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert metric.si_sdr_db(2 * s, s) == pytest.approx(100, abs=1e-6)
    assert metric.si_sdr_db(other, s) == pytest.approx(-100, abs=1e-6)
    for est, ref in ((0 * s, s), (s, 0 * s)):
        assert metric.si_sdr_db(est, ref) is None
        assert metric.level_db(est, ref) is None


# ------------------------------------------------------------------------------------------------------- many clips
def test_means_leave_out_clips_without_a_score_but_accuracy_does_not() -> None:
    hit = capi_sdri_from_matrices(["Cough"], ["Cough"], np.full((1, 1), 3.0), np.full((1, 1), 6.0))
    alarm, miss, silent = (
        capi_sdri_from_matrices(est, ref, *[np.zeros((len(est), len(ref)))] * 2)
        for est, ref in ((["Pour"], []), ([], ["Pour"]), ([], []))
    )
    assert dataset_score([hit, alarm, miss, silent]) == DatasetScore(2.0, 50.0, 100 / 3)
    assert dataset_score([silent]) == DatasetScore(None, 100.0, None)
    assert dataset_score([]) == DatasetScore(None, None, None)


# -------------------------------------------------------------------------------------------------- trivial answers
@settings(max_examples=40, deadline=None)
@given(labels, labels, seeds, st.floats(0, 3))
def test_scores_from_inner_products_are_those_of_real_stems(est_labels, ref_labels, seed, gain) -> None:
    _, ref, mixture = clip(seed, 0, len(ref_labels))
    stems = gain * np.stack([mixture] * len(est_labels)) if est_labels else np.zeros((0, N_SAMPLES))
    real = capi_sdri(est_labels, stems, ref_labels, ref, mixture).capi_sdri_db
    found = metric.mixture_scores([reference_products(ref_labels, ref, mixture)], [est_labels], np.array([gain]))
    assert (None if found is None else float(found[0])) == pytest.approx(real, abs=1e-9)


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_no_other_gain_beats_the_best_gain(seed: int) -> None:
    """One gain for clips of different levels, same-class sources and surplus labels among them."""
    answers = [["Cough", "Pour"], ["Cough"], ["Pour", "Pour"], []]
    truths = [["Cough", "Pour"], ["Cough", "Cough"], ["Pour"], []]
    clips = []
    for index, truth in enumerate(truths):
        _, ref, mixture = clip(seed + 10 * index, 0, len(truth))
        mixture = mixture + index * noise(seed + 10 * index + 5)[0]
        clips.append(reference_products(truth, ref, mixture))
    scores = trivial_scores(clips, answers)
    tried = metric.mixture_scores(clips, answers, np.linspace(0, 4, 4001))
    assert tried is not None
    assert scores.mixture_db >= tried.max() - 0.01
    assert scores.mixture_db == metric.mixture_scores(clips, answers, np.array([10 ** (scores.mixture_gain_db / 20)]))
    assert scores.zero_stems_db == tried[0]
    assert scores.silent_db == 0
    assert scores.best_db == max(scores.silent_db, scores.zero_stems_db, scores.mixture_db)


def test_trivial_answers_of_one_known_clip() -> None:
    """s = (1, 0), x = (1, 2): SDR of x is -6.02 dB; the best gain is 1/5 and leaves an error of 4/5."""
    products = reference_products(["Cough"], np.array([[1.0, 0.0]]), np.array([1.0, 2.0]))
    scores = trivial_scores([products], [["Cough"]])
    assert scores.silent_db == 0
    assert scores.zero_stems_db == pytest.approx(10 * np.log10(4), abs=1e-5)
    assert scores.mixture_db == pytest.approx(10 * np.log10(4 / 0.8), abs=1e-4)
    assert scores.mixture_gain_db == pytest.approx(20 * np.log10(1 / 5), abs=0.01)


def test_trivial_answers_where_nothing_can_be_scored() -> None:
    products = reference_products([], np.zeros((0, 4)), np.ones(4))
    assert trivial_scores([products], [[]]) == metric.TrivialScores(None, None, None, None)
    assert trivial_scores([], []).best_db is None
    alarm = trivial_scores([products], [["Cough"]])
    assert (alarm.silent_db, alarm.zero_stems_db, alarm.mixture_db) == (None, 0.0, 0.0)


def test_results_are_plain_values() -> None:
    """They go to JSON and are compared, so no numpy scalar may hide in them."""
    est, ref, mixture = clip(3, 1, 1)
    score = capi_sdri(["Cough"], est.astype(np.float32), ["Cough"], ref.astype(np.float32), mixture.astype(np.float32))
    assert isinstance(score, ClipScore)
    assert type(score.capi_sdri_db) is float
    assert [type(value) for value in vars(score.pairs[0]).values()] == [str, int, int, float, float]
