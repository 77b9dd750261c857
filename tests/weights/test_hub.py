"""`hf://` against a local stand-in for the hub."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from s5cli.errors import DownloadError, OutputError, WeightsError
from s5cli.weights import fetch, hashes, hub, own
from s5cli.weights.fetch import Access
from tests.weights.server import Server
from tests.weights.tiny import contents, registry_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONTENT = contents(5000)


@pytest.fixture
def stand_in(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    put(server, "model.safetensors", CONTENT)
    return server


def put(server: Server, name: str, content: bytes, revision: str = "v1") -> None:
    server.put(f"/lab/taggers/resolve/{revision}/{name}", content, headers={"X-Repo-Commit": COMMIT})


def get(url: str, access: Access | None = None, **keys: object) -> Path:
    registry = registry_of({"tagger": {"source": url, **keys}})
    return fetch.fetch(registry.file("tagger"), registry, access or Access())


def test_a_file_is_fetched_from_the_stand_in_once(stand_in: Server, home: Path) -> None:
    url = "hf://lab/taggers/model.safetensors@v1"
    path = get(url)
    assert path.read_bytes() == CONTENT
    assert home / "cache" in path.parents
    asked = len(stand_in.asked)
    assert asked
    assert get(url) == get(url, Access(offline=True)) == path
    assert len(stand_in.asked) == asked
    assert hashes.recorded(url) == hashes.sha256_of(path)


def test_a_file_in_a_folder_and_a_member_of_a_zip(stand_in: Server) -> None:
    put(stand_in, "small/model.safetensors", contents(300), COMMIT)
    assert get(f"hf://lab/taggers/small/model.safetensors@{COMMIT}").read_bytes() == contents(300)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x/a.ckpt", CONTENT)
    put(stand_in, "all.zip", buffer.getvalue())
    assert get("hf://lab/taggers/all.zip@v1", member="a.ckpt").read_bytes() == CONTENT


def test_another_file_than_the_registry_means_is_refused(stand_in: Server) -> None:
    with pytest.raises(DownloadError, match="has changed"):
        get("hf://lab/taggers/model.safetensors@v1", sha256="0" * 64)


def test_what_the_hub_has_not_is_told_in_one_line(stand_in: Server) -> None:
    with pytest.raises(DownloadError) as caught:
        get("hf://lab/taggers/other.safetensors@v1")
    assert str(caught.value).startswith("hf://lab/taggers/other.safetensors@v1: ")
    assert "\n" not in str(caught.value)


def test_what_is_no_checkpoint_is_not_believed(stand_in: Server) -> None:
    put(stand_in, "page.ckpt", b"<html>log in</html>")
    with pytest.raises(DownloadError, match="no checkpoint"):
        get("hf://lab/taggers/page.ckpt@v1")
    assert hub.cached("hf://lab/taggers/page.ckpt@v1") is None
    assert hashes.recorded("hf://lab/taggers/page.ckpt@v1") is None


def test_what_does_not_fit_onto_the_disk_is_not_begun(stand_in: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(OutputError, match=r"has 5\.0 kB, but only 1\.0 kB are free"):
        get("hf://lab/taggers/model.safetensors@v1")
    assert stand_in.gets == []


def test_a_name_that_the_hub_cannot_have_is_missing_and_makes_no_folder(home: Path) -> None:
    url = "hf://lab--x/.git/model.safetensors@v1"
    assert fetch.status(registry_of({"tagger": {"source": url}}).file("tagger")) == "missing"
    assert not home.exists()
    with pytest.raises(DownloadError, match=url):
        get(url)


@pytest.mark.parametrize(
    "url", ["hf://lab/model.safetensors@v1", "hf://lab/taggers/model.safetensors", "hf://lab", "hf://a/b/../c@v1"]
)
def test_an_incomplete_url_is_refused(url: str) -> None:
    with pytest.raises(WeightsError, match="OWNER/REPO/FILE@REVISION"):
        hub.parse(url)


def test_a_process_of_its_own_obeys_the_environment(stand_in: Server, home: Path) -> None:
    url = "hf://lab/taggers/model.safetensors@v1"
    own.add_file("mine", url)
    code = (
        "from s5cli.errors import WeightsError\nfrom s5cli.weights import fetch, registry\n"
        "known = registry.registry()\n"
        "try: print(len(fetch.fetch(known.file('mine'), known, fetch.Access()).read_bytes()))\n"
        "except WeightsError as error: print(error)"
    )

    def said(**environment: str) -> str:
        process = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
        )
        assert process.returncode == 0, process.stderr
        return process.stdout

    assert "offline" in said(HF_HUB_OFFLINE="1")
    assert stand_in.asked == []
    assert said() == "5000\n"
    assert said(HF_HUB_OFFLINE="1") == "5000\n"
