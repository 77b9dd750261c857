"""A second call goes on where the first one ended, does nothing twice, and leaves what an undisturbed call leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from s5cli import api
from s5cli.api import LoadedSystem
from s5cli.audio import LOCK_NAME
from s5cli.errors import UsageError
from s5cli.run.pipeline import separate_all
from s5cli.run.plan import Options, plan
from s5cli.run.record import ClipReport, Failure, Notice, RunResult
from tests.run.contents import contents
from tests.toy import Toy, toy, write_tones

LOW_HZ, HIGH_HZ = 500, 5000
NAMES = "abcdefg"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def clips(tmp_path) -> Path:
    """Seven clips of two lengths, so that batches are not what comes first."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for index, name in enumerate(NAMES):
        write_tones(folder / f"{name}.wav", LOW_HZ, HIGH_HZ, n_samples=6400 if index % 3 else 7000)
    return folder


def separate(clips: Path, out: Path, system: Toy | None = None, watch=lambda outcome: None, **options) -> RunResult:
    loaded = LoadedSystem("toy", system or toy(), "cpu")
    return separate_all(plan([clips], out, Options(**{"batch_size": 2} | options)), loaded, watch)


class StopError(Exception):
    """Ends a run from outside."""


def interrupted(clips: Path, out: Path, n_clips: int) -> None:
    """A run that ends after so many clips."""
    seen = []

    def stop(outcome: object) -> None:
        seen.append(outcome)
        if len(seen) == n_clips:
            raise StopError

    with pytest.raises(StopError):
        separate(clips, out, watch=stop)


@pytest.fixture
def expected(clips, tmp_path) -> dict[str, bytes]:
    separate(clips, tmp_path / "undisturbed")
    return contents(tmp_path / "undisturbed")


def test_a_second_call_does_nothing(clips, out):
    first = separate(clips, out)
    times = {path: path.stat().st_mtime_ns for path in out.iterdir() if path.name != "run.json"}
    system, told = toy(), []
    second = separate(clips, out, system, told.append)
    assert system.batches == []
    assert second == first
    assert told == [Notice("7 of 7 clips are done already", 7)]
    assert {path: path.stat().st_mtime_ns for path in out.iterdir() if path.name != "run.json"} == times


@pytest.mark.parametrize("n_clips", range(1, len(NAMES)))
def test_a_second_call_goes_on(clips, out, expected, n_clips):
    interrupted(clips, out, n_clips)
    assert len(list(out.glob("?.json"))) == n_clips
    assert not (out / "run.json").exists()
    told: list[object] = []
    result = separate(clips, out, watch=told.append)
    assert contents(out) == expected
    assert [clip.name for clip in result.done] == list(NAMES)
    assert told[0] == Notice(f"{n_clips} of 7 clips are done already", n_clips)
    assert len(told) == 1 + 7 - n_clips, "what was done is not done again"
    run = json.loads((out / "run.json").read_text())
    assert (run["clips"], run["stems"]) == ({"done": 7, "without_targets": 0, "failed": 0}, 14)


def test_every_clip_is_in_the_manifest_once(clips, out):
    interrupted(clips, out, 3)
    separate(clips, out)
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert sorted(line["clip"] for line in lines if "clip" in line) == list(NAMES)
    assert sum("run" in line for line in lines) == 2


def test_batches_are_the_same_after_an_interruption(clips, out):
    """What is done in part goes through the networks whole: their last bits may depend on what shares a batch."""
    whole, rest = toy(), toy()
    separate(clips, out.with_name("undisturbed"), whole)
    assert whole.batches == [2, 2, 2, 1]
    interrupted(clips, out, 3)
    separate(clips, out, rest)
    assert rest.batches == [2, 2, 1]


def test_other_batch_sizes_and_devices_go_on_too(clips, out, expected):
    interrupted(clips, out, 2)
    two = [LoadedSystem("toy", toy(), "cpu"), LoadedSystem("toy", toy(), "cpu")]
    separate_all(plan([clips], out, Options(batch_size=5)), two)
    assert contents(out) == expected


