"""Records of runs: today's, older ones, unfinished ones, and damaged or hostile ones."""

import json
import shutil
from pathlib import Path

import pytest

from s5cli.errors import InputError, UsageError
from s5cli.official import SourceFile
from s5cli.report.collect import read_run
from s5cli.report.flags import flags_of
from s5cli.report.record import read_about, read_records
from tests.report.conftest import EXAMPLES, ORACLE

CLIPS = ["clapping_two_speakers", "dishes_keyboard", "no_target", "speech_pour_percussion"]


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def forget(path: Path, *keys: str) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in content.items() if key not in keys}))


def test_a_run_is_read_whole(run):
    found = read_run(run, ORACLE)
    assert [clip.name for clip in found.clips] == CLIPS
    assert found.is_finished
    assert found.about.system == "tagging-driven-compact-3"
    for clip in found.clips:
        assert clip.mixture == EXAMPLES / f"{clip.name}.flac"
        assert clip.record.failure is None
        record = json.loads((run / f"{clip.name}.json").read_text())
        assert [query.to_json() for query in clip.record.queries] == record["queries"]
        assert [stem.path.name for stem in clip.record.stems] == [stem["file"] for stem in record["stems"]]
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
    assert not found.is_finished
    assert [clip.name for clip in found.clips] == CLIPS[1:]


def test_a_run_of_an_older_version_keeps_what_it_knew(run):
    path = run / "dishes_keyboard.json"
    new = read_records(run)["dishes_keyboard"]
    forget(path, "file", "queries", "clipped_samples")
    old = read_records(run)["dishes_keyboard"]
    assert old.failure is None
    assert old.stems == new.stems
    assert [query.label for query in old.queries] == [query.label for query in new.queries]
    assert [query.reported for query in old.queries] == [query.reported for query in new.queries]
    assert old.queries[-1] == new.queries[-1]  # what was dropped had its whole story then too
    assert flags_of(old, None) == flags_of(new, None)
    assert read_run(run).clips[1].mixture is None
    assert read_run(run, soundscapes=EXAMPLES).clips[1].mixture == EXAMPLES / "dishes_keyboard.flac"
    assert read_run(run, EXAMPLES).clips[1].mixture == EXAMPLES / "dishes_keyboard.flac"


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
    assert found["cut"].record.failure == "cut.wav: truncated"
    assert found["cut"].mixture is None


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"name": "another"}, "it is about 'another'"),
        ({"stems": 3}, "where a list should be"),
        ({"stems": [{"file": "../no_target_0_Speech.wav", "label": "Speech"}]}, "is not a stem of 'Speech'"),
        ({"stems": [{"file": "no_target_0_<b>.wav", "label": "<b>"}]}, "is not a stem of '<b>'"),
        ({"stems": [{"file": "no_target_0_Speech.wav", "label": "Speech", "confidence": "<b>"}]}, "a number"),
        ({"queries": [{"label": "Speech"}]}, "KeyError"),
        ({"queries": [{"label": "Speech", "confidence": float("nan")}]}, "a number"),
        ({"queries": [{"label": "Speech", "confidence": 1, "proposals": [1]}]}, "AttributeError"),
        ({"windows": [{"start_s": 0, "n_queries": 99}]}, "its windows have 99 queries"),
        ({"warnings": [{}]}, "a text"),
        ({"clipped_samples": float("inf")}, "a number"),
        ({"file": 7}, "a text"),
    ],
)
def test_a_damaged_record_is_a_clip_that_says_so(run, values, reason):
    change(run / "no_target.json", **values)
    record = read_records(run)["no_target"]
    assert record.failure.startswith("no_target.json is damaged: ")
    assert reason in record.failure
    assert record.stems == ()


def test_half_a_record_and_other_files_do_not_stop_the_rest(run):
    (run / "no_target.json").write_text('{"name": "no_tar')
    (run / "manifest.jsonl").write_text("not for us")
    (run / "other.json").write_text("[1, 2]")
    (run / "eval_results.json").write_text('{"nparams": 1, "probabilities": []}')
    records = read_records(run)
    assert sorted(records) == CLIPS
    assert [name for name, record in records.items() if record.failure] == ["no_target"]


@pytest.mark.parametrize("content", ["{", "[]", '{"failed": [{}]}', '{"system": 5}', '{"knobs": {"a": "<"}}'])
def test_a_damaged_run_record_is_refused_in_one_line(run, content):
    (run / "run.json").write_text(content)
    with pytest.raises(InputError, match=r"run\.json: damaged \(.*\); let the run finish again") as caught:
        read_about(run)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        read_run(tmp_path / "none")
    with pytest.raises(UsageError, match="holds no record of a clip"):
        read_run(tmp_path)


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
    assert found["no_target_2"] == (SourceFile(references / "no_target_2_0_Speech.flac", "Speech"),)
    assert [reference.label for reference in found["dishes_keyboard"]] == ["Dishes", "MusicalKeyboard"]
