"""A run as a table for spreadsheets and scripts: CSV, one row a stem."""

import csv
import io
from pathlib import Path
from typing import Any

from s5cli.audio import write_file
from s5cli.errors import UsageError
from s5cli.run.record import ClipReport, RunResult, StemReport

COLUMNS = ("clip", "file", "label", "slot", "confidence", "energy_db", "onset_s", "offset_s")


def check_place(path: Path) -> None:
    """Does nothing where a table can be written.

    Raises:
        UsageError: there is no such folder, or something else than an earlier table is in the way.
    """
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"{path}: no table can be written there; give a file in a folder that exists")
    begin = ",".join(COLUMNS[:3]).encode()
    if path.is_file() and _beginning(path, len(begin)) not in (b"", begin):
        raise UsageError(f"{path}: is there and is no table of stems; give another file, so that it is not lost")


def _beginning(path: Path, n_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(n_bytes)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}); give another file") from error


def write(path: Path, result: RunResult) -> None:
    """Every stem of the clips that are done, in their order. Numbers of the system's own follow, each in its column.

    Raises:
        UsageError: as `check_place`; a result of this run may be called so.
        OutputError: the place cannot be written to or is full.
    """
    check_place(path)
    own = list(dict.fromkeys(name for clip in result.done for stem in clip.stems for name in stem.numbers))
    text = io.StringIO()
    rows = csv.DictWriter(text, [*COLUMNS, *(name for name in own if name not in COLUMNS)], lineterminator="\n")
    rows.writeheader()
    rows.writerows(_row(clip, stem) for clip in result.done for stem in clip.stems)
    write_file(path, text.getvalue().encode(errors="backslashreplace"))


def _row(clip: ClipReport, stem: StemReport) -> dict[str, Any]:
    """A stem that is silent throughout has neither onset nor offset."""
    return {**stem.numbers, "clip": clip.name, **{name: getattr(stem, name) for name in COLUMNS[1:]}}