def test_a_clip_whose_recording_changed_is_separated_again(clips, out):
    separate(clips, out)
    write_tones(clips / "c.wav", HIGH_HZ)
    system = toy()
    separate(clips, out, system)
    assert sum(system.batches) <= 2
    assert [path.name for path in sorted(out.glob("c*"))] == ["c.json", "c_0_Dishes.wav"]


@pytest.mark.parametrize("lost", ["c.json", "c_0_Speech.wav"])
def test_a_clip_that_lost_a_file_is_separated_again(clips, out, expected, lost):
    separate(clips, out)
    (out / lost).unlink()
    separate(clips, out)
    assert contents(out) == expected


def test_a_clip_whose_file_was_cut_is_separated_again(clips, out, expected):
    separate(clips, out)
    os.truncate(out / "c_0_Speech.wav", 100)
    separate(clips, out)
    assert contents(out) == expected


def test_new_clips_are_added(clips, out):
    separate(clips, out)
    write_tones(clips / "h.wav", LOW_HZ)
    assert [clip.name for clip in separate(clips, out).done] == [*NAMES, "h"]


def test_a_moved_data_set_is_known_by_its_content(clips, out, tmp_path):
    separate(clips, out)
    clips.rename(tmp_path / "moved")
    system = toy()
    assert len(separate(tmp_path / "moved", out, system).done) == 7
    assert system.batches == []


def test_another_setting_is_refused_and_nothing_touched(clips, out):
    interrupted(clips, out, 3)
    before = contents(out), (out / "manifest.jsonl").read_bytes()
    with pytest.raises(UsageError, match=r"made with labels \[\], not \['Pour'\]; --restart begins again"):
        separate(clips, out, labels=("Pour",))
    with pytest.raises(UsageError, match=r"knobs\.share 0\.01, not 0\.5"):
        separate(clips, out, toy(share=0.5))
    with pytest.raises(UsageError, match=r"window_s 10\.0, not None"):
        separate(clips, out, window=None)
    assert (contents(out), (out / "manifest.jsonl").read_bytes()) == before


def test_a_restart_replaces_everything(clips, out):
    separate(clips, out)
    result = separate(clips, out, labels=("Pour",), restart=True)
    assert len(result.done) == 7
    assert sorted(contents(out)) == sorted(name + end for name in NAMES for end in (".json", "_0_Pour.wav"))


def test_a_restart_that_was_interrupted_goes_on_without_it(clips, out):
    separate(clips, out)
    told = []

    def stop(outcome: object) -> None:
        told.append(outcome)
        if len(told) == 4:
            raise StopError

    with pytest.raises(StopError):
        separate(clips, out, watch=stop, labels=("Pour",), restart=True)
    system = toy()
    separate(clips, out, system, labels=("Pour",))
    assert sum(system.batches) <= 4
    assert sorted(contents(out)) == sorted(name + end for name in NAMES for end in (".json", "_0_Pour.wav"))


# --- what fails ------------------------------------------------------------------------------------------------------


def test_failures_are_tried_again(clips, out, expected):
    good = (clips / "d.wav").read_bytes()
    (clips / "d.wav").write_bytes(good[:500])
    first = separate(clips, out)
    assert [failure.name for failure in first.failed] == ["d"]
    assert json.loads((out / "run.json").read_text())["clips"] == {"done": 6, "without_targets": 0, "failed": 1}
    assert [failure.name for failure in separate(clips, out).failed] == ["d"]
    (clips / "d.wav").write_bytes(good)
    assert separate(clips, out).failed == ()
    assert contents(out) == expected
    assert json.loads((out / "run.json").read_text())["failed"] == []


