"""Recordings and stems of any length: read block by block, written span by span, never held whole in memory.

What is read is what `s5cli.audio.read_scene` would give, what is written is what `s5cli.audio.write_stem` would write.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import soundfile
import soxr

from s5cli import audio
from s5cli.audio import ChannelOrder, Samples, Warn
from s5cli.errors import InputError
from s5cli.scene import N_CHANNELS, RATE_HZ, Subtype

BLOCK_SAMPLES = 1 << 18  # at once, some 8 s
SAMPLE_BYTES: dict[Subtype, int] = {"PCM_16": 2, "PCM_24": 3, "FLOAT": 4}

_INTEGER, _FLOATING = 1, 3  # format tags of WAV
_IN_DS64 = 0xFFFFFFFF  # "the size stands in the chunk ds64", where 32 bits do not hold it


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recording:
    """A recording that has been looked through from end to end and may be read."""

    path: Path
    rate_hz: int  # of the file
    n_samples: int  # at 32 kHz
    channel_order: ChannelOrder
    first_order: bool = False  # of higher-order ambisonics only the first four channels are taken

    def blocks(self) -> Iterator[Samples]:
        """All of it as consecutive [m, t] at 32 kHz in W, Y, Z, X order, some seconds each.

        Raises:
            InputError: the file is not what it was any more.
        """
        seen = 0
        with audio.opened(self.path) as file:
            found = audio.blocks(file, self.path, BLOCK_SAMPLES)
            for block in _at_32_khz((_cut(block, self.first_order) for block in found), self.rate_hz):
                seen += block.shape[1]
                yield audio.from_fuma(block) if self.channel_order == "fuma" else block
        if seen < self.n_samples:
            raise InputError(f"{self.path}: has become shorter while it was read; separate it again")


def n_samples_at_32_khz(n_samples: int, rate_hz: int) -> int:
    """As many as `s5cli.audio.resampled` makes of them.

    >>> n_samples_at_32_khz(44_100, 44_100), n_samples_at_32_khz(2, 48_000)
    (32000, 1)
    """
    return (2 * n_samples * RATE_HZ + rate_hz) // (2 * rate_hz)  # halves up


def announced(path: Path) -> tuple[int, int] | None:
    """Samples and their rate in Hz as a file's header has them; None where reading it will say what is wrong."""
    try:
        with audio.opened(path) as file:
            return int(file.frames), int(file.samplerate)
    except InputError:
        return None


def survey(
    path: Path,
    channel_order: ChannelOrder = "acn",
    resample: bool = False,
    warn: Warn = audio.ignore,
    first_order: bool = False,
) -> Recording:
    """Looks through a whole recording for all that `read_scene` refuses or warns of, in memory that does not grow.

    Raises:
        InputError: as `s5cli.audio.read_scene`.
    """
    seen, power = 0, np.zeros(N_CHANNELS)
    with audio.opened(path) as file:
        announced, rate_hz = int(file.frames), int(file.samplerate)
        if not resample:
            audio.check_rate(rate_hz, path)
        for block in audio.blocks(file, path, BLOCK_SAMPLES):
            audio.check_finite(block, str(path), rate_hz, seen)
            block = _cut(block, first_order)
            audio.check_channels(block, str(path))
            audio.check_level(block, str(path))
            ordered = audio.from_fuma(block) if channel_order == "fuma" else block
            power += np.square(ordered, dtype=np.float64).sum(axis=1)
            seen += block.shape[1]
    audio.check_complete(seen, announced, path)
    n_samples = n_samples_at_32_khz(seen, rate_hz)
    audio.check_duration(n_samples, str(path))
    audio.warn_of_quiet_omni(power / seen, warn)
    return Recording(path, rate_hz, n_samples, channel_order, first_order)


def _cut(block: Samples, first_order: bool) -> Samples:
    return audio.cut_to_first_order(block) if first_order else block


