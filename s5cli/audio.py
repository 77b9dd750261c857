"""Recordings in, stems out: reading with every check a recording needs, channel order, resampling, atomic writing."""

from __future__ import annotations

import io
import itertools
import os
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from filelock import FileLock, Timeout

from s5cli.errors import InputError, OutputError, S5Error, UsageError
from s5cli.scene import N_CHANNELS, RATE_HZ, Floats, Scene, Subtype

if TYPE_CHECKING:
    from torch import Tensor

Samples = npt.NDArray[np.float32]
ChannelOrder = Literal["acn", "fuma"]
FileFormat = Literal["wav", "flac"]
Warn = Callable[[str], None]

MIN_DURATION_S = 0.1
MAX_PEAK = 1e6  # full scale is 1; what is far beyond is no recording and overflows float32 in the networks
OMNI_MARGIN_DB = 0.1  # an exact plane wave along an axis reaches channel 0's level; only more than that is suspicious
HIGHER_ORDERS = tuple((order + 1) ** 2 for order in range(2, 8))  # channels of ambisonics of the second order and more
BLOCK_FRAMES = 1 << 20  # a header may announce any length, so memory grows with what is really there

_FUMA_W_X_Y_Z_AS_W_Y_Z_X = (0, 2, 3, 1)
_BYTE_ORDERS = {b"RIFF": "<", b"RF64": "<", b"BW64": "<", b"RIFX": ">", b"FORM": ">"}
_SOUND_CHUNKS = (b"data", b"SSND")
_UNKNOWN_SIZE = 0xFFFFFFFF


def ignore(message: str) -> None:
    """The `warn` that tells nobody."""


# --- reading ---------------------------------------------------------------------------------------------------------


def read_audio(path: str | Path) -> tuple[Samples, int]:
    """Any file that libsndfile decodes: samples [channels, t] (full scale is ±1) and their rate in Hz.

    Raises:
        InputError: not a readable file, not audio, empty, shorter than its header announces, damaged, or not finite.
    """
    path = Path(path)
    with opened(path) as file:
        announced, rate_hz = file.frames, int(file.samplerate)
        audio = np.concatenate([np.zeros((file.channels, 0), np.float32), *blocks(file, path)], axis=1)
    check_complete(audio.shape[1], announced, path)
    check_finite(audio, str(path), rate_hz)
    return audio, rate_hz


@contextmanager
def opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """The file for reading; InputError if it is none, not audio, or cut."""
    _check_file(path)
    try:
        with soundfile.SoundFile(os.fsencode(path) if os.name == "posix" else path) as file:  # it would encode strictly
            yield file
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".")
        raise InputError(f"{path}: not audio, or damaged ({reason}); give WAV or FLAC") from error


def open_file(path: Path) -> io.BufferedReader:
    """A file for reading; a pipe or device, which might never answer or end, is none.

    Raises:
        InputError: it cannot be opened, or is a pipe or device.
    """
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise InputError(f"{path}: a pipe or device, not a file; write the recording to a file first")
        return path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: no path at all
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _check_file(path: Path) -> None:
    """What libsndfile would say badly or not at all: no such file, a folder, nothing in it, a cut WAV."""
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            missing = _missing_bytes(file, size)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if path.suffix.lower() == ".raw":  # soundfile would want to be told rate and channels
        raise InputError(f"{path}: raw samples without a header; give WAV or FLAC")
    if size == 0:
        raise InputError(f"{path}: empty (0 bytes); record or export it again")
    if missing:
        raise InputError(f"{path}: truncated, {missing} bytes of its sound are missing; copy the file again")


def _missing_bytes(file: BinaryIO, size: int) -> int:
    """Bytes of sound that a WAV or AIFF header announces beyond the end of the file: libsndfile takes what is there.

    A size of 2³²−1 stands for "unknown" (a recorder that wrote into a pipe) or, in RF64, for the 64-bit size in `ds64`.
    """
    order = _BYTE_ORDERS.get(file.read(12)[:4])
    wide = _UNKNOWN_SIZE
    while order and len(header := file.read(8)) == 8:
        name, length = struct.unpack(f"{order}4sI", header)
        start = file.tell()
        if name == b"ds64" and len(sizes := file.read(16)) == 16:
            wide = struct.unpack("<8xQ", sizes)[0]
        if name in _SOUND_CHUNKS:
            length = wide if length == _UNKNOWN_SIZE else length
            return 0 if length == _UNKNOWN_SIZE else max(0, start + length - size)
        file.seek(start + length + length % 2)
    return 0


