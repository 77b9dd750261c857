"""Every test has folders of its own and a server of its own; none can reach the real ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from s5cli.weights import http
from tests.weights.server import Server


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that holds cache, data and config of this test."""
    folder = tmp_path / "home"
    for name in ("cache", "data", "config"):
        monkeypatch.setenv(f"S5_{name.upper()}_DIR", str(folder / name))
    for name in ("S5_OFFLINE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(http, "PAUSES_S", (0.0, 0.0, 0.0))
    return folder


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running