def test_a_recording_that_vanishes_fails_alone(clips, out, expected):
    """It was there when the run was planned."""
    job = plan([clips], out, Options(batch_size=2))
    (clips / "f.wav").rename(clips / "f.bak")
    result = separate_all(job, LoadedSystem("toy", toy(), "cpu"))
    assert [(failure.name, "cannot be read" in failure.reason) for failure in result.failed] == [("f", True)]
    assert contents(out) == {name: content for name, content in expected.items() if name[0] != "f"}
    (clips / "f.bak").rename(clips / "f.wav")
    separate(clips, out)
    assert contents(out) == expected


def test_a_finished_clip_outlives_its_recording(clips, out, expected):
    separate(clips, out)
    job = plan([clips], out, Options(batch_size=2))
    (clips / "f.wav").unlink()
    result = separate_all(job, LoadedSystem("toy", toy(), "cpu"))
    assert [failure.name for failure in result.failed] == ["f"]
    assert contents(out) == expected


# --- what a killed process leaves ------------------------------------------------------------------------------------


def test_leftovers_of_a_killed_process_go_and_other_files_stay(clips, out, expected):
    separate(clips, out)
    (out / ".s5-old" / "c").mkdir(parents=True)
    (out / ".s5-old" / "c" / "c_0_Speech.wav").write_bytes(b"half")
    (out / ".s5-123-4.part").write_bytes(b"{")
    (out / ".notes").touch()
    (out / "x_0_Speech.wav").touch()
    separate(clips, out)
    assert contents(out) == expected | {".notes": b"", "x_0_Speech.wav": b""}


def test_two_processes_do_not_write_to_one_folder(clips, out):
    separate(clips, out)
    with FileLock(out / LOCK_NAME), pytest.raises(UsageError, match="another process is writing there"):
        plan([clips], out, Options())
    plan([clips], out, Options())


def test_a_folder_is_free_again_after_its_process_was_killed(clips, out):
    held = "import sys, time; from pathlib import Path; from s5cli.run.staging import staging\n"
    held += "with staging(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", held, str(out)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(UsageError, match="another process"):
        plan([clips], out, Options())
    process.send_signal(signal.SIGKILL)
    process.wait()
    separate(clips, out)
    assert not list(out.glob(".s5-*"))


@pytest.mark.parametrize("mode", ["new", "restart"])
def test_killed_before_every_operation_on_files(tmp_path, mode):
    """At whatever moment a run is killed, the next call makes of it what an undisturbed one makes."""
    folder, scratch = tmp_path / "two", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    write_tones(folder / "a.wav", LOW_HZ, HIGH_HZ)
    write_tones(folder / "b.wav", LOW_HZ)
    command = [sys.executable, "-m", "tests.run.killed_everywhere", str(folder), str(scratch), mode]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    moments = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(moments) > 40
    assert [moment["killed"] for moment in moments] == [True] * (len(moments) - 1) + [False]
    assert all(moment["same"] for moment in moments)
    assert all(moment["hidden"] == [] for moment in moments)
    assert all(len(moment["halves"]) <= 1 for moment in moments), "one clip at most is being moved into place"


# --- with the embedded networks --------------------------------------------------------------------------------------


def test_the_default_system_goes_on_bit_by_bit(tmp_path):
    """Four clips in batches of two, the third one is to be done again."""
    loaded = api.load("baseline-compact", "cpu")
    examples = sorted((ROOT / "examples").glob("*.flac"))
    options = Options(batch_size=2, labels=("Speech",))
    separate_all(plan(examples, tmp_path / "whole", options), loaded)
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    lines = (tmp_path / "part" / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    third = next(i for i, line in enumerate(lines) if b'"clip": "no_target"' in line)
    (tmp_path / "part" / "manifest.jsonl").write_bytes(b"".join(lines[:third] + lines[third + 1 :]))
    (tmp_path / "part" / "no_target.json").unlink()
    told: list[ClipReport | Failure | Notice] = []
    separate_all(plan(examples, tmp_path / "part", options), loaded, told.append)
    assert [clip.name for clip in told if isinstance(clip, ClipReport)] == ["no_target"]
    assert contents(tmp_path / "part") == contents(tmp_path / "whole")
