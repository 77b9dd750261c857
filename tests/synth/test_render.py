from dataclasses import replace

import numpy as np
import pytest
import scipy.signal

from s5cli.scene import RATE_HZ
from s5cli.synth.foa import rotated
from s5cli.synth.library import Library, excerpt
from s5cli.synth.recipe import Background, Event, SceneRecipe, Take, draw
from s5cli.synth.render import convolve, direct_part, render, shelves
from s5cli.synth.settings import SceneSettings

SHORT = SceneSettings(duration_s=3.0, n_foreground=(0, 3))


def db(power: float) -> float:
    return float(10 * np.log10(power))


def power_db(audio: np.ndarray) -> float:
    return db(np.square(audio, dtype=np.float64).mean())


def without_background(recipe: SceneRecipe) -> SceneRecipe:
    return replace(recipe, background=None)


def alone(recipe: SceneRecipe, event: Event) -> SceneRecipe:
    return replace(recipe, background=None, events=(event,))


@pytest.fixture(scope="module")
def recipes(library: Library) -> list[SceneRecipe]:
    settings = replace(SHORT, n_foreground=(1, 3), simulated_room_share=0.3, n_simulated_rooms=2)
    return [draw(settings, library, 21, index) for index in range(12)]


def test_shapes_and_types(recipes: list[SceneRecipe], library: Library) -> None:
    for recipe in recipes:
        rendered, n = render(recipe, library), len(recipe.foreground)
        assert rendered.mixture.shape == (4, 3 * RATE_HZ)
        assert rendered.targets.shape == (n, 3 * RATE_HZ)
        assert rendered.wet.shape == (n, 4, 3 * RATE_HZ)
        assert {a.dtype for a in (rendered.mixture, rendered.targets, rendered.wet)} == {np.dtype(np.float32)}
        assert rendered.labels == tuple(event.label for event in recipe.foreground)


def test_a_mixture_is_the_sum_of_its_events_and_background(recipes: list[SceneRecipe], library: Library) -> None:
    for recipe in recipes:
        parts = [render(alone(recipe, event), library).mixture for event in recipe.events]
        parts.append(render(replace(recipe, events=()), library).mixture)
        assert np.abs(render(recipe, library).mixture - sum(parts)).max() < 1e-6


def test_every_event_has_its_signal_to_noise_ratio(recipes: list[SceneRecipe], library: Library) -> None:
    for recipe in recipes:
        for event in recipe.events:
            # a scene long enough for the whole reverberation: the power is that of the event before it is cut
            n_response = library.room(recipe.room).response(event.position).shape[1]
            whole = replace(alone(recipe, event), n_samples=event.start + event.n_samples + n_response - 1)
            heard = render(whole, library).mixture[:, event.start :]
            assert power_db(heard) == pytest.approx(-55 + event.snr_db, abs=0.01)


def test_the_background_lies_at_the_reference_level(recipes: list[SceneRecipe], library: Library) -> None:
    for recipe in recipes:
        assert power_db(render(replace(recipe, events=()), library).mixture) == pytest.approx(-55, abs=0.01)


def test_a_mono_background_is_diffuse(library: Library) -> None:
    recipe = replace(draw(SHORT, library, 0, 0), events=())
    power = np.square(render(recipe, library).mixture, dtype=np.float64).mean(axis=1)
    assert power[1:] / power[0] == pytest.approx([1 / 3] * 3, abs=0.08)
    correlation = np.corrcoef(render(recipe, library).mixture)
    assert np.abs(correlation - np.eye(4)).max() < 0.1


