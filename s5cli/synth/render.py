"""From a recipe to samples: convolve, scale to the signal-to-noise ratio, add up. Made for training on the fly."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.fft
import scipy.signal

from s5cli.scene import N_CHANNELS, RATE_HZ
from s5cli.synth.foa import Floats, Floats32, rotated, sphere
from s5cli.synth.library import Library, Recording, excerpt, mono, multichannel
from s5cli.synth.recipe import Background, Event, SceneRecipe, Take

SHELVES_HZ = (300.0, 3_000.0)
LOOP_FADE_SAMPLES = RATE_HZ // 20  # 50 ms
BLAS_SAMPLES = 4_096
PEAK = 0.999
"""Largest absolute sample of a scene: 16-bit files hold it without clipping."""
FFT_SAMPLES = 65_536  # blocks that stay in the processor's cache; measured fastest for responses up to 1 s


@dataclass(frozen=True)
class Rendered:
    """A scene as samples: channel order W, Y, Z, X; `targets` are the direct sound at channel 0, without the room."""

    mixture: Floats32  # [m, t]
    labels: tuple[str, ...]  # of the n foreground events
    targets: Floats32  # [n, t]
    wet: Floats32  # [n, m, t], the foreground events as they are in the mixture
    others: Floats32  # [i + 1, t], what is in the mixture's channel 0 of each of i interfering events, and background
    level_db: float = 0.0  # below 0 where the whole scene was turned down to keep it within full scale


def render(recipe: SceneRecipe, library: Library) -> Rendered:
    """The samples of a recipe: the same recipe, recordings and rooms give the same samples.

    A scene that would exceed full scale (about one in 200: sparse clicks at a high signal-to-noise ratio) is turned
    down as a whole, mixture, targets and background alike.

    Raises:
        UsageError: the library lacks a recording or room of the recipe.
        InputError: a recording or response that cannot be read.
    """
    mixture = background(recipe, library)
    targets = np.zeros((len(recipe.foreground), recipe.n_samples), np.float32)
    wet = np.zeros((len(recipe.foreground), N_CHANNELS, recipe.n_samples), np.float32)
    others = np.zeros((len(recipe.interference) + 1, recipe.n_samples), np.float32)
    others[-1] = mixture[0]
    for number, event in enumerate((*recipe.foreground, *recipe.interference)):
        heard = _convolved(event, recipe, library)
        n = min(recipe.n_samples - event.start, heard.shape[1])
        span = slice(event.start, event.start + n)
        mixture[:, span] += heard[:N_CHANNELS, :n]
        if event.role == "foreground":
            targets[number, span] = heard[N_CHANNELS, :n]
            wet[number, :, span] = heard[:N_CHANNELS, :n]
        else:
            others[number - len(recipe.foreground), span] = heard[0, :n]
    labels = tuple(event.label for event in recipe.foreground)
    return _held(Rendered(mixture, labels, targets, wet, others))


def _held(scene: Rendered) -> Rendered:
    """The scene, turned down if any of its samples exceeds full scale."""
    peak = max(float(np.abs(audio).max(initial=0)) for audio in (scene.mixture, scene.targets))
    if peak <= PEAK:
        return scene
    gain = np.float32(PEAK / peak)
    level_db = float(20 * np.log10(gain))
    audio = (scene.targets * gain, scene.wet * gain, scene.others * gain)
    return Rendered(scene.mixture * gain, scene.labels, *audio, level_db)


def _convolved(event: Event, recipe: SceneRecipe, library: Library) -> Floats32:
    """The event in its room and, for a foreground event, its direct part: [m or m + 1, t], scaled to its SNR."""
    response = library.room(recipe.room).response(event.position)
    response = rotated(response, event.yaw_deg + recipe.rotation_deg)
    dry = _dry(event, library)
    if event.role == "foreground":
        direct = direct_part(response[0], recipe.direct_before_ms, recipe.direct_after_ms)
        heard = convolve(dry, np.concatenate((response, direct[None])))
        taps = np.flatnonzero(direct)
        # beyond their reach the transform leaves rounding noise where a target is silent
        heard[N_CHANNELS, : taps[0]] = 0
        heard[N_CHANNELS, taps[-1] + len(dry) :] = 0
    else:
        heard = convolve(dry, response)
    power = np.square(heard[:N_CHANNELS]).mean(dtype=np.float64)
    if power > 0:
        heard *= np.float32(np.sqrt(10 ** ((recipe.background_db + event.snr_db) / 10) / power))
    return heard


def direct_part(response: Floats32, before_ms: float, after_ms: float) -> Floats32:
    """The response from `before_ms` before to `after_ms` after its largest absolute sample, zero elsewhere.

    >>> direct_part(np.array([.1, .9, .5, .2, .1], np.float32), 0, 1 / 32)
    array([0. , 0.9, 0.5, 0. , 0. ], dtype=float32)
    """
    peak = int(np.abs(response).argmax())
    first = max(0, peak - round(before_ms * RATE_HZ / 1000))
    last = peak + round(after_ms * RATE_HZ / 1000) + 1
    direct = np.zeros_like(response)
    direct[first:last] = response[first:last]
    return direct


def convolve(source: Floats32, responses: Floats32) -> Floats32:
    """Full convolution of `source` [t] with each of `responses` [r, u]: [r, t + u - 1], by overlap-add.

    >>> convolve(np.array([1, 2], np.float32), np.array([[1, 0, 3]], np.float32)).round(4)
    array([[1., 2., 3., 6.]], dtype=float32)
    """
    n_taps = responses.shape[1]
    out = np.zeros((len(responses), len(source) + n_taps - 1), np.float32)
    size = scipy.fft.next_fast_len(min(out.shape[1], max(FFT_SAMPLES, 2 * n_taps)), real=True)
    step = size - n_taps + 1
    spectra = scipy.fft.rfft(responses, size)
    for begin in range(0, len(source), step):
        block = scipy.fft.irfft(scipy.fft.rfft(source[begin : begin + step], size) * spectra, size)
        end = min(begin + size, out.shape[1])
        out[:, begin:end] += block[:, : end - begin]
    return out


def _dry(event: Event, library: Library) -> Floats32:
    """The event's audio before the room, peak-normalised."""
    audio = np.zeros(event.n_samples, np.float32)
    reference = None
    for take in event.takes:
        piece = _played(library.recording(event.role, take.file), take)
        rms = float(np.sqrt(np.square(piece).mean()))
        reference = rms if reference is None else reference
        if take.level_db is not None and rms > 0:
            piece *= np.float32(reference / rms * 10 ** (take.level_db / 20))
        audio[take.at : take.at + len(piece)] += piece
    return _normalised(audio)


