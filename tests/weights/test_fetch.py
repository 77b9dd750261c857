"""Downloads from a real server that cuts, lies, changes its mind, and serves hostile archives."""

import hashlib
import io
import os
import stat
import threading
import zipfile
import zlib
from pathlib import Path

import pytest

from s5cli.errors import DownloadError, NeedsTrainingError, OutputError, WeightsError
from s5cli.weights import fetch, hashes, licence, own, places
from s5cli.weights.fetch import Access
from s5cli.weights.registry import Registry, Table
from tests.weights.server import Server
from tests.weights.tiny import registry_of

CONTENT = os.urandom(300_000)
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


@pytest.mark.parametrize("keys", [{"ranges": False}, {"etag": ""}, {"etag": 'W/"weak"'}, {"lies_about_start": True}])
def test_a_server_that_cannot_resume_sends_everything_again(server: Server, keys: dict[str, object]) -> None:
    url = server.put("/a.ckpt", CONTENT, cut_after=[100_000], **keys)
    assert get(known(url)).read_bytes() == CONTENT
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
    changed = bytes(size)
    server.put("/a.ckpt", changed)
    assert get(known(url)).read_bytes() == changed


def test_a_partial_file_longer_than_the_whole_is_fetched_anew(server: Server) -> None:
    url = server.put("/a.ckpt", CONTENT, etag='"same"', cut_after=[100_000, 0, 0, 0])
    with pytest.raises(DownloadError):
        get(known(url))
    server.put("/a.ckpt", CONTENT[:60_000], etag='"same"')
    assert get(known(url)).read_bytes() == CONTENT[:60_000]


def test_a_wrong_hash_is_refused_and_nothing_kept(server: Server) -> None:
    url = server.put("/a.ckpt", CONTENT)
    with pytest.raises(DownloadError, match="expected sha256"):
        get(known(url, sha256="0" * 64))
    assert left() == []
    assert hashes.recorded(url) is None


def test_a_file_must_stay_what_the_first_download_was(server: Server) -> None:
    url = server.put("/a.ckpt", CONTENT)
    get(known(url)).unlink()
    server.put("/a.ckpt", CONTENT[::-1])
    with pytest.raises(DownloadError, match="expected sha256"):
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


@pytest.mark.parametrize("status", [404, 403, 500])
def test_a_refusal_is_told(server: Server, status: int) -> None:
    url = server.put("/a.ckpt", b"", status=status)
    with pytest.raises(DownloadError, match=f"answered {status}"):
        get(known(url))
    assert left() == []


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


# --- archives --------------------------------------------------------------------------------------------------------


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def of_archive(url: str, **members: str) -> Registry:
    return registry_of({name: {"source": url, "member": member} for name, member in members.items()})


def test_an_archive_is_fetched_once_for_all_its_members(server: Server) -> None:
    content = zipped({"release/a.ckpt": CONTENT, "release/b.ckpt": b"b" * 1000, "README": b"r"})
    registry = of_archive(server.put("/x.zip", content, cut_after=[1000]), tagger="a.ckpt", separator="release/b.ckpt")
    assert get(registry).read_bytes() == CONTENT
    assert get(registry, "separator").read_bytes() == b"b" * 1000
    assert [asked.range for asked in server.asked] == [None, "bytes=1000-"]
    assert left() == ["separator.ckpt", "tagger.ckpt"]  # the archive itself is not kept
    for file in registry.files.values():
        assert hashes.recorded(file.source) == hashes.sha256_of(fetch.stored_path(file))


@pytest.mark.parametrize("changed", ["member", "archive"])
def test_an_archive_must_stay_what_the_first_download_was(server: Server, changed: str) -> None:
    content = {"a.ckpt": CONTENT, "notes": b"1"}
    registry = of_archive(server.put("/x.zip", zipped(content)), tagger="a.ckpt")
    get(registry).unlink()
    server.put("/x.zip", zipped({**content, ("a.ckpt" if changed == "member" else "notes"): b"2"}))
    with pytest.raises(DownloadError, match="sha256"):
        get(registry)
    assert left() == []