def test_a_target_is_the_source_through_the_direct_part_of_channel_0(library: Library) -> None:
    recipe = next(r for r in (draw(SHORT, library, 2, i) for i in range(50)) if len(r.foreground) == 1)
    event, take = recipe.foreground[0], recipe.foreground[0].takes[0]
    source = excerpt(library.recording("foreground", take.file).path, take.offset, take.length).astype(np.float64)
    response = rotated(library.room(recipe.room).response(event.position), event.yaw_deg).astype(np.float64)
    peak = int(np.abs(response[0]).argmax())
    kept = slice(peak - round(0.006 * RATE_HZ), peak + round(0.050 * RATE_HZ) + 1)
    direct = np.zeros_like(response[0])
    direct[kept] = response[0, kept]
    wet = scipy.signal.fftconvolve(source[None], response, axes=1)
    gain = np.sqrt(10 ** ((-55 + event.snr_db) / 10) / np.square(wet).mean())
    dry = gain * scipy.signal.fftconvolve(source, direct)
    rendered = render(recipe, library)
    span = slice(event.start, min(recipe.n_samples, event.start + len(dry)))
    n = span.stop - span.start
    assert rendered.targets[0, span] == pytest.approx(dry[:n], abs=1e-5)
    assert rendered.wet[0][:, span] == pytest.approx(gain * wet[:, :n], abs=1e-5)
    assert not rendered.targets[0, : event.start + kept.start].any(), "silent before the direct sound"
    assert not rendered.targets[0, event.start + len(source) + kept.stop :].any(), "and after it"


def test_direct_part_reaches_from_6_ms_before_to_50_ms_after_the_peak() -> None:
    response = np.linspace(0.1, 0.2, 5000, dtype=np.float32)
    response[1000] = -1
    direct = direct_part(response, 6, 50)
    assert np.flatnonzero(direct).tolist() == list(range(1000 - 192, 1000 + 1600 + 1))
    assert np.array_equal(direct[808:2601], response[808:2601])


@pytest.mark.parametrize(("n", "n_taps"), [(1, 1), (100, 3000), (70_000, 500), (66_000, 64_000)])
def test_convolution_agrees_with_scipy(n: int, n_taps: int) -> None:
    rng = np.random.default_rng(0)
    source, responses = rng.standard_normal(n), rng.standard_normal((2, n_taps))
    found = convolve(source.astype(np.float32), responses.astype(np.float32))
    wanted = scipy.signal.fftconvolve(source[None], responses, axes=1)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-5 * np.sqrt(n_taps) * 10


def test_turning_the_scene_turns_the_mixture_and_nothing_else(recipes: list[SceneRecipe], library: Library) -> None:
    for recipe in recipes[:4]:
        plain, turned = render(recipe, library), render(replace(recipe, rotation_deg=70.0), library)
        assert np.abs(turned.mixture - rotated(plain.mixture, 70.0)).max() < 2e-5
        assert np.abs(turned.targets - plain.targets).max() < 2e-5 * np.abs(plain.targets).max() + 1e-6


def test_json_rebuilds_the_same_samples(library: Library) -> None:
    settings = replace(SHORT, n_foreground=(2, 3), speed_range=(0.85, 1.18), eq_db=6.0, rotate=True)
    recipe = draw(settings, library, 5, 5)
    first, second = render(recipe, library), render(SceneRecipe.from_json(recipe.to_json()), library)
    assert np.array_equal(first.mixture, second.mixture)
    assert np.array_equal(first.targets, second.targets)


def test_a_scene_that_is_too_loud_is_turned_down_as_a_whole(library: Library) -> None:
    recipe = next(r for r in (draw(SHORT, library, 2, i) for i in range(50)) if len(r.foreground) == 2)
    loud = replace(recipe, events=tuple(replace(event, snr_db=60.0) for event in recipe.events))
    rendered = render(loud, library)
    assert rendered.level_db < 0
    assert max(np.abs(rendered.mixture).max(), np.abs(rendered.targets).max()) == pytest.approx(0.999, abs=1e-4)
    background = rendered.mixture - rendered.wet.sum(axis=0)
    for event in loud.interference:
        background -= render(alone(loud, event), library).mixture * np.float32(10 ** (rendered.level_db / 20))
    if not loud.interference:
        assert power_db(background) == pytest.approx(-55 + rendered.level_db, abs=0.1)
    assert render(recipe, library).level_db == 0