def blocks(file: soundfile.SoundFile, path: Path, most: int = BLOCK_FRAMES) -> Iterator[Samples]:
    """All samples in order, [channels, t] with t of `most` at most; InputError where the file is damaged."""
    try:
        while len(block := file.read(most, dtype="float32", always_2d=True)):
            yield np.ascontiguousarray(block.T)
    except soundfile.LibsndfileError as error:
        raise InputError(f"{path}: truncated or damaged ({error.error_string.rstrip('.')}); copy it again") from error


def check_complete(n_samples: int, announced: int, path: Path) -> None:
    """InputError if a file held nothing, or less than it announced."""
    if n_samples == 0:
        raise InputError(f"{path}: holds no samples; record or export it again")
    if n_samples < announced:
        raise InputError(f"{path}: truncated, {n_samples} of {announced} samples are there; copy the file again")


def check_finite(audio: Samples, source: str, rate_hz: int, start: int = 0) -> None:
    """InputError at the first NaN or infinity; `start` is where [channels, t] begins in its recording, in samples."""
    finite = np.isfinite(audio)
    if not finite.all():
        channel, sample = np.argwhere(~finite)[0]
        when = f"first in channel {channel} at {(start + sample) / rate_hz:.3f} s"
        raise InputError(f"{source}: has samples that are NaN or infinite, {when}; export it again")


def read_scene(
    path: str | Path,
    channel_order: ChannelOrder = "acn",
    resample: bool = False,
    warn: Warn = ignore,
    first_order: bool = False,
) -> Scene:
    """The mixture in a file, named as the file without its suffix.

    Args:
        path: four channels at 32 kHz, at least 0.1 s.
        channel_order: "acn" is W, Y, Z, X (SN3D); "fuma" is W, X, Y, Z with W 3 dB down, converted on reading.
        resample: take other rates too and convert them to 32 kHz.
        warn: told of a channel 0 that does not look like the omnidirectional one.
        first_order: of higher-order ambisonics take the first four channels.

    Raises:
        InputError: as `read_audio` and `as_scene`.
    """
    path = Path(path)
    audio, rate_hz = read_audio(path)
    if first_order:
        audio = cut_to_first_order(audio)
    if rate_hz != RATE_HZ and resample:
        audio, rate_hz = resampled(audio, rate_hz), RATE_HZ
    check_rate(rate_hz, path)
    return as_scene(audio, path.stem, channel_order, warn, source=str(path))


def check_rate(rate_hz: int, path: Path) -> None:
    """InputError unless it is 32 kHz."""
    if rate_hz != RATE_HZ:
        raise InputError(f"{path}: {rate_hz} Hz, not {RATE_HZ} Hz; --resample converts it (resample=True in Python)")


def as_scene(
    audio: Samples, name: str, channel_order: ChannelOrder = "acn", warn: Warn = ignore, source: str = "mixture"
) -> Scene:
    """Samples [m, t] at 32 kHz as a checked scene in W, Y, Z, X order.

    Raises:
        InputError: not four channels, shorter than 0.1 s, not finite, or absurdly loud; the message
            begins with `source`.
    """
    import torch

    check_channels(audio, source)
    check_duration(audio.shape[1], source)
    check_finite(audio, source, RATE_HZ)
    check_level(audio, source)
    if channel_order == "fuma":
        audio = from_fuma(audio)
    warn_of_quiet_omni(np.square(audio, dtype=np.float64).mean(axis=1), warn)
    return Scene(name, torch.from_numpy(np.ascontiguousarray(audio, dtype=np.float32)))


