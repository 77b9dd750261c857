"""Every clip appears whole or not at all, bad ones do not stop good ones, and nothing else is touched."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from s5cli.api import LoadedSystem
from s5cli.errors import ClipsFailedError, OutputError, UsageError
from s5cli.knobs import setting
from s5cli.run.pipeline import separate_all
from s5cli.run.plan import Options, plan
from s5cli.run.record import ClipReport, Failure
from s5cli.scene import RATE_HZ
from tests.toy import Toy, band, tones, toy, write_tones

LOW_HZ, HIGH_HZ = 500, 5000


def loaded(system: Toy | None = None, **options: object) -> LoadedSystem:
    return LoadedSystem("toy", system or toy(), "cpu", **options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "made" / "by" / "the run"


@pytest.fixture
def clips(tmp_path) -> Path:
    """a: both bands, b: the high one, c: silence, d: both, longer."""
    folder = tmp_path / "clips"
    folder.mkdir()
    write_tones(folder / "a.wav", LOW_HZ, HIGH_HZ)
    write_tones(folder / "b.flac", HIGH_HZ)
    write_tones(folder / "c.wav")
    write_tones(folder / "d.wav", LOW_HZ, HIGH_HZ, n_samples=7000)
    (folder / "notes.txt").write_text("not a recording")
    (folder / "._a.wav").write_text("what some systems leave beside a file")
    return folder


ALL = ["a.json", "a_0_Speech.wav", "a_1_Dishes.wav", "b.json", "b_0_Dishes.wav", "c.json"]
ALL += ["d.json", "d_0_Speech.wav", "d_1_Dishes.wav", "manifest.jsonl", "run.json"]


def test_a_folder(clips, out):
    result = separate_all(plan([clips], out, Options()), loaded())
    assert names(out) == ALL
    assert [clip.name for clip in result.done] == ["a", "b", "c", "d"]
    result.raise_failed()


def test_the_soundscape_folder_of_a_data_set(clips, out):
    data_set = clips.parent / "set"
    data_set.mkdir()
    clips.rename(data_set / "soundscape")
    (data_set / "oracle_target").mkdir()
    assert list(plan([data_set], out, Options()).clips) == ["a", "b", "c", "d"]


def test_stems_are_what_the_system_gave(clips, out):
    separate_all(plan([clips / "a.wav"], out, Options()), loaded())
    scene_audio, _ = soundfile.read(clips / "a.wav", dtype="float32")
    for file, f_hz in (("a_0_Speech.wav", LOW_HZ), ("a_1_Dishes.wav", HIGH_HZ)):
        stem, rate_hz = soundfile.read(out / file, dtype="int16")
        assert (rate_hz, stem.shape) == (RATE_HZ, (len(scene_audio),))
        np.testing.assert_allclose(stem / 32768, tones(f_hz)[0], atol=1e-3)


def test_clip_json(clips, out):
    separate_all(plan([clips / "a.wav", clips / "c.wav"], out, Options()), loaded())
    about = json.loads((out / "a.json").read_text())
    assert list(about) == ["name", "duration_s", "stems", "queries", "warnings", "file", "clipped_samples"]
    assert (about["file"], about["clipped_samples"]) == (str(clips / "a.wav"), 0)
    assert [query["reported"] for query in about["queries"]] == [0, 1]
    assert (about["name"], about["duration_s"], about["warnings"]) == ("a", 0.2, [])
    assert [stem["file"] for stem in about["stems"]] == ["a_0_Speech.wav", "a_1_Dishes.wav"]
    fields = ["file", "label", "slot", "confidence", "energy_db", "numbers", "onset_s", "offset_s"]
    assert all(list(stem) == fields for stem in about["stems"])
    assert about["stems"][1]["confidence"] == pytest.approx(0.5, abs=0.01)
    assert about["stems"][1]["energy_db"] == pytest.approx(-3.01, abs=0.01)
    assert json.loads((out / "c.json").read_text())["stems"] == []


def test_run_json(clips, out):
    (clips / "bad.wav").touch()
    system = toy(share=0.02)
    separate_all(plan([clips], out, Options(subtype="FLOAT", batch_size=2)), loaded(system, channel_order="fuma"))
    about = json.loads((out / "run.json").read_text())
    assert about["clips"] == {"done": 4, "without_targets": 1, "failed": 1}
    assert (about["system"], about["nparams"], about["device"], about["weights"]) == ("toy", 2, "cpu", [])
    assert about["knobs"] == {"share": 0.02, "gain": 1.0, "pause_s": 0.0}
    assert (about["subtype"], about["batch_size"], about["channel_order"]) == ("FLOAT", 2, "fuma")
    assert set(about["versions"]) == {"s5cli", "torch", "numpy", "python"}
    assert about["started"] <= about["finished"]
    assert [failure["name"] for failure in about["failed"]] == ["bad"]


def test_per_class_knobs_are_written_by_class(clips, out):
    per_class = Toy(setting=setting(Toy.knobs, {"gain": {"Speech": 2}}))
    separate_all(plan([clips / "a.wav"], out, Options()), loaded(per_class))
    gain = json.loads((out / "run.json").read_text())["knobs"]["gain"]
    assert (gain["Speech"], gain["Dishes"], len(gain)) == (2.0, 1.0, 18)


def test_named_labels_replace_proposals(clips, out):
    separate_all(plan([clips / "b.flac"], out, Options(labels=("Speech", "Speech", "Pour"))), loaded())
    assert names(out) == ["b.json", "b_0_Speech.wav", "b_1_Speech.wav", "b_2_Pour.wav", "manifest.jsonl", "run.json"]
    assert json.loads((out / "run.json").read_text())["labels"] == ["Speech", "Speech", "Pour"]


@pytest.mark.parametrize(("size", "batches"), [(1, [1, 1, 1, 1]), (2, [2, 1, 1]), (8, [3, 1]), (10**30, [3, 1])])
def test_clips_of_one_length_share_a_batch(clips, out, size, batches):
    system = toy()
    separate_all(plan([clips], out, Options(batch_size=size)), loaded(system))
    assert system.batches == batches


def test_results_do_not_depend_on_the_batch_size(clips, tmp_path):
    for size in (1, 4):
        separate_all(plan([clips], tmp_path / str(size), Options(batch_size=size)), loaded())
    for name in ALL[:-2]:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "4" / name).read_bytes()


def test_bad_clips_fail_alone(clips, out):
    (clips / "b2.wav").write_text("not audio")
    write_tones(clips / "refused.wav", LOW_HZ, n_samples=7000)
    outcomes: list[ClipReport | Failure] = []
    result = separate_all(plan([clips], out, Options()), loaded(), outcomes.append)
    assert names(out) == ALL
    assert [failure.name for failure in result.failed] == ["b2", "refused"]
    assert {outcome.name for outcome in outcomes} == {"a", "b", "b2", "c", "d", "refused"}
    with pytest.raises(ClipsFailedError) as caught:
        result.raise_failed()
    head, *reasons = str(caught.value).split("\n  ")
    assert head == "2 of 6 clips failed:"
    assert [reason.split(": ")[0] for reason in reasons] == [str(clips / "b2.wav"), str(clips / "refused.wav")]


def test_nothing_is_left_where_all_clips_fail(tmp_path, out):
    (tmp_path / "bad.wav").touch()
    result = separate_all(plan([tmp_path / "bad.wav"], out, Options()), loaded())
    with pytest.raises(ClipsFailedError, match=r"bad\.wav: empty"):
        result.raise_failed()
    assert not (tmp_path / "made").exists()


def test_planning_leaves_nothing(clips, out):
    plan([clips], out, Options())
    assert not out.exists()


def test_clipped_samples_are_counted_and_said(clips, out):
    system = toy(gain=5)
    result = separate_all(plan([clips / "b.flac"], out, Options()), loaded(system))
    expected = int((np.abs(5 * tones(HIGH_HZ)[0]) >= 1).sum())
    assert result.done[0].clipped_samples == pytest.approx(expected, abs=2)
    assert json.loads((out / "run.json").read_text())["clipped_samples"] == result.done[0].clipped_samples
    assert "clipped" in json.loads((out / "b.json").read_text())["warnings"][0]


def test_results_without_a_manifest_are_refused(clips, out):
    separate_all(plan([clips / "a.wav"], out, Options()), loaded())
    (out / "manifest.jsonl").unlink()
    before = {name: (out / name).read_bytes() for name in names(out)}
    for inputs in ([clips / "a.wav"], [clips]):
        with pytest.raises(UsageError, match="--overwrite"):
            plan(inputs, out, Options())
    (out / "run.json").unlink()
    with pytest.raises(UsageError, match="--overwrite"):
        plan([clips / "a.wav"], out, Options())
    assert {name: (out / name).read_bytes() for name in names(out)} == {
        name: content for name, content in before.items() if name != "run.json"
    }


def test_overwriting_removes_stems_of_labels_that_are_gone_and_nothing_else(clips, out):
    separate_all(plan([clips / "a.wav"], out, Options()), loaded())
    kept = ["a_notes.txt", "a_0_Nothing.wav", "a_b_0_Speech.wav", "b_0_Speech.wav"]
    for name in kept:
        (out / name).write_text("of somebody else")
    again = Options(labels=("Pour",), restart=True)
    separate_all(plan([clips / "a.wav"], out, again), loaded())
    assert names(out) == sorted([*kept, "a.json", "a_0_Pour.wav", "manifest.jsonl", "run.json"])


def test_a_failed_clip_keeps_its_old_results(clips, out):
    separate_all(plan([clips], out, Options()), loaded())
    (clips / "a.wav").write_text("damaged since")
    before = (out / "a_0_Speech.wav").read_bytes()
    result = separate_all(plan([clips], out, Options(restart=True)), loaded())
    assert len(result.failed) == 1
    assert names(out) == ALL
    assert (out / "a_0_Speech.wav").read_bytes() == before


def test_other_files_in_the_output_folder_do_not_matter(clips, out):
    out.mkdir(parents=True)
    (out / "z_0_Speech.wav").touch()
    separate_all(plan([clips], out, Options()), loaded())
    assert names(out) == [*ALL, "z_0_Speech.wav"]


@pytest.mark.parametrize("place", ["file", "below a file", "/proc/nowhere"])
def test_unwritable_output(clips, tmp_path, place):
    (tmp_path / "file").touch()
    out = {"file": tmp_path / "file", "below a file": tmp_path / "file" / "out"}.get(place, Path(place))
    with pytest.raises(UsageError, match="cannot be written to"):
        plan([clips], out, Options())
    assert (tmp_path / "file").is_file()


def test_one_name_twice(clips, tmp_path, out):
    write_tones(tmp_path / "a.flac", LOW_HZ)
    with pytest.raises(UsageError, match=r"a\.wav and .*a\.flac.*'a'"):
        plan([clips, tmp_path / "a.flac"], out, Options())
    write_tones(clips / "a.flac", LOW_HZ)
    with pytest.raises(UsageError, match=r"a\.flac and .*a\.wav would both be written as 'a'"):
        plan([clips], out, Options())


def test_a_clip_may_not_take_the_name_of_the_run(clips, out):
    (clips / "a.wav").rename(clips / "run.wav")
    with pytest.raises(UsageError, match=r"run\.json"):
        plan([clips], out, Options())


def test_inputs_are_never_replaced(clips):
    with pytest.raises(UsageError, match="both input and output"):
        plan([clips], clips, Options(restart=True))
    shutil.copy(clips / "a.wav", clips / "a_0_Speech.wav")
    with pytest.raises(UsageError, match="is an input"):
        plan([clips / "a.wav", clips / "a_0_Speech.wav"], clips, Options(restart=True))


def test_one_recording_may_be_separated_beside_itself(clips):
    separate_all(plan([clips / "a.wav"], clips, Options()), loaded())
    assert (clips / "a_0_Speech.wav").is_file()
    assert soundfile.info(clips / "a.wav").channels == 4


@pytest.mark.parametrize(
    ("inputs", "message"), [(["nothing.wav"], "no such file"), (["empty"], "no .wav or .flac"), ([], "no recordings")]
)
def test_no_input(tmp_path, out, inputs, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=message):
        plan([tmp_path / name for name in inputs], out, Options())


def test_wrong_options(clips, out):
    with pytest.raises(UsageError, match="did you mean 'Speech'"):
        plan([clips], out, Options(labels=("Speach",)))
    with pytest.raises(UsageError, match="at most 3"):
        plan([clips], out, Options(labels=("Speech",) * 4))
    with pytest.raises(UsageError, match="batch size 0"):
        plan([clips], out, Options(batch_size=0))


def test_an_output_folder_that_vanishes_ends_the_run_in_one_line(clips, out):
    def vanish(outcome: ClipReport | Failure) -> None:
        shutil.rmtree(out)

    with pytest.raises(OutputError, match="cannot be written") as caught:
        separate_all(plan([clips], out, Options(batch_size=1)), loaded(), vanish)
    assert "\n" not in str(caught.value)


def test_a_bug_is_not_a_failed_clip(clips, out):
    class Buggy(Toy):
        def __call__(self, *args: object) -> list[list[object]]:
            raise ZeroDivisionError

    buggy = Buggy(setting=toy().setting)
    with pytest.raises(ZeroDivisionError):
        separate_all(plan([clips], out, Options()), loaded(buggy))
    assert not out.exists()


def test_the_toy_reports_its_bands():
    from s5cli.audio import as_scene

    scene = as_scene(tones(LOW_HZ, HIGH_HZ), "a")
    np.testing.assert_allclose(band(scene, "Speech") + band(scene, "Dishes"), scene.audio[0], atol=1e-6)
