"""Every rule that a submission must obey, and all that is wrong with one at once.

The official program checks names and that files and JSON are one to one. Here are these rules and more: for what is in
the WAV files (`stems`), for probabilities and scores that follow from their own details (`results`), for the meta file
and the package of a team (`systems`). What is wrong is told as a `finding`; this file finds the parts of a submission
and takes each to its rules.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from s5cli import official
from s5cli.challenge.files import Files, folder_files, zip_files
from s5cli.challenge.label import META_SUFFIX, TASK, wav_zips
from s5cli.challenge.validate.finding import Finding, Findings
from s5cli.challenge.validate.results import MOST_JSON_BYTES
from s5cli.challenge.validate.stems import names_of, read_mixtures
from s5cli.challenge.validate.systems import (
    RESULT_FILES,
    Answered,
    check_output,
    check_package,
    check_system,
    check_top,
)
from s5cli.dataset import EVAL_OUT
from s5cli.score.evaluate import Progress

TOLD = (*RESULT_FILES, META_SUFFIX)
"""What the parts of a submission say of a system."""
Kind = Literal["output", "package", "system"]


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
        parts = _parts_of(path, stack)
        if not parts:
            found.error("layout", "holds neither a folder <label>/ with eval_out/ nor a package task4/")
        for part in parts:
            _check_part(part, answered, Findings(part.files.where, found.found), progress)
        _check_agreement(parts, found)
    checked = tuple(part.files.where for part in parts)
    return Report(path, checked, tuple(_unchecked(parts, answered)), tuple(found.found))


def _check_part(part: Part, answered: Answered, found: Findings, progress: Progress) -> None:
    match part.kind:
        case "output":
            check_output(part.files, answered, found, progress)
        case "package":
            check_package(part.files, answered, found)
        case "system":
            check_system(part.files, answered, found)
    if part.root is not None:  # a zip holds one folder, which is called as it is
        zipped = Findings(part.root.where, found.found)
        check_top(part.root, [part.files.name], zipped)
        names = [f"{part.files.name}.zip"] if part.kind == "package" else wav_zips(part.files.name)
        if part.root.name not in names:
            zipped.error("label", f"it should be called {' or '.join(names)}")


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


# --- what there is at a path ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """An output (a folder of stems with result files), a package, or a single system's folder of a package."""

    kind: Kind
    files: Files
    root: Files | None = None  # the whole zip that it lies in

    @property
    def systems(self) -> list[Files]:
        """The folder of every system in it."""
        return self.files.inner if self.kind == "package" else [self.files]


def _parts_of(path: Path, stack: ExitStack) -> list[Part]:
    """The parts at a path, itself or in it; zips stay open as long as the stack.

    Raises:
        UsageError: there is nothing at the path.
        InputError: a zip that cannot be read or is not to be trusted.
    """
    if not path.is_dir():
        zipped = stack.enter_context(zip_files(path))
        return [replace(part, root=zipped) for part in _those_of(zipped.inner)]
    files = folder_files(path)
    found = _those_of([files]) or _those_of(files.inner)
    if not any(part.files.name == path.resolve().name for part in found):  # a folder around them: its zips count too
        for each in sorted(path.glob("*.zip")):
            found += _parts_of(each, stack)
    return found


def _those_of(trees: Iterable[Files]) -> list[Part]:
    """Of some trees those that are parts."""
    return [Part(kind, files) for files in trees if (kind := _kind(files)) is not None]


def _kind(files: Files) -> Kind | None:
    metas = [path for path in files.sizes_bytes if path.endswith(META_SUFFIX)]
    if files.name == TASK or any(path.count("/") == 1 for path in metas):
        return "package" if TASK not in files.top_folders else None
    if any("/" not in path for path in metas):
        return "system"
    is_output = EVAL_OUT in files.top_folders or official.EVAL_RESULTS in files.sizes_bytes
    return "output" if is_output else None
