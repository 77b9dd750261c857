"""Runs as they are found: whole, unfinished, of an older version, damaged, or hostile."""

import json
import shutil
from pathlib import Path

import pytest

from s5cli.errors import InputError, UsageError
from s5cli.official import SourceFile
from s5cli.report.collect import Clip, read_run
from tests.report.conftest import EXAMPLES, ORACLE

CLIPS = ["clapping_two_speakers", "dishes_keyboard", "no_target", "speech_pour_percussion"]


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def clip_of(run: Path, name: str) -> Clip:
    (found,) = [clip for clip in read_run(run).clips if clip.name == name]
    return found


def test_a_run_is_read_whole(run):
    found = read_run(run, ORACLE)
    assert [clip.name for clip in found.clips] == CLIPS
    assert found.about.system == "tagging-driven-compact-3"
    for clip in found.clips:
        assert clip.mixture == EXAMPLES / f"{clip.name}.flac"
        assert clip.failure is None
        record = json.loads((run / f"{clip.name}.json").read_text())
        assert clip.report.to_json() == record
        assert [query.to_json() for query in clip.queries] == record["queries"]
        assert [stem.file for stem in clip.stems] == [stem["file"] for stem in record["stems"]]
    labels = [[reference.label for reference in clip.references] for clip in found.clips]
    assert labels == [
        ["Clapping", "Speech", "Speech"],
        ["Dishes", "MusicalKeyboard"],
        [],
        ["Speech", "Pour", "Percussion"],
    ]


def test_an_unfinished_run_is_read_as_far_as_it_got(run):
    for name in ("run.json", f"{CLIPS[0]}.json"):
        (run / name).unlink()
    found = read_run(run, ORACLE)
    assert found.about is None
    assert [clip.name for clip in found.clips] == CLIPS[1:]


def test_a_record_of_an_older_version_is_damaged_and_says_so(run):
    content = json.loads((run / "dishes_keyboard.json").read_text())
    del content["queries"]
    (run / "dishes_keyboard.json").write_text(json.dumps(content))
    assert clip_of(run, "dishes_keyboard").failure == "dishes_keyboard.json is damaged: KeyError: 'queries'"


def test_mixtures_are_looked_for_where_the_user_says_and_beside_the_references(run):
    for file in ("", "/nowhere/dishes_keyboard.flac", "x" * 5000, "a\0b"):
        change(run / "dishes_keyboard.json", file=file)
        assert read_run(run).clips[1].mixture is None
        for places in ({"soundscapes": EXAMPLES}, {"reference": EXAMPLES}):
            assert read_run(run, **places).clips[1].mixture == EXAMPLES / "dishes_keyboard.flac"


def test_the_users_mixtures_come_before_the_records(run, tmp_path):
    other = tmp_path / "other" / "soundscape"
    other.mkdir(parents=True)
    shutil.copy(EXAMPLES / "no_target.flac", other)
    found = {clip.name: clip.mixture for clip in read_run(run, soundscapes=other.parent).clips}
    assert found["no_target"] == other / "no_target.flac"
    assert found["dishes_keyboard"] == EXAMPLES / "dishes_keyboard.flac"


def test_failures_are_clips_too(run):
    failure = {"name": "cut", "file": "/nowhere/cut.wav", "reason": "cut.wav: truncated"}
    change(run / "run.json", failed=[failure])
    found = {clip.name: clip for clip in read_run(run).clips}
    assert found["cut"].failure == "cut.wav: truncated"
    assert found["cut"].mixture is None


