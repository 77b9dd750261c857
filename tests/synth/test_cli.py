"""The command as a user runs it: a process, exit codes, one line of advice."""

import subprocess
import time
from pathlib import Path

import pytest

from s5cli.cli import exit_code
from tests import forked
from tests.synth.test_write import hashes


def s5_synth(*args: object) -> subprocess.CompletedProcess[str]:
    return forked.run(["synth", *args])


def test_a_set_is_made_and_rebuilt_from_its_metadata(material: Path, tmp_path: Path) -> None:
    made = s5_synth(tmp_path / "a", "--sources", material, "--count", 5, "--seed", 2, "--duration-s", 1, "--workers", 2)
    assert (made.returncode, made.stdout.count("\n")) == (0, 1), made.stderr
    assert made.stdout.startswith("5 mixtures with ")
    assert len(list((tmp_path / "a" / "soundscape").glob("clip_000?.wav"))) == 5
    again = s5_synth(tmp_path / "b", "--sources", material, "--from-metadata", tmp_path / "a" / "metadata")
    assert again.returncode == 0, again.stderr
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--sources", "nowhere"], 2, "no sound events of split 'train'"),
        (["--split", "trian"], 2, "no sound events of split 'trian'"),
        (["--n-foreground", "many"], 2, "'many' is not a range"),
        (["--n-foreground", "²"], 2, "'²' is not a range"),
        (["--n-foreground", "0,5"], 2, "max_overlap"),
        (["--duration-s", "nan"], 2, "duration_s must be between 0.1 and 3600"),
        (["--duration-s", "inf"], 2, "duration_s must be between 0.1 and 3600"),
        (["--fold", "0/0"], 2, "fold '0/0': give which of how many, like 2/4"),
        (["--fold", f"1/{'9' * 5000}"], 2, "give which of how many, like 2/4"),
        (["--zero-target-share", "2"], 2, "zero_target_share must be between 0 and 1"),
        (["--workers", "0"], 2, "--workers 1"),
        (["--rooms", "nowhere"], 2, "no rooms of split"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(material: Path, tmp_path: Path, capfd, options, code, message) -> None:
    command = ["synth", str(tmp_path / "out"), "--sources", str(material), "--count", "1"]
    assert exit_code(command + options) == code
    advice = capfd.readouterr().err
    assert message in advice
    assert len(advice.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_existing_set_is_kept(material: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    done = s5_synth(tmp_path, "--sources", material, "--count", 1)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_killed_call_goes_on(material: Path, tmp_path: Path) -> None:
    """Byte for byte as if it had not been killed; its workers end too, and another call is refused."""
    words = ["--sources", material, "--count", 8, "--seed", 5, "--duration-s", 1]
    with forked.Popen(["synth", tmp_path / "a", *words, "--workers", 2], stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not any((tmp_path / "a").glob("soundscape/*.wav")):
            time.sleep(0.01)
        workers = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat") if parent(path) == process.pid]
        process.kill()
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "a" / "soundscape").glob("*.wav")}
    assert 0 < len(made) < 8
    end_s = time.monotonic() + 60
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < end_s:
        time.sleep(0.05)
    assert [worker for worker in workers if Path(f"/proc/{worker}").exists()] == []
    assert s5_synth(tmp_path / "a", *words[:-3], 6, *words[-2:]).returncode == 1
    done = s5_synth(tmp_path / "a", *words)
    assert done.returncode == 0, done.stderr
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in made.items())
    assert s5_synth(tmp_path / "b", *words).returncode == 0
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


def parent(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has just ended
        return -1


def test_metadata_that_would_be_replaced_while_read(material: Path, tmp_path: Path, capfd) -> None:
    command = ["synth", str(tmp_path), "--sources", str(material), "--overwrite", "--from-metadata"]
    assert exit_code([*command, str(tmp_path / "metadata")]) == 2
    assert "would be replaced while it is read" in capfd.readouterr().err
