"""What happens to a run overnight: it is killed, the disk is full, recordings vanish or are damaged. Real processes."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run.contents import contents
from tests.toy import write_tones

N_CLIPS = 40


@pytest.fixture
def clips(tmp_path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for index in range(N_CLIPS):
        write_tones(folder / f"{index:02d}.wav", 500, *((5000,) if index % 3 else ()), n_samples=3200 + index % 2)
    return folder


@pytest.fixture
def slow(tmp_path) -> tuple[object, ...]:
    """0.02 s for every clip."""
    (tmp_path / "slow.toml").write_text("[knobs]\npause_s = 0.02\n")
    return ("--system", "toy", "--thresholds", tmp_path / "slow.toml", "--batch-size", 3)


def finished(out: Path) -> set[str]:
    return {path.stem for path in out.glob("*.json")} - {"run"} if out.exists() else set()


def wait_for(n_clips: int, out: Path, process: subprocess.Popen[str]) -> None:
    end_s = time.monotonic() + 120
    while len(finished(out)) < n_clips and process.poll() is None:
        assert time.monotonic() < end_s
        time.sleep(0.002)


def check_whole(out: Path, expected: dict[str, bytes]) -> None:
    """Whatever clip is there is there in full; of one at most there may be stems that wait for their JSON."""
    whole = finished(out)
    found = {path.name: path.read_bytes() for path in out.glob("[0-9]*")}
    assert all(found[name] == content for name, content in expected.items() if name[:2] in whole)
    assert len({name[:2] for name in found} - whole) <= 1


def recorded(out: Path) -> list[str]:
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    return sorted(line["clip"] for line in lines if "clip" in line)


# --- ends ------------------------------------------------------------------------------------------------------------


def test_killed_again_and_again_and_resumed(s5, start, clips, out, slow, tmp_path):
    assert s5("separate", clips, "-o", tmp_path / "undisturbed", *slow).code == 0
    expected = contents(tmp_path / "undisturbed")
    moments = random.Random(9)
    for _ in range(3):
        process = start("separate", clips, "-o", out, *slow)
        wait_for(len(finished(out)) + moments.randint(1, 8), out, process)
        time.sleep(moments.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        check_whole(out, expected)
    before = len(finished(out))
    done = s5("separate", clips, "-o", out, *slow)
    assert (done.code, contents(out)) == (0, expected)
    assert before >= 3
    assert done.err.startswith("note: ")
    assert json.loads((out / "run.json").read_text())["clips"]["done"] == N_CLIPS
    assert set(recorded(out)) == {path.stem for path in clips.iterdir()}


def test_stopped_and_resumed(s5, start, clips, out, slow, tmp_path):
    s5("separate", clips, "-o", tmp_path / "undisturbed", *slow)
    process = start("separate", clips, "-o", out, *slow, "--device", "cpu,cpu")
    wait_for(5, out, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (
        143, f"error: interrupted; {len(finished(out))} of {N_CLIPS} clips are done, and the same command goes on\n"
    )  # fmt: skip
    assert sorted(finished(out)) == recorded(out), "what a signal ends is whole and recorded"
    assert not list(out.glob(".*"))
    assert s5("separate", clips, "-o", out, *slow).code == 0
    assert contents(out) == contents(tmp_path / "undisturbed")
    assert recorded(out) == sorted(finished(out)), "nothing was done twice"


# --- disk full -------------------------------------------------------------------------------------------------------


def refusal_to_mount(place: Path) -> str:
    """Mounts a file system of 300 kB, or says why it cannot."""
    place.mkdir()
    if shutil.which("mount") is None:
        return "there is no mount"
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stderr.strip() or "mount failed") if done.returncode else ""


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """Room for 300 kB, where this process may make such a place."""
    place = tmp_path / "disk"
    if reason := refusal_to_mount(place):
        pytest.skip(f"no small file system can be mounted here ({reason}); the next test tries it in a namespace")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_ends_the_run_in_one_line_and_room_completes_it(s5, clips, small_disk, tmp_path):
    s5("separate", clips, "-o", tmp_path / "undisturbed", "--system", "toy")
    expected = contents(tmp_path / "undisturbed")
    assert sum(map(len, expected.values())) > 300_000
    out = small_disk / "out"
    done = s5("separate", clips, "-o", out, "--system", "toy")
    assert done.code == 1
    n_done = len(finished(out))
    assert 5 < n_done < N_CLIPS
    said = f"(No space left on device); {n_done} of {N_CLIPS} clips are done; with room there the same command goes on"
    assert done.error.endswith(said)
    assert set(contents(out)) == {name for name in expected if name[:2] in finished(out)}, "no half clip, no leftovers"
    again = s5("separate", clips, "-o", out, "--system", "toy")
    assert again.code in (1, 2), "still full"
    assert len(finished(out)) >= n_done
    subprocess.run(["mount", "-o", "remount,size=3m", str(small_disk)], check=True)
    assert s5("separate", clips, "-o", out, "--system", "toy").code == 0
    assert contents(out) == expected


FULL_DISK_AS_USER = """
mount -t tmpfs -o size=300k tmpfs "$2" || exit 77
"$1" -m s5cli separate "$3" -o "$2/out" --system toy > /dev/null
echo "first $?"
mount -o remount,size=3m "$2" || exit 77
"$1" -m s5cli separate "$3" -o "$2/out" --system toy > /dev/null
echo "second $?"
cp -r "$2/out" "$4"
"""


def test_a_full_disk_in_a_namespace_of_its_own(machine, s5, clips, tmp_path):
    """As above in processes of their own, for users who are not root but may make namespaces."""
    if not refusal_to_mount(tmp_path / "try"):
        subprocess.run(["umount", str(tmp_path / "try")], check=True)
        pytest.skip("the test before this one needs no namespace here")
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("this system lets nobody make a mount namespace (unshare -rm)")
    s5("separate", clips, "-o", tmp_path / "undisturbed", "--system", "toy")
    (tmp_path / "disk").mkdir()
    places = [sys.executable, tmp_path / "disk", clips, tmp_path / "copy"]
    command = ["unshare", "-rm", "sh", "-c", FULL_DISK_AS_USER, "sh", *map(str, places)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip(f"no tmpfs can be mounted even in a namespace of its own ({done.stderr.strip()})")
    assert done.stdout.split("\n")[:2] == ["first 1", "second 0"], done.stderr
    assert "No space left on device" in done.stderr
    assert contents(tmp_path / "copy") == contents(tmp_path / "undisturbed")


# --- recordings ------------------------------------------------------------------------------------------------------


def test_recordings_that_vanish_or_are_damaged_half_way(s5, start, clips, out, slow, tmp_path):
    s5("separate", clips, "-o", tmp_path / "undisturbed", *slow)
    expected = contents(tmp_path / "undisturbed")
    good = {name: (clips / name).read_bytes() for name in ("38.wav", "39.wav")}
    process = start("separate", clips, "-o", out, *slow)
    wait_for(2, out, process)
    (clips / "38.wav").unlink()
    (clips / "39.wav").write_bytes(good["39.wav"][:1000])
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    summary, head, *reasons = err.splitlines()
    assert summary.startswith(f"done: {N_CLIPS - 2} of {N_CLIPS} clips, ")
    assert " stems, 2 failed, " in summary
    assert head == f"error: 2 of {N_CLIPS} clips failed:"
    assert reasons[0] == f"  {clips / '38.wav'}: cannot be read (No such file or directory)"
    assert reasons[1].startswith(f"  {clips / '39.wav'}: truncated")
    assert contents(out) == {name: content for name, content in expected.items() if name[:2] not in ("38", "39")}
    assert [failure["name"] for failure in json.loads((out / "run.json").read_text())["failed"]] == ["38", "39"]
    for name, content in good.items():
        (clips / name).write_bytes(content)
    assert s5("separate", clips, "-o", out, *slow).code == 0
    assert contents(out) == expected


# --- what is said ----------------------------------------------------------------------------------------------------


def test_a_second_call_says_what_is_done_and_prints_all_of_it_as_json(s5, clips, out):
    first = s5("separate", clips, "-o", out, "--system", "toy", "--json")
    again = s5("separate", clips, "-o", out, "--system", "toy", "--json")
    assert again.out == first.out
    assert (again.code, again.err) == (0, f"note: {N_CLIPS} of {N_CLIPS} clips are done already\n")
    plain = s5("separate", clips, "-o", out, "--system", "toy")
    assert (plain.code, plain.out) == (0, "")


def test_another_setting_is_refused_in_one_line_that_names_it(s5, clips, out):
    assert s5("separate", clips, "-o", out, "--system", "toy").code == 0
    before = contents(out)
    done = s5("separate", clips, "-o", out, "--system", "toy", "--subtype", "FLOAT")
    assert (done.code, contents(out)) == (2, before)
    assert "made with subtype 'PCM_16', not 'FLOAT'; --restart begins again" in done.error
    assert s5("separate", clips, "-o", out, "--system", "toy", "--subtype", "FLOAT", "--restart").code == 0
    assert all(len(content) != len(before[name]) for name, content in contents(out).items() if name.endswith(".wav"))


def test_lines_about_progress_where_there_is_no_terminal(s5, clips, out, monkeypatch):
    monkeypatch.setattr("s5cli.cli.stems.EVERY_S", 0)
    done = s5("separate", clips, "-o", out, "--system", "toy")
    *lines, summary = done.err.splitlines()
    assert summary.startswith("done: ")
    assert len(lines) == N_CLIPS
    assert lines[9].startswith(f"10 of {N_CLIPS} clips, ")
    assert lines[9].endswith(" left")
    assert " clips/s, " in lines[9]
    assert lines[-1].endswith("00:00 left")


def test_several_devices_give_the_same_results(s5, clips, out, tmp_path):
    s5("separate", clips, "-o", tmp_path / "one", "--system", "toy", "--device", "cpu")
    assert s5("separate", clips, "-o", out, "--system", "toy", "--device", "cpu,cpu").code == 0
    assert contents(out) == contents(tmp_path / "one")
    assert json.loads((out / "run.json").read_text())["device"] == "cpu,cpu"


def test_a_folder_in_use_is_refused(s5, start, clips, out, slow):
    process = start("separate", clips, "-o", out, *slow)
    wait_for(1, out, process)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        done = s5("separate", clips, "-o", out, *slow)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert (done.code, done.error) == (
        2, f"{out}: another process is writing there; wait for it, or give another folder"
    )  # fmt: skip
    process.communicate(timeout=120)
    assert process.returncode == 0
