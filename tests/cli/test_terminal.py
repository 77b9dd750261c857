"""Narrow and foreign terminals: nothing is cut, nothing in a name is obeyed, no encoding ends a run. Real processes."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from s5cli.cli.rows import wrapped
from tests import forked
from tests.toy import write_tones

LONG = "a_rather_long_name_of_a_recording_that_was_made_in_the_kitchen"


def shown(*args: object, columns: int = 80) -> tuple[int, str]:
    """Exit code and all that a command shows on a terminal of so many columns."""
    terminal, screen = pty.openpty()
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = forked.Popen(args, stdin=screen, stdout=screen, stderr=screen, env=env)
    os.close(screen)
    said = b""
    while True:
        try:
            part = os.read(terminal, 1 << 16)
        except OSError:  # how a terminal says that nobody has it open any more
            break
        if not part:
            break
        said += part
    os.close(terminal)
    return process.wait(), said.decode().replace("\r\n", "\n")


def without_bar(said: str) -> str:
    return "\n".join(line.rpartition("\r")[2] for line in said.split("\n"))


@pytest.fixture
def clips(tmp_path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    write_tones(folder / f"{LONG}.wav", 500, 5000)
    write_tones(folder / "b.wav", 500)
    return folder


# --- widths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_names_of_files_and_classes_are_whole(machine, clips, tmp_path, columns):
    code, said = shown("separate", clips, "-o", tmp_path / "out", "--system", "toy", "--explain", columns=columns)
    assert code == 0
    assert "…" not in said
    for name in (f"{LONG}_0_Speech.wav", f"{LONG}_1_Dishes.wav", "b_0_Speech.wav"):
        assert name in said
    assert len(re.findall(r"\bSpeech\b", said)) >= 2
    lines = [line for line in without_bar(said).split("\n") if LONG not in line and str(tmp_path) not in line]
    assert all(len(line) <= columns for line in lines if "clips" not in line)


@pytest.mark.parametrize("args", [("systems",), ("weights", "list"), ("download", "baseline-4ch", "--dry-run")])
def test_listings_fit_80_columns_and_break_between_words(machine, args):
    machine.write_text("")
    piped = forked.run(args, check=True).stdout
    assert max(map(len, piped.splitlines())) > 80, "what is piped is a line a row"
    code, said = shown(*args)
    assert code == 0
    words = set(said.split())
    rows = [row for row in piped.splitlines() if row.split()[:1] not in (["system"], ["file"], ["url"])]
    assert all(word in words for row in rows for word in row.split()), "no word is cut"
    assert all(len(line) <= 80 or len(line.split()[-1]) > 40 for line in said.splitlines())


def test_a_wide_terminal_shows_a_line_a_row(machine):
    code, said = shown("systems", columns=400)
    assert code == 0
    assert said.split("\n")[0].split()[:2] == ["system", "state"]


def test_wrapping_breaks_between_words_only():
    text = "  Speech: confidence 0.5 · band · dropped: it is not verified"
    lines = wrapped(text, 30, indent=6)
    assert " ".join(" ".join(lines).split()) == " ".join(text.split())
    assert all(len(line) <= 30 for line in lines)
    assert all(line.startswith("      ") for line in lines[1:])
    assert wrapped(text, None, 6) == [text]


# --- what a name may do ----------------------------------------------------------------------------------------------

EVIL = "\x1b[2J\x1b]0;owned\x07\nerror: all is lost\u202e"


@pytest.mark.parametrize("where", ["a terminal", "a pipe"])
def test_names_are_shown_and_never_obeyed(machine, tmp_path, where):
    folder = tmp_path / f"folder{EVIL}"
    folder.mkdir()
    write_tones(folder / f"good{EVIL}.wav", 500)
    (folder / f"bad{EVIL}.wav").touch()
    args = ("separate", folder, "-o", tmp_path / f"out{EVIL}", "--system", "toy", "--explain")
    if where == "a terminal":
        code, said = shown(*args)
    else:
        done = forked.run(args)
        code, said = done.returncode, done.stdout + done.stderr
    assert code == 1
    assert not any(danger in said for danger in ("\x1b[2J", "\x1b]0", "\x07", "\u202e", "\nerror: all"))
    assert "\\x1b[2J" in said
    assert "good" in said
    assert "bad" in said


def test_a_wrong_call_with_such_a_name_is_one_line(machine, tmp_path):
    done = forked.run(["separate", tmp_path / EVIL, "-o", tmp_path / "out"])
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
@pytest.mark.parametrize("name", ["b", "café–→", os.fsdecode(b"caf\xe9")])
def test_any_encoding_of_stdout(machine, tmp_path, monkeypatch, encoding, name):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    write_tones(tmp_path / "b.wav", 500)
    (tmp_path / "b.wav").rename(tmp_path / f"{name}.wav")
    command = ["separate", tmp_path / f"{name}.wav", "-o", tmp_path / "out", "--system", "toy", "--explain"]
    done = forked.run(command, text=False)
    assert b"Traceback" not in done.stderr
    assert done.returncode == ("\udce9" in name)
    if done.returncode == 0:
        assert done.stdout.decode(encoding).count("_0_Speech.wav") == 1


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
@pytest.mark.parametrize("listing", ["systems", "doctor"])
def test_listings_in_any_encoding_of_stdout(machine, monkeypatch, encoding, listing):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    assert forked.run([listing], text=False, check=True).stdout


# --- progress, help, completion --------------------------------------------------------------------------------------


def test_progress_inside_a_long_recording(machine, tmp_path):
    write_tones(tmp_path / "long.wav", 500, n_samples=20 * 32_000)
    (tmp_path / "slow.toml").write_text("[knobs]\npause_s = 0.1\n")
    args = ("separate", tmp_path / "long.wav", "-o", tmp_path / "out", "--system", "toy", "--window", "2")
    code, said = shown(*args, "--thresholds", tmp_path / "slow.toml", "--batch-size", 1, columns=120)
    assert code == 0
    found = [int(number) for number in re.findall(r"long: (\d+) of 13 windows", said)]
    assert found == sorted(found)
    assert len(set(found)) > 3


def test_lines_inside_a_long_recording_where_there_is_no_terminal(s5, tmp_path, monkeypatch):
    monkeypatch.setattr("s5cli.cli.stems.EVERY_S", 0)
    write_tones(tmp_path / "long.wav", 500, n_samples=5 * 32_000)
    done = s5("separate", tmp_path / "long.wav", "-o", tmp_path / "out", "--system", "toy", "--window", "1")
    lines = done.err.splitlines()
    assert lines[0].startswith("0 of 1 clips; long: 1 of ")
    assert re.fullmatch(r"1 of 1 clips, [\d.]+ clips/s, 00:00 left", lines[-1])


def test_help_of_separate_has_groups_and_examples(s5):
    out = s5("separate", "--help").out
    heads = re.findall(r"^([A-Z][\w ]+):$", out, re.M)
    assert heads == ["Arguments", "Results", "System", "Recordings", "Machine", "Weights", "What is shown",
                     "Other options"]  # fmt: skip
    assert "  s5 separate recordings/ -o stems\n" in out
    assert len(re.findall(r"^  (?:-\w, )?--", out, re.M)) == 30


def test_a_shell_gets_its_completion(machine, monkeypatch):
    monkeypatch.setenv("_S5_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "s5 sep")
    monkeypatch.setenv("COMP_CWORD", "1")
    done = subprocess.run([sys.executable, "-m", "s5cli"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["separate"]


@pytest.mark.parametrize("what", ["a line", "more than a buffer holds", "a run"])
def test_stdout_that_is_full_is_one_line(machine, clips, tmp_path, what):
    run = ["separate", clips, "-o", tmp_path / "out", "--system", "toy"]
    command = {"a line": ["--version"], "more than a buffer holds": ["systems", "--json"], "a run": run}[what]
    began_s = time.monotonic()
    with Path("/dev/full").open("w") as full:
        done = forked.run(command, stdout=full)
    assert done.returncode == 1
    assert done.stderr == "error: standard output: No space left on device\n"
    assert time.monotonic() - began_s < 60


def test_stderr_that_is_full_ends_no_run(machine, clips, tmp_path):
    with Path("/dev/full").open("w") as full:
        done = forked.run(["separate", clips, "-o", tmp_path / "out", "--system", "toy"], stderr=full)
    assert (done.returncode, done.stdout.count("\n")) == (0, 3)
    assert (tmp_path / "out" / "run.json").exists()


def test_closed_streams_are_no_mistake(machine):
    """As some daemons start programs."""
    command = ["sh", "-c", '"$0" -m s5cli systems >&- 2>&-', sys.executable]
    assert subprocess.run(command, check=False).returncode == 0
