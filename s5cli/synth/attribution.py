"""Who is to be credited for a set of scenes: the rows of the tables beside the recordings and responses used."""

import csv
import io
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from s5cli.errors import InputError
from s5cli.synth.library import Library
from s5cli.synth.recipe import SceneRecipe

TABLES = ("SOURCES.csv", "room_ir.csv", "openair.csv")
COLUMNS = ("file", "licence", "attribution")
NOT_STATED = "not stated"


def attribution_csv(recipes: Iterable[SceneRecipe], library: Library) -> str:
    """A row for every file that the scenes use, as its table has it; empty where no table lies beside any of them.

    Raises:
        InputError: a table without the columns file, licence and attribution.
    """
    files = sorted({file for recipe in recipes for file in _files(recipe, library)})
    rows = [(file, credit(file)) for file in files]
    if not any(row for _, row in rows):
        return ""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([row[name] for name in COLUMNS] if row else [file.name, NOT_STATED, ""] for file, row in rows)
    return text.getvalue()


def _files(recipe: SceneRecipe, library: Library) -> Iterable[Path]:
    room = library.room(recipe.room)
    for event in recipe.events:
        yield from (library.recording(event.role, take.file).path for take in event.takes)
        response = room.positions[event.position].file
        if response:
            yield response
    if recipe.background:
        yield library.recording("background", recipe.background.file).path


def credit(file: Path) -> Mapping[str, str] | None:
    """The file's row in the nearest table above it; a table names files by the end of their paths.

    Raises:
        InputError: a table without the columns file, licence and attribution.
    """
    parts = file.resolve().parts
    endings = ["/".join(parts[-n:]) for n in range(1, len(parts))]
    tables = (_table(folder / name) for folder in file.resolve().parents for name in TABLES)
    return next((table[ending] for table in tables for ending in endings if ending in table), None)


@lru_cache(maxsize=4096)
def _table(path: Path) -> Mapping[str, Mapping[str, str]]:
    """The rows of a table by their file; none where there is no such table."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        missing = set(COLUMNS) - set(reader.fieldnames or ())
        if missing:
            raise InputError(f"{path}: lacks the columns {', '.join(sorted(missing))}; add them or rename the file")
        return {row["file"]: row for row in reader}
