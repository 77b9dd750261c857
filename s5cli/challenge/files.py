"""A folder or a zip as one tree of files: listed once, read one bounded file at a time, never extracted."""

import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Self

from s5cli.audio import writable
from s5cli.errors import InputError, UsageError
from s5cli.weights.registry import is_inside

MOST_MEMBERS = 100_000
MOST_GROWTH = 200  # of a zip that unpacks to a gigabyte; stems of digital silence shrink a thousandfold, sets do not
GROWTH_MATTERS_BYTES = 1 << 30
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold
FILE_MODE = (stat.S_IFREG | 0o644) << 16
FOLDER_MODE = (stat.S_IFDIR | 0o755) << 16 | 0x10  # the last bit says the same to DOS


@dataclass(frozen=True)
class Files:
    """Files by path, with `/` between steps, in path order."""

    name: str  # of the folder, or of the folder in the zip; the zip's own name at its root
    where: str  # for people
    sizes_bytes: Mapping[str, int]
    folders: frozenset[str]  # with or without files in them
    links: tuple[str, ...]  # never followed
    _read: Callable[[str], bytes] = field(repr=False)
    _prefix: str = ""

    def read(self, path: str, most_bytes: int) -> bytes:
        """The content of a file.

        Raises:
            InputError: it is larger than that, damaged, or cannot be read.
        """
        if self.sizes_bytes[path] > most_bytes:
            raise InputError(f"{self.sizes_bytes[path]} bytes, more than {most_bytes} make sense here")
        return self._read(self._prefix + path)

    def within(self, folder: str) -> Self:
        """The tree below one of its folders."""
        start = f"{folder}/"
        return replace(
            self,
            name=PurePosixPath(folder).name,
            where=f"{self.where}/{folder}",
            sizes_bytes={path.removeprefix(start): n for path, n in self.sizes_bytes.items() if path.startswith(start)},
            folders=frozenset(path.removeprefix(start) for path in self.folders if path.startswith(start)),
            links=tuple(path.removeprefix(start) for path in self.links if path.startswith(start)),
            _prefix=f"{self._prefix}{start}",
        )

    @property
    def top_folders(self) -> list[str]:
        return sorted(path for path in self.folders if "/" not in path)

    @property
    def inner(self) -> list[Self]:
        """The tree below each of its folders."""
        return [self.within(folder) for folder in self.top_folders]

    @property
    def top_files(self) -> list[str]:
        return sorted(path for path in self.sizes_bytes if "/" not in path)


# --- folders ----------------------------------------------------------------------------------------------------------


def folder_files(folder: Path) -> Files:
    """The tree of a folder; hidden files and folders are left out.

    Raises:
        UsageError: there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    sizes, folders, links = {}, set(), []
    for path in _walk(folder):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            links.append(name)
        elif path.is_dir():
            folders.add(name)
        else:
            sizes[name] = path.stat().st_size
    sizes, read = dict(sorted(sizes.items())), partial(_read_file, folder)
    return Files(folder.resolve().name, str(folder), sizes, frozenset(folders), tuple(links), read)


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in [*folders, *sorted(files)] if not name.startswith("."))


def _read_file(folder: Path, path: str) -> bytes:
    try:
        return (folder / path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})") from error


# --- zips -------------------------------------------------------------------------------------------------------------


@contextmanager
def zip_files(path: Path) -> Iterator[Files]:
    """The tree of a zip, as long as the block lasts.

    Raises:
        UsageError: there is no such file.
        InputError: not a zip, damaged, or one that is not to be trusted: names that lead out of it, links, two members
            of one name, encryption, or a bomb.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file or folder; check the path")
    try:
        with zipfile.ZipFile(path) as zipped:
            _check_members(zipped, path)
            yield _zip_tree(zipped, path)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{path}: not a zip, or damaged ({error}); make or copy it again") from error


def _zip_tree(zipped: zipfile.ZipFile, path: Path) -> Files:
    members = sorted(zipped.infolist(), key=lambda info: info.filename)
    folders = {info.filename.rstrip("/") for info in members if info.is_dir()}
    sizes = {info.filename: info.file_size for info in members if not info.is_dir()}
    for name in (*sizes, *tuple(folders)):
        folders.update(str(parent) for parent in PurePosixPath(name).parents if parent.name)
    return Files(path.name, str(path), sizes, frozenset(folders), (), partial(_read_member, zipped))


def _read_member(zipped: zipfile.ZipFile, path: str) -> bytes:
    """Python reads as many bytes as the member announces and no more, so its size bounds the memory."""
    try:
        return zipped.read(path)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise InputError(f"damaged in its zip ({error})") from error


def _check_members(zipped: zipfile.ZipFile, path: Path) -> None:
    members = zipped.infolist()
    if len(members) > MOST_MEMBERS:
        raise InputError(f"{path}: refused, {len(members)} members; a submission has no more than {MOST_MEMBERS}")
    seen: set[str] = set()
    for info in members:
        if reason := _distrust(info, seen):
            raise InputError(f"{path}: refused, its member {info.filename!r} {reason}; do not trust it")
        seen.add(info.filename)
    total, packed = sum(info.file_size for info in members), path.stat().st_size
    if total > max(GROWTH_MATTERS_BYTES, MOST_GROWTH * packed):
        raise InputError(f"{path}: refused, {packed} bytes that unpack to {total}; do not trust it")


def _distrust(info: zipfile.ZipInfo, seen: set[str]) -> str | None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if not is_inside(info.filename.removesuffix("/")) or "\\" in info.orig_filename or "\0" in info.orig_filename:
        return "leads out of it"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if info.flag_bits & 1:
        return "is encrypted"
    return "is there twice" if info.filename in seen else None


def write_zip(target: Path, folders: Mapping[str, Path]) -> None:
    """Zips folders under names at its root, the same bytes for the same content whenever and wherever it runs.

    Members are sorted and stored as they are (a compressor's output changes with its version), with a fixed time and
    fixed permissions. Links and hidden files are left out.

    Raises:
        OutputError: the place cannot be written to or is full.
    """
    with writable(target), zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as zipped:
        for name, folder in sorted(folders.items()):
            _add_folder(zipped, name, folder)


def _add_folder(zipped: zipfile.ZipFile, name: str, folder: Path) -> None:
    paths = {f"{name}/{path.relative_to(folder).as_posix()}": path for path in _walk(folder) if not path.is_symlink()}
    folders = {f"{member}/" for member, path in paths.items() if path.is_dir()} | {f"{name}/"}
    files = {member: path for member, path in paths.items() if not path.is_dir()}
    for member in sorted([*folders, *files]):
        info = zipfile.ZipInfo(member, EPOCH)
        info.create_system = 3  # Unix, wherever this runs
        info.external_attr = FOLDER_MODE if member in folders else FILE_MODE
        if member in folders:
            zipped.writestr(info, b"")
            continue
        info.file_size = files[member].stat().st_size  # so that large members get a 64-bit header
        with files[member].open("rb") as source, zipped.open(info, "w") as target:
            shutil.copyfileobj(source, target, 1 << 20)
