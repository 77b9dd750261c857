"""The sound material that scenes are made of: recordings by class and source, backgrounds, rooms."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path
from typing import Literal, Self, TypeVar

import numpy as np
import numpy.typing as npt

from s5cli.audio import read_audio, resampled
from s5cli.errors import InputError, UsageError, nearest
from s5cli.labels import CLASSES
from s5cli.official import is_audio
from s5cli.scene import RATE_HZ
from s5cli.synth.foa import Floats32
from s5cli.synth.room import SIMULATED, Room, find_rooms, simulated_room

T = TypeVar("T")
AUDIO_SUFFIXES = (".flac", ".wav", ".ogg")


@dataclass(frozen=True)
class Recording:
    """One file of a library."""

    key: str  # path below its kind's folder, with slashes: what a recipe stores
    path: Path
    label: str  # class or kind; for backgrounds the first folder
    source: str  # what may be in one split only and once in a scene: `<label>/<speaker, object or recording>`
    n_samples: int  # at 32 kHz
    n_channels: int


@dataclass(frozen=True)
class Fold:
    """One of `count` parts of the sources, each label's dealt out in the order of their names."""

    number: int  # from 1
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`2/4` is the second of four.

        Raises:
            UsageError: something else.

        >>> Fold.parse("2/4")
        Fold(number=2, count=4)
        """
        found = re.fullmatch("([0-9]{1,9})/([0-9]{1,9})", text)
        fold = cls(*map(int, found.groups())) if found else cls(0, 0)
        if not (1 <= fold.number <= fold.count > 1):
            raise UsageError(f"fold {text[:40]!r}: give which of how many, like 2/4")
        return fold

    def of(self, sources: Iterable[str]) -> frozenset[str]:
        """Its part of one label's sources; of a single source nothing."""
        names = sorted(sources)
        return frozenset(names[self.number - 1 :: self.count]) if len(names) > 1 else frozenset()


@dataclass(frozen=True)
class Library:
    """Everything of one split that a scene may be drawn from. An empty `rooms` means simulated rooms."""

    events: Mapping[str, tuple[Recording, ...]]  # by target class
    interference: Mapping[str, tuple[Recording, ...]] = field(default_factory=dict)  # by kind
    noise: tuple[Recording, ...] = ()
    rooms: tuple[Room, ...] = ()
    split: str = "train"

    @classmethod
    def scan(
        cls,
        root: Path,
        split: str,
        *,
        interference: Path | None = None,
        noise: Path | None = None,
        rooms: Path | None = None,
    ) -> Self:
        """Reads the headers of a split: `<root>/<split>/<Class>/…` or `<root>/sound_event/<split>/<Class>/…`.

        Interference, noise and rooms come from the folders named, each with or without a `<split>` folder in it; those
        not named from `interference`, `noise` and `room_ir` below `root`, where present.

        Raises:
            UsageError: a folder that is missing, empty, or named like no class.
            InputError: a file that is not audio.
        """
        events = _by_label(_events_folder(root, split))
        for label in events:
            if label not in CLASSES:
                hint = nearest(label, CLASSES)
                raise UsageError(f"{root}: {label!r} is none of the 18 classes{hint}; rename or move it")
        other = _folder(interference, root / "interference", split)
        kinds = _by_label(other) if other else {}
        if targets := sorted(set(kinds) & set(CLASSES)):
            raise UsageError(f"{other}: {targets[0]} is a target class, not interference; move it to the sound events")
        background = _folder(noise, root / "noise", split)
        backgrounds = tuple(_recordings(background, background)) if background else ()
        acoustics = rooms or (root / "room_ir" if (root / "room_ir").is_dir() else None)
        return cls(events, kinds, backgrounds, find_rooms(acoustics, split) if acoustics else (), split)

    def without(self, fold: Fold) -> Self:
        """All but the sources of a fold."""
        return self._sources(lambda held: not held, fold)

    def only(self, fold: Fold) -> Self:
        """The sources of a fold; backgrounds and rooms stay as they are. Labels with a single source are in no fold.

        Raises:
            UsageError: the fold is empty.
        """
        found = self._sources(lambda held: held, fold)
        if not found.events:
            raise UsageError(f"fold {fold.number}/{fold.count}: no class has so many sources; give fewer folds")
        return found

    def _sources(self, wanted: Callable[[bool], bool], fold: Fold) -> Self:
        def chosen(files: Mapping[str, tuple[Recording, ...]]) -> dict[str, tuple[Recording, ...]]:
            held = {label: fold.of({file.source for file in of_label}) for label, of_label in files.items()}
            found = {
                label: tuple(file for file in of_label if wanted(file.source in held[label]))
                for label, of_label in files.items()
            }
            return {label: of_label for label, of_label in found.items() if of_label}

        return replace(self, events=chosen(self.events), interference=chosen(self.interference))

    def recording(self, role: Literal["foreground", "interference", "background"], key: str) -> Recording:
        """The recording that a recipe calls `key` in that role."""
        return _found(self._by_key[role], key, "sound event" if role == "foreground" else role)

    def room(self, name: str) -> Room:
        """The room that a recipe calls `name`."""
        if name.startswith(SIMULATED):
            return simulated_room(int(name.removeprefix(SIMULATED)))
        return _found({room.name: room for room in self.rooms}, name, "room")

    @cached_property
    def _by_key(self) -> dict[str, dict[str, Recording]]:
        """What recipes name in each role."""
        events, others = (chain.from_iterable(of.values()) for of in (self.events, self.interference))
        roles: Mapping[str, Iterable[Recording]]
        roles = {"foreground": events, "interference": others, "background": self.noise}
        return {role: {file.key: file for file in files} for role, files in roles.items()}