def test_speed_raises_pitch_and_shortens(library: Library, tmp_path) -> None:
    import soundfile

    (tmp_path / "Speech").mkdir()
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE_HZ) / RATE_HZ) * 0.5
    soundfile.write(tmp_path / "Speech" / "tone.wav", tone, RATE_HZ)
    tones = Library.scan(tmp_path, "train")
    take = Take("Speech/tone.wav", 0, RATE_HZ, speed=1.25)
    event = Event("foreground", "Speech", (take,), 0, 20.0, 0, 0.0, 0.0, 0.0)
    target = render(SceneRecipe(0, 0, 2 * RATE_HZ, "simulated:1", (event,), None), tones).targets[0]
    spectrum = np.abs(np.fft.rfft(target[: int(0.8 * RATE_HZ)]))
    assert np.argmax(spectrum) / 0.8 == pytest.approx(1250, abs=3)
    active = np.flatnonzero(np.abs(target) > 0.01 * np.abs(target).max())
    assert (active[-1] - active[0]) / RATE_HZ == pytest.approx(0.8, abs=0.06)


def test_shelves_reach_their_gains_at_the_ends_of_the_spectrum() -> None:
    _, response = scipy.signal.sosfreqz(shelves(6.0, -4.0), [20, 950, 15_500], fs=RATE_HZ)
    low, middle, high = 20 * np.log10(np.abs(response))
    assert low == pytest.approx(6, abs=0.3)
    assert high == pytest.approx(-4, abs=0.3)
    assert -2 < middle < 3
    _, flat = scipy.signal.sosfreqz(shelves(0.0, 0.0), [20, 950, 15_500], fs=RATE_HZ)
    assert np.abs(flat) == pytest.approx([1, 1, 1])


def test_a_short_background_is_repeated_without_silence_or_click(library: Library) -> None:
    recipe = SceneRecipe(0, 0, 10 * RATE_HZ, "simulated:0", (), Background("ambience/wind__0.flac", (100,) * 16))
    mixture = render(recipe, library).mixture  # 1.5 s of noise in 10 s
    blocks = np.square(mixture[0].reshape(100, -1), dtype=np.float64).mean(axis=1)
    assert np.abs(10 * np.log10(blocks / blocks.mean())).max() < 1.5


def test_a_four_channel_background_is_taken_as_it_is(material, tmp_path) -> None:
    import soundfile

    field = np.random.default_rng(0).standard_normal((40_000, 4)) * [0.1, 0.05, 0.02, 0.01]
    (tmp_path / "noise").mkdir()
    soundfile.write(tmp_path / "noise" / "park.wav", field, RATE_HZ, subtype="FLOAT")
    library = Library.scan(material / "train", "train", noise=tmp_path / "noise")
    recipe = draw(replace(SHORT, duration_s=0.5, n_foreground=(0, 0), n_interference=(0, 0)), library, 0, 0)
    offset = recipe.background.offsets[0]
    assert len(recipe.background.offsets) == 1
    mixture = render(recipe, library).mixture
    wanted = field[offset : offset + 16_000].T
    assert mixture / np.abs(mixture).max() == pytest.approx(wanted / np.abs(wanted).max(), abs=1e-5)
    tiled = render(replace(recipe, n_samples=90_000, background=Background("park.wav", (0,))), library).mixture
    assert np.array_equal(tiled[:, :40_000], tiled[:, 40_000:80_000])


def test_no_background_is_silence(material) -> None:
    library = Library.scan(material / "train", "train")
    recipe = draw(replace(SHORT, n_foreground=(0, 0)), library, 0, 0)
    assert recipe.background is None
    assert not render(recipe, library).mixture.any()
