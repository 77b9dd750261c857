"""A machine that has the system of these tests."""

from pathlib import Path

import pytest

from tests.study.bands import write_registry


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> Path:
    """Where `s5 study` keeps what it finds unless it is told another folder."""
    monkeypatch.setenv("S5_CACHE_DIR", str(tmp_path / "own-cache"))
    return tmp_path / "own-cache" / "study"


@pytest.fixture
def bands(tmp_path, monkeypatch) -> Path:
    """The folder of a user's own registry, with the systems `bands` and `bands-1` in it."""
    folder = tmp_path / "config"
    folder.mkdir()
    write_registry(folder)
    monkeypatch.setenv("S5_CONFIG_DIR", str(folder))
    return folder
