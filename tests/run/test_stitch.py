"""Windows cover a recording and fade without a trace; stems are joined on evidence and on nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s5cli.errors import UsageError
from s5cli.run.stitch import CLOSE, LIKE, NEW, Evidence, closeness, direction, joined, likeness, longest_whole, spread
from s5cli.scene import RATE_HZ

WINDOWS_S = st.floats(1, 60)
JUST_OVER = st.integers(1, 10)  # samples more than what is taken whole
ANY_LENGTH = st.one_of(JUST_OVER, st.integers(1, 400 * RATE_HZ))


@st.composite
def any_windows(draw: st.DrawFn) -> tuple[int, float]:
    window_s = draw(WINDOWS_S)
    return longest_whole(window_s) + draw(ANY_LENGTH), window_s


@given(any_windows())
def test_windows_of_one_length_cover_the_recording_and_share_a_fifth(case):
    n_samples, window_s = case
    windows = spread(n_samples, window_s)
    steps = np.diff(windows.starts)
    assert windows.length == round(window_s * RATE_HZ)
    assert windows.starts[0] == 0
    assert windows.starts[-1] + windows.length == n_samples
    assert (windows.length - steps >= windows.fade).all()
    assert windows.fade == windows.length // 5
    assert steps.max() - steps.min() <= 1  # evenly


@given(any_windows())
def test_no_more_windows_than_that_takes(case):
    n_samples, window_s = case
    windows = spread(n_samples, window_s)
    one_less = len(windows.starts) - 1
    assert windows.length + (one_less - 1) * (windows.length - windows.fade) < n_samples


@given(any_windows())
def test_every_fade_ends_before_the_next_begins_and_lies_in_what_both_windows_hear(case):
    windows = spread(*case)
    last = len(windows.starts) - 1
    assert (windows.begin(0), windows.end(last)) == (0, windows.n_samples)
    for index in range(last):
        seam = windows.seam(index)
        assert windows.end(index) == seam == windows.begin(index + 1)
        assert windows.starts[index + 1] <= seam
        assert seam + windows.fade <= windows.starts[index] + windows.length
        assert seam + windows.fade <= windows.end(index + 1)


@pytest.mark.parametrize(
    ("window_s", "n_samples", "n_windows"),
    [(10, 12 * RATE_HZ, 1), (10, 12 * RATE_HZ + 1, 2), (10, 18 * RATE_HZ, 2), (10, 18 * RATE_HZ + 1, 3), (5, 35, 1)],
)
def test_number_of_windows(window_s, n_samples, n_windows):
    windows = spread(n_samples, window_s)
    assert len(windows.starts) == n_windows
    if n_windows == 1:
        assert windows.length == n_samples


@pytest.mark.parametrize("window_s", [0.99, 0, -1, float("nan"), float("inf")])
def test_windows_have_a_second_at_least(window_s):
    with pytest.raises(UsageError, match="give 1 s or more"):
        spread(RATE_HZ, window_s)


@settings(deadline=None, max_examples=20)
@given(st.one_of(JUST_OVER, st.integers(1, 20 * RATE_HZ)), st.integers(0, 100))
def test_what_all_windows_hear_alike_comes_back_as_it_was(excess, seed):
    windows = spread(longest_whole(1) + excess, 1)
    audio = np.random.default_rng(seed).standard_normal(windows.n_samples).astype(np.float32)
    heard = [audio[start : start + windows.length] for start in windows.starts]
    parts = [windows.stitched(0, None, heard[0])]
    parts += [windows.stitched(index, heard[index - 1], heard[index]) for index in range(1, len(heard))]
    np.testing.assert_array_equal(np.concatenate(parts), audio)
    said = [windows.say(index, window) for index, window in enumerate(heard)]
    np.testing.assert_array_equal(np.concatenate(said), audio)


def test_a_source_of_one_window_fades_in_and_out_and_the_two_fades_add_up():
    windows = spread(4 * RATE_HZ, 1)
    ones = np.ones(windows.length, np.float32)
    coming, going = windows.stitched(2, None, ones), windows.stitched(3, ones, None)
    rise, fall = coming[: windows.fade], going[: windows.fade]
    assert rise[0] < 1e-4
    assert (np.diff(rise) >= 0).all()
    np.testing.assert_allclose(rise + fall, 1, atol=1e-6)
    np.testing.assert_array_equal(coming[windows.fade :], 1)
    np.testing.assert_array_equal(going[windows.fade :], 0)


# --- likeness, direction ---------------------------------------------------------------------------------------------


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_likeness_hears_neither_gain_nor_sign_and_tells_sources_apart():
    a, b = noise(2, 64_000)
    found = likeness(np.stack([a, b]), np.stack([-0.01 * b, 3 * a, a + b]))
    np.testing.assert_allclose(found, [[0, 1, 0.5**0.5], [1, 0, 0.5**0.5]], atol=0.02)


def test_silence_is_like_nothing():
    assert not likeness(np.zeros((1, 100), np.float32), noise(2, 100)).any()
    assert likeness(np.zeros((0, 100), np.float32), noise(2, 100)).shape == (0, 2)


def plane_wave(source: np.ndarray, azimuth_deg: float, elevation_deg: float = 0) -> np.ndarray:
    """[4, t] W, Y, Z, X in SN3D."""
    azimuth, elevation = np.deg2rad(azimuth_deg), np.deg2rad(elevation_deg)
    gains = [1, np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
    return np.outer(gains, source).astype(np.float32)


@given(st.floats(-180, 180), st.floats(-90, 90))
def test_direction_of_a_source_among_others(azimuth_deg, elevation_deg):
    source, other = noise(2, 32_000)
    mixture = plane_wave(source, azimuth_deg, elevation_deg) + plane_wave(other, azimuth_deg + 120)
    _, *true = plane_wave(np.ones(1), azimuth_deg, elevation_deg)[:, 0]
    for gain in (0.01, -3):
        assert closeness([direction(gain * source, mixture)], [np.array(true)]).item() > 0.995


def test_no_direction_where_nothing_or_everything_is():
    source = noise(1000)
    assert not direction(np.zeros(1000, np.float32), plane_wave(source, 0)).any()
    assert not direction(source, np.zeros((4, 1000), np.float32)).any()
    from_all_around = plane_wave(source, 0) + plane_wave(source, 180)
    assert not direction(source, from_all_around).any()


# --- joined ----------------------------------------------------------------------------------------------------------


def test_two_of_a_class_are_told_apart_by_likeness():
    same = np.ones((2, 2), dtype=bool)
    assert joined(same, [Evidence(np.array([[0.6, 0.9], [0.9, 0.7]]), LIKE)]).tolist() == [1, 0]


def test_other_classes_and_weak_evidence_join_nothing():
    same = np.array([[True, False], [True, False]])
    assert joined(same, [Evidence(np.array([[LIKE - 0.01, 1], [0, 1]]), LIKE)]).tolist() == [NEW, NEW]


def test_a_weak_pair_does_not_displace_a_strong_one():
    score = np.array([[0.8, 0.45], [0.45, 0.0]])  # 0.9 in all the other way, of which nothing reaches the least
    assert joined(np.ones((2, 2), dtype=bool), [Evidence(score, LIKE)]).tolist() == [0, NEW]


def test_later_evidence_only_gets_what_is_left():
    same = np.ones((2, 2), dtype=bool)
    like, close = np.array([[0.9, 0.0], [0.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.95]])
    assert joined(same, [Evidence(like, LIKE), Evidence(close, CLOSE)]).tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(0, 2), (2, 0), (0, 0)])
def test_nothing_to_join(shape):
    assert joined(np.ones(shape, dtype=bool), [Evidence(np.ones(shape), LIKE)]).tolist() == [NEW] * shape[1]


@given(st.integers(0, 5), st.integers(0, 3), st.integers(0, 1000))
def test_nobody_is_joined_twice(n_tracks, n_stems, seed):
    rng = np.random.default_rng(seed)
    same = rng.random((n_tracks, n_stems)) < 0.7
    found = joined(same, [Evidence(rng.random(same.shape), LIKE), Evidence(rng.random(same.shape), CLOSE)])
    taken = [(track, stem) for stem, track in enumerate(found.tolist()) if track != NEW]
    assert len({track for track, _ in taken}) == len(taken)
    assert all(same[pair] for pair in taken)
