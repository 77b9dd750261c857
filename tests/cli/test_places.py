"""No command puts its output in the place of what somebody else has there; said before anything long begins."""

import json
from pathlib import Path

import pytest

from tests.conftest import EXAMPLES

OURS = "a line that nobody may lose"


@pytest.mark.parametrize("name", ["recording.wav", "notes.txt", "own.toml"])
def test_tune_replaces_only_results_of_its_own(s5, tmp_path, name):
    taken = tmp_path / name
    taken.write_text("[knobs]\nshare = 0.5\n# by hand\n" if name == "own.toml" else OURS)
    before = taken.read_bytes()
    done = s5("tune", "toy", "--data", EXAMPLES, "--cache", tmp_path / "cache", "-o", taken)
    assert (done.code, done.error) == (
        2, f"{taken}: is there and no result of `s5 tune`; name another file, so that it is not lost"
    )  # fmt: skip
    assert taken.read_bytes() == before
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("command", ["evaluate", "tune"])
def test_pictures_of_others_stay(s5, tmp_path, command):
    taken = tmp_path / "plots" / ("classes_share.png" if command == "tune" else "confusion.svg")
    taken.parent.mkdir()
    taken.write_text(OURS)
    line = {
        "evaluate": ("evaluate", tmp_path, "--reference", EXAMPLES),
        "tune": ("tune", "toy", "--data", EXAMPLES, "--cache", tmp_path / "cache"),
    }[command]
    done = s5(*line, "--plots", taken.parent)
    assert (done.code, done.error.startswith(f"{taken}: is there and was not drawn by s5")) == (2, True)
    assert taken.read_text() == OURS
    assert [path.name for path in taken.parent.iterdir()] == [taken.name]


@pytest.mark.parametrize("name", ["system.json", "tagger.onnx"])
@pytest.mark.parametrize("about", [OURS, '{"system": "another"}', "[" * 100_000])
def test_export_replaces_only_an_export_of_the_same_system(s5, tmp_path, name, about):
    (tmp_path / name).write_text(about)
    done = s5("export", "baseline-compact", "-o", tmp_path)
    assert (done.code, "is there and no export of baseline-compact" in done.error) == (2, True)
    assert (tmp_path / name).read_text() == about
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [name]


def test_a_manifest_of_another_program_is_no_run_to_go_on_with(s5, tmp_path, out):
    """Lists of training data are often called so."""
    out.mkdir()
    lines = json.dumps({"audio_filepath": "a.wav", "duration": 1.5}) + "\n" + '{"audio_filepath": "b.wav"}'
    (out / "manifest.jsonl").write_text(lines)
    for more in ((), ("--restart",)):
        done = s5("separate", EXAMPLES / "no_target.flac", "-o", out, "--system", "toy", *more)
        assert (done.code, "is no manifest of `s5 separate`" in done.error) == (2, True)
    assert (out / "manifest.jsonl").read_text() == lines
    assert [path.name for path in out.iterdir()] == ["manifest.jsonl"]


def test_synth_replaces_only_sets_of_its_own(s5, tmp_path):
    theirs = {"metadata/clip_0000.json": '{"events": []}', "soundscape/clip_0000.wav": OURS}
    for name, content in theirs.items():
        (tmp_path / "set" / name).parent.mkdir(parents=True)
        (tmp_path / "set" / name).write_text(content)
    (tmp_path / "sources" / "train" / "Speech").mkdir(parents=True)
    from tests.toy import write_tones

    write_tones(tmp_path / "sources" / "train" / "Speech" / "a.wav", 440)
    done = s5("synth", tmp_path / "set", "--sources", tmp_path / "sources", "--count", 1, "--overwrite")
    assert (done.code, "not a set of `s5 synth`" in done.error) == (1, True), done.error
    found = {str(path.relative_to(tmp_path / "set")): path.read_text() for path in files(tmp_path / "set")}
    assert found == theirs


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
