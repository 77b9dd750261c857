"""What `s5 weights` lists: files and systems with where they stand, and what verifying them found."""

from dataclasses import dataclass
from typing import Literal

from s5cli.weights import fetch, hashes
from s5cli.weights.registry import FileEntry, Registry


@dataclass(frozen=True)
class FileRow:
    """One checkpoint. `size_bytes` is what lies here, else what is known of it."""

    file: str
    status: fetch.Status
    licence: str
    source: str
    path: str | None
    size_bytes: int | None
    sha256: str | None  # that it must have; None until the first download
    systems: tuple[str, ...]


@dataclass(frozen=True)
class SystemRow:
    """One system; its status is that of the file that is farthest from being usable."""

    system: str
    status: fetch.Status
    summary: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class VerifyRow:
    """One checkpoint against the hash that it must have; `unrecorded`: it is here, and no such hash is known."""

    file: str
    status: Literal["ok", "changed", "unrecorded", "missing", "needs training"]
    sha256: str | None
    expected: str | None


def system_rows(registry: Registry) -> list[SystemRow]:
    """Every system of the registry."""
    return [
        SystemRow(entry.name, fetch.system_status(entry), entry.summary, tuple(file.name for file in entry.files))
        for entry in registry.systems.values()
    ]


def file_row(file: FileEntry, registry: Registry) -> FileRow:
    """A checkpoint of the registry."""
    path = fetch.locate(file)
    systems = tuple(entry.name for entry in registry.systems.values() if file in entry.files)
    place, size = (str(path), path.stat().st_size) if path else (None, file.size_bytes)
    status, wanted = fetch.status(file), fetch.expected(file)
    return FileRow(file.name, status, file.licence.name, file.source, place, size, wanted, systems)


def verify_row(file: FileEntry) -> VerifyRow:
    """A checkpoint hashed anew and compared."""
    path, wanted = fetch.locate(file), fetch.expected(file)
    if path is None:
        return VerifyRow(file.name, "needs training" if file.trained_by else "missing", None, wanted)
    found = hashes.sha256_of(path)
    return VerifyRow(file.name, "unrecorded" if not wanted else "ok" if found == wanted else "changed", found, wanted)
