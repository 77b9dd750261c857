"""A machine with nothing on it but the toy system, and the command line on it: in this process or in one of its own."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from s5cli.cli import exit_code
from tests.forked import Popen
from tests.toy import SECTION

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The message, where stderr is exactly one error line."""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("error: "), self.err
        return self.err.removeprefix("error: ").rstrip("\n")


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Path:
    """Folders of its own for registry, cache and data; the toy is in the registry."""
    for name in ("CONFIG", "CACHE", "DATA"):
        folder = tmp_path / "machine" / name.lower()
        folder.mkdir(parents=True)
        monkeypatch.setenv(f"S5_{name}_DIR", str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    registry = tmp_path / "machine" / "config" / "weights.toml"
    registry.write_text(SECTION)
    return registry


@pytest.fixture
def s5(machine, capfd) -> Callable[..., Finished]:
    """One command line in this process."""

    def run(*args: object) -> Finished:
        capfd.readouterr()
        code = exit_code([str(arg) for arg in args])
        return Finished(code, *capfd.readouterr())

    return run


@pytest.fixture
def start(machine) -> Callable[..., subprocess.Popen[str]]:
    """One command line in a process of its own, started and left running."""

    def run(*args: object) -> subprocess.Popen[str]:
        return Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return run
