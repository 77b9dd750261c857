"""Every rule that a submission must obey, and all that is wrong with one at once.

The official program checks names and that files and JSON are one to one. Here are these rules and more: what is in the
WAV files, slot numbers, probabilities, scores that follow from their own details, and the meta file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from s5cli.challenge.files import Files
from s5cli.challenge.label import META_SUFFIX, wav_zips
from s5cli.challenge.validate.content import MOST_JSON_BYTES
from s5cli.challenge.validate.finding import Finding, Findings
from s5cli.challenge.validate.mixtures import names_of, read_mixtures
from s5cli.challenge.validate.parts import Part, parts_of
from s5cli.challenge.validate.system import RESULT_FILES, Answered, check_output, check_system, check_top
from s5cli.challenge.validate.team import check_package
from s5cli.score.evaluate import Progress

__all__ = ["Finding", "Report", "validate"]

TOLD = (*RESULT_FILES, META_SUFFIX)
"""What the parts of a submission say of a system."""


@dataclass(frozen=True)
class Report:
    """All findings in the order of the rules, what was looked at, and what could not be."""

    path: Path
    checked: tuple[str, ...]
    unchecked: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def n_errors(self) -> int:
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def n_warnings(self) -> int:
        return len(self.findings) - self.n_errors

    def to_json(self) -> dict[str, Any]:
        """All of it, the counts first."""
        return {
            "path": str(self.path),
            "errors": self.n_errors,
            "warnings": self.n_warnings,
            "checked": list(self.checked),
            "unchecked": list(self.unchecked),
            "findings": [asdict(finding) for finding in self.findings],
        }


def validate(path: Path, soundscapes: Path, dev_soundscapes: Path | None = None, progress: Progress = iter) -> Report:
    """Checks a submission folder, a zip of stems, a package (folder or zip), or a folder with several of them.

    Zips are read where they are, one bounded member at a time; nothing is extracted.

    Args:
        soundscapes: the mixtures of the evaluation set, or a folder with `soundscape/`.
        dev_soundscapes: those of the development set; without them only names and scores within the file are checked.

    Raises:
        UsageError: a folder or file that does not exist.
        InputError: mixtures that cannot be read, or a zip that is damaged or not to be trusted.
    """
    mixtures = read_mixtures(soundscapes)
    answered = Answered(mixtures, names_of(dev_soundscapes) if dev_soundscapes else None)
    found = Findings(str(path))
    with ExitStack() as stack:
        parts = parts_of(path, stack)
        if not parts:
            found.error("layout", "holds neither a folder <label>/ with eval_out/ nor a package task4/")
        for part in parts:
            _check_part(part, answered, Findings(part.files.where, found.found), progress)
        _check_agreement(parts, found)
    return Report(
        path, tuple(part.files.where for part in parts), tuple(_unchecked(parts, answered)), tuple(found.found)
    )


def _check_part(part: Part, answered: Answered, found: Findings, progress: Progress) -> None:
    match part.kind:
        case "output":
            check_output(part.files, answered, found, progress)
        case "package":
            check_package(part.files, answered, found)
        case "system":
            check_system(part.files, answered, found)
    if part.root is not None:
        _check_zip(part.root, part, Findings(part.root.where, found.found))


def _check_zip(root: Files, part: Part, found: Findings) -> None:
    """A zip holds one folder, which is called as it is."""
    check_top(root, [part.files.name], found)
    names = [f"{part.files.name}.zip"] if part.kind == "package" else wav_zips(part.files.name)
    if root.name not in names:
        found.error("label", f"it should be called {' or '.join(names)}")


def _check_agreement(parts: Sequence[Part], found: Findings) -> None:
    """The stems, the package and its zip tell the same of a system."""
    told: dict[str, set[bytes]] = {}
    for files in (files for part in parts for files in part.systems):
        for name in files.top_files:
            if name.endswith(TOLD) and files.sizes_bytes[name] <= MOST_JSON_BYTES:
                content = files.read(name, MOST_JSON_BYTES)
                told.setdefault(f"{files.name}/{name}", set()).add(hashlib.sha256(content).digest())
    for name, contents in told.items():
        if len(contents) > 1:
            found.error("agree", f"{name} is not the same everywhere; package again with --overwrite")


def _unchecked(parts: Sequence[Part], answered: Answered) -> Iterator[str]:
    kinds = {part.kind for part in parts}
    if parts and "output" not in kinds:
        yield "stems: they are in the zip that is uploaded; validate it too"
    if parts and "package" not in kinds:
        yield "meta file, audio URL and report: they are in the package; validate it too"
    if parts and answered.dev_names is None:
        yield "whether the whole development set is scored: name it with --dev-soundscapes"
