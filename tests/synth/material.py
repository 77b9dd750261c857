"""A small library of noise bursts, tones and responses, written as the two folder layouts have it."""

import csv
from pathlib import Path

import numpy as np
import soundfile

from s5cli.scene import RATE_HZ
from s5cli.synth.foa import encoding

SOURCES = {  # seconds of each file of each source
    "Speech": {"ann": (0.5, 0.8), "bob": (0.4,), "cleo": (0.6,)},
    "Dishes": {"plates": (0.3, 0.5, 0.7), "cups": (0.4,)},
    "Cough": {"dan": (0.3,), "eve": (0.2,)},
    "Percussion": {"drum": (5.0,), "bell": (0.3,)},
    "Blender": {"only": (0.9, 0.6)},
}
INTERFERENCE = {"Dog": {"rex": (0.4,), "fido": (0.5,)}, "Bird": {"owl": (0.3,)}}
AZIMUTHS_DEG = range(-180, 180, 30)


def write_split_first(root: Path, split: str = "train") -> Path:
    """`<root>/<split>/<Class>/…` with interference, noise and rooms beside it, as in the project's own material."""
    rng = np.random.default_rng(1)
    write_classes(root / split, SOURCES, rng)
    write_classes(root / "interference" / split, INTERFERENCE, rng)
    (root / "noise" / split / "ambience").mkdir(parents=True)
    burst(root / "noise" / split / "ambience" / "wind__0.flac", 1.5, rng)
    write_rooms(root / "room_ir", split, rng)
    write_credits(root)
    return root


def write_classes(folder: Path, classes: dict[str, dict[str, tuple[float, ...]]], rng: np.random.Generator) -> None:
    for label, sources in classes.items():
        (folder / label).mkdir(parents=True)
        for source, durations_s in sources.items():
            for number, duration_s in enumerate(durations_s):
                burst(folder / label / f"{source}__{number}.flac", duration_s, rng)


def burst(path: Path, duration_s: float, rng: np.random.Generator) -> None:
    soundfile.write(path, 0.2 * rng.standard_normal(round(duration_s * RATE_HZ)).clip(-4, 4), RATE_HZ)


def foa_response(
    azimuth_deg: float, rng: np.random.Generator, n: int = 3_000, elevation_deg: float = 0.0
) -> np.ndarray:
    """A pulse from a direction at sample 300, then a decaying diffuse tail; [4, n]."""
    tail = 0.02 * rng.standard_normal((4, n)) * np.exp(-np.arange(n) / 500)
    tail[:, :300] = 0
    tail[:, 300] = 0.8 * encoding(azimuth_deg, elevation_deg)
    return tail


def write_rooms(folder: Path, split: str, rng: np.random.Generator) -> None:
    (folder / split).mkdir(parents=True)
    (folder / "openair" / split).mkdir(parents=True)
    rows = []
    for room in ("dry", "wet"):
        for azimuth in AZIMUTHS_DEG:
            name = f"{room}_{azimuth}.flac"
            soundfile.write(folder / split / name, foa_response(azimuth, rng).T, RATE_HZ)
            rows.append([f"room_ir/{split}/{name}", split, room, azimuth, "CC-BY-4.0", "Room Measurers"])
    rows.append([f"room_ir/{split}/nowhere.flac", split, "dry", "", "CC-BY-4.0", "Room Measurers"])
    columns = ["file", "split", "absorption_config", "nominal_azimuth_deg_ccw", "licence", "attribution"]
    write_table(folder / "room_ir.csv", columns, rows)
    soundfile.write(folder / "openair" / split / "hall.flac", foa_response(10, rng, elevation_deg=20).T, RATE_HZ)
    columns = ["file", "split", "room", "estimated_azimuth_deg_ccw", "estimated_elevation_deg"]
    columns += ["licence", "attribution"]
    hall = [f"room_ir/openair/{split}/hall.flac", split, "Hall", 10, 20, "CC-BY-4.0", "Hall, with a comma"]
    write_table(folder / "openair.csv", columns, [hall])


def write_credits(root: Path) -> None:
    """A SOURCES.csv that names everything but the interference."""
    files = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.flac") if "room_ir" not in p.parts)
    rows = [[file, "CC0-1.0", f"by {Path(file).stem}"] for file in files if not file.startswith("interference")]
    write_table(root / "SOURCES.csv", ["file", "licence", "attribution"], rows)


def write_table(path: Path, columns: list[str], rows: list[list[object]]) -> None:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([columns, *rows])
