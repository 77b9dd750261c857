"""Block by block a recording is what it is as a whole, and a stem written span by span what it is written at once."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from s5cli.audio import read_scene, resampled, write_stem
from s5cli.errors import InputError
from s5cli.run.spans import StemFile, announced, n_samples_at_32_khz, survey
from s5cli.scene import RATE_HZ
from tests.cli.test_bad_input import BAD_CLIPS


def noise(n_channels: int, n_samples: int, seed: int = 0) -> np.ndarray:
    """[channels, t], channel 0 the loudest."""
    audio = np.random.default_rng(seed).uniform(-0.1, 0.1, (n_channels, n_samples))
    audio[0] *= 2
    return audio.astype(np.float32)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr("s5cli.run.spans.BLOCK_SAMPLES", 1000)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "a.wav"


def read(path: Path, **options: object) -> np.ndarray:
    return np.concatenate([*survey(path, **options).blocks()], axis=1)


@pytest.mark.parametrize("order", ["acn", "fuma"])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_blocks_are_the_recording(tmp_path, suffix, order):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, noise(4, 6789).T, RATE_HZ)
    np.testing.assert_array_equal(read(path, channel_order=order), read_scene(path, order).audio.numpy())


@pytest.mark.parametrize("rate_hz", [8000, 44_100, 48_000, 96_000])
def test_resampled_blocks_are_the_resampled_recording(path, rate_hz):
    soundfile.write(path, noise(4, 12_345).T, rate_hz, subtype="FLOAT")
    whole = read_scene(path, resample=True).audio.numpy()
    np.testing.assert_allclose(read(path, resample=True), whole, atol=1e-6)
    assert survey(path, resample=True).n_samples == whole.shape[1] == n_samples_at_32_khz(*announced(path))


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(4000, 200_000))
def test_length_after_resampling(n_samples, rate_hz):
    assert n_samples_at_32_khz(n_samples, rate_hz) == resampled(noise(1, n_samples), rate_hz).shape[1]


@pytest.mark.parametrize("kind", BAD_CLIPS)
def test_what_cannot_be_used_is_refused_in_the_words_of_the_plain_path(path, kind):
    BAD_CLIPS[kind][0](path)
    with pytest.raises(InputError) as plain:
        read_scene(path)
    with pytest.raises(InputError) as caught:
        survey(path)
    assert str(caught.value) == str(plain.value)


def test_a_bad_sample_is_found_at_its_time_in_any_block(path):
    audio = noise(4, 5000)
    audio[1, 4321] = np.nan
    soundfile.write(path, audio.T, RATE_HZ, subtype="FLOAT")
    with pytest.raises(InputError, match=r"first in channel 1 at 0\.135 s"):
        survey(path)
    audio[1, 4321] = 1e7
    soundfile.write(path, audio.T, RATE_HZ, subtype="FLOAT")
    with pytest.raises(InputError, match="full scale is 1"):
        survey(path)


@pytest.mark.parametrize(("order", "gain"), [("acn", 1), ("acn", 0.1), ("acn", 0), ("fuma", 0.5), ("fuma", 0.3)])
def test_a_quiet_omni_is_warned_of_as_in_the_plain_path(path, order, gain):
    audio = noise(4, 5000)
    audio[0] *= gain
    soundfile.write(path, audio.T, RATE_HZ, subtype="FLOAT")
    plain: list[str] = []
    found: list[str] = []
    read_scene(path, order, warn=plain.append)
    survey(path, order, warn=found.append)
    assert found == plain


def test_a_recording_that_shrinks_under_way(path):
    soundfile.write(path, noise(4, 5000).T, RATE_HZ)
    recording = survey(path)
    soundfile.write(path, noise(4, 4999).T, RATE_HZ)
    with pytest.raises(InputError, match="shorter while it was read"):
        list(recording.blocks())


def test_header_of_nothing(path):
    assert announced(path) is None
    path.write_text("not audio")
    assert announced(path) is None


# --- writing ---------------------------------------------------------------------------------------------------------


def write_in_spans(path: Path, audio: np.ndarray, subtype: str, cuts: list[int]) -> int:
    """All of it, the last span first; how many samples were clipped."""
    file = StemFile.create(path, len(audio), subtype)
    edges = [0, *sorted(cut % len(audio) for cut in cuts), len(audio)]
    spans = [*itertools.pairwise(edges)]
    return sum(file.write(begin, audio[begin:end]) for begin, end in reversed(spans))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@settings(deadline=None, max_examples=25)
@given(st.integers(1, 99), st.lists(st.integers(0, 98), max_size=4), st.integers(0, 99))
def test_a_stem_in_spans_is_the_stem(tmp_path_factory, subtype, n_samples, cuts, seed):
    folder = tmp_path_factory.mktemp("stems")
    audio = (np.random.default_rng(seed).standard_normal(n_samples)).astype(np.float32)
    n_clipped = write_in_spans(folder / "spans.wav", audio, subtype, cuts)
    assert n_clipped == write_stem(folder / "whole.wav", audio, subtype)
    found, whole = (soundfile.read(folder / f"{name}.wav", dtype="float32") for name in ("spans", "whole"))
    np.testing.assert_array_equal(found[0], whole[0])
    assert found[1] == whole[1] == RATE_HZ
    if subtype != "FLOAT":  # libsndfile dates the peak in those
        assert (folder / "spans.wav").read_bytes() == (folder / "whole.wav").read_bytes()
    about = soundfile.info(folder / "spans.wav")
    assert (about.subtype, about.channels, about.frames) == (subtype, 1, n_samples)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_what_was_not_written_is_digital_silence(path, subtype):
    file = StemFile.create(path, 100, subtype)
    assert not soundfile.read(path)[0].any()
    file.write(90, np.full(10, 0.5, np.float32))
    samples = soundfile.read(path)[0]
    assert not samples[:90].any()
    assert (samples[90:] == 0.5).all()


def test_creating_replaces(path):
    write_stem(path, np.ones(200, np.float32))
    StemFile.create(path, 100)
    assert not soundfile.read(path)[0].any()


def test_beyond_the_end(path):
    file = StemFile.create(path, 100)
    for start in (-1, 91):
        with pytest.raises(ValueError, match="do not fit"):
            file.write(start, np.zeros(10, np.float32))


@pytest.mark.skipif(sys.platform != "linux", reason="a file system with holes")
def test_days_of_silence_take_no_space_and_read_back(path):
    """Above 4 GiB the header is another one."""
    n_samples = 48 * 3600 * RATE_HZ
    file = StemFile.create(path, n_samples)
    file.write(n_samples - 3, np.array([0.25, -0.5, 0.75], np.float32))
    about = soundfile.info(path)
    assert (about.frames, about.format, about.subtype) == (n_samples, "RF64", "PCM_16")
    with soundfile.SoundFile(path) as stem:
        stem.seek(n_samples - 4)
        assert stem.read().tolist() == [0, 0.25, -0.5, 0.75]
    assert path.stat().st_blocks * 512 < 1 << 20


def test_full_disk_is_said_in_one_line(tmp_path):
    """A file-size limit stands for the full disk, see test_audio."""
    script = f"""
import resource, signal, numpy as np
from pathlib import Path
from s5cli.errors import OutputError
from s5cli.run.spans import StemFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = StemFile.create(Path({str(tmp_path / "a.wav")!r}), 1000)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
write = lambda: file.write(0, np.ones(1000, np.float32))
create = lambda: StemFile.create(file.path.with_name("b.wav"), 1000)
for attempt in (write, create):
    try:
        attempt()
    except OutputError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert [line.split(": ")[0] for line in done.stdout.splitlines()] == [str(tmp_path / f"{n}.wav") for n in "ab"]
    assert done.stdout.count("cannot be written") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
