"""Whatever a user gives: one line that says what, where and what to do; the exit code; nothing half-written."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from tests.toy import tones, write_tones


def not_audio(path: Path) -> None:
    path.write_text("a letter\n" * 500)


def empty(path: Path) -> None:
    path.touch()


def no_samples(path: Path) -> None:
    write_tones(path, 500, n_samples=0)


def truncated(path: Path) -> None:
    write_tones(path, 500)
    path.write_bytes(path.read_bytes()[:-10_000])


def longer_than_announced_file(path: Path) -> None:
    """The header announces a gigabyte."""
    write_tones(path, 500)
    content = bytearray(path.read_bytes())
    data = content.index(b"data")
    content[data + 4 : data + 8] = struct.pack("<I", 1 << 30)
    path.write_bytes(content)


def truncated_flac(path: Path) -> None:
    soundfile.write(path, tones(500).T, 32_000, format="FLAC")
    path.write_bytes(path.read_bytes()[:-1000])


def channels(n_channels: int):
    def write(path: Path) -> None:
        soundfile.write(path, np.tile(tones(500)[:1], (n_channels, 1)).T, 32_000)

    return write


def rate(path: Path) -> None:
    write_tones(path, 500, rate_hz=44_100)


def with_sample(value: float):
    def write(path: Path) -> None:
        audio = tones(500)
        audio[3, 100] = value
        soundfile.write(path, audio.T, 32_000, subtype="FLOAT")

    return write


def short(path: Path) -> None:
    write_tones(path, 500, n_samples=3199)


BAD_CLIPS = {
    "not audio": (not_audio, "not audio"),
    "empty": (empty, "empty (0 bytes)"),
    "no samples": (no_samples, "no samples"),
    "truncated": (truncated, "truncated, 10000 bytes"),
    "cut data chunk": (longer_than_announced_file, "truncated"),
    "truncated flac": (truncated_flac, "truncated"),
    "1 channel": (channels(1), "1 channels, not 4; give first-order ambisonics"),
    "2 channels": (channels(2), "2 channels"),
    "3 channels": (channels(3), "3 channels"),
    "5 channels": (channels(5), "5 channels"),
    "another rate": (rate, "44100 Hz, not 32000 Hz; --resample"),
    "NaN": (with_sample(np.nan), "NaN or infinite, first in channel 3 at 0.003 s"),
    "infinity": (with_sample(np.inf), "NaN or infinite"),
    "too short": (short, "shorter than 0.1 s"),
}


@pytest.mark.parametrize("kind", BAD_CLIPS)
def test_bad_clip(s5, tmp_path, out, kind):
    make, words = BAD_CLIPS[kind]
    path = tmp_path / "bad.wav"
    make(path)
    done = s5("separate", path, "-o", out, "--system", "toy")
    assert done.code == 1
    assert done.error.startswith(f"{path}: ")
    assert words in done.error
    assert done.out == ""
    assert not out.exists()


def test_bad_clip_leaves_an_output_folder_that_was_there_as_it_was(s5, tmp_path, out):
    out.mkdir()
    empty(tmp_path / "bad.wav")
    assert s5("separate", tmp_path / "bad.wav", "-o", out, "--system", "toy").code == 1
    assert list(out.iterdir()) == []


def test_one_bad_clip_does_not_stop_the_others(s5, tmp_path, out):
    folder = tmp_path / "clips"
    folder.mkdir()
    write_tones(folder / "a.wav", 500)
    write_tones(folder / "z.wav", 5000)
    not_audio(folder / "bad.wav")
    done = s5("separate", folder, "-o", out, "--system", "toy")
    assert done.code == 1
    summary, error = done.err.splitlines()
    assert summary.startswith("done: 2 of 3 clips, 2 stems, 1 failed, ")
    assert error.startswith(f"error: 1 of 3 clips failed: {folder / 'bad.wav'}: not audio")
    assert sorted(path.name for path in out.iterdir()) == [
        "a.json", "a_0_Speech.wav", "manifest.jsonl", "run.json", "z.json", "z_0_Dishes.wav"
    ]  # fmt: skip


def test_several_bad_clips_are_listed(s5, tmp_path, out):
    for name in ("a", "b"):
        empty(tmp_path / f"{name}.wav")
    done = s5("separate", tmp_path / "a.wav", tmp_path / "b.wav", "-o", out, "--system", "toy")
    assert done.code == 1
    assert [line.split(":")[0] for line in done.err.splitlines()] == [
        "done", "error", f"  {tmp_path / 'a.wav'}", f"  {tmp_path / 'b.wav'}"
    ]  # fmt: skip


def test_resample_is_the_way_out(s5, tmp_path, out):
    rate(tmp_path / "a.wav")
    assert s5("separate", tmp_path / "a.wav", "-o", out, "--system", "toy", "--resample").code == 0
    assert soundfile.info(out / "a_0_Speech.wav").samplerate == 32_000


def test_zeros_are_valid(s5, tmp_path, out):
    write_tones(tmp_path / "a.wav")
    done = s5("separate", tmp_path / "a.wav", "-o", out, "--system", "toy")
    assert (done.code, done.out, done.err) == (0, "a: no targets\n", "")


# --- wrong calls -----------------------------------------------------------------------------------------------------


@pytest.fixture
def good(tmp_path) -> Path:
    return write_tones(tmp_path / "good.wav", 500)


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere/out"])
def test_unwritable_output(s5, tmp_path, good, place):
    (tmp_path / "file").touch()
    done = s5("separate", good, "-o", tmp_path / place, "--system", "toy")
    assert done.code == 2
    assert done.error.startswith(f"{tmp_path / place}: cannot be written to")
    assert "another folder" in done.error
    assert (tmp_path / "file").read_bytes() == b""


def test_output_that_exists(s5, good, out):
    args = ("separate", good, "-o", out, "--system", "toy")
    assert s5(*args).code == 0
    (out / "manifest.jsonl").unlink()
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    done = s5(*args)
    assert done.code == 2
    assert "--overwrite" in done.error
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert s5(*args, "--labels", "Pour", "--overwrite").code == 0
    assert sorted(path.name for path in out.iterdir()) == ["good.json", "good_0_Pour.wav", "manifest.jsonl", "run.json"]


def test_two_inputs_with_one_name(s5, tmp_path, good, out):
    (tmp_path / "other").mkdir()
    twin = write_tones(tmp_path / "other" / "good.flac", 500)
    done = s5("separate", good, twin, "-o", out, "--system", "toy")
    assert done.code == 2
    assert str(good) in done.error
    assert str(twin) in done.error
    assert not out.exists()


def test_missing_input(s5, tmp_path, out):
    done = s5("separate", tmp_path / "nothing.wav", "-o", out)
    assert (done.code, done.error) == (2, f"{tmp_path / 'nothing.wav'}: no such file or folder; check the path")


def test_folder_without_recordings(s5, tmp_path, out):
    (tmp_path / "empty").mkdir()
    done = s5("separate", tmp_path / "empty", "-o", out)
    assert (done.code, done.error.split(": ")[1][:24]) == (2, "no .wav or .flac files i")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--system", "taging-driven-compact"], "did you mean 'tagging-driven-compact'?"),
        (["--labels", "Speech,Dish"], "unknown class 'Dish' (did you mean 'Dishes'?)"),
        (["--labels", "Speech,"], "unknown class ''"),
        (["--labels", "Pour,Pour,Pour,Pour"], "at most 3"),
        (["--device", "gpu"], "unknown device 'gpu'"),
        (["--thresholds", "/nowhere.toml"], "/nowhere.toml"),
        (["--subtype", "PCM_8"], "Invalid value for '--subtype': 'PCM_8' is not one of 'PCM_16', 'PCM_24', 'FLOAT'"),
        (["--channel-order", "wxyz"], "'wxyz' is not one of"),
        (["--batch-size", "0"], "'--batch-size': it should be greater than or equal to 1"),
        (["--window", "0.5"], "window 0.5 s; give 1 s or more"),
        (["--window", "inf"], "window inf s; give 1 s or more, or none"),
        (["--window", "long"], "window 'long'; it is auto, none or a number of seconds"),
        (["--device", "cpu,gpu"], "unknown device 'gpu'"),
        (["--overwite"], "--overwite"),
    ],
)
def test_wrong_option(s5, good, out, options, words):
    args = ["separate", good, "-o", out, *options]
    done = s5(*args) if "--system" in options else s5(*args, "--system", "toy")
    assert done.code == 2
    assert words in done.error
    assert not out.exists()


# --- weights ---------------------------------------------------------------------------------------------------------


def test_offline_without_weights(s5, good, out):
    done = s5("separate", good, "-o", out, "--system", "baseline-1ch", "--offline")
    assert done.code == 2
    assert "offline" in done.error
    assert not out.exists()


def test_licence_that_nobody_accepted(s5, good, out):
    done = s5("separate", good, "-o", out, "--system", "baseline-1ch")
    assert done.code == 2
    assert "--accept-licence" in done.error
    assert not out.exists()


def test_weights_that_nobody_publishes(s5, good, out):
    done = s5("separate", good, "-o", out, "--system", "tagging-driven-3")
    assert done.code == 2
    assert done.error.count("`s5 train") == 2
    assert not out.exists()


OWN = """
[licence.own]
title = "own"
url = ""