def test_a_member_with_another_hash_than_the_registry_has_is_refused(server: Server) -> None:
    url = server.put("/x.zip", zipped({"a.ckpt": CONTENT}))
    with pytest.raises(DownloadError, match="has changed"):
        get(known(url, member="a.ckpt", sha256="0" * 64))
    assert left() == []


def symlink(target: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("a.ckpt")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, target)
    return buffer.getvalue()


def flipped(content: bytes) -> bytes:
    at = content.index(zlib.compress(CONTENT)[2:40]) + 10_000
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (zipped({"../a.ckpt": CONTENT}), "leads out of the archive"),
        (zipped({"x/../../a.ckpt": CONTENT}), "leads out of the archive"),
        (zipped({"/a.ckpt": CONTENT}), "leads out of the archive"),
        (zipped({"..\\a.ckpt": CONTENT}), "leads out of the archive"),
        (zipped({"C:\\a.ckpt": CONTENT}), "leads out of the archive"),
        (symlink("/etc/passwd"), "leads out of the archive"),
        (zipped({"b.ckpt": CONTENT}), "holds no 'a.ckpt'"),
        (zipped({"x/a.ckpt": CONTENT, "y/a.ckpt": CONTENT}), "holds 2 files"),
        (zipped({"a.ckpt": CONTENT})[:-200], "is damaged"),
        (flipped(zipped({"a.ckpt": CONTENT})), "is damaged"),
        (b"<html>please log in</html>", "is damaged"),
        (b"", "is damaged"),
    ],
)
def test_a_hostile_or_damaged_archive_leaves_nothing(server: Server, content: bytes, expected: str, home: Path) -> None:
    before = sorted(home.parent.iterdir())
    with pytest.raises(DownloadError, match=expected):
        get(of_archive(server.put("/x.zip", content), tagger="a.ckpt"))
    assert left() == []
    assert sorted(home.parent.iterdir()) in (before, sorted([*before, home]))
    assert [path.name for path in home.rglob("*.ckpt")] == []
    assert not hashes.record_path().exists()


def test_an_archive_that_the_user_has_is_taken_instead(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(zipped({"r/a.ckpt": CONTENT, "r/b.ckpt": b"b"}))
    registry = of_archive("https://nowhere.invalid/x.zip", tagger="a.ckpt", separator="b.ckpt")
    own.give(registry.file("tagger"), tmp_path / "x.zip", registry)
    assert get(registry).read_bytes() == CONTENT
    assert get(registry, "separator", Access(offline=True)).read_bytes() == b"b"
    assert (tmp_path / "x.zip").exists()
    with pytest.raises(WeightsError, match="is not a file"):
        own.give(registry.file("tagger"), tmp_path / "y.zip", registry)


# --- the plan --------------------------------------------------------------------------------------------------------


def test_the_plan_asks_nobody_and_touches_nothing(server: Server, home: Path) -> None:
    url = server.put("/x.zip", zipped({"a.ckpt": CONTENT, "b.ckpt": b"b"}))
    one, two = (
        {"source": url, "member": "a.ckpt", "size_bytes": 5},
        {"source": url, "member": "b.ckpt", "size_bytes": 7},
    )
    files: dict[str, Table] = {"a": one, "b": two, "c": {"source": server.put("/c.ckpt", b"c"), "licence": "strict"}}
    registry = registry_of({**files, "d": {"source": "trained-by:d"}, "e": {"path": "/nowhere"}})
    expected = [
        fetch.Download(url, ("a", "b"), 12, "a free licence"),
        fetch.Download(f"{server.url}/c.ckpt", ("c",), None, "A strict licence"),
    ]
    assert fetch.plan(registry.files.values()) == expected
    assert server.asked == []
    assert not home.exists()
    get(registry, "a")
    assert fetch.plan(registry.files.values()) == expected[1:]
