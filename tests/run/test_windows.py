"""Whatever the length: nothing is cut, tracks are one source each, memory stays, and a failure leaves nothing."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import s5cli
from s5cli.api import LoadedSystem
from s5cli.audio import read_scene
from s5cli.errors import InputError, OutputError, S5Error, UsageError
from s5cli.knobs import Setting
from s5cli.run.plan import Options, is_long
from s5cli.run.record import ClipReport
from s5cli.run.stitch import longest_whole, spread
from s5cli.run.windows import separate_long
from s5cli.scene import RATE_HZ, Queries, Scene, Stem
from s5cli.trace import ClipTrace
from tests.toy import reported, toy, write_tones

EXAMPLES = Path(__file__).parents[2] / "examples"
STEP = 2**-15

Answer = Callable[[Scene], list[Stem]]


class Answering:
    """A system that gives what a function makes of each scene."""

    window_s = 10.0

    def __init__(self, answer: Answer) -> None:
        self.setting, self.nparams, self.answer = Setting({}), 0, answer

    def with_queries(self, queries: Queries) -> "Answering":
        return self

    def __call__(self, scenes: Sequence[Scene]) -> Any:
        return Answered([self.answer(scene) for scene in scenes])


@dataclass(frozen=True)
class Answered:
    found: list[list[Stem]]

    def stems(self) -> Any:
        return self

    def clips(self) -> list[list[Stem]]:
        return self.found

    def trace(self) -> list[ClipTrace]:
        """The fewer stems there are, the surer it is of the last of the silent slots."""
        return [
            ClipTrace(
                tuple(reported(*one) for one in enumerate(stems)),
                silence=tuple(0.9 - 0.1 * (place + len(stems)) for place in range(3 - len(stems))),
            )
            for stems in self.found
        ]


def echo(scene: Scene) -> list[Stem]:
    return [Stem("Speech", 0, 0.5, scene.audio[0])]


def heard(channels: dict[int, str]) -> Answer:
    """A channel a source, reported where it is not silent."""

    def answer(scene: Scene) -> list[Stem]:
        sounding = [(label, scene.audio[channel]) for channel, label in channels.items() if scene.audio[channel].any()]
        return [Stem(label, slot, 0.5, audio) for slot, (label, audio) in enumerate(sounding)]

    return answer


def noise(n_samples: int, seed: int = 0) -> np.ndarray:
    """[t] in 16-bit steps."""
    return (np.random.default_rng(seed).integers(-6000, 6000, n_samples) / 32768).astype(np.float32)


def recording(path: Path, *channels: np.ndarray, rate_hz: int = RATE_HZ) -> Path:
    """A file of these channels, the missing ones silent."""
    audio = np.zeros((4, len(channels[0])), np.float32)
    audio[: len(channels)] = channels
    soundfile.write(path, audio.T, rate_hz, subtype="FLOAT")
    return path


def separate(path: Path, answer: Answer, window_s: float = 1, **given: object) -> ClipReport:
    """Into `out` beside the recording."""
    out = path.parent / "out"
    out.mkdir(exist_ok=True)
    takes = {name: given.pop(name) for name in ("resample", "channel_order") if name in given}
    stage = given.pop("stage", out)
    loaded, options = LoadedSystem("answering", Answering(answer), "cpu", **takes), Options(**{"batch_size": 2} | given)
    return separate_long(path, loaded, window_s, options.batch_size, options, stage)


def stems_of(path: Path, result: ClipReport) -> list[np.ndarray]:
    return [soundfile.read(path.parent / "out" / stem.file, dtype="float32")[0] for stem in result.stems]


# --- what is long ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_samples", "rate_hz", "window_s", "expected"),
    [
        (12 * RATE_HZ, RATE_HZ, 10, False),
        (12 * RATE_HZ + 1, RATE_HZ, 10, True),
        (12 * RATE_HZ + 1, RATE_HZ, None, False),
        (12 * RATE_HZ + 1, RATE_HZ, 11, False),
        (12 * 8000, 8000, 10, False),
        (12 * 8000 + 1, 8000, 10, True),
        (6 * 8000 + 1, 8000, 5, True),
    ],
)
def test_what_is_long(tmp_path, n_samples, rate_hz, window_s, expected):
    path = recording(tmp_path / "a.wav", noise(n_samples), rate_hz=rate_hz)
    assert is_long(path, window_s) is expected


def test_what_cannot_be_read_is_left_to_the_plain_path(tmp_path):
    (tmp_path / "a.wav").write_text("a letter")
    assert not is_long(tmp_path / "a.wav", 10)
    assert not is_long(tmp_path / "nothing.wav", 10)


def test_too_short_windows(tmp_path):
    path = recording(tmp_path / "a.wav", noise(50_000))
    with pytest.raises(UsageError, match="1 s or more"):
        is_long(path, 0.5)
    with pytest.raises(UsageError, match="1 s or more"):
        separate(path, echo, window_s=0.5)


# --- nothing is cut --------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=15)
@given(
    st.one_of(st.integers(1, 3), st.integers(1, 8 * RATE_HZ)), st.integers(1, 5), st.sampled_from(["PCM_16", "FLOAT"])
)
def test_a_system_that_gives_channel_0_back_gives_the_recording_back(tmp_path_factory, excess, batch_size, subtype):
    audio = noise(longest_whole(1) + excess, seed=excess)
    path = recording(tmp_path_factory.mktemp("echo") / "a.wav", audio)
    result = separate(path, echo, batch_size=batch_size, subtype=subtype)
    assert result.duration_s == len(audio) / RATE_HZ
    np.testing.assert_array_equal(stems_of(path, result)[0], audio)


@pytest.mark.parametrize("n_samples", [12 * RATE_HZ + 1, 18 * RATE_HZ + 1, 35 * RATE_HZ])
def test_the_same_with_windows_of_ten_seconds(tmp_path, n_samples):
    path = recording(tmp_path / "a.wav", audio := noise(n_samples))
    result = separate(path, echo, window_s=10)
    np.testing.assert_array_equal(stems_of(path, result)[0], audio)
    assert [stem.file for stem in result.stems] == ["a_0_Speech.wav"]


def test_windows_that_differ_a_little_differ_as_little_in_the_stem(tmp_path):
    """Every window has a gain of its own, so that each sample lies between the gains of its two windows."""
    path = recording(tmp_path / "a.wav", audio := noise(10 * RATE_HZ))
    gains = iter([1.0, 0.8] * 10)
    result = separate(path, lambda scene: [Stem("Speech", 0, 0.5, scene.audio[0] * next(gains))])
    stem = stems_of(path, result)[0]
    assert len(result.stems) == 1
    loud = np.abs(audio) > 100 * STEP
    gain = stem[loud] / audio[loud]
    assert 0.79 < gain.min() < 0.81
    assert 0.99 < gain.max() < 1.01


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000])
def test_other_rates(tmp_path, rate_hz):
    path = recording(tmp_path / "a.wav", noise(5 * rate_hz + 1), rate_hz=rate_hz)
    whole = read_scene(path, resample=True).audio[0].numpy()
    result = separate(path, echo, resample=True, subtype="FLOAT")
    np.testing.assert_allclose(stems_of(path, result)[0], whole, atol=1e-6)
    assert result.duration_s == len(whole) / RATE_HZ
    with pytest.raises(InputError, match="--resample"):
        separate(path, echo)


def test_fuma(tmp_path):
    path = recording(tmp_path / "a.wav", noise(2 * RATE_HZ))
    result = separate(path, echo, channel_order="fuma", subtype="FLOAT")
    np.testing.assert_array_equal(stems_of(path, result)[0], read_scene(path, "fuma").audio[0].numpy())


def test_results_do_not_depend_on_the_batch_size(tmp_path):
    path = recording(tmp_path / "a.wav", noise(4 * RATE_HZ))
    results = []
    for batch_size in (1, 3, 100):
        result = separate(path, echo, batch_size=batch_size)
        results.append((result, (tmp_path / "out" / result.stems[0].file).read_bytes()))
    assert results[0] == results[1] == results[2]


# --- tracks ----------------------------------------------------------------------------------------------------------


def test_two_sources_of_one_class_keep_their_tracks_whatever_slots_they_are_given(tmp_path):
    one, other = noise(9 * RATE_HZ, seed=1), noise(9 * RATE_HZ, seed=2)
    path = recording(tmp_path / "a.wav", one + other, one, other)
    turn = iter([1, -1, -1, 1, -1, 1, 1, 1, -1, 1, -1, -1, 1])

    def swapping(scene: Scene) -> list[Stem]:
        pair = [scene.audio[1], scene.audio[2]][:: next(turn)]
        return [Stem("Speech", slot, 0.5, audio) for slot, audio in enumerate(pair)]

    result = separate(path, swapping)
    assert [stem.file for stem in result.stems] == ["a_0_Speech.wav", "a_1_Speech.wav"]
    for stem, source in zip(stems_of(path, result), (one, other), strict=True):
        np.testing.assert_array_equal(stem, source)


def between(begin_s: float, end_s: float, whole_s: float, seed: int) -> np.ndarray:
    """Noise at these times, silence at the others."""
    audio = noise(round(whole_s * RATE_HZ), seed)
    times_s = np.arange(len(audio)) / RATE_HZ
    return np.where((times_s >= begin_s) & (times_s < end_s), audio, 0).astype(np.float32)


def test_tracks_are_numbered_as_they_appear_and_may_be_more_than_three(tmp_path):
    """Channel 1 and 2 from the beginning, 3 after a while, 0 (all of it) last; each a class of its own."""
    sources = [between(6.5, 9, 9, 1), between(0, 9, 9, 2), between(0, 2, 9, 3), between(4, 9, 9, 4)]
    path = recording(tmp_path / "a.wav", *sources)
    answer = heard({0: "Cough", 1: "Pour", 2: "Dishes", 3: "Typing"})
    result = separate(path, lambda scene: answer(scene)[:3])
    assert [stem.file for stem in result.stems] == [
        "a_0_Pour.wav", "a_1_Dishes.wav", "a_2_Typing.wav", "a_3_Cough.wav"
    ]  # fmt: skip
    found = stems_of(path, result)
    np.testing.assert_array_equal(found[0], sources[1])
    assert {len(stem) for stem in found} == {9 * RATE_HZ}


def test_a_late_track_is_silent_until_it_comes_and_an_ended_one_after_it_went(tmp_path):
    early, late = between(0, 3, 10, 1), between(7, 10, 10, 2)
    path = recording(tmp_path / "a.wav", early, late)
    result = separate(path, heard({0: "Speech", 1: "Pour"}))
    before, after = stems_of(path, result)
    assert [stem.label for stem in result.stems] == ["Speech", "Pour"]
    np.testing.assert_array_equal(before[: round(2.5 * RATE_HZ)], early[: round(2.5 * RATE_HZ)])
    assert not before[4 * RATE_HZ :].any()
    assert not after[: 6 * RATE_HZ].any()
    np.testing.assert_array_equal(after[8 * RATE_HZ :], late[8 * RATE_HZ :])


def at(azimuth_deg: float, source: np.ndarray) -> np.ndarray:
    """[4, t] W, Y, Z, X."""
    azimuth = np.deg2rad(azimuth_deg)
    return np.outer([1, np.sin(azimuth), 0, np.cos(azimuth)], source).astype(np.float32)


@pytest.mark.parametrize(("azimuth_deg", "n_tracks"), [(0, 1), (10, 1), (60, 2), (180, 2)])
def test_a_source_that_comes_back_goes_on_if_it_comes_from_where_it_was(tmp_path, azimuth_deg, n_tracks):
    first, again = between(0, 3, 10, 1), between(6, 10, 10, 2)
    path = recording(tmp_path / "a.wav", *at(0, first) + at(azimuth_deg, again))
    result = separate(path, heard({0: "Speech"}))
    assert len(result.stems) == n_tracks
    np.testing.assert_allclose(sum(stems_of(path, result)), first + again, atol=STEP)


def test_what_comes_back_from_no_clear_direction_is_another_track(tmp_path):
    path = recording(tmp_path / "a.wav", between(0, 3, 10, 1) + between(6, 10, 10, 2))
    assert len(separate(path, heard({0: "Speech"})).stems) == 2


def test_named_classes_have_one_stem_each_whatever_they_sound_like(tmp_path):
    path = recording(tmp_path / "a.wav", noise(9 * RATE_HZ))
    seeds = iter(range(1000))

    def unlike(scene: Scene) -> list[Stem]:
        return [
            Stem(label, slot, 1.0, torch.from_numpy(noise(scene.audio.shape[1], next(seeds))))
            for slot, label in enumerate(["Speech", "Speech", "Pour"])
        ]

    named = separate(path, unlike, labels=("Speech", "Speech", "Pour"))
    assert [stem.label for stem in named.stems] == ["Speech", "Speech", "Pour"]
    assert len(separate(path, unlike).stems) == 3 * len(spread(9 * RATE_HZ, 1).starts)


# --- what is reported ------------------------------------------------------------------------------------------------


def test_a_stem_is_as_sure_as_its_surest_window_and_as_loud_as_it_is_in_all(tmp_path):
    audio = noise(4 * RATE_HZ)
    path = recording(tmp_path / "a.wav", audio)
    n_windows = len(spread(len(audio), 1).starts)
    confidence, support = np.roll(np.linspace(0.9, 0.4, n_windows), 2), np.linspace(0.1, 0.7, n_windows)
    number = iter(range(n_windows))

    def answer(scene: Scene) -> list[Stem]:
        n = next(number)
        return [Stem("Speech", 2, confidence[n], scene.audio[0] / 2, {"support": support[n], "energy_db": -99.0})]

    (stem,) = separate(path, answer).stems
    assert (stem.confidence, stem.numbers, stem.slot) == (0.9, {"support": support[2]}, 2)
    assert stem.energy_db == pytest.approx(20 * np.log10(0.5), abs=0.01)


def test_traces_say_when_and_in_which_file(tmp_path):
    path = recording(tmp_path / "a.wav", between(0, 3, 10, 1), between(2, 10, 10, 2))
    result = separate(path, heard({0: "Speech", 1: "Pour"}))
    assert [window.start_s for window in result.windows] == [s / RATE_HZ for s in spread(10 * RATE_HZ, 1).starts]
    queries = [[(query.label, query.reported) for query in trace.queries] for _, trace in result.by_window]
    assert queries[0] == [("Speech", 0)]
    assert [("Speech", 0), ("Pour", 1)] in queries
    assert queries[-1] == [("Pour", 1)]


def test_clipped_samples_are_counted_once_each(tmp_path):
    path = recording(tmp_path / "a.wav", 4 * noise(6 * RATE_HZ))
    loud = separate(path, lambda scene: [Stem("Speech", 0, 0.5, 2 * scene.audio[0])])
    expected = int(np.sum((8 * noise(6 * RATE_HZ) >= 1) | (8 * noise(6 * RATE_HZ) < -1)))
    assert loud.clipped_samples == expected > 0
    assert loud.warnings == (
        f"a_0_Speech.wav: {expected} samples over full scale were clipped (--subtype FLOAT keeps them)",
    )
    assert separate(path, echo, subtype="FLOAT").clipped_samples == 0


def test_the_least_sure_window_says_how_probable_silence_is(tmp_path):
    """One source in some windows and another in others leave one slot empty throughout."""
    audio = [between(0, 2, 5, 0), between(3, 5, 5, 1)]
    path = recording(tmp_path / "a.wav", *audio)
    result = separate(path, heard({0: "Speech", 1: "Dishes"}))
    assert [stem.label for stem in result.stems] == ["Speech", "Dishes"]
    assert {window.n_queries for window in result.windows} >= {1}
    assert result.trace.silence == pytest.approx([0.8])
    assert result.to_json()["silence"] == pytest.approx([0.8])


def test_silence_has_no_stems(tmp_path):
    result = separate(recording(tmp_path / "a.wav", np.zeros(5 * RATE_HZ)), heard({0: "Speech"}))
    assert result.stems == result.warnings == ()
    assert list((tmp_path / "out").iterdir()) == []


# --- failures --------------------------------------------------------------------------------------------------------


class BrokenError(Exception):
    """A bug, or memory that ran out."""


@pytest.mark.parametrize("error", [S5Error("no"), BrokenError(), KeyboardInterrupt()])
def test_a_failure_leaves_nothing(tmp_path, error):
    path = recording(tmp_path / "a.wav", noise(9 * RATE_HZ))
    calls = iter(range(100))

    def failing(scene: Scene) -> list[Stem]:
        if next(calls) == 5:
            assert (tmp_path / "out" / "a_0_Speech.wav").is_file()
            raise error
        return echo(scene)

    with pytest.raises(InputError if isinstance(error, S5Error) else type(error)) as caught:
        separate(path, failing)
    assert list((tmp_path / "out").iterdir()) == []
    if isinstance(error, S5Error):
        assert str(caught.value) == f"{path}: 3.2 s to 5.0 s: no"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_answer_that_is_no_sound(tmp_path, value):
    path = recording(tmp_path / "a.wav", noise(4 * RATE_HZ))
    with pytest.raises(InputError, match=r"0\.0 s to 1\.0 s: the system gave NaN or infinity as Speech"):
        separate(path, lambda scene: [Stem("Speech", 0, 0.5, scene.audio[0] + value)])


def test_a_damaged_recording_is_refused_before_anything_is_separated(tmp_path):
    path = recording(tmp_path / "a.wav", noise(9 * RATE_HZ))
    audio, _ = soundfile.read(path)
    audio[-1, 3] = np.nan
    soundfile.write(path, audio, RATE_HZ, subtype="FLOAT")

    def never(scene: Scene) -> list[Stem]:
        raise AssertionError

    with pytest.raises(InputError, match=r"first in channel 3 at 9\.000 s"):
        separate(path, never)


def test_a_place_that_vanishes(tmp_path):
    path = recording(tmp_path / "a.wav", noise(4 * RATE_HZ))
    with pytest.raises(OutputError, match="cannot be written"):
        separate(path, echo, stage=tmp_path / "nowhere")


# --- real systems, real sizes ----------------------------------------------------------------------------------------


def test_the_toy_in_windows_is_the_toy(tmp_path):
    """Its bands are filtered window by window, so they ring where windows are cut; elsewhere they are what they are."""
    path = write_tones(tmp_path / "a.wav", 500, 5000, n_samples=5 * RATE_HZ)
    result = separate_long(path, LoadedSystem("toy", toy(), "cpu"), 1, 4, Options(), tmp_path)
    assert [stem.label for stem in result.stems] == ["Speech", "Dishes"]
    times_s = np.arange(5 * RATE_HZ) / RATE_HZ
    for stem, f_hz in zip(result.stems, (500, 5000), strict=True):
        found = soundfile.read(tmp_path / stem.file)[0]
        error = found - 0.3 * np.sin(2 * np.pi * f_hz * times_s)
        assert np.sqrt(np.mean(error**2)) < 2e-3


def test_the_compact_system_on_35_s_of_the_examples(tmp_path):
    names = ("clapping_two_speakers", "speech_pour_percussion", "dishes_keyboard", "no_target")
    clips = [soundfile.read(EXAMPLES / f"{name}.flac", dtype="float32")[0] for name in names]
    path = tmp_path / "a.flac"
    soundfile.write(path, np.concatenate(clips)[: 35 * RATE_HZ], RATE_HZ)
    loaded = s5cli.load("tagging-driven-compact")
    assert is_long(path, 10)
    result = separate_long(path, loaded, 10, 4, Options(("Speech", "Clapping"), subtype="FLOAT"), tmp_path)
    assert [stem.file for stem in result.stems] == ["a_0_Speech.wav", "a_1_Clapping.wav"]
    assert len(result.windows) == 5
    assert all(-60 < stem.energy_db < 6 and 0 <= stem.numbers["support"] <= 1 for stem in result.stems)
    windows = spread(35 * RATE_HZ, 10)
    audio = read_scene(path).audio
    for index in (2, 4):
        start = windows.starts[index]
        alone = loaded(audio[:, start : start + windows.length], ("Speech", "Clapping"))
        first, last = windows.begin(index) + windows.fade, windows.end(index)
        for stem, there in zip(result.stems, alone, strict=True):
            found = soundfile.read(tmp_path / stem.file, start=first, stop=last, dtype="float32")[0]
            np.testing.assert_allclose(found, there.audio[first - start : last - start], atol=1e-5)


MEMORY = """
import resource, sys
from pathlib import Path
from tests.run.test_windows import echo, separate

def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

folder = Path(sys.argv[1])
peaks = []
for name in ("short", "long"):
    result = separate(folder / f"{name}.wav", echo, window_s=10, batch_size=2)
    peaks.append(peak_mib())
print(peaks[1] - peaks[0])
"""


def test_memory_does_not_grow_with_the_length(tmp_path):
    """Five minutes take no more than one."""
    minute = np.zeros((60 * RATE_HZ, 4), np.float32)
    minute[:, 0] = noise(60 * RATE_HZ)
    for name, minutes in (("short", 1), ("long", 5)):
        with soundfile.SoundFile(tmp_path / f"{name}.wav", "w", RATE_HZ, 4, "PCM_16") as file:
            for _ in range(minutes):
                file.write(minute)
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 40  # MiB; the mixture alone has 120 more
    assert soundfile.info(tmp_path / "out" / "long_0_Speech.wav").frames == 300 * RATE_HZ
