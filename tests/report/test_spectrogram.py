"""Spectrograms: the right frequency at the right time with the right level, and pictures that other programs read."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from s5cli.report.spectrogram import FLOOR, N_BANDS, QUIETEST_DB, RANGE_DB, height_of, mel_db, n_columns, png

RATE_HZ = 32_000


def sine(frequency_hz: float, duration_s: float, peak: float = 1.0) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * frequency_hz * np.arange(int(duration_s * RATE_HZ)) / RATE_HZ)).astype(np.float32)


@pytest.mark.parametrize("frequency_hz", [100, 440, 1000, 5000, 12_000])
def test_a_sine_lights_its_own_height(frequency_hz):
    middle = mel_db(sine(frequency_hz, 2.0))[:, 20:-20]
    expected = height_of(frequency_hz) * (N_BANDS + 1) - 1  # bands lie between the edges
    assert np.all(np.abs(middle.argmax(axis=0) - expected) <= 1)


def test_levels_are_decibels_of_full_scale():
    for peak, level_db in ((1.0, 0.0), (0.1, -20.0)):
        loudest = mel_db(sine(1000, 2.0, peak))[:, 20:-20].max(axis=0)
        assert loudest == pytest.approx(np.full_like(loudest, level_db), abs=2.0)


def test_time_runs_from_left_to_right():
    audio = np.zeros(10 * RATE_HZ, np.float32)
    audio[7 * RATE_HZ] = 1
    seen = np.flatnonzero(mel_db(audio).max(axis=0) > -100)
    assert seen.mean() == pytest.approx(7 * 80, abs=1)
    assert len(seen) < 8


def test_a_click_between_frames_is_not_lost_in_a_long_recording():
    audio = np.zeros(120 * RATE_HZ, np.float32)
    for moment in (100_003, 1_234_567, 3_000_001):
        audio[moment] = 1
    picture = mel_db(audio)
    assert picture.shape == (N_BANDS, 1600)
    columns = np.flatnonzero(picture.max(axis=0) > -100)
    assert {round(moment / len(audio) * 1600) for moment in (100_003, 1_234_567, 3_000_001)} <= {
        near for column in columns for near in (column, column + 1)
    }


@pytest.mark.parametrize("n_samples", [1, 3200, 100_000, 320_000])
def test_any_length_has_a_picture(n_samples):
    picture = mel_db(np.zeros(n_samples, np.float32))
    assert picture.shape == (N_BANDS, n_columns(n_samples))
    assert np.allclose(picture, 10 * np.log10(FLOOR))
    pixels = imread(io.BytesIO(png(picture, QUIETEST_DB)))[..., :3]
    assert np.all(pixels < 0.05)  # silence is dark, even where there is nothing else in the clip


def test_pictures_are_what_was_drawn():
    ramp = np.linspace(-RANGE_DB, 0, 100, dtype=np.float32)
    decibels = np.stack([ramp, ramp - RANGE_DB, np.zeros_like(ramp)])
    pixels = imread(io.BytesIO(png(decibels, 0.0)))[..., :3]
    assert pixels.shape == (3, 100, 3)
    lightness = pixels @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(lightness[2]) >= 0)  # the first row of decibels is the lowest of the picture
    assert len(np.unique(lightness[2])) == 64
    assert np.all(lightness[1] == lightness[2, 0])
    assert np.all(lightness[0] == lightness[2, -1])


def test_noise_survives_the_filter_and_the_compression():
    decibels = np.random.default_rng(0).uniform(-RANGE_DB, 0, (N_BANDS, 333)).astype(np.float32)
    colours = imread(io.BytesIO(png(np.linspace(-RANGE_DB, 0, 64, dtype=np.float32)[None], 0.0)))[0]
    pixels = imread(io.BytesIO(png(decibels, 0.0)))[::-1]
    steps = np.rint((decibels / RANGE_DB + 1) * 63).astype(int)
    assert np.array_equal(pixels, colours[steps])
