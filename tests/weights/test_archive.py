"""Checkpoints out of zips: fetched once, hostile ones refused, the user's own taken."""

import io
import stat
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from s5cli.errors import DownloadError, WeightsError
from s5cli.weights import fetch, hashes, own
from s5cli.weights.fetch import Access
from s5cli.weights.registry import Registry, Table
from tests.weights.server import Server
from tests.weights.test_fetch import CONTENT, get, known, left
from tests.weights.tiny import contents, registry_of


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def of_archive(url: str, **members: str) -> Registry:
    return registry_of({name: {"source": url, "member": member} for name, member in members.items()})


def test_an_archive_is_fetched_once_for_all_its_members(server: Server) -> None:
    content = zipped({"release/a.ckpt": CONTENT, "release/b.ckpt": contents(1000), "README": b"r"})
    registry = of_archive(server.put("/x.zip", content, cut_after=[1000]), tagger="a.ckpt", separator="release/b.ckpt")
    assert get(registry).read_bytes() == CONTENT
    assert get(registry, "separator").read_bytes() == contents(1000)
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


def flipped(at: int) -> bytes:
    """A zip with one byte of its member's compressed data changed."""
    content, header = zipped({"a.ckpt": CONTENT.hex().encode()}), 30 + len("a.ckpt")
    return content[: header + at] + bytes([content[header + at] ^ 0xFF]) + content[header + at + 1 :]


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
        (flipped(0), "is damaged"),
        (flipped(100_000), "is damaged"),
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


@pytest.mark.parametrize(
    ("member", "keys", "free", "expected"),
    [
        (bytes(64 << 20), {}, 1 << 40, "would grow from"),
        (contents(5000), {"size_bytes": 4999}, 1 << 40, "has 5000 bytes, not the 4999"),
        (contents(5000), {}, 4000, "only 4000 are free"),
    ],
)
def test_a_member_of_a_size_that_cannot_be_is_refused_before_it_is_written(
    member: bytes, keys: Table, free: int, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.zip").write_bytes(zipped({"a.ckpt": member}))
    registry = known("https://nowhere.invalid/x.zip", member="a.ckpt", **keys)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=free))
    monkeypatch.setattr("shutil.copyfileobj", lambda *_: pytest.fail("it is being written"))
    with pytest.raises(DownloadError, match=expected):
        own.give(registry.file("tagger"), tmp_path / "x.zip", registry)
    assert left() == []


def test_an_archive_that_the_user_has_is_taken_instead(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(zipped({"r/a.ckpt": CONTENT, "r/b.ckpt": contents(200)}))
    registry = of_archive("https://nowhere.invalid/x.zip", tagger="a.ckpt", separator="b.ckpt")
    own.give(registry.file("tagger"), tmp_path / "x.zip", registry)
    assert get(registry).read_bytes() == CONTENT
    assert get(registry, "separator", Access(offline=True)).read_bytes() == contents(200)
    assert (tmp_path / "x.zip").exists()
    with pytest.raises(WeightsError, match="is not a file"):
        own.give(registry.file("tagger"), tmp_path / "y.zip", registry)


# --- the plan --------------------------------------------------------------------------------------------------------


def test_the_plan_asks_nobody_and_touches_nothing(server: Server, home: Path) -> None:
    url = server.put("/x.zip", zipped({"a.ckpt": contents(300), "b.ckpt": contents(200)}))
    one, two = (
        {"source": url, "member": "a.ckpt", "size_bytes": 300},
        {"source": url, "member": "b.ckpt", "size_bytes": 200},
    )
    files: dict[str, Table] = {"a": one, "b": two, "c": {"source": server.put("/c.ckpt", b"c"), "licence": "strict"}}
    registry = registry_of({**files, "d": {"source": "trained-by:d"}, "e": {"path": "/nowhere"}})
    expected = [
        fetch.Download(url, ("a", "b"), 500, "a free licence"),
        fetch.Download(f"{server.url}/c.ckpt", ("c",), None, "A strict licence"),
    ]
    assert fetch.plan(registry.files.values()) == expected
    assert server.asked == []
    assert not home.exists()
    get(registry, "a")
    assert fetch.plan(registry.files.values()) == expected[1:]