[file.own]
path = "{path}"
licence = "own"

[part.own]
network = "s5cli.nn.resunet:ResUNetK"
adapter = "s5cli.adapters.slots:SlotSeparator"
file = "own"

[system.own]
flow = "s5cli.systems.baseline:Baseline"
summary = "with a file of the user's own"
source = "the tests"
parts = {{ tagger = "own", separator = "own" }}
"""


def missing(path: Path) -> None:
    """Given once, and gone since."""


def corrupt_checkpoint(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04" + bytes(1000))


def corrupt_safetensors(path: Path) -> None:
    save_file({"weight": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-10])


def another_network(path: Path) -> None:
    torch.save({"state_dict": {"model.somewhere.else": torch.zeros(3)}}, path)


@pytest.mark.parametrize(
    ("make", "suffix"),
    [(missing, "ckpt"), (corrupt_checkpoint, "ckpt"), (corrupt_safetensors, "safetensors"), (another_network, "ckpt")],
)
def test_weights_that_cannot_be_used(s5, machine, tmp_path, good, out, make, suffix):
    path = tmp_path / f"own.{suffix}"
    make(path)
    machine.write_text(OWN.format(path=path))
    done = s5("separate", good, "-o", out, "--system", "own")
    assert done.code == 2
    assert str(path) in done.error
    assert not out.exists()