def _played(recording: Recording, take: Take) -> Floats32:
    """A take, cut, at its speed, equalised and peak-normalised: exactly `take.n_samples` long."""
    import soxr

    audio = excerpt(recording.path, take.offset, take.length)
    if take.speed != 1:
        audio = soxr.resample(audio, RATE_HZ * take.speed, RATE_HZ)
    audio = np.pad(audio[: take.n_samples], (0, max(0, take.n_samples - len(audio))))
    if take.low_db or take.high_db:
        audio = scipy.signal.sosfilt(shelves(take.low_db, take.high_db), audio).astype(np.float32)
    return _normalised(audio)


def _normalised(audio: Floats32) -> Floats32:
    peak = np.abs(audio).max()
    return audio / peak if peak > 0 else audio


def shelves(low_db: float, high_db: float) -> Floats:
    """A low and a high shelf as second-order sections [2, 6] (R. Bristow-Johnson, Audio EQ Cookbook)."""
    return np.stack((_shelf(SHELVES_HZ[0], low_db, 1), _shelf(SHELVES_HZ[1], high_db, -1)))


def _shelf(hz: float, gain_db: float, side: int) -> Floats:
    """Cookbook shelf with slope 1/2; `side` 1 is the low shelf, -1 the high one."""
    a = 10 ** (gain_db / 40)
    omega = 2 * np.pi * hz / RATE_HZ
    cos, alpha = side * np.cos(omega), np.sin(omega) / 2 * np.sqrt((a + 1 / a) * (1 / 0.5 - 1) + 2)
    beta = 2 * np.sqrt(a) * alpha
    b = [a * (a + 1 - (a - 1) * cos + beta), side * 2 * a * (a - 1 - (a + 1) * cos), a * (a + 1 - (a - 1) * cos - beta)]
    d = [a + 1 + (a - 1) * cos + beta, -side * 2 * (a - 1 + (a + 1) * cos), a + 1 + (a - 1) * cos - beta]
    sections: Floats = np.array([*b, *d]) / d[0]
    return sections


def background(recipe: SceneRecipe, library: Library) -> Floats32:
    """The background [m, t] at the reference level; silence where the recipe has none."""
    if recipe.background is None:
        return np.zeros((N_CHANNELS, recipe.n_samples), np.float32)
    recording = library.recording("background", recipe.background.file)
    make = _recorded if recording.n_channels == N_CHANNELS else _diffuse
    audio = rotated(make(recording, recipe.background, recipe.n_samples), recipe.rotation_deg)
    power = np.square(audio).mean(dtype=np.float64)
    if power > 0:
        audio *= np.float32(np.sqrt(10 ** (recipe.background_db / 10) / power))
    return audio


def _recorded(recording: Recording, choice: Background, n_samples: int) -> Floats32:
    audio = multichannel(recording.path, choice.offsets[0], n_samples)
    return np.tile(audio, -(-n_samples // audio.shape[1]))[:, :n_samples]


def _diffuse(recording: Recording, choice: Background, n_samples: int) -> Floats32:
    """A mono recording as plane waves from directions spread over the sphere, each another time offset of its loop."""
    loop = _loop(recording.path)
    repeated = np.tile(loop, 1 + -(-n_samples // len(loop)))
    waves = np.lib.stride_tricks.sliding_window_view(repeated, n_samples)  # [start, t], a view
    starts = np.asarray(choice.offsets) % len(loop)
    gains = sphere(len(starts)).T.astype(np.float32)
    audio = np.empty((N_CHANNELS, n_samples), np.float32)
    # blocks stay in the cache, and BLAS does not split products of this size among threads: same bits everywhere
    for begin in range(0, n_samples, BLAS_SAMPLES):
        block = slice(begin, begin + BLAS_SAMPLES)
        audio[:, block] = gains @ waves[starts, block]
    return audio


@lru_cache(maxsize=256)
def _loop(path: Path) -> Floats32:
    """A recording whose end fades into its beginning, so that it can be repeated without a click."""
    audio = excerpt(path, 0, len(mono(path)))
    n = min(LOOP_FADE_SAMPLES, len(audio) // 2)
    fade = np.linspace(0, 1, n, dtype=np.float32)
    looped = audio[: len(audio) - n].copy()
    looped[:n] = np.sqrt(fade) * audio[:n] + np.sqrt(1 - fade) * audio[len(audio) - n :]
    return looped
