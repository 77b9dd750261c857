"""SHA-256 of files, of the embedded checkpoints, and of what the first download of each source was."""

import hashlib
import os
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path

from s5cli.errors import WeightsError
from s5cli.weights import places

RENEW = "cd s5cli/compact && sha256sum *.safetensors > SHA256SUMS"


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file; asked again of an unchanged file, it is remembered.

    Raises:
        WeightsError: the file cannot be read.
    """
    try:
        state = path.stat()
        return _sha256(os.fspath(path), state.st_size, state.st_mtime_ns, state.st_ino)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from error


@lru_cache(maxsize=256)
def _sha256(path: str, size_bytes: int, modified_ns: int, inode: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache
def embedded() -> Mapping[str, str]:
    """SHA-256 by file name of the checkpoints in `s5cli/compact`, as its SHA256SUMS says; `RENEW` writes that file."""
    sums = resources.files("s5cli") / "compact" / "SHA256SUMS"
    lines = sums.read_text("ascii").splitlines() if sums.is_file() else []
    return {name.lstrip("*"): sha256 for sha256, name in map(str.split, lines)}


def record_path() -> Path:
    """The file that remembers first downloads: source to SHA-256."""
    return places.data_dir() / "known_hashes.json"


def recorded(source: str) -> str | None:
    """What the first download of a source was, if there has been one."""
    return places.read_table(record_path()).get(source)


def record(source: str, sha256: str) -> None:
    """Remembers a first download; a source already known keeps its hash."""
    known = places.read_table(record_path())
    if source not in known:
        places.write_table(record_path(), {**known, source: sha256})
