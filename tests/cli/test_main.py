"""The command itself: quick help, no heavy imports, and a clean end however it ends."""

import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

import s5cli
from tests import forked
from tests.conftest import EXAMPLES
from tests.toy import write_tones

MODULES = {"torch", "numpy", "scipy", "soundfile", "rich", "lightning", "onnxruntime", "huggingface_hub"}


def imported(code: str, whole_names: bool = False) -> set[str]:
    """What a fresh interpreter has loaded after running the code: packages, or all modules."""
    script = f"{code}\nimport sys; print('loaded:', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    names = done.stdout.rpartition("loaded:")[2].split()
    return set(names) if whole_names else {name.split(".")[0] for name in names}


def test_importing_the_package_loads_nothing_heavy():
    assert not imported("import s5cli") & MODULES


@pytest.mark.parametrize("args", [["--help"], ["separate", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(args):
    assert not imported(f"from s5cli.cli import exit_code; assert exit_code({args}) == 0") & MODULES


def test_the_list_of_systems_builds_no_network():
    assert not imported("from s5cli.cli import exit_code; assert exit_code(['systems']) == 0") & {"torch", "numpy"}


SLOW = {"torch._meta_registrations", "torch._dynamo", "torch.distributed.tensor", "torch.onnx", "sympy", "scipy",
        "onnxruntime", "rich", "lightning", "matplotlib", "ray", "huggingface_hub", "requests"}  # fmt: skip


def test_separating_a_clip_loads_no_more_than_it_needs(tmp_path):
    """With the default system, into a file: PyTorch is half of the time that it takes."""
    args = ["separate", str(EXAMPLES / "no_target.flac"), "-o", str(tmp_path / "out"), "--device", "cpu"]
    code = f"from s5cli.cli import exit_code; assert exit_code({args}) == 0"
    assert not imported(code, whole_names=True) & SLOW


def test_what_pytorch_is_imported_without_comes_when_it_is_asked_for():
    """A network of a user's own may be made with an operation whose shapes only Python knows."""
    code = """
from s5cli.cli.quick import import_torch
import_torch()
import torch
from pathlib import Path
from s5cli.weights.checkpoint import blank

class Network(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.cdist(torch.zeros(3, 2), torch.zeros(5, 2)))

assert blank(Network, None, Path("x")).weight.shape == (3, 5)
"""
    assert "torch._meta_registrations" in imported(code, whole_names=True)


WHOLE = {
    "export": "check('fp32', 'onnx', torch.device('cpu')); torch.Generator()",
    "compile": "engine._check_compiler = lambda place: import_module('torch._dynamo'); "
    "check('fp32', 'torch', torch.device('cpu'), compiled=True)",
    "somebody else's": "resolve('tests.weights.tiny:Tiny'); torch.Generator()",
}


@pytest.mark.parametrize("who", WHOLE)
def test_pytorch_is_whole_for_who_relies_on_it(who):
    imported(f"""
from importlib import import_module
from s5cli.cli.quick import import_torch
import_torch()
import torch
from s5cli.weights import engine
from s5cli.weights.build import resolve
check = engine.check
{WHOLE[who]}
""")


def test_help_is_quick():
    """Processor time, which is the waiting time on an idle machine, and hardly depends on who else is busy."""
    times_s = []
    for _ in range(5):
        before = os.times()
        subprocess.run([sys.executable, "-m", "s5cli", "--help"], capture_output=True, check=True)
        after = os.times()
        times_s.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(times_s) < 0.3


def test_help_lists_every_command(s5):
    done = s5("--help")
    assert done.code == 0
    commands = re.findall(r"^  ([a-z]+)  ", done.out.partition("Commands:")[2], re.MULTILINE)
    assert commands == [
        "separate", "stream", "evaluate", "compare", "report", "package", "validate", "systems", "download", "export",
        "synth", "train", "tune", "doctor", "weights", "study",
    ]  # fmt: skip
    for command in commands:
        assert s5(command, "--help").code == 0


def test_version(s5):
    done = s5("--version")
    assert (done.code, done.out) == (0, f"s5cli {s5cli.__version__}\n")


def test_module_and_command_are_one():
    done = subprocess.run([sys.executable, "-m", "s5cli", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"s5cli {s5cli.__version__}\n"


def test_no_command_shows_the_help(s5):
    done = s5()
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Usage: s5")


def test_unknown_command(s5):
    done = s5("seperate")
    assert done.code == 2
    assert "seperate" in done.error


def test_a_process_ends_as_its_command_line_does(start, tmp_path):
    (tmp_path / "empty.wav").touch()
    process = start("separate", tmp_path / "empty.wav", "-o", tmp_path / "out", "--system", "toy")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err == f"error: {tmp_path / 'empty.wav'}: empty (0 bytes); record or export it again\n"


def test_a_bug_shows_its_traceback(tmp_path, start):
    clip = write_tones(tmp_path / "bug.wav", 500)
    process = start("separate", clip, "-o", tmp_path / "out", "--system", "toy")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" in err
    assert "ZeroDivisionError" in err


def test_progress_is_on_stderr_and_only_on_a_terminal(machine, tmp_path):
    clips = [str(write_tones(tmp_path / f"{name}.wav", 500)) for name in "abc"]
    terminal, screen = os.openpty()
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    done = forked.run(["separate", *clips, "-o", tmp_path / "out", "--system", "toy"], stderr=screen, check=True)
    shown = os.read(terminal, 1 << 16).decode()
    os.close(screen)
    os.close(terminal)
    assert "3/3" in shown
    assert "Speech" not in shown
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [f"{name}_0_Speech.wav" for name in "abc"]


# --- interruptions ---------------------------------------------------------------------------------------------------


@pytest.fixture
def slow(tmp_path) -> tuple[object, ...]:
    """A hundred clips, 0.1 s of work each, one at a time."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for index in range(100):
        write_tones(folder / f"clip{index:03d}.wav", 500, 5000)
    (tmp_path / "slow.toml").write_text("[knobs]\npause_s = 0.1\n")
    options = ("--system", "toy", "--thresholds", tmp_path / "slow.toml", "--batch-size", 1)
    return ("separate", folder, "-o", tmp_path / "out", *options)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    end_s = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end_s
        time.sleep(0.02)


FIRST_MOMENTS = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
"""


@pytest.mark.parametrize("name", ["typer", "s5cli.cli", "s5cli.cli.tune", "tqdm", "torch", "soundfile", "numpy"])
def test_interrupted_while_modules_are_loaded(slow, tmp_path, monkeypatch, name):
    """From the first tenth of a second on: one line, whatever is imported when the signal comes."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(FIRST_MOMENTS.format(name=name))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hook"), prepend=os.pathsep)
    command = [sys.executable, "-m", "s5cli", *map(str, slow)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_interrupted_work_leaves_whole_clips_only(start, slow, tmp_path, sent, code):
    ours = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # children get this, also where the tests run under nohup
    process = start(*slow)
    signal.signal(signal.SIGHUP, ours)
    out = tmp_path / "out"
    wait_for(out / "clip002.json", process)
    process.send_signal(sent)
    _, err = process.communicate(timeout=30)
    n_done = len(list(out.glob("*.json")))
    said = f"error: interrupted; {n_done} of 100 clips are done, and the same command goes on\n"
    assert (process.returncode, err) == (code, said)
    found = {path.name for path in out.iterdir()} - {"manifest.jsonl"}
    clips = {path.stem for path in out.glob("*.json")}
    assert 3 <= len(clips) < 100
    assert found == {f"{clip}{end}" for clip in clips for end in (".json", "_0_Speech.wav", "_1_Dishes.wav")}
    for clip in clips:
        assert len(json.loads((out / f"{clip}.json").read_text())["stems"]) == 2


def test_interrupted_before_anything_is_finished(start, slow, tmp_path):
    (tmp_path / "slow.toml").write_text("[knobs]\npause_s = 10\n")
    process = start(*slow)
    wait_for(tmp_path / "out", process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err in (
        "error: interrupted\n",
        "error: interrupted; 0 of 100 clips are done, and the same command goes on\n",
    )
    assert not (tmp_path / "out").exists()


def test_a_reader_that_goes_away(start, slow, tmp_path):
    """As `s5 separate … | head -1`: quiet, and no clip is half-written."""
    process = start(*slow)
    assert process.stdout is not None
    assert process.stderr is not None
    wait_for(tmp_path / "out" / "clip000.json", process)
    process.stdout.close()
    err = process.stderr.read()
    process.wait(timeout=60)
    assert "Traceback" not in err
    assert "BrokenPipe" not in err
    assert not list((tmp_path / "out").glob(".s5-*"))
    assert process.returncode == 141


def test_a_failure_elsewhere_is_not_blamed_on_standard_output(s5, monkeypatch):
    """An error of the world without a file's name, that nobody expected."""

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("s5cli.weights.registry.registry", full)
    done = s5("systems")
    assert (done.out, done.err) == ("", "error: reading or writing failed: No space left on device\n")


def test_a_current_folder_that_was_removed(s5, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    done = s5("systems")
    assert (done.code, done.error) == (2, "the current folder is not there any more; change to another one")
