"""The soundscapes that a submission answers, by name and length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import soundfile

from s5cli import official
from s5cli.errors import InputError
from s5cli.scene import RATE_HZ

SUFFIXES = (".wav", ".flac")
SOUNDSCAPE = "soundscape"
WHOLE_S = 12.0  # a clip up to here holds three targets at most


@dataclass(frozen=True)
class Mixture:
    """A soundscape."""

    name: str
    n_samples: int

    @property
    def most_stems(self) -> int | None:
        """None: as many as there are targets in a long recording."""
        return 3 if self.n_samples <= WHOLE_S * RATE_HZ else None


def names_of(folder: Path) -> Mapping[str, Path]:
    """The soundscapes of a folder, or of its `soundscape/`.

    Raises:
        UsageError: there is no such folder, or two of its files have one name.
        InputError: it holds none.
    """
    inner = folder / SOUNDSCAPE
    paths = official.soundscapes(inner if inner.is_dir() else folder, SUFFIXES)
    if not paths:
        raise InputError(f"{folder}: holds no soundscapes (.wav, .flac), itself or in {SOUNDSCAPE}/")
    return paths


def read_mixtures(folder: Path) -> dict[str, Mixture]:
    """Names and lengths, from the headers alone.

    Raises:
        UsageError, InputError: as `names_of`; or a soundscape that is not audio at 32 kHz.
    """
    return {name: _mixture(name, path) for name, path in names_of(folder).items()}


def _mixture(name: str, path: Path) -> Mixture:
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        raise InputError(f"{path}: not audio, or damaged ({error.error_string.rstrip('.')})") from error
    if info.samplerate != RATE_HZ:
        raise InputError(
            f"{path}: {info.samplerate} Hz, not {RATE_HZ} Hz; the challenge's soundscapes are at {RATE_HZ}"
        )
    return Mixture(name, info.frames)
