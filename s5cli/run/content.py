"""What is in a file: its size, a hash of a few of its blocks, which costs next to nothing, and a hash of all of it."""

import hashlib
import os
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Self

from s5cli.audio import open_file
from s5cli.errors import InputError

N_SAMPLED, SAMPLED_BYTES = 16, 4096  # blocks of a file that are compared by every call


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a recording.

    Raises:
        InputError: it cannot be read, or is a pipe or device.
    """
    try:
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


@dataclass(frozen=True)
class Content:
    """What is in a file of a clip."""

    size_bytes: int
    sample: str = ""  # sha256 of a few blocks; empty in manifests that do not tell
    sha256: str = ""

    @classmethod
    def of(cls, path: Path) -> Self:
        """That of a file. Raises OSError."""
        with path.open("rb") as file:
            return cls._of(file)

    @classmethod
    def _of(cls, file: BufferedReader) -> Self:
        size_bytes, sample = _sampled(file)
        file.seek(0)
        return cls(size_bytes, sample, hashlib.file_digest(file, "sha256").hexdigest())

    def holds(self, path: Path, verify: bool) -> bool:
        """Whether a file has that size and, in its sampled blocks or in all of them, that content."""
        try:
            with open_file(path) as file:
                if verify:
                    return Content._of(file) == self
                size_bytes, sample = _sampled(file)
            return (size_bytes, self.sample or sample) == (self.size_bytes, sample)
        except (OSError, InputError):
            return False

    def to_json(self) -> dict[str, Any]:
        return {"bytes": self.size_bytes, "sample": self.sample, "sha256": self.sha256}

    @classmethod
    def read(cls, content: Any) -> Self:
        """Inverse of `to_json`; a mere size too, as earlier versions wrote it. Raises ValueError."""
        match content:
            case int(size_bytes):
                return cls(size_bytes)
            case {"bytes": int(size_bytes), "sample": str(sample), "sha256": str(sha256)}:
                return cls(size_bytes, sample, sha256)
        raise ValueError(f"{content!r} tells of no file")


def _sampled(file: BufferedReader) -> tuple[int, str]:
    """Size in bytes, and the hash of blocks that are evenly spread from a file's first byte to its last."""
    size_bytes = os.fstat(file.fileno()).st_size
    digest, last = hashlib.sha256(), max(0, size_bytes - SAMPLED_BYTES)
    for start in sorted({last * index // (N_SAMPLED - 1) for index in range(N_SAMPLED)}):
        file.seek(start)
        digest.update(file.read(SAMPLED_BYTES))
    return size_bytes, digest.hexdigest()
