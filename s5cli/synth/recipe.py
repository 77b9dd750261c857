"""What is in a scene: drawn from settings, a library, a seed and an index; plain data that rebuilds the audio exactly.

The law is the synthesis of the DCASE 2026 Task 4 data (arXiv:2604.00776). All times in samples are at 32 kHz.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, TypeVar

import numpy as np

from s5cli.errors import InputError
from s5cli.scene import N_CHANNELS, RATE_HZ
from s5cli.synth.foa import angle_deg
from s5cli.synth.library import Library, Recording, active_s
from s5cli.synth.room import Room, first_simulated_room, simulated_room
from s5cli.synth.schedule import allowed_starts
from s5cli.synth.settings import SceneSettings

VERSION = 1
Role = Literal["foreground", "interference"]
T = TypeVar("T")
MAX_EVENT_S = 10.0
"""Longest piece of a recording that one event takes."""
N_PLANE_WAVES = 16
"""Plane waves of a mono background."""
LONG_S = 4.0
"""Active time that parts long from short recordings in the duration augmentation."""
LONG_AND_SHORT_DB = 6.0
"""The short recording lies at most this far above or below the long one."""


@dataclass(frozen=True)
class Take:
    """A piece of one recording as it sounds in an event: cut, played at `speed`, equalised, placed at `at`."""

    file: str  # key in the library
    offset: int  # samples into the recording
    length: int  # samples taken from it
    speed: float = 1.0  # > 1: shorter and higher
    low_db: float = 0.0  # shelf below 300 Hz
    high_db: float = 0.0  # shelf above 3 kHz
    at: int = 0  # samples after the event's start
    level_db: float | None = None  # relative to the event's first take; None: as it is

    @property
    def n_samples(self) -> int:
        """Length as it sounds."""
        return max(1, round(self.length / self.speed))


@dataclass(frozen=True)
class Event:
    """One source of a scene, at one position, for some time."""

    role: Role
    label: str
    takes: tuple[Take, ...]
    start: int  # samples after the scene's start
    snr_db: float  # of the wet event over the reference level
    position: int  # of the room
    yaw_deg: float  # turn of the position's response
    azimuth_deg: float  # as heard, before the scene is turned
    elevation_deg: float

    @property
    def n_samples(self) -> int:
        """Length before reverberation."""
        return max(take.at + take.n_samples for take in self.takes)


@dataclass(frozen=True)
class Background:
    """A diffuse background: one offset for a 4-channel recording, one for each plane wave of a mono one."""

    file: str
    offsets: tuple[int, ...]


@dataclass(frozen=True)
class SceneRecipe:
    """A scene as plain data. `render` with the same recordings and rooms gives the same samples."""

    seed: int
    index: int
    n_samples: int
    room: str
    events: tuple[Event, ...]
    background: Background | None
    background_db: float = -55.0
    direct_before_ms: float = 6.0
    direct_after_ms: float = 50.0
    rotation_deg: float = 0.0  # of the whole scene, counter-clockwise
    version: int = field(default=VERSION)

    @property
    def foreground(self) -> tuple[Event, ...]:
        return tuple(event for event in self.events if event.role == "foreground")

    @property
    def interference(self) -> tuple[Event, ...]:
        return tuple(event for event in self.events if event.role == "interference")

    def to_json(self) -> str:
        """JSON text; `from_json` gives an equal recipe back."""
        return json.dumps(asdict(self), indent=1)

    @staticmethod
    def from_json(text: str) -> "SceneRecipe":
        """The recipe of a text written by `to_json`.

        Raises:
            InputError: the text is not such a recipe.
        """
        try:
            data = json.loads(text)
            if data["version"] != VERSION:
                raise InputError(f"scene recipe of version {data['version']}; this program reads version {VERSION}")
            told = data["background"]
            background = told and Background(told["file"], tuple(told["offsets"]))
            events = (Event(**{**one, "takes": tuple(Take(**take) for take in one["takes"])}) for one in data["events"])
            return SceneRecipe(**{**data, "events": tuple(events), "background": background})
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InputError(f"not a scene recipe: {type(error).__name__} {error}") from error


def draw(settings: SceneSettings, library: Library, seed: int, index: int) -> SceneRecipe:
    """Scene `index` of the set `seed`; it does not depend on any other scene.

    Foreground events come first, interference after them. An interference event for which no start is left is not in
    the scene. A repeat that no class of the scene can give (no second source, no place) becomes one more class.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    scene = _Scene(settings, library, rng, _room(settings, library, rng))
    scene.add_foreground()
    scene.add_interference()
    return SceneRecipe(
        seed=seed,
        index=index,
        n_samples=settings.n_samples,
        room=scene.room.name,
        events=tuple(scene.events),
        background=_background(library, settings.n_samples, rng),
        background_db=settings.background_db,
        direct_before_ms=settings.direct_before_ms,
        direct_after_ms=settings.direct_after_ms,
        rotation_deg=float(rng.uniform(-180, 180)) if settings.rotate else 0.0,
    )


