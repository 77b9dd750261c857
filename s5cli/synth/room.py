"""Rooms: where an event can stand, and the 4-channel response from there. Measured (CSV, SOFA) or simulated."""

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import numpy as np

from s5cli.audio import read_audio, resampled
from s5cli.errors import InputError, UsageError
from s5cli.scene import N_CHANNELS, RATE_HZ
from s5cli.synth import simulate
from s5cli.synth.foa import Floats, Floats32

SIMULATED = "simulated:"


@dataclass(frozen=True)
class Position:
    """One place of a room that a source was measured at, seen from the listener."""

    azimuth_deg: float  # counter-clockwise from the front
    elevation_deg: float = 0.0
    file: Path | None = None  # None: simulated
    measurement: int = 0  # row of a SOFA file


@dataclass(frozen=True)
class Room:
    """One acoustic space with its positions.

    `openair` rooms have one position: every event gets a random yaw of that response instead of a place of its own.
    """

    name: str
    kind: Literal["measured", "openair", "simulated"]
    positions: tuple[Position, ...]

    def response(self, position: int) -> Floats32:
        """Impulse response [4, t] at 32 kHz, scaled to unit mean energy over the four channels."""
        place = self.positions[position]
        if place.file is None:
            return _simulated(int(self.name.removeprefix(SIMULATED)), position)
        return _measured(place.file, place.measurement)


def first_simulated_room(split: str) -> int:
    """Where the numbers of a split's simulated rooms begin: splits share no room, as they share no source.

    >>> first_simulated_room("train"), first_simulated_room("valid")
    (0, 816000000)
    """
    return 0 if split == "train" else (1 + crc32(split.encode()) % 1_000) * 1_000_000


@lru_cache(maxsize=1024)
def simulated_room(number: int) -> Room:
    """The simulated room of this number.

    >>> simulated_room(7).name, len(simulated_room(7).positions)
    ('simulated:7', 12)
    """
    directions = simulate.shoebox(number).directions_deg
    return Room(f"{SIMULATED}{number}", "simulated", tuple(Position(float(az), float(el)) for az, el in directions))


def find_rooms(folder: Path, split: str) -> tuple[Room, ...]:
    """All rooms of a split: in `room_ir.csv`, in `openair.csv`, and SOFA files in `<split>/` or in the folder itself.

    Raises:
        UsageError: the folder holds no room of this split.
        InputError: a table or SOFA file that cannot be read.
    """
    sofa_files = sorted((folder / split).glob("*.sofa")) or sorted(folder.glob("*.sofa"))
    rooms = (*_table_rooms(folder, split), *_openair_rooms(folder, split), *map(_sofa_room, sofa_files))
    if not rooms:
        wanted = f"{split}/*.sofa, *.sofa, room_ir.csv or openair.csv"
        raise UsageError(f"no rooms of split {split!r} in {folder}: expected {wanted}")
    return rooms


def _table_rooms(folder: Path, split: str) -> list[Room]:
    """A room is one absorption setting; positions without a nominal angle (background loudspeakers) are left out."""
    rooms: dict[str, list[Position]] = {}
    for row in _rows(folder / "room_ir.csv", split):
        if row["nominal_azimuth_deg_ccw"]:
            place = Position(float(row["nominal_azimuth_deg_ccw"]), file=_beside(folder / split, row["file"]))
            rooms.setdefault(row["absorption_config"], []).append(place)
    return [Room(f"measured:{name}", "measured", tuple(places)) for name, places in sorted(rooms.items())]


def _openair_rooms(folder: Path, split: str) -> list[Room]:
    rows = _rows(folder / "openair.csv", split) or _rows(folder / "openair" / "openair.csv", split)
    rooms = []
    for row in rows:
        direction_deg = float(row["estimated_azimuth_deg_ccw"]), float(row["estimated_elevation_deg"])
        place = Position(*direction_deg, _beside(folder / "openair" / split, row["file"]))
        rooms.append(Room(f"openair:{row['room']}", "openair", (place,)))
    return rooms


def _rows(table: Path, split: str) -> list[dict[str, str]]:
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if row["split"] == split]


def _beside(folder: Path, file: str) -> Path:
    """A table names files from some root of its own: only the base name counts, so the folder may lie anywhere."""
    path = folder / Path(file).name
    if not path.is_file():
        raise InputError(f"{path}: named in the table of room responses but not there")
    return path


@lru_cache(maxsize=2048)
def _simulated(number: int, position: int) -> Floats32:
    return _unit(simulate.simulated_response(number, position))


@lru_cache(maxsize=1024)
def _measured(file: Path, measurement: int) -> Floats32:
    samples, rate_hz = _sofa_response(file, measurement) if file.suffix == ".sofa" else read_audio(file)
    if samples.shape[0] != N_CHANNELS:
        raise InputError(f"{file}: {samples.shape[0]} receivers; 4-channel FOA responses (W, Y, Z, X) are needed")
    if not np.isfinite(samples).all() or not samples.any():
        raise InputError(f"{file}: response {measurement} is silent or not finite; measure or export it again")
    return _unit(samples if rate_hz == RATE_HZ else resampled(samples, rate_hz))


def _unit(response: Floats32) -> Floats32:
    energy = np.square(response, dtype=np.float64).sum(axis=1).mean()
    return np.ascontiguousarray(response / np.sqrt(energy), dtype=np.float32)


def _sofa_room(file: Path) -> Room:
    with _sofa(file) as sofa:
        n = sofa["Data.IR"].shape[0]
        directions = np.broadcast_to(_sofa_directions_deg(sofa), (n, 2))
    places = tuple(Position(float(az), float(el), file, row) for row, (az, el) in enumerate(directions))
    return Room(f"sofa:{file.stem}", "measured", places)


def _sofa_response(file: Path, measurement: int) -> tuple[Floats32, int]:
    with _sofa(file) as sofa:
        rate_hz = round(float(np.ravel(sofa["Data.SamplingRate"][()])[0]))
        return np.asarray(sofa["Data.IR"][measurement], dtype=np.float32), rate_hz


def _sofa_directions_deg(sofa: Any) -> Floats:
    """Azimuth and elevation of every source [m or 1, 2]; Cartesian positions are taken from the listener's position."""
    source = sofa["SourcePosition"]
    points = np.asarray(source[()], dtype=np.float64).reshape(-1, 3)
    if source.attrs.get("Type", "spherical") in ("spherical", b"spherical"):
        return points[:, :2]
    listener = sofa["ListenerPosition"][()] if "ListenerPosition" in sofa else np.zeros(3)
    return simulate.directions_deg(points - np.asarray(listener, dtype=np.float64).reshape(-1, 3))


def _sofa(file: Path) -> Any:
    """An open SOFA file (AES69: netCDF-4, which is HDF5) with `Data.IR` [M, R, N], rate and source positions."""
    try:
        import h5py
    except ImportError as error:
        raise UsageError("SOFA rooms need h5py: pip install 's5cli[train]'") from error
    try:
        sofa = h5py.File(file, "r")
    except OSError as error:
        raise InputError(f"{file}: not a SOFA file ({error})") from error
    missing = {"Data.IR", "Data.SamplingRate", "SourcePosition"} - set(sofa)
    if missing or sofa["Data.IR"].ndim != 3:
        sofa.close()
        raise InputError(f"{file}: SOFA file without {', '.join(sorted(missing)) or 'Data.IR of shape [M, R, N]'}")
    return sofa
