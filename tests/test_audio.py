"""Reading refuses what cannot be separated, in one line; writing is the official rounding, counted and atomic."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s5cli.audio import as_scene, from_fuma, read_audio, read_scene, resampled, write_file, write_stem
from s5cli.errors import InputError, OutputError
from s5cli.scene import RATE_HZ


def noise(n_channels: int = 4, n_samples: int = 6400, seed: int = 0) -> np.ndarray:
    """[channels, t] in 16-bit steps, channel 0 the loudest."""
    audio = np.random.default_rng(seed).integers(-3000, 3000, (n_channels, n_samples)) / 32768
    audio[0] *= 2
    return audio.astype(np.float32)


def write(path: Path, audio: np.ndarray, rate_hz: int = RATE_HZ, **options: str) -> Path:
    soundfile.write(path, audio.T, rate_hz, **options)
    return path


def refused(path: Path, *words: str, **options: bool) -> None:
    """One line that begins with the path and says the words."""
    with pytest.raises(InputError) as caught:
        read_scene(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    for word in words:
        assert word in message


@pytest.mark.parametrize(("suffix", "subtype"), [("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", "PCM_16")])
def test_samples_are_sixteen_bit_over_32768(tmp_path, suffix, subtype):
    audio = noise()
    read, rate_hz = read_audio(write(tmp_path / f"a.{suffix}", audio, subtype=subtype))
    assert rate_hz == RATE_HZ
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, audio)


def test_a_scene_is_named_as_its_file_and_holds_its_channels(tmp_path):
    scene = read_scene(write(tmp_path / "room.12.wav", noise()))
    assert scene.name == "room.12"
    assert scene.audio.dtype == torch.float32
    np.testing.assert_array_equal(scene.audio.numpy(), noise())


def test_not_audio(tmp_path):
    path = tmp_path / "a.wav"
    path.write_text("this is a letter, not a recording\n" * 100)
    refused(path, "not audio")


def test_raw_samples(tmp_path):
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(64000))
    refused(path, "without a header")


def test_missing_file_and_folder(tmp_path):
    refused(tmp_path / "nothing.wav", "No such file")
    refused(tmp_path, "folder" if os.name == "nt" else "directory")


def test_empty_file(tmp_path):
    path = tmp_path / "a.wav"
    path.touch()
    refused(path, "empty")


def test_header_without_samples(tmp_path):
    refused(write(tmp_path / "a.wav", noise(4, 0)), "no samples")


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff"])
@pytest.mark.parametrize("kept", [0.3, 0.9, 0.9999])
def test_truncated(tmp_path, suffix, kept):
    path = write(tmp_path / f"a.{suffix}", noise())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    refused(path, "truncated")


@pytest.mark.parametrize("kept_bytes", [3, 20, 30, 50])
def test_truncated_in_the_header(tmp_path, kept_bytes):
    path = write(tmp_path / "a.wav", noise())
    path.write_bytes(path.read_bytes()[:kept_bytes])
    refused(path)


def test_truncated_64_bit_wav(tmp_path):
    path = write(tmp_path / "a.wav", noise(), format="RF64")
    np.testing.assert_array_equal(read_audio(path)[0], noise())
    path.write_bytes(path.read_bytes()[:-1000])
    refused(path, "truncated", "1000 bytes")


def test_flac_that_announces_terabytes_does_not_allocate_them(tmp_path):
    path = write(tmp_path / "a.flac", noise())
    content = bytearray(path.read_bytes())
    stream_info = int.from_bytes(content[18:26], "big") | ((1 << 36) - 1)  # the 36 bits of the sample count
    content[18:26] = stream_info.to_bytes(8, "big")
    path.write_bytes(content)
    refused(path, "truncated")


def test_wav_from_a_pipe_with_unknown_length_is_read(tmp_path):
    path = write(tmp_path / "a.wav", noise())
    content = bytearray(path.read_bytes())
    data = content.index(b"data")
    content[4:8] = content[data + 4 : data + 8] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_audio(path)[0], noise())


@pytest.mark.parametrize("n_channels", [1, 2, 3, 5])
def test_channel_count(tmp_path, n_channels):
    refused(write(tmp_path / "a.wav", noise(n_channels)), f"{n_channels} channels", "ambisonics")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(tmp_path, value):
    audio = noise()
    audio[2, 3200] = value
    refused(write(tmp_path / "a.wav", audio, subtype="FLOAT"), "NaN or infinite", "channel 2", "0.100 s")


def test_absurd_level(tmp_path):
    refused(write(tmp_path / "a.wav", noise() * np.float32(1e30), subtype="FLOAT"), "full scale is 1")


def test_tenth_of_a_second_is_the_shortest(tmp_path):
    refused(write(tmp_path / "short.wav", noise(4, 3199)), "shorter than 0.1 s")
    assert read_scene(write(tmp_path / "enough.wav", noise(4, 3200))).audio.shape == (4, 3200)


def test_other_rates_are_refused_with_the_way_out(tmp_path):
    refused(write(tmp_path / "a.wav", noise(), 48_000), "48000 Hz", "--resample")


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000])
def test_resampling_keeps_a_tone(tmp_path, rate_hz):
    def tone(rate: int) -> np.ndarray:
        t_s = np.arange(rate) / rate
        return np.stack([a * np.sin(2 * np.pi * 1000 * t_s) for a in (0.5, 0.3, 0.2, 0.1)]).astype(np.float32)

    path = write(tmp_path / "a.wav", tone(rate_hz), rate_hz, subtype="FLOAT")
    audio = read_scene(path, resample=True).audio.numpy()
    assert audio.shape == (4, RATE_HZ)
    inner = slice(2000, -2000)  # the filter rings where the tone starts and stops
    np.testing.assert_allclose(audio[:, inner], tone(RATE_HZ)[:, inner], atol=1e-4)


def test_resampling_does_not_mix_channels():
    audio = np.zeros((4, 4800), np.float32)
    audio[1, 2400] = 1
    assert not resampled(audio, 48_000)[[0, 2, 3]].any()


def test_fuma_plane_wave_becomes_the_acn_plane_wave(tmp_path):
    azimuth, elevation = np.deg2rad(40), np.deg2rad(20)
    w = noise(1)[0] / 2
    x, y = np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation)
    z = np.sin(elevation)
    fuma = np.stack([w / np.sqrt(2), w * x, w * y, w * z]).astype(np.float32)
    path = write(tmp_path / "a.wav", fuma, subtype="FLOAT")
    acn = read_scene(path, channel_order="fuma").audio.numpy()
    np.testing.assert_allclose(acn, np.stack([w, w * y, w * z, w * x]), atol=1e-7)


def test_reordering_leaves_its_argument_alone():
    audio = noise()
    from_fuma(audio)
    np.testing.assert_array_equal(audio, noise())


@pytest.mark.parametrize(("gain", "warned"), [(1.0, 0), (0.999, 0), (0.7, 1), (0.0, 1)])
def test_a_quiet_channel_0_is_warned_about(gain, warned):
    audio = np.tile(noise(1), (4, 1))
    audio[0] *= gain
    messages: list[str] = []
    as_scene(audio, "a", warn=messages.append)
    assert len(messages) == warned
    assert all("channel 0" in message and "--channel-order" in message for message in messages)


def test_silence_is_a_scene_without_a_warning():
    messages: list[str] = []
    assert not as_scene(np.zeros((4, 3200), np.float32), "a", warn=messages.append).audio.any()
    assert not messages


def test_samples_first_array_is_refused():
    with pytest.raises(InputError, match="not 4; give first-order ambisonics"):
        as_scene(noise().T, "a")
    with pytest.raises(InputError, match="shape"):
        as_scene(noise()[0], "a")


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-(2**22), 2**22), min_size=1, max_size=50))
def test_sixteen_bit_files_hold_the_official_rounding_and_clipping_is_counted(tmp_path_factory, fine_steps):
    audio = (np.array(fine_steps) / 2**21).astype(np.float32)  # -2…2, 64 fine steps in one 16-bit step
    path = tmp_path_factory.mktemp("stems") / "a.wav"
    steps = np.floor(audio.astype(np.float64) * 32768)
    assert write_stem(path, audio) == np.count_nonzero((steps > 32767) | (steps < -32768))
    np.testing.assert_array_equal(soundfile.read(path, dtype="int16")[0], np.clip(steps, -32768, 32767))


def test_tiny_negative_becomes_minus_one_and_zero_stays(tmp_path):
    write_stem(tmp_path / "a.wav", np.array([-1e-9, 0.0, 1e-9], np.float32))
    assert soundfile.read(tmp_path / "a.wav", dtype="int16")[0].tolist() == [-1, 0, 0]


@pytest.mark.parametrize(("subtype", "step"), [("PCM_16", 2**-15), ("PCM_24", 2**-23), ("FLOAT", 0.0)])
def test_subtypes(tmp_path, subtype, step):
    audio = noise()[0] + np.float32(1e-7)
    assert write_stem(tmp_path / "a.wav", torch.from_numpy(audio), subtype) == 0
    info = soundfile.info(tmp_path / "a.wav")
    assert (info.subtype, info.samplerate, info.channels) == (subtype, RATE_HZ, 1)
    np.testing.assert_allclose(soundfile.read(tmp_path / "a.wav", dtype="float32")[0], audio, atol=step, rtol=0)


def test_float_files_keep_what_is_over_full_scale(tmp_path):
    assert write_stem(tmp_path / "a.wav", np.array([1.5, -2.5], np.float32), "FLOAT") == 0
    assert soundfile.read(tmp_path / "a.wav")[0].tolist() == [1.5, -2.5]


def test_writing_replaces_and_leaves_nothing_else(tmp_path):
    write_file(tmp_path / "a", b"one")
    write_file(tmp_path / "a", b"two")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"two"]
    untouched = tmp_path / "plain"
    untouched.touch()
    assert (tmp_path / "a").stat().st_mode == untouched.stat().st_mode


def test_unwritable_place(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_stem(tmp_path / "file" / "a.wav", noise()[0])


def test_pipes_and_devices_are_written_to_and_not_replaced(tmp_path):
    """`--csv /dev/stdout` by an administrator would put a file in the place of the machine's standard output."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_file(tmp_path / "pipe", b"sent")
    assert os.read(reader, 10) == b"sent"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="full: cannot be written"):
        write_file(tmp_path / "full", b"x")
    assert (tmp_path / "full").is_char_device()
    (tmp_path / "there").write_bytes(b"old")
    (tmp_path / "link").symlink_to("there")
    write_file(tmp_path / "link", b"new")
    assert (tmp_path / "there").read_bytes() == b"old", "a link that somebody put there leads nowhere"


def test_full_disk_is_said_in_one_line_and_leaves_the_old_file(tmp_path):
    """A file-size limit stands for the full disk: it cuts the write at the same place, with an error of its own."""
    script = f"""
import resource, signal, numpy as np
from s5cli.audio import write_stem
from s5cli.errors import OutputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
write_stem({str(tmp_path / "a.wav")!r}, np.zeros(10, np.float32))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_stem({str(tmp_path / "a.wav")!r}, np.zeros(32000, np.float32))
except OutputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "cannot be written" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    assert soundfile.info(tmp_path / "a.wav").frames == 10