def cut_to_first_order(audio: Samples) -> Samples:
    """The first four of 9, 16, … channels, which in both orders are those of the first order; others as they are."""
    return audio[:N_CHANNELS] if audio.ndim == 2 and audio.shape[0] in HIGHER_ORDERS else audio


def check_channels(audio: Samples, source: str) -> None:
    """InputError unless it is [m, t]."""
    if audio.ndim != 2 or audio.shape[0] != N_CHANNELS:
        found = f"{audio.shape[0]} channels" if audio.ndim == 2 else f"an array of shape {audio.shape}"
        advice = "give first-order ambisonics (W, Y, Z, X)"
        if audio.ndim == 2 and audio.shape[0] in HIGHER_ORDERS:
            advice = "--first-order takes the first four of higher-order ambisonics (first_order=True in Python)"
        raise InputError(f"{source}: {found}, not {N_CHANNELS}; {advice}")


def check_duration(n_samples: int, source: str) -> None:
    """InputError if that is too short at 32 kHz."""
    if n_samples < MIN_DURATION_S * RATE_HZ:
        duration_s = n_samples / RATE_HZ
        raise InputError(f"{source}: {duration_s:.3f} s, shorter than {MIN_DURATION_S} s; give a longer recording")


def check_level(audio: Samples, source: str) -> None:
    """InputError where a sample is far beyond full scale."""
    if (peak := float(np.abs(audio).max())) > MAX_PEAK:
        raise InputError(f"{source}: has samples of {peak:.3g} where full scale is 1; export it again")


def from_fuma(audio: Samples) -> Samples:
    """First-order FuMa (W/√2, X, Y, Z) as ACN with SN3D (W, Y, Z, X); [4, t] both.

    >>> from_fuma(np.array([[0.5], [1], [2], [3]], dtype=np.float32))[:, 0].tolist()
    [0.707..., 2.0, 3.0, 1.0]
    """
    reordered = audio[list(_FUMA_W_X_Y_Z_AS_W_Y_Z_X)]
    reordered[0] *= np.float32(np.sqrt(2))
    return reordered


def warn_of_quiet_omni(power: Floats, warn: Warn) -> None:
    """Where another channel has more power, [m], than the omnidirectional one, the order is probably another (SN3D)."""
    loudest = int(power.argmax())
    if power[loudest] > power[0] * 10 ** (OMNI_MARGIN_DB / 10):
        below = f"{10 * np.log10(power[loudest] / power[0]):.1f} dB below" if power[0] else "silent, unlike"
        warn(f"channel 0 is {below} channel {loudest}: is it the omnidirectional one? (see --channel-order)")


def resampled(audio: Samples, rate_hz: int) -> Samples:
    """[channels, t] at `rate_hz` to [channels, t'] at 32 kHz (soxr, very high quality)."""
    return np.ascontiguousarray(soxr.resample(audio.T, rate_hz, RATE_HZ, quality="VHQ").T, dtype=np.float32)


# --- writing ---------------------------------------------------------------------------------------------------------

_serial = itertools.count()


def write_stem(path: str | Path, audio: Tensor | Samples, subtype: Subtype = "PCM_16") -> int:
    """Writes [t] as mono 32 kHz WAV, or FLAC where the name ends so, all or nothing; returns how many samples clipped.

    Integer subtypes round towards minus infinity and saturate, as the official code's files do.

    Raises:
        UsageError: FLAC holds no such samples.
        OutputError: the place cannot be written to or is full.
    """
    samples = np.asarray(audio, dtype=np.float32)
    file_format: FileFormat = "flac" if Path(path).suffix.lower() == ".flac" else "wav"
    check_format(file_format, subtype)
    wav, flac = io.BytesIO(), io.BytesIO()
    soundfile.write(wav, samples, RATE_HZ, subtype=subtype, format="WAV")
    if file_format == "flac":
        wav.seek(0)
        write_flac(flac, wav)
    write_file(path, (flac if file_format == "flac" else wav).getvalue())
    return n_clipped(samples, subtype)


