"""Reports as folders: complete, movable, the same on any number of processes, and there whole or not at all."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hatchling.builders.wheel import WheelBuilder
from matplotlib.image import imread

from s5cli.cli import exit_code
from s5cli.errors import UsageError
from s5cli.official import SourceFile
from s5cli.report.collect import read_run
from s5cli.report.write import Options, page_keys, write_report
from s5cli.score.evaluate import evaluate
from tests import forked
from tests.report.conftest import EXAMPLES, ORACLE
from tests.report.test_collect import QUERY, change

ROOT = Path(__file__).parents[2]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flags(report) -> dict[str, list[str]]:
    return {
        clip.name: [flag.name for flag in outcome.flags]
        for clip, outcome in zip(report.run.clips, report.outcomes, strict=True)
    }


def start(*args: object, **how: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "s5cli", *map(str, args)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)


# --- content ----------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_evaluate(reported, made):
    expected = evaluate(made, ORACLE)
    assert {outcome.result.soundscape: outcome.result.to_json() for outcome in reported.outcomes} == {
        clip.soundscape: clip.to_json() for clip in expected.clips
    }
    assert reported.scores.capi_sdri_db == expected.overall.capi_sdri_db
    assert reported.scores.accuracy_mixture_percent == expected.overall.accuracy_mixture_percent


def test_flags_say_what_the_records_and_the_scores_say(reported):
    found = flags(reported)
    for clip, outcome in zip(reported.run.clips, reported.outcomes, strict=True):
        stems, queries, result = clip.stems, clip.queries, outcome.result
        rules = {rule: drop.flagged for rule, drop in reported.run.about.drops.items()}
        assert set(rules.values()) == {True, False}
        expected = {
            "false alarm": stems and not clip.references,
            "surplus stem": clip.references and result.score.fp > 0,
            "missed": result.score.fn > 0,
            "low confidence": any(stem.confidence < 0.5 for stem in stems),
            "nothing reported": not stems,
            **{f"dropped: {rule}": rules[rule] and any(q.dropped_by == rule for q in queries) for rule in rules},
        }
        assert {name for name in found[clip.name] if name in expected} == {name for name in expected if expected[name]}
        assert "dropped" not in found[clip.name]
    assert found["no_target"] == ["nothing reported"]
    assert any(name.startswith("dropped: ") for flagged in found.values() for name in flagged)
    assert any("low confidence" in flagged for flagged in found.values())


def test_every_sound_is_there_as_it_was(reported):
    for clip, outcome in zip(reported.run.clips, reported.outcomes, strict=True):
        folder = reported.folder / "clips" / outcome.key
        mixture, _ = soundfile.read(clip.mixture, dtype="int16")
        channel, rate_hz = soundfile.read(folder / "mixture.flac", dtype="int16")
        assert rate_hz == 32_000
        assert np.array_equal(channel, mixture[:, 0])
        stems = [SourceFile(reported.run.folder / stem.file, stem.label) for stem in clip.stems]
        sources = [("stem", stem) for stem in stems] + [("reference", one) for one in clip.references]
        names = {path.name for path in folder.iterdir()} - {"mixture.flac", "mixture.png", "index.html"}
        assert len(names) == 2 * len(sources)
        for role in ("stem", "reference"):
            for number, source in enumerate(source for kind, source in sources if kind == role):
                copy = folder / f"{role}_{number}_{source.label}{source.path.suffix}"
                assert copy.read_bytes() == source.path.read_bytes()


def test_clipping_warnings_and_low_confidence_are_flagged(run, tmp_path):
    change(run / "no_target.json", clipped_samples=3, warnings=["channel 0 is 3 dB below channel 1"])
    report = write_report(read_run(run), tmp_path / "report", Options(low_confidence=0.8))
    assert flags(report)["no_target"] == ["clipped", "warning", "nothing reported"]
    assert "low confidence" in flags(report)["clapping_two_speakers"]
    page = (report.folder / "clips" / "no_target" / "index.html").read_text()
    assert "channel 0 is 3 dB below channel 1" in page
    assert "3 samples" in page


def test_rules_are_flagged_by_the_names_and_titles_that_the_run_gives(run, tmp_path):
    """And those of an unfinished run in general, where a stem was lost."""
    drops = {"late": {"title": "came too late", "flagged": True}, "dull": {"title": "dull", "flagged": False}}
    change(run / "run.json", drops=drops)
    dull, late, other = (
        QUERY | {"dropped_by": rule, "reason": "so it is", "reported": None} for rule in ("dull", "late", "other")
    )
    for name, queries in (
        ("clapping_two_speakers", [other]),
        ("dishes_keyboard", [dull]),
        ("no_target", [late | {"slot": None}, dull]),
        ("speech_pour_percussion", [other | {"slot": None}]),
    ):
        change(run / f"{name}.json", stems=[], queries=queries)
    report = write_report(read_run(run), tmp_path / "report")
    found = flags(report)
    assert {flagged.pop() for flagged in found.values()} == {"nothing reported"}
    assert [*found.values()] == [["dropped"], [], ["dropped: late"], []]
    assert 'data-flag="dropped: late" title="came too late"' in (report.folder / "index.html").read_text()
    (run / "run.json").unlink()
    found = flags(write_report(read_run(run), tmp_path / "again"))
    assert ["dropped" in flagged for flagged in found.values()] == [True, True, True, False]


def test_thresholds_and_options_are_told_whatever_they_are(run, tmp_path):
    knobs = {"level_db": -20.5, "logit": "-inf", "share": {"Speech": 0.5, "Cough": 0.25}, "one": {"Speech": 0.1}}
    change(run / "run.json", knobs=knobs | {"none": {}}, options={"whisper": False, "stages": 3, "preset": "<b>"})
    page = (write_report(read_run(run), tmp_path / "report").folder / "index.html").read_text()
    assert "<summary>Thresholds and options</summary>level_db −20.5, logit −inf, share by class (0.25 to 0.5)," in page
    assert " one by class (0.1), none by class (), whisper off, stages 3, preset &lt;b&gt;<" in page


def answered_by(run: Path, clip: str, *stems: tuple[str, str]) -> None:
    """Makes the run one that gave the sounds of these references as stems, each (file, label)."""
    told = []
    for number, (reference, label) in enumerate(stems):
        file = f"{clip}_{number}_{label}.wav"
        soundfile.write(run / file, *soundfile.read(ORACLE / reference))
        told.append({"file": file, "label": label, "slot": number, "confidence": 1.0, "energy_db": 0.0, "numbers": {}})
    change(run / f"{clip}.json", stems=told)


def cards(report, clip: str) -> list[list[tuple[str, str]]]:
    """Role with number and verdict of the cards of each row below the mixture."""
    page = (report.folder / "clips" / clip / "index.html").read_text()
    card = re.compile(r'<span class="role">(\w+ \d)</span><strong>\w+</strong>(?:<span class="flag \w+">([\w ]+)<)?')
    rows = re.split(r'<div class="(?:pair|alone)">', page)[1:]
    return [card.findall(row) for row in rows]


def test_a_right_sound_under_a_wrong_label_stands_beside_its_reference(run, tmp_path):
    clip = "speech_pour_percussion"
    answered_by(run, clip, (f"{clip}_1_Pour.flac", "Cough"), (f"{clip}_0_Speech.flac", "Speech"))
    report = write_report(read_run(run, ORACLE), tmp_path / "report")
    assert cards(report, clip) == [
        [("Stem 1", "matched"), ("Reference 0", "")],
        [("Stem 0", "wrong label"), ("Reference 1", "missed")],
        [("Reference 2", "missed")],
    ]
    assert {"surplus stem", "missed", "wrong label"} <= set(flags(report)[clip])
    assert "dB by sound" in (report.folder / "clips" / clip / "index.html").read_text()


def test_a_sound_like_none_of_the_references_is_surplus(run, tmp_path):
    answered_by(run, "dishes_keyboard", ("speech_pour_percussion_1_Pour.flac", "Pour"))
    report = write_report(read_run(run, ORACLE), tmp_path / "report")
    assert cards(report, "dishes_keyboard") == [
        [("Stem 0", "surplus"), ("Reference 0", "missed")],
        [("Reference 1", "missed")],
    ]
    assert "wrong label" not in flags(report)["dishes_keyboard"]


def test_a_stem_where_there_is_no_target_is_a_false_alarm(run, tmp_path):
    answered_by(run, "no_target", ("speech_pour_percussion_1_Pour.flac", "Pour"))
    report = write_report(read_run(run, ORACLE), tmp_path / "report")
    assert flags(report)["no_target"] == ["false alarm"]
    assert cards(report, "no_target") == [[("Stem 0", "false alarm")]]
    assert report.scores.false_alarm_percent == 100  # as evaluate counts
    assert sum("false alarm" in flagged for flagged in flags(report).values()) == 1


def test_the_trace_has_a_column_for_every_stage_that_the_system_named(run, tmp_path):
    stages = [
        {"stage": "hear", "numbers": {"p": 0.25, "onset_s": 1.5}},
        {"stage": "again <b>", "numbers": {"level_db": -6.02}, "note": "left one taken"},
    ]
    told = [
        QUERY | {"stages": [stages[0], {"stage": "end", "numbers": {}}], "reported": None, "dropped_by": "late"},
        QUERY | {"stages": stages, "slot": None, "reported": None, "reason": "no place <b>"},
    ]
    change(run / "no_target.json", queries=told)
    page = (write_report(read_run(run), tmp_path / "report").folder / "clips" / "no_target" / "index.html").read_text()
    table = page[page.index('<table class="trace">') :]
    heads = ["Query", "Slot", "Confidence", "hear", "again &lt;b&gt;", "end", "Outcome"]
    assert re.findall(r'<th scope="col">(.*?)</th>', table) == heads
    rows = [re.findall(r"<td.*?>(.*?)</td>", row) for row in table.split("<tr")[2:]]
    hear, met = "<span>p 0.25</span><span>onset 1.50 s</span>", '<span class="muted">yes</span>'
    assert rows[0] == ["0", "1.00", hear, "–", met, '<span class="by">late</span>: not reported']
    again = '<span>level −6.0 dB</span><span class="muted">left one taken</span>'
    assert rows[1] == ["–", "1.00", hear, again, "–", "no place &lt;b&gt;"]


def test_cards_show_the_numbers_that_the_system_named(run, tmp_path):
    content = json.loads((run / "dishes_keyboard.json").read_text())
    stems = [stem | {"numbers": {"snr_db": -3.25, "angle_deg": 12.0}} for stem in content["stems"]]
    change(run / "dishes_keyboard.json", stems=stems)
    folder = write_report(read_run(run), tmp_path / "report").folder / "clips" / "dishes_keyboard"
    told = "<span>snr −3.2 dB</span><span>angle 12.0 °</span>"
    assert (folder / "index.html").read_text().count(told) == len(stems)


def test_a_loud_recording_is_turned_down_to_be_heard(run, tmp_path):
    audio, rate_hz = soundfile.read(EXAMPLES / "no_target.flac")
    loud = 4 * audio / np.abs(audio[:, 0]).max()
    soundfile.write(tmp_path / "no_target.wav", loud, rate_hz, subtype="FLOAT")
    change(run / "no_target.json", file=str(tmp_path / "no_target.wav"))
    report = write_report(read_run(run), tmp_path / "report")
    folder = report.folder / "clips" / "no_target"
    heard, _ = soundfile.read(folder / "mixture.flac")
    assert np.allclose(heard, loud[:, 0] / 4, atol=1e-4)
    assert "played at −12.0 dB" in (folder / "index.html").read_text()


def test_digital_silence_is_said_and_dark(run, tmp_path):
    soundfile.write(tmp_path / "no_target.wav", np.zeros((32_000, 4)), 32_000)
    change(run / "no_target.json", file=str(tmp_path / "no_target.wav"))
    folder = write_report(read_run(run), tmp_path / "report").folder / "clips" / "no_target"
    assert "silent" in (folder / "index.html").read_text()
    assert np.all(imread(folder / "mixture.png")[..., :3] < 0.05)


def test_a_long_recording_is_drawn_whole_and_told_by_windows(tmp_path):
    audio, rate_hz = soundfile.read(EXAMPLES / "dishes_keyboard.flac")
    soundfile.write(tmp_path / "long.wav", np.concatenate([audio, audio[: 5 * rate_hz]]), rate_hz)
    run = tmp_path / "run"
    assert exit_code(["separate", str(tmp_path / "long.wav"), "-o", str(run), "--device", "cpu"]) == 0
    content = json.loads((run / "long.json").read_text())
    folder = write_report(read_run(run), tmp_path / "report").folder / "clips" / "long"
    page = (folder / "index.html").read_text()
    assert len(content["windows"]) > 1
    for window in content["windows"]:
        assert f"Window from {window['start_s']:g} s" in page
    assert imread(folder / "mixture.png").shape[:2] == (128, 1200)
    assert "15.00 s" in page


# --- sounds not there -------------------------------------------------------------------------------------------------


def test_a_missing_stem_is_shown_and_told(run, tmp_path, capfd):
    gone = sorted(run.glob("dishes_keyboard_*.wav"))[-1]
    gone.unlink()
    (run / "clapping_two_speakers_0_Speech.wav").write_bytes(b"RIFF")
    out = tmp_path / "report"
    assert exit_code(["report", str(run), "--reference", str(ORACLE), "-o", str(out)]) == 1
    said = capfd.readouterr()
    assert "the report is written, but 2 sounds are missing" in said.err
    assert f"{gone.name}: cannot be read" in said.err
    found = {clip["name"]: clip for clip in json.loads((out / "report.json").read_text())["clips"]}
    for name in ("dishes_keyboard", "clapping_two_speakers"):
        assert "incomplete" in found[name]["flags"]
        assert found[name]["capi_sdri_db"] is None
    assert "cannot be read" in (out / "clips" / "dishes_keyboard" / "index.html").read_text()
    assert found["speech_pour_percussion"]["capi_sdri_db"] is not None


def test_references_of_another_length_give_no_score_but_a_reason(run, tmp_path):
    references = Path(shutil.copytree(ORACLE, tmp_path / "references"))
    path = references / "dishes_keyboard_0_Dishes.flac"
    audio, rate_hz = soundfile.read(path)
    soundfile.write(path, audio[:-1], rate_hz)
    report = write_report(read_run(run, references), tmp_path / "report")
    assert report.troubles == (f"{path}: 319999 samples, but its mixture has 320000",)
    assert "incomplete" in flags(report)["dishes_keyboard"]
    assert report.scores.n_clips == 3


def test_mixtures_that_moved_are_asked_for(run, tmp_path, capfd):
    for path in run.glob("*.json"):
        if path.name != "run.json":
            change(path, file=f"/nowhere/{path.stem}.flac")
    assert exit_code(["report", str(run), "-o", str(tmp_path / "report")]) == 0
    assert "mixtures of 4 clips not found; --soundscapes names their folder" in capfd.readouterr().err
    page = (tmp_path / "report" / "clips" / "dishes_keyboard" / "index.html").read_text()
    assert "not found; --soundscapes" in page
    assert "stem_0_MusicalKeyboard.png" in page


def test_a_failed_clip_has_a_page_with_the_reason(run, tmp_path):
    (tmp_path / "cut.wav").write_bytes(b"RIFF")
    failure = {"name": "cut", "file": str(tmp_path / "cut.wav"), "reason": "cut.wav: truncated <here>"}
    change(run / "run.json", failed=[failure])
    report = write_report(read_run(run, ORACLE), tmp_path / "report")
    assert flags(report)["cut"] == ["failed"]
    assert report.troubles == ()
    assert "cut.wav: truncated &lt;here&gt;" in (report.folder / "clips" / "cut" / "index.html").read_text()
    assert report.scores.n_clips == 4


# --- the folder -------------------------------------------------------------------------------------------------------


def test_workers_do_not_change_the_files(reported, made, tmp_path):
    again = write_report(read_run(made, ORACLE), tmp_path / "report", Options(workers=2))
    assert files(again.folder) == files(reported.folder)


def test_links_point_at_the_run_from_wherever_the_report_is(made, tmp_path):
    report = write_report(read_run(made), tmp_path / "a" / "b" / "report", Options(link=True))
    folder = report.folder / "clips" / "dishes_keyboard"
    assert sorted(path.name for path in folder.glob("*.*a*")) == ["mixture.flac"]
    page = (folder / "index.html").read_text()
    address = next(part for part in page.split('"') if part.endswith("dishes_keyboard_0_MusicalKeyboard.wav"))
    assert (folder / address).resolve() == (made / "dishes_keyboard_0_MusicalKeyboard.wav").resolve()


def test_it_lies_beside_the_run_unless_told_otherwise(run, capfd):
    assert exit_code(["report", str(run)]) == 0
    assert capfd.readouterr().out.splitlines()[0] == str(run.parent / "run_report" / "index.html")
    assert sorted(path.name for path in run.parent.iterdir()) == ["run", "run_report"]


def test_json_is_what_the_folder_holds(run, tmp_path, capfd):
    assert exit_code(["report", str(run), "-o", str(tmp_path / "report"), "--json"]) == 0
    printed = json.loads(capfd.readouterr().out)
    assert printed == json.loads((tmp_path / "report" / "report.json").read_text())
    assert all((tmp_path / "report" / clip["page"]).is_file() for clip in printed["clips"])


def test_only_a_report_is_ever_replaced(run, tmp_path, capfd):
    out = tmp_path / "report"
    out.mkdir()
    assert exit_code(["report", str(run), "-o", str(out)]) == 0  # an empty folder is a place like any other
    before = files(out)
    assert exit_code(["report", str(run), "-o", str(out)]) == 2
    assert "--overwrite replaces it" in capfd.readouterr().err
    assert files(out) == before
    (out / "stale.txt").write_text("")
    assert exit_code(["report", str(run), "-o", str(out), "--overwrite"]) == 0
    assert files(out) == before
    for precious in (run, run / "run.json"):
        assert exit_code(["report", str(run), "-o", str(precious), "--overwrite"]) == 2
        assert "is there and no report" in capfd.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report", "run"]


def test_no_workers_are_refused(run, tmp_path):
    with pytest.raises(UsageError, match="give --workers 1 or more"):
        write_report(read_run(run), tmp_path / "report", Options(workers=0))


def test_a_full_disk_leaves_nothing(run, tmp_path):
    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    failed = start("report", run, "-o", tmp_path / "report", "--overwrite", preexec_fn=little_room)
    out, err = failed.communicate(timeout=100)
    assert failed.returncode == 1
    assert out == ""
    assert err.strip().startswith("error: ")
    assert "cannot be written (File too large)" in err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_leaves_nothing(run, tmp_path, workers):
    for number in range(100):
        shutil.copy(run / "no_target.json", run / f"copy_{number}.json")
        change(run / f"copy_{number}.json", name=f"copy_{number}")
    stopped = forked.Popen(
        ["report", run, "-o", tmp_path / "report", "--workers", workers], stderr=subprocess.PIPE, text=True
    )
    end_s = time.monotonic() + 60
    while not list(tmp_path.glob(".report-*/clips/*/index.html")) and time.monotonic() < end_s:
        time.sleep(0.02)
    stopped.send_signal(signal.SIGTERM)
    _, err = stopped.communicate(timeout=100)
    assert stopped.returncode == 128 + signal.SIGTERM, err
    assert err.strip().splitlines()[-1] == "error: interrupted"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_keys_are_safe_and_never_shared():
    hostile = ["..", ".", "a/b", "a b", "a_b", "A_B", "ä", "", "x" * 300, "x" * 301, "caf\udce9", "-", "con"]
    keys = page_keys(hostile)
    assert len({key.lower() for key in keys}) == len(hostile)
    assert all(
        key.isascii() and not key.startswith(".") and len(key) < 100 and not set(key) & set('/\\:*?"<>| ')
        for key in keys
    )
    assert page_keys(["eval_0001", "eval-2.b"]) == ["eval_0001", "eval-2.b"]


def test_the_wheel_carries_style_and_scripts():
    packed = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assets = {str(path.relative_to(ROOT)) for path in (ROOT / "s5cli" / "report" / "assets").iterdir()}
    assert len(assets) == 4
    assert assets <= packed
