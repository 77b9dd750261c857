"""Downloads from a real server that cuts, lies, changes its mind, and serves hostile archives."""

import hashlib
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from s5cli.errors import DownloadError, NeedsTrainingError, OutputError, WeightsError
from s5cli.weights import fetch, hashes, http, licence, places
from s5cli.weights.fetch import Access
from s5cli.weights.registry import Registry, Table
from tests.weights.server import Server
from tests.weights.tiny import contents, registry_of

CONTENT = contents(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def known(url: str, **keys: object) -> Registry:
    return registry_of({"tagger": {"source": url, **keys}})


def get(registry: Registry, name: str = "tagger", access: Access | None = None) -> Path:
    return fetch.fetch(registry.file(name), registry, access or Access())


def left() -> list[str]:
    """What lies in the folder of downloads."""
    folder = places.cache_dir() / "weights"
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock") if folder.is_dir() else []


# --- one file --------------------------------------------------------------------------------------------------------


def test_a_file_is_fetched_once_verified_and_recorded(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    url = server.put("/a.ckpt", CONTENT)
    path = get(known(url))
    assert path.read_bytes() == CONTENT
    assert left() == ["tagger.ckpt"]
    assert get(known(url)) == path
    assert len(server.asked) == 1
    assert hashes.recorded(url) == SHA256
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "tagger.ckpt: 100%" in shown.err


def test_a_cut_connection_is_taken_up_where_it_was_cut(server: Server) -> None:
    url = server.put("/a.ckpt", CONTENT, cut_after=[100_000, 50_000])
    assert get(known(url, sha256=SHA256)).read_bytes() == CONTENT
    assert [asked.range for asked in server.asked] == [None, "bytes=100000-", "bytes=150000-"]
    assert left() == ["tagger.ckpt"]


def test_what_was_got_of_a_failed_download_is_kept_for_the_next(server: Server) -> None:
    url = server.put("/a.ckpt", CONTENT, cut_after=[100_000, 0, 0, 0])
    with pytest.raises(DownloadError, match=r"cut after 100000 of 300000 bytes; .* run the same command again"):
        get(known(url))
    assert "tagger.ckpt" not in left()
    server.asked.clear()
    assert get(known(url)).read_bytes() == CONTENT
    assert [asked.range for asked in server.asked] == ["bytes=100000-"]
    assert left() == ["tagger.ckpt"]


@pytest.mark.parametrize(
    ("keys", "asked_for"),
    [
        ({"ranges": False}, [None, "bytes=100000-"]),
        ({"etag": ""}, [None, None]),
        ({"etag": 'W/"weak"'}, [None, None]),  # such a tag does not promise the same bytes
        ({"lies_about_start": True}, [None, "bytes=100000-", None]),
    ],
)
def test_a_server_that_cannot_resume_sends_everything_again(
    server: Server, keys: dict[str, object], asked_for: list[str | None]
) -> None:
    url = server.put("/a.ckpt", CONTENT, cut_after=[100_000], **keys)
    assert get(known(url)).read_bytes() == CONTENT
    assert [asked.range for asked in server.asked] == asked_for
    assert left() == ["tagger.ckpt"]


def test_a_last_modified_date_serves_where_there_is_no_tag(server: Server) -> None:
    date = "Wed, 01 Jan 2025 00:00:00 GMT"
    url = server.put("/a.ckpt", CONTENT, cut_after=[100_000, 0, 0, 0], etag="", headers={"Last-Modified": date})
    with pytest.raises(DownloadError):
        get(known(url))
    assert (places.cache_dir() / "weights" / "tagger.ckpt.part.version").read_text() == date


@pytest.mark.parametrize("size", [300_000, 50_000, 100_000])
def test_a_file_that_changed_between_two_attempts_is_fetched_anew(server: Server, size: int) -> None:
    url = server.put("/a.ckpt", CONTENT, cut_after=[100_000, 0, 0, 0])
    with pytest.raises(DownloadError):
        get(known(url))
    changed = contents(size, seed=1)
    server.put("/a.ckpt", changed)
    assert get(known(url)).read_bytes() == changed


def test_a_partial_file_longer_than_the_whole_is_fetched_anew(server: Server) -> None:
    url = server.put("/a.ckpt", CONTENT, etag='"same"', cut_after=[100_000, 0, 0, 0])
    with pytest.raises(DownloadError):
        get(known(url))
    server.put("/a.ckpt", contents(60_000), etag='"same"')
    assert get(known(url)).read_bytes() == contents(60_000)


def test_a_wrong_hash_is_refused_and_nothing_kept(server: Server) -> None:
    url = server.put("/a.ckpt", CONTENT)
    with pytest.raises(DownloadError, match=f"has changed: its sha256 is {SHA256}, not 0000"):
        get(known(url, sha256="0" * 64))
    assert left() == []
    assert hashes.recorded(url) is None


def test_a_file_must_stay_what_the_first_download_was(server: Server) -> None:
    url = server.put("/a.ckpt", CONTENT)
    get(known(url)).unlink()
    server.put("/a.ckpt", contents(300_000, seed=1))
    with pytest.raises(DownloadError, match=rf"has changed: .*{hashes.record_path()}; take its line out"):
        get(known(url))
    assert left() == []
    assert hashes.recorded(url) == SHA256
    server.put("/a.ckpt", CONTENT)
    assert get(known(url)).read_bytes() == CONTENT


def test_a_file_that_changed_on_this_machine_is_refused(server: Server) -> None:
    url = server.put("/a.ckpt", CONTENT)
    path = get(known(url))
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(WeightsError, match=f"{path} has changed"):
        get(known(url))


@pytest.mark.parametrize(("status", "times"), [(404, 1), (403, 1), (416, 1), (500, 3), (503, 3)])
def test_a_refusal_is_told(server: Server, status: int, times: int) -> None:
    url = server.put("/a.ckpt", b"", status=status)
    with pytest.raises(DownloadError, match=f"answered {status}"):
        get(known(url))
    assert left() == []
    assert len(server.asked) == times


# --- servers that falter or lie --------------------------------------------------------------------------------------


def test_a_server_that_is_busy_is_asked_again_after_a_pause(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []
    monkeypatch.setattr(http, "PAUSES_S", (1.0, 2.0, 4.0))
    monkeypatch.setattr("time.sleep", paused.append)
    url = server.put("/a.ckpt", CONTENT, refusals=[503, 500], headers={"Retry-After": "3"})
    assert get(known(url)).read_bytes() == CONTENT
    assert paused == [3.0, 4.0]
    url = server.put("/b.ckpt", CONTENT, refusals=[503], headers={"Retry-After": "1000000"})
    get(registry_of({"b": {"source": url}}), "b")
    assert paused[2:] == [http.LONGEST_PAUSE_S]


def test_a_server_that_always_answers_another_range_is_left(server: Server) -> None:
    url = server.put("/a.ckpt", CONTENT, cut_after=[100_000] * 50, lies_about_start=True)
    with pytest.raises(DownloadError, match="another part or version"):
        get(known(url))
    assert len(server.asked) < 8
    assert left() == []


@pytest.mark.parametrize("page", [b"<html>please log in</html>", b"", b"{}", CONTENT[:1000]])
def test_what_is_no_checkpoint_is_not_believed(server: Server, page: bytes) -> None:
    url = server.put("/a.ckpt", page)
    with pytest.raises(
        DownloadError, match=r"no checkpoint, it begins with .*; get it by hand .*`s5 weights add tagger"
    ):
        get(known(url))
    assert left() == []
    assert hashes.recorded(url) is None
    server.put("/a.ckpt", CONTENT)
    assert get(known(url)).read_bytes() == CONTENT


def test_a_download_that_was_never_verified_is_read_before_it_is_believed(server: Server) -> None:
    registry = known(server.put("/a.ckpt", CONTENT))
    stored = fetch.stored_path(registry.file("tagger"))
    stored.parent.mkdir(parents=True)
    stored.write_bytes(b"<html>")
    with pytest.raises(DownloadError, match="no checkpoint"):
        get(registry)


def test_the_size_is_said_before_the_first_byte(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    url = server.put("/a.ckpt", CONTENT, cut_after=[1000])
    get(known(url))
    shown = capsys.readouterr().err
    assert shown.startswith(f"fetching {url}: 300.0 kB (")
    assert shown.count("fetching") == 1


def test_another_size_than_the_registry_has_is_refused_at_once(server: Server) -> None:
    url = server.put("/a.ckpt", CONTENT)
    with pytest.raises(DownloadError, match=r"has 300000 bytes, not the 5000 that weights\.toml says"):
        get(known(url, size_bytes=5000))
    assert left() == []


def test_what_does_not_fit_onto_the_disk_is_not_begun(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.put("/a.ckpt", CONTENT)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(OutputError, match=r"has 300\.0 kB, but only 1\.0 kB are free"):
        get(known(url))
    assert left() == []


@pytest.mark.parametrize("size_bytes", [None, 100_000])
def test_a_server_that_does_not_stop_is_stopped(
    server: Server, size_bytes: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MOST_UNANNOUNCED_BYTES", 200_000)
    monkeypatch.setattr(http, "BLOCK_BYTES", 10_000)
    url = server.put("/a.ckpt", CONTENT, says_length=False)
    with pytest.raises(DownloadError, match=f"sends more than {size_bytes or 200_000} bytes"):
        get(known(url, **({"size_bytes": size_bytes} if size_bytes else {})))


def test_a_file_of_unknown_length_is_fetched(server: Server) -> None:
    url = server.put("/a.ckpt", CONTENT, says_length=False)
    assert get(known(url)).read_bytes() == CONTENT


@pytest.mark.parametrize("length", ["many", "-5", "9" * 5000])
def test_a_length_that_is_none_is_unknown(server: Server, length: str) -> None:
    url = server.put("/a.ckpt", CONTENT, says_length=False, headers={"Content-Length": length})
    assert get(known(url)).read_bytes() == CONTENT


def test_a_version_in_no_ascii_is_taken_up_too(server: Server) -> None:
    url = server.put("/a.ckpt", CONTENT, cut_after=[100_000], etag='"v\xe9"')
    assert get(known(url)).read_bytes() == CONTENT
    assert [asked.range for asked in server.gets] == [None, "bytes=100000-"]


def test_a_server_that_is_not_there_is_told() -> None:
    with Server() as gone:
        url = gone.put("/a.ckpt", CONTENT)
    with pytest.raises(DownloadError, match="no connection"):
        get(known(url))


def test_two_runs_at_once_fetch_once(server: Server) -> None:
    registry = known(server.put("/a.ckpt", CONTENT))
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(get(registry))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() == CONTENT for path in found] == [True] * 3
    assert len(server.gets) == 1


def test_a_cache_that_cannot_be_written_to_is_told(server: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.parent / "file").write_text("in the way")
    monkeypatch.setenv("S5_CACHE_DIR", str(home.parent / "file"))
    with pytest.raises(OutputError, match="S5_CACHE_DIR"):
        get(known(server.put("/a.ckpt", CONTENT)))


# --- what may not be -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["flag", "S5_OFFLINE", "HF_HUB_OFFLINE"])
@pytest.mark.parametrize("scheme", ["http", "hf"])
def test_offline_nothing_is_asked(server: Server, how: str, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    url = server.put("/a.ckpt", CONTENT) if scheme == "http" else "hf://o/r/a.ckpt@v1"
    if how != "flag":
        monkeypatch.setenv(how, "1")
    with pytest.raises(WeightsError, match=r"offline; run `s5 download SYSTEM`.*`s5 weights add tagger PATH`"):
        get(known(url), access=Access(offline=how == "flag"))
    assert server.asked == []


def test_offline_a_file_that_is_here_is_found(server: Server) -> None:
    registry = known(server.put("/a.ckpt", CONTENT))
    assert get(registry) == get(registry, access=Access(offline=True))


def test_a_licence_comes_before_the_first_byte(server: Server) -> None:
    registry = known(server.put("/a.ckpt", CONTENT), licence="strict")
    with pytest.raises(WeightsError, match="--accept-licence"):
        get(registry)
    with pytest.raises(WeightsError, match="not accepted"):
        get(registry, access=Access(ask=lambda _: False))
    assert server.asked == []
    get(registry, access=Access(accept_licence=True)).unlink()
    get(registry)  # the answer is remembered
    assert list(licence.accepted()) == ["strict"]


def test_a_file_that_the_user_has_is_taken_without_a_question(tmp_path: Path) -> None:
    (tmp_path / "mine.ckpt").write_bytes(CONTENT)
    registry = registry_of({"tagger": {"path": str(tmp_path / "mine.ckpt"), "licence": "strict"}})
    assert get(registry, access=Access(offline=True)) == tmp_path / "mine.ckpt"
    (tmp_path / "mine.ckpt").unlink()
    with pytest.raises(WeightsError, match="is not there"):
        get(registry)


def test_what_needs_training_names_its_commands_before_anything_is_fetched(server: Server) -> None:
    files: dict[str, Table] = {
        "tagger": {"source": server.put("/a.ckpt", CONTENT)},
        "head": {"source": "trained-by:zero_target_head"},
        "separator": {"source": "trained-by:separator_b"},
    }
    registry = registry_of(files)
    entry = registry.system("tiny")
    assert fetch.system_status(entry) == "needs training"
    with pytest.raises(NeedsTrainingError) as caught:
        fetch.fetch_all("system 'tiny'", entry.files, registry, Access())
    assert "`s5 train zero_target_head " in str(caught.value)
    assert "`s5 train separator_b " in str(caught.value)
    assert caught.value.exit_code == 2
    assert server.asked == []
    assert [file.name for file in fetch.fetch_published(entry.files, registry, Access())] == ["head", "separator"]
    assert fetch.status(registry.file("tagger")) == "present"
    for name in ("head", "separator"):
        fetch.trained_path(registry.file(name)).parent.mkdir(parents=True, exist_ok=True)
        fetch.trained_path(registry.file(name)).write_bytes(CONTENT)
    assert fetch.system_status(entry) == "present"
    assert len(fetch.fetch_all("system 'tiny'", entry.files, registry, Access())) == 3
