"""The sounds of a clip: read once for pictures and scores, then put where its page finds them."""

import io
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import numpy as np
import soundfile

from s5cli.audio import Samples, read_audio, resampled
from s5cli.errors import InputError
from s5cli.report.collect import Clip
from s5cli.report.spectrogram import QUIETEST_DB, Decibels, mel_db, png
from s5cli.scene import RATE_HZ
from s5cli.score.clip import ClipResult, score_clip

Role = Literal["mixture", "stem", "reference"]
NOT_FOUND = "not found; --soundscapes names the folder of the mixtures"
FULL_SCALE_16 = 1 << 15


@dataclass(frozen=True)
class Source:
    """What a sound is and where it should be; stems and references are numbered from 0."""

    role: Role
    number: int
    label: str
    path: Path | None

    @property
    def name(self) -> str:
        """Of its files beside the page, in letters that every file system and address takes."""
        return "mixture" if self.role == "mixture" else re.sub(r"\W", "", f"{self.role}_{self.number}_{self.label}")


@dataclass(frozen=True)
class Sound:
    """A sound that was read."""

    source: Source
    samples: Samples  # [t] at 32 kHz


@dataclass(frozen=True)
class Missing:
    """A sound that could not be read, and why."""

    source: Source
    trouble: str


@dataclass(frozen=True)
class Track:
    """A sound as a page shows it; the addresses are relative to the page."""

    source: Source
    audio_url: str
    picture_url: str
    picture_width: int
    duration_s: float
    peak_db: float | None  # of full scale; None for digital silence
    gain_db: float  # that was applied for listening, never to stems or references


def read_sounds(clip: Clip, folder: Path, channel_order: str | None) -> tuple[Sound | Missing, ...]:
    """Mixture channel 0, the stems (in the run's folder), the references, in this order."""
    return tuple(_read(source, channel_order) for source in _sources(clip, folder))


def _sources(clip: Clip, folder: Path) -> Iterator[Source]:
    yield Source("mixture", 0, "channel 0", clip.mixture)
    for number, stem in enumerate(clip.stems):
        yield Source("stem", number, stem.label, folder / stem.file)
    for number, reference in enumerate(clip.references or ()):
        yield Source("reference", number, reference.label, reference.path)


def _read(source: Source, channel_order: str | None) -> Sound | Missing:
    if source.path is None:
        return Missing(source, NOT_FOUND)
    try:
        audio, rate_hz = read_audio(source.path)
    except InputError as error:
        return Missing(source, str(error))
    if source.role != "mixture" and (rate_hz != RATE_HZ or len(audio) != 1):
        return Missing(source, f"{source.path}: {len(audio)} channels at {rate_hz} Hz, not one at {RATE_HZ} Hz")
    channel = (audio[:1] if rate_hz == RATE_HZ else resampled(audio[:1], rate_hz))[0]
    is_fuma = source.role == "mixture" and channel_order == "fuma"  # whose W is 3 dB down
    return Sound(source, channel * np.float32(np.sqrt(2)) if is_fuma else channel)


# --- scores -----------------------------------------------------------------------------------------------------------


def score(clip: Clip, sounds: Sequence[Sound | Missing]) -> ClipResult | None:
    """The clip's scores; None where there are no references, a sound is missing, or the run failed.

    Raises:
        InputError: a stem or reference is not as long as the mixture.
    """
    there = [sound for sound in sounds if isinstance(sound, Sound)]
    if clip.references is None or clip.report is None or len(there) < len(sounds):
        return None
    mixture = there[0].samples
    stems, references = ([sound for sound in there if sound.source.role == role] for role in ("stem", "reference"))
    labels = [[sound.source.label for sound in found] for found in (stems, references)]
    est, ref = (_stacked(found, len(mixture)) for found in (stems, references))
    return score_clip(clip.name, labels[0], est, labels[1], ref, mixture)


def _stacked(sounds: Sequence[Sound], n_samples: int) -> Samples:
    audio = np.zeros((len(sounds), n_samples), np.float32)
    for row, sound in zip(audio, sounds, strict=True):
        if len(sound.samples) != n_samples:
            raise InputError(f"{sound.source.path}: {len(sound.samples)} samples, but its mixture has {n_samples}")
        row[:] = sound.samples
    return audio


# --- tracks -----------------------------------------------------------------------------------------------------------


def write_tracks(sounds: Sequence[Sound | Missing], folder: Path, link: bool) -> tuple[Track | Missing, ...]:
    """Audio and pictures of all sounds that are there into a page's folder; the pictures share one scale.

    Stems and references are hard links where the file system has them, else copies; with `link` they stay where they
    are and the page points at them.
    """
    pictures = {sound.source: mel_db(sound.samples) for sound in sounds if isinstance(sound, Sound)}
    loudest_db = max((QUIETEST_DB, *(float(picture.max()) for picture in pictures.values())))
    return tuple(
        _write(sound, pictures[sound.source], loudest_db, folder, link) if isinstance(sound, Sound) else sound
        for sound in sounds
    )


def _write(sound: Sound, picture: Decibels, loudest_db: float, folder: Path, link: bool) -> Track:
    source, is_mixture = sound.source, sound.source.role == "mixture"
    picture_url = f"{source.name}.png"
    (folder / picture_url).write_bytes(png(picture, loudest_db))
    peak = float(np.abs(sound.samples).max())
    gain = 1 / peak if is_mixture and peak > 1 else 1.0
    return Track(
        source,
        _write_mixture(sound.samples * np.float32(gain), folder) if is_mixture else _place(source, folder, link),
        picture_url,
        picture_width=picture.shape[1],
        duration_s=len(sound.samples) / RATE_HZ,
        peak_db=float(20 * np.log10(peak)) if peak else None,
        gain_db=float(20 * np.log10(gain)),
    )


def _write_mixture(samples: Samples, folder: Path) -> str:
    """As 16-bit FLAC, which is exact where the recording has 16 bits."""
    steps = np.clip(np.rint(samples * FULL_SCALE_16), -FULL_SCALE_16, FULL_SCALE_16 - 1).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, steps, RATE_HZ, format="FLAC", subtype="PCM_16")
    (folder / "mixture.flac").write_bytes(buffer.getvalue())
    return "mixture.flac"


def _place(source: Source, folder: Path, link: bool) -> str:
    path = Path(source.path or "")
    if link:
        return quote(os.path.relpath(path.resolve(), folder.resolve()))
    url = f"{source.name}{path.suffix}"
    try:
        os.link(path.resolve(), folder / url)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(path, folder / url)
    return url
