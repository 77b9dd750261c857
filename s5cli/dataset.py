"""A data set with references on disk, and the stems that somebody's run made of its mixtures."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from s5cli import official
from s5cli.audio import Samples, opened, read_audio
from s5cli.errors import InputError, UsageError
from s5cli.labels import CLASSES, N_SLOTS
from s5cli.official import SourceFile
from s5cli.scene import RATE_HZ

SUFFIXES = (".wav", ".flac")
EVAL_OUT, ORACLE_TARGET, SOUNDSCAPE, METADATA = "eval_out", "oracle_target", "soundscape", "metadata"
CLIP_S = 12.0
"""Longest recording that the challenge's three slots are meant for; longer ones may have any number of stems."""


@dataclass(frozen=True)
class DataSet:
    """Paths by the name of the soundscape, in name order."""

    mixtures: Mapping[str, Path]
    references: Mapping[str, tuple[SourceFile, ...]]


def open_dataset(reference: Path, soundscapes: Path | None = None) -> DataSet:
    """The references of a folder (or of its `oracle_target/`), and their mixtures.

    Mixtures are those of `soundscapes`; by default of `soundscape/` beside the references, else the files there.

    Raises:
        UsageError: a folder that does not exist, or two mixtures of one name.
        InputError: no mixtures, no references, a reference that belongs to no mixture, two with one number, or fewer of
            a soundscape than their numbers, or `metadata/` beside them, tell of.
    """
    oracle = _reference_folder(reference)
    mixtures = _mixtures(soundscapes or oracle.resolve().parent)
    references = official.read_sources(oracle, mixtures, SUFFIXES)
    _check_complete(oracle, references)
    return DataSet(mixtures, references)


def _check_complete(oracle: Path, references: Mapping[str, Sequence[SourceFile]]) -> None:
    """A lost reference would make a right stem a false alarm. Numbers begin where those of the set do, at 0 or 1."""
    numbers = {name: {one.number for one in found if one.number is not None} for name, found in references.items()}
    first = min((number for found in numbers.values() for number in found), default=0)
    for name, found in references.items():
        lacking = sorted(set(range(first, max(numbers[name], default=-1))) - numbers[name])
        if lacking and len(numbers[name]) == len(found):
            told = f"there is a number {max(numbers[name])} and no {lacking[0]}"
            raise InputError(f"{oracle}: references of {name} are missing ({told}); copy them again")
        path = oracle.resolve().parent / METADATA / f"{name}.json"
        lost = Counter(_targets(path)) - Counter(one.label for one in found)
        if lost:
            names = ", ".join(sorted(lost.elements()))
            raise InputError(f"{oracle}: references of {name} are missing ({path} names {names} too); copy them again")


def _targets(path: Path) -> list[str]:
    """Classes of the targets that a soundscape's metadata name; none where there are none.

    Of metadata that `s5 synth` did not write, each class that they name once, however often: interference is of other
    classes. They tell of nothing where they name more than a soundscape has targets, as a list of all classes does.
    """
    try:
        content = path.read_bytes()
        events = json.loads(content)["events"]
        return [str(event["label"]) for event in events if event["role"] == "foreground"]
    except (ValueError, TypeError, LookupError, RecursionError):
        named = {label for label in CLASSES if f'"{label}"'.encode() in content}
        return sorted(named) if len(named) <= N_SLOTS else []
    except OSError:
        return []


def read_stems(estimates: Path, data: DataSet) -> dict[str, tuple[SourceFile, ...]]:
    """The stems of each soundscape, from a run's folder or one with `eval_out/`; none is an empty answer.

    Raises:
        UsageError: the folder does not exist.
        InputError: the folder holds neither stems nor the record of a run, a stem that belongs to no mixture, two with
            one number, or more of a clip than it has slots.
    """
    stems = official.read_sources(_stem_folder(estimates), data.mixtures, SUFFIXES)
    for name, found in stems.items():
        most = max(N_SLOTS, len(data.references[name]))
        beyond = next((one.path for one in found if (one.number or 0) >= most), None)
        if (beyond or len(found) > most) and not _is_long(data.mixtures[name]):
            what = f"one of {len(found)} stems" if beyond is None else "its number is too high"
            where = beyond or found[-1].path
            raise InputError(f"{where}: {what}; a clip has {most} slots, counted from 0, so rename or remove it")
    return stems


