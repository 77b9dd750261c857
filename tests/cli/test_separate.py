"""`s5 separate`: what it writes and shows."""

import csv
import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from s5cli.api import DEFAULT_SYSTEM
from s5cli.cli.separate import separate
from tests.toy import tones, write_tones

LOW_HZ, HIGH_HZ = 500, 5000
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    write_tones(folder / "a.wav", LOW_HZ, HIGH_HZ)
    write_tones(folder / "c.wav")
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_plain_lines_where_there_is_no_terminal(s5, clips, out):
    done = s5("separate", clips, "-o", out, "--system", "toy")
    assert done.code == 0
    assert re.fullmatch(
        rf"done: 2 of 2 clips, 2 stems, 0 failed, [\d.]+ s \([\d.]+ times real time\): {out}\n", done.err
    )
    assert done.out.splitlines() == [
        "a_0_Speech.wav: Speech, confidence 0.5, energy -3.0 dB",
        "a_1_Dishes.wav: Dishes, confidence 0.5, energy -3.0 dB",
        "c: no targets",
    ]
    assert names(out) == ["a.json", "a_0_Speech.wav", "a_1_Dishes.wav", "c.json", "manifest.jsonl", "run.json"]


def test_explain_shows_what_became_of_every_query(s5, clips, out):
    done = s5("separate", clips, "-o", out, "--system", "toy", "--explain")
    lines = done.out.splitlines()
    assert lines[2] == "  Speech: confidence 0.5 · band · reported as stem 0"
    assert lines[-1] == "  nothing was proposed"


def test_json_goes_to_stdout_alone(s5, clips, out):
    done = s5("separate", clips, "-o", out, "--system", "toy", "--json")
    content = json.loads(done.out)
    assert (content["out"], content["failed"]) == (str(out), [])
    assert content["clips"] == [json.loads((out / name).read_text()) for name in ("a.json", "c.json")]
    assert len(content["clips"][0]["queries"]) == 2


def test_labels(s5, clips, out):
    done = s5("separate", clips / "c.wav", "-o", out, "--system", "toy", "--labels", "Speech, Speech,Dishes")
    assert done.code == 0
    stems = ["c_0_Speech.wav", "c_1_Speech.wav", "c_2_Dishes.wav"]
    assert names(out) == ["c.json", *stems, "manifest.jsonl", "run.json"]


@pytest.mark.parametrize("written", ["speech", " SPEECH ", "Speech"])
def test_labels_in_any_case_are_the_same_run(s5, clips, out, written):
    assert s5("separate", clips, "-o", out, "--system", "toy", "--labels", "Speech").code == 0
    done = s5("separate", clips, "-o", out, "--system", "toy", "--labels", written)
    assert (done.code, done.err.splitlines()[0]) == (0, "note: 2 of 2 clips are done already")
    assert names(out) == ["a.json", "a_0_Speech.wav", "c.json", "c_0_Speech.wav", "manifest.jsonl", "run.json"]


@pytest.mark.parametrize("written", ["", "  "])
def test_labels_that_name_nothing_are_a_mistake(s5, clips, out, written):
    done = s5("separate", clips, "-o", out, "--system", "toy", "--labels", written)
    assert (done.code, done.error) == (2, "--labels names no class; leave it out to let the system choose")


@pytest.mark.parametrize("system", ["toy", "toy-alias"])
def test_without_an_output_folder_there_is_one_for_each_system(s5, clips, tmp_path, monkeypatch, system):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        done = s5("separate", clips, "--system", system)
        assert (done.code, names(tmp_path / "separated")) == (0, ["toy"])
    assert done.err.startswith("note: 2 of 2 clips are done already\n")
    assert "a_0_Speech.wav" in names(tmp_path / "separated" / "toy")