STEM = {"file": "no_target_0_Speech.wav", "label": "Speech", "slot": 0, "confidence": 1, "energy_db": 0, "numbers": {}}
QUERY = {"label": "Speech", "confidence": 1, "slot": 0, "stages": [], "dropped_by": None, "reason": None, "reported": 0}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"name": "another"}, "it is about 'another'"),
        ({"stems": 3}, "where a list should be"),
        ({"stems": [STEM | {"file": "../no_target_0_Speech.wav"}]}, "of 'Speech'"),
        ({"stems": [STEM | {"file": "no_target_1_Speech.wav"}]}, "its stem 0"),
        ({"stems": [STEM | {"file": "no_target_0_<b>.wav", "label": "<b>"}]}, "of '<b>'"),
        ({"stems": [STEM | {"confidence": "<b>"}]}, "a number"),
        ({"stems": [STEM | {"numbers": {"support": "<b>"}}]}, "a number"),
        ({"stems": [STEM | {"numbers": [1]}]}, "named numbers"),
        ({"queries": [{"label": "Speech"}]}, "KeyError"),
        ({"queries": [QUERY | {"confidence": float("nan")}]}, "a number"),
        ({"queries": [QUERY | {"confidence": 10**400}]}, "OverflowError"),
        ({"queries": [QUERY | {"dropped_by": []}]}, "a text"),
        ({"queries": [QUERY | {"slot": 0.5}]}, "a whole number"),
        ({"queries": [QUERY | {"stages": [1]}]}, "TypeError"),
        ({"queries": [QUERY | {"stages": [{"stage": "x", "numbers": {"p": None}}]}]}, "a number"),
        ({"silence": ["<b>"]}, "a number"),
        ({"windows": [{"start_s": 0, "n_queries": 99}]}, "its windows have 99 queries"),
        ({"warnings": [{}]}, "a text"),
        ({"clipped_samples": float("inf")}, "a whole number"),
        ({"file": 7}, "a text"),
    ],
)
def test_a_damaged_record_is_a_clip_that_says_so(run, values, reason):
    change(run / "no_target.json", **values)
    clip = clip_of(run, "no_target")
    assert clip.failure.startswith("no_target.json is damaged: ")
    assert reason in clip.failure
    assert (clip.report, clip.stems, clip.queries) == (None, (), ())


def test_half_a_record_and_other_files_do_not_stop_the_rest(run):
    (run / "no_target.json").write_text('{"name": "no_tar')
    (run / "manifest.jsonl").write_text("not for us")
    (run / "other.json").write_text("[1, 2]")
    (run / "eval_results.json").write_text('{"nparams": 1, "probabilities": []}')
    clips = read_run(run).clips
    assert [clip.name for clip in clips] == CLIPS
    assert [clip.name for clip in clips if clip.failure] == ["no_target"]


@pytest.mark.parametrize(
    "values",
    [
        {"failed": [{}]},
        {"system": 5},
        {"knobs": {"a": "<"}},
        {"knobs": {"a": {"Speech": []}}},
        {"options": {"a": []}},
        {"drops": {"a": {"title": 1, "flagged": True}}},
        {"nparams": 1.5},
        {"fingerprint": {}},
    ],
)
def test_a_damaged_run_record_is_refused_in_one_line(run, values):
    whole = (run / "run.json").read_text()
    change(run / "run.json", **values)
    for content in ((run / "run.json").read_text(), "{", "[]", "[" * 100_000):
        (run / "run.json").write_text(content)
        with pytest.raises(InputError, match=r"run\.json: damaged \(.*\); let the run finish again") as caught:
            read_run(run)
        assert "\n" not in str(caught.value)
    (run / "run.json").write_text(whole)
    assert read_run(run).about.system == "tagging-driven-compact-3"


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        read_run(tmp_path / "none")
    with pytest.raises(UsageError, match="holds no run"):
        read_run(tmp_path)


def test_a_run_whose_clips_were_deleted_is_refused(run):
    for clip in CLIPS:
        (run / f"{clip}.json").unlink()
    with pytest.raises(UsageError, match="holds no record of a clip"):
        read_run(run)


def test_wrong_references_are_refused(run, tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        read_run(run, tmp_path / "none")
    (tmp_path / "wrong").mkdir()
    with pytest.raises(InputError, match="no reference in it belongs to a clip"):
        read_run(run, tmp_path / "wrong")


def test_references_of_other_clips_and_longer_names_stay_apart(run, tmp_path):
    references = tmp_path / "references"
    shutil.copytree(ORACLE, references)
    source = references / "dishes_keyboard_0_Dishes.flac"
    for name in ("other_0_Speech.flac", "no_target_2_0_Speech.flac", "dishes_keyboard_x_Speech.flac", "notes.flac"):
        shutil.copy(source, references / name)
    (references / "notes.txt").write_text("")
    shutil.copy(run / "no_target.json", run / "no_target_2.json")
    change(run / "no_target_2.json", name="no_target_2")
    found = {clip.name: clip.references for clip in read_run(run, references).clips}
    assert found["no_target"] == ()
    assert found["no_target_2"] == (SourceFile(references / "no_target_2_0_Speech.flac", "Speech", 0),)
    assert [reference.label for reference in found["dishes_keyboard"]] == ["Dishes", "MusicalKeyboard"]