def _at_32_khz(blocks: Iterator[Samples], rate_hz: int) -> Iterator[Samples]:
    """The same samples that `s5cli.audio.resampled` makes of the whole."""
    if rate_hz == RATE_HZ:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate_hz, RATE_HZ, N_CHANNELS, dtype="float32", quality="VHQ")
    for block in blocks:
        yield np.ascontiguousarray(stream.resample_chunk(block.T).T)
    yield np.ascontiguousarray(stream.resample_chunk(np.zeros((0, N_CHANNELS), np.float32), last=True).T)


# --- writing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StemFile:
    """A mono 32 kHz WAV of fixed length. It is silent where nothing was written, and takes no space on disk there.

    All methods raise OutputError where the place cannot be written to or is full.
    """

    path: Path
    n_samples: int
    subtype: Subtype

    @classmethod
    def create(cls, path: Path, n_samples: int, subtype: Subtype = "PCM_16") -> Self:
        """An all-silent one in place of whatever is there."""
        header = wav_header(n_samples, subtype)
        n_bytes = n_samples * SAMPLE_BYTES[subtype]
        with audio.writable(path):
            try:
                with path.open("wb") as file:
                    file.write(header)
                    file.truncate(len(header) + n_bytes + n_bytes % 2)  # zeros; chunks are padded to even length
            except OSError:
                path.unlink(missing_ok=True)
                raise
        return cls(path, n_samples, subtype)

    def write(self, start: int, samples: Samples) -> int:
        """Puts [t] at `start`, rounded and saturated as `write_stem` does, and returns how many samples were clipped.

        Raises:
            ValueError: the samples reach beyond the file's end.
        """
        if not 0 <= start <= self.n_samples - len(samples):
            raise ValueError(f"{len(samples)} samples at {start} do not fit into {self.n_samples}")
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, RATE_HZ, subtype=self.subtype, format="RAW", endian="LITTLE")
        with audio.writable(self.path), self.path.open("r+b") as file:
            file.seek(len(wav_header(self.n_samples, self.subtype)) + start * SAMPLE_BYTES[self.subtype])
            file.write(buffer.getvalue())
        return audio.n_clipped(samples, self.subtype)

    def as_flac(self) -> Self:
        """The same samples as FLAC in place of this file."""
        flac = replace(self, path=self.path.with_suffix(".flac"))
        with audio.writable(flac.path):
            with flac.path.open("wb") as file:
                audio.write_flac(file, str(self.path))
            self.path.unlink()
        return flac


def wav_header(n_samples: int, subtype: Subtype) -> bytes:
    """What stands before the samples of a mono 32 kHz WAV; above 4 GiB it is an RF64, its 64-bit form (EBU Tech 3306).

    >>> len(wav_header(320_000, "PCM_16")), wav_header(1 << 32, "PCM_16")[:4]
    (44, b'RF64')
    """
    width = SAMPLE_BYTES[subtype]
    tag = _FLOATING if subtype == "FLOAT" else _INTEGER
    about = _chunk(b"fmt ", struct.pack("<HHIIHH", tag, 1, RATE_HZ, RATE_HZ * width, width, 8 * width))
    if subtype == "FLOAT":
        about += _chunk(b"fact", struct.pack("<I", min(n_samples, _IN_DS64)))
    n_bytes = n_samples * width
    whole = len(b"WAVE") + len(about) + 8 + n_bytes + n_bytes % 2
    if whole < _IN_DS64:
        return struct.pack("<4sI4s", b"RIFF", whole, b"WAVE") + about + struct.pack("<4sI", b"data", n_bytes)
    wide = _chunk(b"ds64", struct.pack("<QQQI", whole + 8 + 28, n_bytes, n_samples, 0))
    head = struct.pack("<4sI4s", b"RF64", _IN_DS64, b"WAVE")
    return head + wide + about + struct.pack("<4sI", b"data", _IN_DS64)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack("<4sI", name, len(content)) + content