def _is_long(mixture: Path) -> bool:
    with opened(mixture) as file:
        return float(file.frames) > CLIP_S * float(file.samplerate)


def recorded(estimates: Path, names: Iterable[str]) -> set[str]:
    """The named soundscapes that a run says it has finished, by its `<clip>.json`; all where it keeps no such records.

    Of a folder of stems alone nobody can say whether a soundscape without any was meant to be empty.
    """
    known = set(names)
    found = {path.stem for path in estimates.glob("*.json") if path.stem in known}
    return found or known


def read_mixture(path: Path) -> Samples:
    """Channel 0 [t] of a mixture.

    Raises:
        InputError: not readable, or not 32 kHz.
    """
    return np.asarray(_read(path)[0])


def read_sources(sources: Sequence[SourceFile], mixture: Path, n_samples: int) -> Samples:
    """Stems or references of a mixture of that many samples: [n, t].

    Raises:
        InputError: not readable, not 32 kHz, not mono, or not as long as the mixture.
    """
    audio = np.zeros((len(sources), n_samples), np.float32)
    for row, source in zip(audio, sources, strict=True):
        found = _read(source.path)
        if found.shape[0] != 1:
            raise InputError(f"{source.path}: {found.shape[0]} channels, not 1; stems and references are mono")
        if found.shape[1] != n_samples:
            raise InputError(
                f"{source.path}: {found.shape[1]} samples, but its mixture {mixture.name} has {n_samples}; "
                "stems and references are as long as the mixture"
            )
        row[:] = found[0]
    return audio


def _read(path: Path) -> Samples:
    audio, rate_hz = read_audio(path)
    if rate_hz != RATE_HZ:
        raise InputError(f"{path}: {rate_hz} Hz, not {RATE_HZ} Hz; scores are defined at {RATE_HZ} Hz only")
    return audio


def _reference_folder(reference: Path) -> Path:
    """Only a folder called `oracle_target` may be empty (a data set without targets); else it is the wrong folder."""
    if (reference / ORACLE_TARGET).is_dir():
        return reference / ORACLE_TARGET
    if not reference.is_dir():
        raise UsageError(f"{reference}: no such folder")
    if reference.name != ORACLE_TARGET and not _holds_audio(reference):
        raise InputError(f"{reference}: holds neither references nor {ORACLE_TARGET}/")
    return reference


def inner_folder(folder: Path, name: str) -> Path:
    """The folder of that name inside a data set, or the folder itself."""
    return folder / name if (folder / name).is_dir() else folder


def _holds_audio(folder: Path) -> bool:
    return any(official.is_audio(path, SUFFIXES) for path in folder.iterdir())


def _mixtures(folder: Path) -> dict[str, Path]:
    folder = inner_folder(folder, SOUNDSCAPE)
    mixtures = official.soundscapes(folder, SUFFIXES)
    if not mixtures:
        raise InputError(f"{folder}: holds no mixtures (.wav, .flac); name their folder with --soundscapes")
    return mixtures


def _stem_folder(estimates: Path) -> Path:
    """A folder without any stem is an answer only if a run was recorded in it; else it is probably the wrong folder."""
    folder = inner_folder(estimates, EVAL_OUT)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    if not _holds_audio(folder) and not any(estimates.glob("*.json")):
        raise InputError(
            f"{folder}: holds neither stems nor the record of a run; name the output folder of s5 separate"
        )
    return folder