def test_quiet(s5, clips, out):
    done = s5("separate", clips, "-o", out, "--system", "toy", "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert s5("separate", clips, "-o", out, "--system", "toy", "-q").err == ""
    (clips / "b.wav").touch()
    assert s5("separate", clips, "-o", out, "--system", "toy", "-q").error.startswith("1 of 3 clips failed: ")


# --- residual, table, onset ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", ["auto", "1"])
def test_stems_and_residual_are_the_mixture(s5, tmp_path, out, window):
    """In one piece and in windows; the toy leaves nothing, so one of its two classes is named."""
    write_tones(tmp_path / "m.wav", LOW_HZ, HIGH_HZ, n_samples=3 * 32_000)
    args = ("separate", tmp_path / "m.wav", "-o", out, "--system", "toy", "--labels", "Speech", "--window", window)
    assert s5(*args, "--residual", "--subtype", "FLOAT").code == 0
    speech, left = (soundfile.read(out / name)[0] for name in ("m_0_Speech.wav", "m_residual.wav"))
    mixture = soundfile.read(tmp_path / "m.wav")[0][:, 0]
    np.testing.assert_allclose(speech + left, mixture, atol=1e-6)
    assert np.square(left).mean() == pytest.approx(np.square(speech).mean(), rel=0.01)
    assert json.loads((out / "m.json").read_text())["residual"] == "m_residual.wav"
    again = s5(*args, "--residual", "--subtype", "FLOAT")
    assert again.err == "note: 1 of 1 clips are done already\n"
    (out / "m_residual.wav").unlink()
    assert s5(*args, "--residual", "--subtype", "FLOAT").code == 0
    assert (out / "m_residual.wav").exists()
    other = s5(*args, "--subtype", "FLOAT")
    assert (other.code, "residual" in other.error) == (2, True)
    assert s5(*args, "--restart").code == 0
    assert "m_residual.wav" not in names(out)


def test_a_residual_is_no_stem(s5, short_clips, out, tmp_path):
    """Neither to scores nor to a report; and a clip called so keeps its own files."""
    mixtures = short_clips / "soundscape"
    for folder, more in ((out, ["--residual"]), (tmp_path / "without", [])):
        assert s5("separate", mixtures, "-o", folder, "--system", "toy", *more).code == 0
    scores = [s5("evaluate", folder, "--reference", short_clips, "--json") for folder in (out, tmp_path / "without")]
    assert [done.code for done in scores] == [0, 0]
    assert scores[0].out == scores[1].out
    assert s5("report", out, "--reference", short_clips).code == 0


def test_a_table_has_one_row_a_stem(s5, clips, out, tmp_path):
    path = tmp_path / "stems.csv"
    for _ in range(2):
        assert s5("separate", clips, "-o", out, "--system", "toy", "--csv", path).code == 0
        rows = list(csv.DictReader(path.read_text().splitlines()))
        assert [(row["clip"], row["file"], row["label"], row["slot"]) for row in rows] == [
            ("a", "a_0_Speech.wav", "Speech", "0"), ("a", "a_1_Dishes.wav", "Dishes", "1")
        ]  # fmt: skip
        stems = json.loads((out / "a.json").read_text())["stems"]
        for row, stem in zip(rows, stems, strict=True):
            for name in ("onset_s", "offset_s", "confidence", "energy_db"):
                assert float(row[name]) == stem[name]
    done = s5("separate", clips, "-o", out, "--system", "toy", "--csv", tmp_path / "nowhere" / "t.csv")
    assert (done.code, "a file in a folder that exists" in done.error) == (2, True)


def test_a_table_never_replaces_a_recording_or_a_record(s5, clips, out, tmp_path):
    """Neither one that was there before nor one that the run itself writes."""
    recording = next(clips.glob("*.wav"))
    before = recording.read_bytes()
    args = ("separate", clips, "-o", out, "--system", "toy", "--csv")
    done = s5(*args, recording)
    assert (done.code, done.error) == (
        2,
        f"{recording}: is there and is no table of stems; give another file, so that it is not lost",
    )
    assert recording.read_bytes() == before
    assert not out.exists()
    out.mkdir()
    done = s5(*args, out / "manifest.jsonl")
    assert done.code == 2
    assert done.err.endswith("is no table of stems; give another file, so that it is not lost\n")
    assert s5(*args, tmp_path / "t.csv").code == s5(*args, tmp_path / "t.csv").code == 0
    assert (out / "manifest.jsonl").read_bytes().startswith(b'{"run"')


@pytest.mark.parametrize("window", ["auto", "1"])
def test_onset_and_offset(s5, tmp_path, out, window):
    audio = np.zeros((4, 4 * 32_000), np.float32)
    audio[:, 32_000 : 2 * 32_000] = tones(LOW_HZ, n_samples=32_000)
    soundfile.write(tmp_path / "m.wav", audio.T, 32_000)
    args = ("separate", tmp_path / "m.wav", "-o", out, "--system", "toy", "--labels", "Speech,Dishes")
    assert s5(*args, "--window", window).code == 0
    speech, dishes = json.loads((out / "m.json").read_text())["stems"]
    assert (speech["onset_s"], speech["offset_s"]) == pytest.approx((1.0, 2.0), abs=0.03)
    if window == "auto":
        assert dishes["energy_db"] < -50


def test_a_silent_stem_has_neither(s5, tmp_path, out):
    write_tones(tmp_path / "m.wav")
    assert s5("separate", tmp_path / "m.wav", "-o", out, "--system", "toy", "--labels", "Speech").code == 0
    (stem,) = json.loads((out / "m.json").read_text())["stems"]
    assert (stem["onset_s"], stem["offset_s"]) == (None, None)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_subtype(s5, clips, out, subtype):
    s5("separate", clips, "-o", out, "--system", "toy", "--subtype", subtype)
    assert soundfile.info(out / "a_0_Speech.wav").subtype == subtype


def test_channel_order(s5, tmp_path, out):
    fuma = tones(LOW_HZ) * np.array([[np.sqrt(0.5)], [1], [1], [1]], np.float32)
    soundfile.write(tmp_path / "f.wav", fuma.T, 32_000, subtype="FLOAT")
    s5("separate", tmp_path / "f.wav", "-o", out, "--system", "toy", "--channel-order", "fuma", "--subtype", "FLOAT")
    np.testing.assert_allclose(soundfile.read(out / "f_0_Speech.wav")[0], tones(LOW_HZ)[0], atol=1e-5)


def test_a_quiet_channel_0_is_warned_about_on_stderr_and_in_the_json(s5, tmp_path, out):
    soundfile.write(tmp_path / "q.wav", tones(LOW_HZ)[[1, 0, 2, 3]].T, 32_000)
    done = s5("separate", tmp_path / "q.wav", "-o", out, "--system", "toy")
    assert done.code == 0
    assert done.err.startswith("warning: q: channel 0 is 6.0 dB below channel 1")
    assert json.loads((out / "q.json").read_text())["warnings"][0] in done.err


@pytest.mark.parametrize("window", ["auto", "1"])
def test_clipping_is_said(s5, out, tmp_path, window):
    """Of every stem, and of what they leave."""
    (tmp_path / "loud.toml").write_text("[knobs]\ngain = 9\n")
    clip = write_tones(tmp_path / "a.wav", LOW_HZ, HIGH_HZ, n_samples=2 * 32_000)
    args = ("separate", clip, "-o", out, "--system", "toy", "--thresholds", tmp_path / "loud.toml", "--residual")
    done = s5(*args, "--window", window)
    assert done.code == 0
    said = r"a_(\w+)\.wav: (\d+) samples over full scale were clipped \(--subtype FLOAT keeps them\)"
    found = dict(re.findall(said, done.err))
    assert found.keys() == {"0_Speech", "1_Dishes", "residual"}
    assert json.loads((out / "a.json").read_text())["clipped_samples"] == sum(map(int, found.values()))


def test_thresholds_file(s5, clips, out, tmp_path):
    path = tmp_path / "knobs.toml"
    path.write_text('system = "baseline-1ch"\n[knobs]\nshare = 0.9\n')
    args = ("separate", clips, "-o", out, "--system", "toy", "--thresholds", path)
    assert s5(*args).error.startswith(f"{path}: made for system 'baseline-1ch', not 'toy'")
    assert not out.exists()
    assert s5(*args, "--force-thresholds").code == 0
    assert json.loads((out / "run.json").read_text())["knobs"]["share"] == 0.9


def test_run_json_names_the_system_that_an_alias_stands_for(s5, clips, out):
    s5("separate", clips, "-o", out, "--system", "toy-alias", "--device", "cpu", "--batch-size", "2")
    run = json.loads((out / "run.json").read_text())
    assert (run["system"], run["device"], run["batch_size"]) == ("toy", "cpu", 2)


# --- the embedded system ---------------------------------------------------------------------------------------------


def test_the_default_system_writes_the_official_layout(s5, out):
    name = "clapping_two_speakers"
    done = s5("separate", EXAMPLES / f"{name}.flac", "-o", out, "--labels", "Speech,Clapping,Speech", "--explain")
    assert (done.code, done.err) == (0, "")
    stems = [f"{name}_0_Speech.wav", f"{name}_1_Clapping.wav", f"{name}_2_Speech.wav"]
    assert names(out) == [f"{name}.json", *stems, "manifest.jsonl", "run.json"]
    for stem in stems:
        info = soundfile.info(out / stem)
        assert (info.frames, info.samplerate, info.channels, info.subtype) == (320_000, 32_000, 1, "PCM_16")
    assert done.out.count(" · named · ") == 3
    run = json.loads((out / "run.json").read_text())
    assert run["system"] == DEFAULT_SYSTEM
    assert {part["part"] for part in run["weights"]} == {"tagger", "separator"}
    assert all(len(part["sha256"]) == 64 and part["licence"] == "cc-by-4.0" for part in run["weights"])


def test_the_flagship_tells_what_became_of_every_proposal(s5, tmp_path, out):
    write_tones(tmp_path / "mix.wav", LOW_HZ, HIGH_HZ, n_samples=32_000)
    line = ("separate", tmp_path / "mix.wav", "-o", out, "--system", "tagging-driven-compact", "--json", "--explain")
    done = s5(*line)
    clip = json.loads(done.out)["clips"][0]
    assert len(clip["queries"]) >= 3, "each tagger proposes three times, at most three pairs"
    dropped = [query for query in clip["queries"] if query["reported"] is None]
    assert all(query["reason"] and query["dropped_by"] in ("solo", "rank", "verify", "gate") for query in dropped)
    assert len(clip["stems"]) == len(clip["queries"]) - len(dropped)


@pytest.mark.parametrize("n_samples", [3200, 320_320, 322_559])
def test_the_default_system_takes_every_length(s5, tmp_path, out, n_samples):
    """0.1 s is less than a tagger looks at; the official code fails from 320,320 to 322,559 samples."""
    write_tones(tmp_path / "mix.wav", LOW_HZ, n_samples=n_samples)
    assert s5("separate", tmp_path / "mix.wav", "-o", out, "--labels", "Speech").code == 0
    assert soundfile.info(out / "mix_0_Speech.wav").frames == n_samples


def test_digital_silence_has_no_targets(s5, tmp_path, out):
    write_tones(tmp_path / "silence.wav", n_samples=32_000)
    done = s5("separate", tmp_path / "silence.wav", "-o", out)
    assert (done.code, done.out) == (0, "silence: no targets\n")
    assert names(out) == ["manifest.jsonl", "run.json", "silence.json"]


def test_the_default_is_the_same_in_python_and_on_the_command_line():
    assert inspect.signature(separate).parameters["system"].default == DEFAULT_SYSTEM


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens where there is no CUDA")
def test_cuda_is_never_replaced_by_the_cpu(s5, clips, out):
    done = s5("separate", clips, "-o", out, "--system", "toy", "--device", "cuda")
    assert done.code == 2
    assert "CUDA" in done.error
    assert not out.exists()