def _found(known: Mapping[str, T], key: str, kind: str) -> T:
    if key not in known:
        raise UsageError(f"the recipe's {kind} {key!r} is not in the folders given; name those that it was made from")
    return known[key]


def _events_folder(root: Path, split: str) -> Path:
    candidates = [root / "sound_event" / split, root / split]
    for folder in candidates:
        if folder.is_dir():
            return folder
    if any((root / label).is_dir() for label in CLASSES):
        return root
    raise UsageError(f"no sound events of split {split!r}: neither {candidates[0]} nor {candidates[1]} is a folder")


def _folder(named: Path | None, default: Path, split: str) -> Path | None:
    """The split's folder in the one that was named, else in the default one if that exists."""
    if named is not None and not named.is_dir():
        raise UsageError(f"{named}: no such folder")
    base = named or default
    if (base / split).is_dir():
        return base / split
    return named


def _by_label(folder: Path) -> dict[str, tuple[Recording, ...]]:
    labels = [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    if not labels:
        raise UsageError(f"{folder}: holds no class folders")
    return {entry.name: tuple(_recordings(entry, folder)) for entry in labels}


def _recordings(folder: Path, root: Path) -> Iterable[Recording]:
    files = sorted(path for path in folder.rglob("*") if is_audio(path, AUDIO_SUFFIXES))
    if not files:
        raise UsageError(f"{folder}: no .flac, .wav or .ogg file in it; add recordings or remove the folder")
    return [_recording(path, root) for path in files]


def _recording(path: Path, root: Path) -> Recording:
    import soundfile

    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError) as error:
        raise InputError(f"{path}: not a readable audio file ({error})") from error
    if not info.frames:
        raise InputError(f"{path}: the file holds no samples; remove it")
    parts = path.relative_to(root).parts
    source = parts[1] if len(parts) > 2 else path.stem.split("__")[0]
    n_samples = -(-info.frames * RATE_HZ // info.samplerate)
    return Recording("/".join(parts), path, parts[0], f"{parts[0]}/{source}", n_samples, info.channels)


@lru_cache(maxsize=2048)
def mono(path: Path) -> npt.NDArray[np.int16] | Floats32:
    """First channel of a file at 32 kHz [t]; 16-bit files stay 16 bit, which halves the memory of the cache."""
    import soundfile

    audio, rate_hz = read_audio(path)
    if rate_hz != RATE_HZ:
        audio = resampled(audio[:1], rate_hz)
    first: Floats32 = audio[0].copy()  # the other channels go
    whole: npt.NDArray[np.int16] = (first * 32_768).astype(np.int16)
    return whole if rate_hz == RATE_HZ and soundfile.info(path).subtype == "PCM_16" else first


def excerpt(path: Path, offset: int, length: int) -> Floats32:
    """Samples `offset` to `offset + length` of `mono(path)` as float32 in -1…1."""
    part = mono(path)[offset : offset + length]
    return part.astype(np.float32) / np.float32(32_768) if part.dtype == np.int16 else part.astype(np.float32)


def multichannel(path: Path, offset: int, length: int) -> Floats32:
    """An excerpt [channels, t] at 32 kHz of a recording that may be long: read from the file each time."""
    import soundfile

    rate_hz = soundfile.info(path).samplerate
    if rate_hz != RATE_HZ:
        return resampled(*read_audio(path))[:, offset : offset + length]
    audio: Floats32 = soundfile.read(path, length, offset, dtype="float32", always_2d=True)[0]
    return audio.T


@lru_cache(maxsize=8192)
def active_s(path: Path) -> float:
    """Seconds in which a recording sounds: its 20 ms frames within 40 dB of the loudest one."""
    audio = mono(path).astype(np.float32)
    frame = RATE_HZ // 50
    n = max(1, len(audio) // frame)
    power = np.square(audio[: n * frame].reshape(n, -1)).mean(axis=1)
    return float(np.count_nonzero(power > power.max() * 1e-4) * frame / RATE_HZ)