def _room(settings: SceneSettings, library: Library, rng: np.random.Generator) -> Room:
    if not library.rooms or rng.random() < settings.simulated_room_share:
        first = first_simulated_room(library.split)
        return simulated_room(first + int(rng.integers(settings.n_simulated_rooms)))
    openair = [room for room in library.rooms if room.kind == "openair"]
    others = [room for room in library.rooms if room.kind != "openair"]
    if openair and (not others or rng.random() < settings.openair_room_share):
        return _one(rng, openair)
    return _one(rng, others)


def _background(library: Library, n_samples: int, rng: np.random.Generator) -> Background | None:
    if not library.noise:
        return None
    recording = _one(rng, library.noise)
    if recording.n_channels == N_CHANNELS:
        return Background(recording.key, (int(rng.integers(max(1, recording.n_samples - n_samples + 1))),))
    return Background(recording.key, tuple(map(int, rng.integers(recording.n_samples, size=N_PLANE_WAVES))))


def _one(rng: np.random.Generator, things: Sequence[T]) -> T:
    return things[int(rng.integers(len(things)))]


@dataclass
class _Scene:
    """A scene while it is being drawn."""

    settings: SceneSettings
    library: Library
    rng: np.random.Generator
    room: Room
    events: list[Event] = field(default_factory=list)
    used: set[str] = field(default_factory=set)  # sources

    def add_foreground(self) -> None:
        n = self._n_foreground()
        n_repeats = 0
        if n >= 2 and self.rng.random() < self.settings.same_class_probability:
            n_repeats = int(self.rng.integers(1, min(n - 1, 2) + 1))
        for _ in range(n - n_repeats):
            self._add_new_class()
        for _ in range(n_repeats):
            # a repeat that no class can give becomes one more class, so that the number of events stays as drawn
            self._add_repeat() or self._add_new_class()

    def _n_foreground(self) -> int:
        low, high = self.settings.n_foreground
        share = self.settings.zero_target_share
        if share is None:
            return int(self.rng.integers(low, high + 1))
        return 0 if self.rng.random() < share else int(self.rng.integers(max(1, low), max(1, high) + 1))

    def _add_new_class(self) -> bool:
        labels = [label for label in self.library.events if label not in self._labels()]
        if not labels:
            return False
        label = _one(self.rng, labels)
        return self._add("foreground", label, self.library.events[label], [])

    def _add_repeat(self) -> bool:
        """One more event of a class in the scene, from another source and far enough from every event of the class."""
        labels = sorted(self._labels())
        for label in map(str, self.rng.permutation(labels)) if labels else ():
            rivals = [event for event in self.events if event.label == label]
            if self._add("foreground", label, self.library.events[label], rivals):
                return True
        return False

    def add_interference(self) -> None:
        low, high = self.settings.n_interference
        for _ in range(int(self.rng.integers(low, high + 1))):
            kinds = [kind for kind, files in self.library.interference.items() if self._unused(files)]
            if kinds:
                kind = _one(self.rng, kinds)
                self._add("interference", kind, self.library.interference[kind], [])

    def _unused(self, files: Sequence[Recording]) -> list[Recording]:
        return [file for file in files if file.source not in self.used]

    def _labels(self) -> set[str]:
        return {event.label for event in self.events}

    def _add(self, role: Role, label: str, files: Sequence[Recording], rivals: list[Event]) -> bool:
        """Draws an event and adds it, unless no unused source, position or start is left."""
        free = self._unused(files)
        places = self._places(rivals)
        if not free or not places:
            return False
        takes, sources = self._takes(role, label, free)
        position, yaw_deg = _one(self.rng, places)
        start = self._start(max(take.at + take.n_samples for take in takes))
        if start is None:
            return False
        s, place = self.settings, self.room.positions[position]
        snr_db = float(self.rng.uniform(*(s.foreground_snr_db if role == "foreground" else s.interference_snr_db)))
        direction_deg = (place.azimuth_deg + yaw_deg + 180) % 360 - 180, place.elevation_deg
        self.events.append(Event(role, label, takes, start, snr_db, position, yaw_deg, *direction_deg))
        self.used |= sources
        return True

    def _places(self, rivals: list[Event]) -> list[tuple[int, float]]:
        """Positions, each with a yaw, that are far enough from the rivals; unoccupied ones if there are any."""
        if self.room.kind == "openair":
            candidates = [(0, float(yaw_deg)) for yaw_deg in self.rng.uniform(-180, 180, 32)]
        else:
            candidates = [(position, 0.0) for position in range(len(self.room.positions))]
        least_deg = self.settings.min_same_class_angle_deg - 1e-6  # nominal angles are exact multiples of 30°
        far = [place for place in candidates if all(self._angle_deg(place, rival) >= least_deg for rival in rivals)]
        occupied = {(event.position, event.yaw_deg) for event in self.events}
        return [place for place in far if place not in occupied] or far

    def _angle_deg(self, place: tuple[int, float], rival: Event) -> float:
        here = self.room.positions[place[0]]
        return angle_deg(here.azimuth_deg + place[1], here.elevation_deg, rival.azimuth_deg, rival.elevation_deg)

    def _takes(self, role: str, label: str, free: list[Recording]) -> tuple[tuple[Take, ...], set[str]]:
        settings = self.settings
        wanted = role == "foreground" and label in settings.duration_augmentation_classes
        if wanted and self.rng.random() < settings.duration_augmentation_share:
            long = [file for file in free if active_s(file.path) >= LONG_S]
            short = [file for file in free if active_s(file.path) < LONG_S]
            if long and short:
                return self._long_and_short(self._file(long), self._file(short))
        file = self._file(free)
        return (self._take(file, self._max_samples),), {file.source}

    def _long_and_short(self, long: Recording, short: Recording) -> tuple[tuple[Take, ...], set[str]]:
        """A long recording with a short one somewhere in it, within ±6 dB of its power: one source, one position."""
        bed = self._take(long, self._max_samples)
        top = self._take(short, bed.n_samples)
        at = int(self.rng.integers(bed.n_samples - top.n_samples + 1))
        level_db = float(self.rng.uniform(-LONG_AND_SHORT_DB, LONG_AND_SHORT_DB))
        return (bed, replace(top, at=at, level_db=level_db)), {long.source, short.source}

    @property
    def _max_samples(self) -> int:
        return min(self.settings.n_samples, round(MAX_EVENT_S * RATE_HZ))

    def _file(self, files: list[Recording]) -> Recording:
        if self.settings.balance == "file":
            return _one(self.rng, files)
        source = _one(self.rng, sorted({file.source for file in files}))
        return _one(self.rng, [file for file in files if file.source == source])

    def _take(self, file: Recording, max_samples: int) -> Take:
        settings = self.settings
        low, high = settings.speed_range
        speed = float(self.rng.uniform(low, high)) if low < high else low
        length = min(file.n_samples, int(max_samples * speed))
        offset = int(self.rng.integers(file.n_samples - length + 1))
        low_db, high_db = self.rng.uniform(-settings.eq_db, settings.eq_db, 2) if settings.eq_db else (0.0, 0.0)
        return Take(file.key, offset, length, speed, float(low_db), float(high_db))

    def _start(self, length: int) -> int | None:
        """Uniform among the starts with the event inside the scene and never more than `max_overlap` events at once."""
        spans = [(event.start, event.start + event.n_samples) for event in self.events]
        allowed = allowed_starts(spans, length, self.settings.n_samples, self.settings.max_overlap)
        n = sum(end - begin for begin, end in allowed)
        if not n:
            return None
        nth = int(self.rng.integers(n))
        for begin, end in allowed:
            if nth < end - begin:
                return begin + nth
            nth -= end - begin
        return None
