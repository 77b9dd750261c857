"""Rules for the package of a team: its systems, the address of their stems, and the technical report."""

from __future__ import annotations

from collections.abc import Sequence

from s5cli.challenge import meta
from s5cli.challenge.files import Files
from s5cli.challenge.label import MOST_SYSTEMS, TASK, Label
from s5cli.challenge.validate.finding import Findings
from s5cli.challenge.validate.system import Answered, check_system, check_top
from s5cli.errors import InputError

MOST_URL_BYTES = 1 << 16
MOST_REPORT_BYTES = 1 << 30
PDF = b"%PDF-"


def check_package(files: Files, answered: Answered, found: Findings) -> None:
    """A folder `task4/` with a folder for every system."""
    if files.name != TASK:
        found.error("label", f"the package is called {files.name}, not {TASK}")
    systems = files.top_folders
    labels = [check_system(files.within(name), answered, found.within(name)) for name in systems]
    known = [label for label in labels if label is not None]
    if not 1 <= len(systems) <= MOST_SYSTEMS:
        found.error("layout", f"{len(systems)} systems; a team submits 1 to {MOST_SYSTEMS}")
    teams = sorted({label.team for label in known})
    if len(teams) > 1:
        found.error("label", f"systems of several teams: {', '.join(teams)}")
    team_files = [name for label in known for name in (label.audio_url_file, label.report_file)]
    check_top(files, [*systems, *team_files], found)
    if known:
        _check_audio_url(files, known[0], found.within(known[0].audio_url_file))
        _check_report(files, known[0], found.within(known[0].report_file))


def _check_audio_url(files: Files, label: Label, found: Findings) -> None:
    if label.audio_url_file not in files.sizes_bytes:
        found.error("url", "missing; it holds the address of the zip of stems")
        return
    try:
        lines = files.read(label.audio_url_file, MOST_URL_BYTES).decode().split("\n")
    except (InputError, UnicodeDecodeError) as error:
        found.error("url", f"cannot be read ({error})")
        return
    _check_addresses([line.strip() for line in lines if line.strip()], found)


def _check_addresses(lines: Sequence[str], found: Findings) -> None:
    if not lines:
        found.error("url", "is empty; it holds the address of the zip of stems")
    for line in lines:
        if meta.is_todo(line):
            found.error("url", f"left to fill in: {line}")
        elif not meta.is_url(line):
            found.error("url", f"holds {line[:100]!r}, which should be {meta.URL_FORM}")


def _check_report(files: Files, label: Label, found: Findings) -> None:
    if label.report_file not in files.sizes_bytes:
        found.error("report", f"left to fill in: {meta.TODO} (the technical report as PDF)")
        return
    try:
        content = files.read(label.report_file, MOST_REPORT_BYTES)
    except InputError as error:
        found.error("report", str(error))
        return
    if not content.startswith(PDF):
        found.error("report", "is not a PDF file")
