"""Rules for the stems: their names and numbers, and what is in the files."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from s5cli import official
from s5cli.challenge.files import Files
from s5cli.challenge.validate.finding import Findings
from s5cli.dataset import SOUNDSCAPE, SUFFIXES, inner_folder
from s5cli.errors import InputError
from s5cli.official import StemName
from s5cli.scene import RATE_HZ

WHOLE_S = 12.0  # a clip up to here holds three targets at most
HEADER_BYTES = 1 << 20
MOST_SAMPLE_BYTES = 8 * 8  # of eight channels of 64 bit, so that a stem of the wrong kind is still read and told so
LOWEST, HIGHEST = -32768, 32767

# --- the mixtures that they answer ------------------------------------------------------------------------------------


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
    paths = official.soundscapes(inner_folder(folder, SOUNDSCAPE), SUFFIXES)
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


# --- names ------------------------------------------------------------------------------------------------------------


def check_names(names: Iterable[str], mixtures: Mapping[str, Mixture], found: Findings) -> None:
    """The official rule for every name, and stems numbered 0, 1, 2 … of each soundscape."""
    names = sorted(names)
    slots: dict[str, list[int]] = {}
    for name in names:
        if (problem := official.name_problem(name, mixtures)) is not None:
            found.error("name", problem)
        parsed = official.parse_numbered_name(name)
        if parsed is not None and parsed.soundscape in mixtures:
            slots.setdefault(parsed.soundscape, []).append(parsed.slot)
        elif parsed is None and _owned(name, mixtures):
            found.error("slots", f"{name} has no slot number; stems are named <soundscape>_<slot>_<Class>.wav")
    for soundscape, numbers in slots.items():
        _check_slots(mixtures[soundscape], sorted(numbers), found)


def _owned(name: str, mixtures: Mapping[str, Mixture]) -> bool:
    """Whether the official program would take the name although it has no number, or one like 01."""
    stem = name.removesuffix(".wav").rpartition("_")[0]
    soundscapes = [each for each in (stem, stem.rpartition("_")[0]) if each in mixtures]
    return any(official.parse_stem_file_name(name, each) for each in soundscapes)


def _check_slots(mixture: Mixture, numbers: list[int], found: Findings) -> None:
    if numbers != list(range(len(numbers))):
        listed = ", ".join(map(str, numbers))
        found.error("slots", f"{mixture.name}: slots {listed}, not {', '.join(map(str, range(len(numbers))))}")
    if mixture.most_stems is not None and len(numbers) > mixture.most_stems:
        most = f"a clip this short has {mixture.most_stems} at most"
        found.error("count", f"{mixture.name}: {len(numbers)} stems; {most}")


# --- audio ------------------------------------------------------------------------------------------------------------


def check_audio(files: Files, name: str, mixtures: Mapping[str, Mixture], found: Findings) -> None:
    """One stem: WAV, PCM 16 bit, mono, 32 kHz, as long as its mixture; clipping and silence are worth a look."""
    parsed: StemName | None = official.parse_numbered_name(name)
    mixture = mixtures.get(parsed.soundscape) if parsed else None
    longest = mixture or max(mixtures.values(), key=lambda each: each.n_samples)
    try:
        content = files.read(name, HEADER_BYTES + MOST_SAMPLE_BYTES * longest.n_samples)
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            _check_format(file, mixture, found)
            _check_samples(file, found)
    except InputError as error:
        found.error("audio", str(error))
    except soundfile.LibsndfileError as error:
        found.error("audio", f"not audio, or damaged ({error.error_string.rstrip('.')})")


def _check_format(file: soundfile.SoundFile, mixture: Mixture | None, found: Findings) -> None:
    if file.format not in ("WAV", "WAVEX"):
        found.error("audio", f"{file.format}, not WAV")
    if file.samplerate != RATE_HZ:
        found.error("rate", f"{file.samplerate} Hz, not {RATE_HZ} Hz")
    if file.channels != 1:
        found.error("channels", f"{file.channels} channels, not 1")
    if file.subtype != "PCM_16":
        found.error("subtype", f"{file.subtype}, not PCM_16")
    if mixture is not None and file.frames != mixture.n_samples:
        found.error("length", f"{file.frames} samples, but its mixture has {mixture.n_samples}")


def _check_samples(file: soundfile.SoundFile, found: Findings) -> None:
    if file.subtype in ("FLOAT", "DOUBLE"):
        if not np.isfinite(file.read(dtype="float64")).all():
            found.error("finite", "has samples that are NaN or infinite")
        return
    samples = file.read(dtype="int16")
    if not samples.any():
        found.warning("silent", "digital silence")
    elif samples.max() == HIGHEST or samples.min() == LOWEST:
        n_clipped = int(np.count_nonzero((samples == HIGHEST) | (samples == LOWEST)))
        found.warning("clipping", f"{n_clipped} samples at full scale")
