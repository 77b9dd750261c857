"""Simulated FOA rooms: every image source of a shoebox is encoded from its direction of arrival.

A room is nothing but its number: dimensions, reverberation, listener and source positions come from a generator seeded
by it, so a recipe that names the room rebuilds its responses. Image sources up to `MAX_ORDER` are followed by a
diffuse tail that decays with the room's reverberation time in each of three bands.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft

from s5cli.errors import UsageError
from s5cli.scene import RATE_HZ
from s5cli.synth.foa import Floats, Floats32, encoding

N_POSITIONS = 12
"""Source positions in each simulated room, one per 30° sector around the listener."""
MAX_ORDER = 14
SPEED_OF_SOUND_M_S = 343.0
CROSSOVERS_HZ = (700.0, 4_000.0)
TAPS = 32  # length of the windowed sinc that delays by a fraction of a sample
TAIL_FADE_S = 0.010
LEVEL_WINDOW_S = 0.020


@dataclass(frozen=True)
class Shoebox:
    """A rectangular room. Positions in metres from a corner: x front, y left, z up."""

    size_m: Floats  # [3]
    t60_s: Floats  # [3], low, middle and high band
    facing_db: float  # how much louder sources are towards the listener than elsewhere
    listener_m: Floats  # [3]
    sources_m: Floats  # [N_POSITIONS, 3]

    @property
    def reflections(self) -> Floats:
        """Pressure reflection factor of the walls in each band (Eyring)."""
        x, y, z = self.size_m
        return np.asarray(np.exp(-0.161 * x * y * z / (4 * (x * y + y * z + z * x) * self.t60_s)))

    @property
    def directions_deg(self) -> Floats:
        """Azimuth and elevation of every source, [N_POSITIONS, 2]."""
        return directions_deg(self.sources_m - self.listener_m)


@lru_cache(maxsize=1024)
def shoebox(number: int) -> Shoebox:
    """The simulated room of this number: 3 to 8 m wide, T60 0.15 to 0.6 s.

    Sources face the listener, as loudspeakers do when rooms are measured: without that the direct sound would be
    2 to 6 dB weaker against the reflections.

    >>> shoebox(3).sources_m.shape
    (12, 3)
    """
    rng = np.random.default_rng(np.random.SeedSequence(0x5F0A, spawn_key=(number,)))
    size_m = rng.uniform((3.0, 3.0, 2.4), (8.0, 7.0, 3.5))
    t60_s = rng.uniform(0.15, 0.6) * np.array([rng.uniform(0.9, 1.3), 1.0, rng.uniform(0.5, 0.9)])
    facing_db = float(rng.uniform(2, 6))
    listener_m = np.append(size_m[:2] * rng.uniform(0.35, 0.65, 2), rng.uniform(1.0, 1.7))
    return Shoebox(size_m, t60_s, facing_db, listener_m, _sources_m(rng, size_m, listener_m))


def _sources_m(rng: np.random.Generator, size_m: Floats, listener_m: Floats) -> Floats:
    """One source in each of 12 sectors, 0.7 m from the listener to 0.3 m from the wall, 0.3 to 1.9 m high."""
    azimuth = np.deg2rad(30.0 * np.arange(N_POSITIONS) + rng.uniform(0, 30, N_POSITIONS))
    ahead = np.stack((np.cos(azimuth), np.sin(azimuth)), axis=1)  # [12, 2]
    walls_m = np.where(ahead > 0, size_m[:2] - 0.3, 0.3)
    reach_m = np.abs((walls_m - listener_m[:2]) / np.where(ahead == 0, 1e-9, ahead)).min(axis=1)
    distance_m = rng.uniform(0.7, np.clip(reach_m, 0.71, 3.5))
    height_m = rng.uniform(0.3, 1.9, N_POSITIONS)
    return np.column_stack((listener_m[:2] + ahead * distance_m[:, None], height_m))


@lru_cache(maxsize=2048)
def simulated_response(number: int, position: int) -> Floats32:
    """Response [4, t] from one source position of room `number` to its listener, not scaled.

    Raises:
        UsageError: pyroomacoustics is not installed.
    """
    room = shoebox(number)
    n = int(0.8 * room.t60_s.max() * RATE_HZ)
    rng = np.random.default_rng(np.random.SeedSequence(0x5F0B, spawn_key=(number, position)))
    bands = _early(room, position, n, rng)  # [3, 4, n]
    _add_tail(bands, room, rng)
    return _joined(bands)


def image_sources_m(room: Shoebox, position: int) -> tuple[Floats, Floats]:
    """Positions [i, 3] relative to the listener and reflection orders [i] of all image sources."""
    try:
        import pyroomacoustics
    except ImportError as error:
        raise UsageError("simulated rooms need pyroomacoustics: pip install 's5cli[train]'") from error
    shoe = pyroomacoustics.ShoeBox(room.size_m, fs=RATE_HZ, max_order=MAX_ORDER)
    shoe.add_source(room.sources_m[position])
    shoe.add_microphone(room.listener_m)
    shoe.image_source_model()
    source = shoe.sources[0]
    order = np.argsort(source.orders, kind="stable")
    return source.images.T[order].astype(np.float64) - room.listener_m, source.orders[order].astype(np.float64)


def _early(room: Shoebox, position: int, n: int, rng: np.random.Generator) -> Floats:
    """Image sources as fractionally delayed pulses, one train per band."""
    images_m, orders = image_sources_m(room, position)
    # a few centimetres of displacement break the metallic regularity of a perfect shoebox
    images_m[1:] += rng.uniform(-0.05, 0.05, images_m[1:].shape)
    distance_m = np.linalg.norm(images_m, axis=1)
    heard = distance_m / SPEED_OF_SOUND_M_S * RATE_HZ < n - TAPS
    images_m, orders, distance_m = images_m[heard], orders[heard], distance_m[heard]
    delay = distance_m / SPEED_OF_SOUND_M_S * RATE_HZ
    whole = np.floor(delay).astype(np.int64)
    offsets = np.arange(TAPS) - TAPS // 2 + 1
    away = offsets - (delay - whole)[:, None]  # [i, taps]
    pulses = np.sinc(away) * np.cos(np.pi * away / (TAPS + 1)) ** 2
    at = np.maximum(whole[:, None] + offsets, 0).ravel()
    gains = encoding(*directions_deg(images_m).T) / distance_m[:, None]  # [i, 4]
    gains[1:] *= 10 ** (-room.facing_db / 20)
    out = np.empty((3, 4, n))
    for band, reflection in enumerate(room.reflections):
        for channel in range(4):
            weights = (gains[:, channel] * reflection**orders)[:, None] * pulses
            out[band, channel] = np.bincount(at, weights.ravel(), n)[:n]
    return out


def _add_tail(bands: Floats, room: Shoebox, rng: np.random.Generator) -> None:
    """From where the image sources are incomplete: diffuse noise that goes on at their level with the band's decay."""
    n = bands.shape[2]
    start = int(MAX_ORDER * room.size_m.min() / SPEED_OF_SOUND_M_S * RATE_HZ)
    if start < n:
        time_s = (np.arange(n) - start) / RATE_HZ
        fade = np.clip(time_s / TAIL_FADE_S, 0, 1)
        noise = rng.standard_normal((4, n)) * np.array([1, 3**-0.5, 3**-0.5, 3**-0.5])[:, None]
        window = slice(max(0, start - int(LEVEL_WINDOW_S * RATE_HZ)), start)
        for band, t60_s in zip(bands, room.t60_s, strict=True):
            level = np.sqrt(np.mean(band[0, window] ** 2))
            # -60 dB after t60; the level was measured half a window earlier
            decay = level * 10 ** (-3 * (time_s + LEVEL_WINDOW_S / 2) / t60_s)
            band *= np.sqrt(1 - fade**2)
            band += noise * (decay * fade)
    end = int(TAIL_FADE_S * RATE_HZ)
    bands[..., -end:] *= np.linspace(1, 0, end)


def _joined(bands: Floats) -> Floats32:
    """The bands through crossovers that add up to one, so that the direct sound stays a clean pulse."""
    n = bands.shape[2]
    size = scipy.fft.next_fast_len(n + 2048, real=True)
    octaves = np.log2(np.maximum(scipy.fft.rfftfreq(size, 1 / RATE_HZ), 1))
    low, high = (1 / (1 + np.exp(4 * (octaves - np.log2(hz)))) for hz in CROSSOVERS_HZ)
    masks = np.stack((low, high - low, 1 - high))[:, None]
    joined = scipy.fft.irfft((scipy.fft.rfft(bands, size) * masks).sum(axis=0), size)
    return np.ascontiguousarray(joined[:, :n], dtype=np.float32)


def directions_deg(points_m: Floats) -> Floats:
    """Azimuth and elevation [n, 2] of points [n, 3]."""
    x, y, z = points_m.T
    radians: Floats = np.stack((np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))), axis=1)
    return np.rad2deg(radians)
