"""Mel spectrograms as pictures: audio to dB, dB to a small palette, a palette picture to PNG bytes.

Plain numpy and zlib: a report of thousands of clips needs neither a plotting library nor its start-up time.
"""

import struct
import zlib
from functools import cache

import numpy as np
import numpy.typing as npt
import scipy.fft

from s5cli.audio import Samples
from s5cli.scene import RATE_HZ

N_FFT = 2048  # 64 ms: narrow enough for the lowest bands
N_BANDS = 128
LOW_HZ, HIGH_HZ = 40.0, RATE_HZ / 2
FRAMES_PER_S = 80
MIN_COLUMNS, MAX_COLUMNS = 200, 1600
RANGE_DB = 70.0  # from the darkest to the brightest colour
FLOOR = 1e-12  # power of digital silence, far below one 16-bit step
QUIETEST_DB = 10 * np.log10(FLOOR) + RANGE_DB  # of a scale: with less, silence would not be dark
TICKS_HZ = (100, 500, 1000, 2000, 4000, 8000)

_BLOCK = 1024  # frames transformed together, so that memory does not grow with the recording
_N_COLOURS = 64  # a step of about 1 dB, and files of half the size that 256 would make
_MAGMA = "000004 120d31 331067 59157e 7e2482 a3307e c83e73 e95462 fa7d5e fea973 fed395 fcfdbf"
"""Twelve stops of the colour map `magma` (van der Walt & Smith, CC0), whose lightness rises evenly."""

Decibels = npt.NDArray[np.float32]


def mel(frequency_hz: float) -> float:
    """HTK's mel scale.

    >>> round(mel(1000))
    1000
    """
    return float(2595 * np.log10(1 + frequency_hz / 700))


def height_of(frequency_hz: float) -> float:
    """Where a frequency lies in a picture, 0 at the lower edge, 1 at the upper.

    >>> height_of(LOW_HZ), height_of(HIGH_HZ)
    (0.0, 1.0)
    """
    return (mel(frequency_hz) - mel(LOW_HZ)) / (mel(HIGH_HZ) - mel(LOW_HZ))


def n_columns(n_samples: int) -> int:
    """Width in pixels of the picture of so many samples: 80 a second, never narrower than 200 nor wider than 1600.

    >>> n_columns(10 * RATE_HZ), n_columns(RATE_HZ // 10), n_columns(3600 * RATE_HZ)
    (800, 200, 1600)
    """
    return min(max(n_samples * FRAMES_PER_S // RATE_HZ, MIN_COLUMNS), MAX_COLUMNS)


def mel_db(audio: Samples) -> Decibels:
    """Power of a signal [t] in mel bands over time, [bands, columns] in dB, lowest band first.

    A sine at full scale reaches about 0 dB. Where a column covers more than one frame it shows the loudest.
    """
    columns = n_columns(len(audio))
    per_column = max(1, -(-len(audio) // (columns * N_FFT // 2)))
    centres = (np.arange(columns * per_column) + 0.5) * len(audio) / (columns * per_column)
    starts = centres.astype(np.int64)  # in the padded signal, where half a frame was put before the first sample
    padded = np.pad(audio, N_FFT // 2 + 1)
    blocks = np.array_split(starts.reshape(columns, per_column), -(-len(starts) // _BLOCK))
    return np.concatenate([_mel_db(padded, block) for block in blocks], axis=1)


def _mel_db(padded: Samples, starts: npt.NDArray[np.int64]) -> Decibels:
    """[bands, columns] of the frames that begin at `starts` [columns, frames in each]."""
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[starts.ravel()] * _window()
    spectrum = scipy.fft.rfft(frames, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2) @ _mel_bands()
    loudest = power.reshape(*starts.shape, N_BANDS).max(axis=1).T
    return np.asarray(10 * np.log10(np.maximum(loudest, FLOOR)), dtype=np.float32)


@cache
def _window() -> Samples:
    """Hann, scaled so that a sine at full scale has power 1 in its bin."""
    window = np.hanning(N_FFT + 1)[:-1]
    return np.asarray(window * 2 / window.sum(), dtype=np.float32)


@cache
def _mel_bands() -> Samples:
    """Triangles [bins, bands] of height 1, at equal distances in mel."""
    edges = np.linspace(mel(LOW_HZ), mel(HIGH_HZ), N_BANDS + 2)
    bins = 2595 * np.log10(1 + np.linspace(0, RATE_HZ / 2, N_FFT // 2 + 1) / 700)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.asarray(np.clip(np.minimum(rising, falling), 0, None), dtype=np.float32)


def png(decibels: Decibels, loudest_db: float) -> bytes:
    """A picture [rows from below, columns]: the brightest colour at `loudest_db`, the darkest `RANGE_DB` below.

    Source: PNG specification, third edition (W3C); colour type 3, filter 1 (each pixel as the step from the one
    before), which with run lengths is smaller and many times faster here than what zlib does by itself.
    """
    share = np.clip((decibels - loudest_db) / RANGE_DB + 1, 0, 1)
    pixels = np.rint(share * (_N_COLOURS - 1)).astype(np.uint8)[::-1]
    height, width = pixels.shape
    rows = np.ones((height, 1 + width), np.uint8)  # each begins with the number of its filter
    rows[:, 1:] = np.diff(pixels, axis=1, prepend=np.uint8(0))  # modulo 256, as the filter wants it
    squeeze = zlib.compressobj(strategy=zlib.Z_RLE)
    content = squeeze.compress(rows.tobytes()) + squeeze.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"PLTE", _palette().tobytes()), (b"IDAT", content))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in (*chunks, (b"IEND", b"")))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@cache
def _palette() -> npt.NDArray[np.uint8]:
    """[colours, red green blue]."""
    stops = np.array([list(bytes.fromhex(stop)) for stop in _MAGMA.split()])
    places = np.linspace(0, len(stops) - 1, _N_COLOURS)
    channels = [np.interp(places, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
    return np.rint(channels).astype(np.uint8).T.copy()
