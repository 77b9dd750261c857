"""The built wheel carries everything that the program reads, and runs away from the checkout."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SYSTEM = "tagging-driven-compact"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")  # hatchling builds it, whom pip would call
    command = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-t",
        "wheel",
        "-d",
        str(folder),
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("s5cli-*.whl"))


def test_it_carries_every_data_file(wheel):
    packed = set(zipfile.ZipFile(wheel).namelist())
    data = {
        path for path in (ROOT / "s5cli").rglob("*") if path.suffix in {".toml", ".safetensors", ".md", ".css", ".js"}
    }
    notices = {f"s5cli/compact/LICENSE.{name}" for name in ("CC-BY-4.0", "EfficientAT")}
    assert {str(path.relative_to(ROOT)) for path in data} | notices | {"s5cli/weights.toml"} <= packed
    assert not [name for name in packed if name.startswith(("tests", "examples", "benchmarks"))]


def test_it_runs_away_from_the_checkout(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}

    def s5(*args):
        command = [sys.executable, "-m", "s5cli", *map(str, args)]
        return subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True).stdout

    systems = {entry["name"]: entry["state"] for entry in json.loads(s5("systems", "--json"))["systems"]}
    assert systems[f"{SYSTEM}-3"] == "ready"
    assert "compact_separator_a" in s5("train", "list").splitlines()
    example = ROOT / "examples" / "no_target.flac"
    s5("separate", example, "-o", tmp_path / "out", "--system", SYSTEM, "--device", "cpu")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["clips"]["done"] == 1