def check_format(file_format: FileFormat, subtype: Subtype) -> None:
    """UsageError where a file format does not hold samples of that subtype."""
    if file_format == "flac" and subtype == "FLOAT":
        raise UsageError("FLAC holds samples of 16 or 24 bits, not FLOAT; give --subtype PCM_24, or write WAV")


def write_flac(sink: BinaryIO, wav: BinaryIO | str) -> None:
    """The samples of a mono integer WAV as FLAC, bit by bit: libsndfile alone would round floats otherwise for FLAC.

    Raises:
        OSError: the sink cannot be written to; libsndfile would not tell.
    """
    watched = Watched(sink)
    with soundfile.SoundFile(wav) as source:
        dtype = "int16" if source.subtype == "PCM_16" else "int32"
        with soundfile.SoundFile(watched, "w", RATE_HZ, 1, subtype=source.subtype, format="FLAC") as target:
            while len(block := source.read(BLOCK_FRAMES, dtype=dtype)) and not watched.errors:
                target.write(block)
    if watched.errors:
        raise watched.errors[0]


class Watched:
    """A file that keeps the errors of its writing, which get lost on their way through libsndfile."""

    def __init__(self, file: BinaryIO | io.FileIO) -> None:
        self.tell, self.read, self.close, self._file = file.tell, file.read, file.close, file
        self.errors: list[OSError] = []

    def write(self, content: bytes) -> int:
        return self._kept(lambda: self._write(memoryview(content)), len(content))

    def _write(self, left: memoryview) -> int:
        n_bytes = len(left)
        while left:
            left = left[self._file.write(left) :]
        return n_bytes

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._kept(lambda: self._file.seek(offset, whence), offset)  # which writes what is held back

    def _kept(self, work: Callable[[], int], expected: int) -> int:
        try:
            return work()
        except OSError as error:
            self.errors.append(error)
            return expected


def n_clipped(samples: Samples, subtype: Subtype) -> int:
    """How many samples a file of that subtype cannot hold."""
    return 0 if subtype == "FLOAT" else int(np.count_nonzero((samples >= 1) | (samples < -1)))


STREAMS = (Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd"))
"""Where names stand for what is open already, even if that is a file."""


@contextmanager
def writable(path: str | Path) -> Iterator[None]:
    """Raises OutputError where the system cannot write to a place, or it is full."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


def write_file(path: str | Path, content: bytes) -> None:
    """Makes `path` hold `content`, all or nothing; a pipe or a device, as /dev/stdout, is written to and not replaced.

    Raises:
        OutputError: the place cannot be written to or is full.
    """
    path = Path(path)
    partial = path.with_name(f".s5-{os.getpid()}-{next(_serial)}.part")
    with writable(path):
        is_special = path.exists() and not (path.is_file() or path.is_dir())
        if is_special or path.absolute().parent in STREAMS:
            path.write_bytes(content)
            return
        try:
            partial.write_bytes(content)
            partial.replace(path)
        finally:
            with suppress(OSError):  # what failed before says more
                partial.unlink(missing_ok=True)


LOCK_NAME = ".s5-lock"


@contextmanager
def claimed(folder: Path, kind: type[S5Error]) -> Iterator[None]:
    """Makes a folder and holds its lock, which the operating system takes back from a process that is killed.

    Raises:
        kind: the folder cannot be written to, or another process is writing to it.
    """
    lock = FileLock(folder / LOCK_NAME)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise kind(f"{folder}: another process is writing there; wait for it, or give another folder") from error
    except NotImplementedError:  # some network file systems have no locks
        pass
    except OSError as error:
        raise kind(unwritable(folder, error)) from error
    try:
        yield
    finally:
        for _ in range(2):  # a disk that fails gets a second chance
            with suppress(OSError):  # Windows keeps what is open
                (folder / LOCK_NAME).unlink(missing_ok=True)
                break
        lock.release()


def unwritable(folder: Path, error: OSError) -> str:
    """That a folder cannot be written to, why, and what to do about it."""
    reason = "it is a file" if os.path.isfile(folder) else error.strerror or error  # noqa: PTH113 (it never raises)
    return f"{folder}: cannot be written to ({reason}); give another folder for the output"
