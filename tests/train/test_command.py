"""`s5 train` as a user runs it: one process or two, interrupted and gone on with, and its mistakes."""

import os
import subprocess
import sys

import pytest

from s5cli.cli import exit_code
from s5cli.nn.body_tagger import BodyTagger
from s5cli.weights import checkpoint

RECIPE = """
task = "tagger"
network = "s5cli.nn.body_tagger:BodyTagger"
frame_weight = 1.0
[config]
channels = 4
width = 0.1
[scenes]
duration_s = 0.5
n_simulated_rooms = 1
[schedule]
steps = 3
batch_size = 2
echo = 2
warmup_steps = 1
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE)
    return path


def s5_train(*args):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "s5cli", "train", *map(str, args)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250)


def test_two_processes_share_a_run(recipe, material, tmp_path, monkeypatch):
    data = ("--sources", material, "--held-out", "", "--accelerator", "cpu")
    recipe.write_text('installs = "resunetk-b"\n' + recipe.read_text())
    monkeypatch.setenv("S5_DATA_DIR", str(tmp_path / "data"))
    done = s5_train(recipe, *data, "-o", tmp_path / "run", "--devices", 2, "--workers", 0)
    assert done.returncode == 0, done.stderr
    assert "step 3/3" in done.stderr
    assert done.stderr.count("step 3/3") == 1, "one of the two speaks"
    assert done.stdout == f"{tmp_path}/data/trained/resunetk-b.safetensors\n", "one of the two installs"
    checkpoint.build_network(BodyTagger, checkpoint.read(tmp_path / "run" / "mine.safetensors"), {})


def test_a_stopped_run_goes_on(recipe, material, tmp_path, capsys):
    data = ["--sources", material, "--held-out", "", "--accelerator", "cpu", "--workers", 0, "-o", tmp_path / "run"]
    line = [str(word) for word in ("train", recipe, *data)]
    assert exit_code([*line, "--minutes", "0"]) == 0
    capsys.readouterr()
    assert exit_code(line) == 0
    told = capsys.readouterr()
    assert "resumed at step 1" in told.err
    assert told.out.strip() == str(tmp_path / "run" / "mine.safetensors")


@pytest.mark.parametrize(("option", "value"), [("accelerator", "gpux"), ("precision", "weird")])
def test_what_this_machine_has_not(recipe, material, tmp_path, capsys, option, value):
    line = ["train", recipe, "--sources", material, "--held-out", "", "-o", tmp_path / "run", f"--{option}", value]
    assert exit_code([str(word) for word in line]) == 2
    told = capsys.readouterr().err
    assert f"{option} {value!r}" in told
    assert "cannot be had" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["compact_tagger"], "no recipe 'compact_tagger'"),
        (["compact_tagger_1ch"], "needs --sources"),
        (["compact_tagger_1ch", "--sources", "nowhere", "-o", "OUT"], "nowhere"),
    ],
)
def test_mistakes(args, said, tmp_path, capsys):
    assert exit_code(["train", *(word.replace("OUT", str(tmp_path / "run")) for word in args)]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_the_extra_it_says_what_to_install(tmp_path, capsys, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("s5cli.train.")]:
        monkeypatch.delitem(sys.modules, name)  # imported anew, as where nothing was imported yet
    for name in {"lightning", "lightning.fabric", *(name for name in sys.modules if name.startswith("lightning."))}:
        monkeypatch.setitem(sys.modules, name, None)
    assert exit_code(["train", "compact_tagger_1ch", "--sources", str(tmp_path), "-o", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert "pip install 's5cli[train]'" in told
    assert told.count("\n") == 1
