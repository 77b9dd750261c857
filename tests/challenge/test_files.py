"""Trees of files: a folder and its zip are the same tree, zips are reproducible, and nobody is let out of them."""

import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from s5cli.challenge import files
from s5cli.challenge.files import folder_files, write_zip, zip_files
from s5cli.errors import InputError, OutputError, UsageError


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "tree"
    (root / "sub" / "empty").mkdir(parents=True)
    (root / "b.txt").write_bytes(b"b" * 5000)
    (root / "a é.txt").write_bytes(b"a")
    (root / "sub" / "c.wav").write_bytes(bytes(range(256)))
    (root / ".hidden").write_text("not submitted")
    return root


def content(tree: files.Files) -> dict[str, bytes]:
    return {path: tree.read(path, 1 << 20) for path in tree.sizes_bytes}


def test_a_zip_is_the_tree_that_it_was_made_of(folder, tmp_path):
    write_zip(tmp_path / "t.zip", {"tree": folder})
    there = folder_files(folder)
    with zip_files(tmp_path / "t.zip") as root:
        zipped = root.within("tree")
        assert (
            content(zipped)
            == content(there)
            == {
                "a é.txt": b"a",
                "b.txt": b"b" * 5000,
                "sub/c.wav": bytes(range(256)),
            }
        )
        assert zipped.folders == there.folders == {"sub", "sub/empty"}
        assert (root.top_folders, root.top_files, zipped.name, root.name) == (["tree"], [], "tree", "t.zip")
        assert content(zipped.within("sub")) == {"c.wav": bytes(range(256))}


def test_the_same_content_gives_the_same_bytes(folder, tmp_path):
    write_zip(tmp_path / "one.zip", {"x": folder})
    other = tmp_path / "other"
    other.mkdir()
    for path in sorted(folder.rglob("*"), reverse=True):  # made in another order, at another time, for another owner
        place = other / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes()) if path.is_file() else place.mkdir(exist_ok=True)
        os.utime(place, (1e9, 1e9))
    (other / "b.txt").chmod(0o600)
    write_zip(tmp_path / "two.zip", {"x": other})
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    infos = zipfile.ZipFile(tmp_path / "one.zip").infolist()
    assert [info.filename for info in infos] == sorted(info.filename for info in infos)
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
    assert {stat.S_IMODE(info.external_attr >> 16) for info in infos} == {0o644, 0o755}
    assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}


def test_links_are_listed_and_never_followed(folder, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    (folder / "link").symlink_to(secret)
    (folder / "sub" / "file").symlink_to(secret / "key")
    tree = folder_files(folder)
    assert set(tree.links) == {"link", "sub/file"}
    assert tree.within("sub").links == ("file",)
    write_zip(tmp_path / "t.zip", {"x": folder})
    assert b"secret" not in (tmp_path / "t.zip").read_bytes()


def test_a_read_is_bounded(folder):
    tree = folder_files(folder)
    with pytest.raises(InputError, match="5000 bytes, more than 4999"):
        tree.read("b.txt", 4999)
    (folder / "b.txt").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        tree.read("b.txt", 5000)


# --- hostile archives -------------------------------------------------------------------------------------------------


def zip_of(path: Path, *members: zipfile.ZipInfo | str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for member in members:
            zipped.writestr(member, b"x")
    return path


def refused(path: Path, reason: str) -> None:
    with pytest.raises(InputError, match=reason), zip_files(path):
        pass


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "C:/x", "a//x", "..\\x", "a/.."])
def test_names_that_lead_out_are_refused(tmp_path, name):
    refused(zip_of(tmp_path / "t.zip", name), "leads out of it")


def test_links_in_a_zip_are_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    refused(zip_of(tmp_path / "t.zip", link), "is a link")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path):
    refused(zip_of(tmp_path / "t.zip", "a", "a"), "is there twice")


def test_encrypted_members_are_refused(tmp_path):
    path = zip_of(tmp_path / "t.zip", "a")
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    refused(path, "is encrypted")


def test_a_bomb_is_refused_before_it_is_read(tmp_path):
    """Four gigabytes announced by a file of some hundred bytes."""
    path = zip_of(tmp_path / "t.zip", "a", "b")
    raw = bytearray(path.read_bytes())
    struct.pack_into("<I", raw, raw.index(b"PK\x01\x02") + 24, 0xFFFFFFF0)
    path.write_bytes(raw)
    refused(path, "unpack to")


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_MEMBERS", 3)
    with zip_files(zip_of(tmp_path / "ok.zip", *"abc")):
        pass
    refused(zip_of(tmp_path / "t.zip", *"abcd"), "4 members")


def test_damage_is_named(tmp_path, folder):
    (tmp_path / "t.zip").write_bytes(b"not a zip")
    refused(tmp_path / "t.zip", "not a zip")
    write_zip(tmp_path / "cut.zip", {"x": folder})
    raw = bytearray((tmp_path / "cut.zip").read_bytes())
    raw[raw.index(b"bbbbb")] = 0
    (tmp_path / "cut.zip").write_bytes(raw)
    with zip_files(tmp_path / "cut.zip") as tree:
        assert tree.read("x/a é.txt", 10) == b"a"
        with pytest.raises(InputError, match="damaged in its zip"):
            tree.read("x/b.txt", 5000)


def test_what_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="no such"):
        folder_files(tmp_path / "missing")
    with pytest.raises(UsageError, match="no such"), zip_files(tmp_path / "missing.zip"):
        pass
    with pytest.raises(OutputError, match="cannot be written"):
        write_zip(tmp_path / "missing" / "t.zip", {})
