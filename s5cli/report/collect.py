"""The clips of a run with their mixtures and references: what there is to look at, found and checked, no audio read."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from s5cli import official
from s5cli.dataset import ORACLE_TARGET, SOUNDSCAPE, SUFFIXES, inner_folder
from s5cli.errors import InputError, UsageError
from s5cli.official import SourceFile
from s5cli.run.record import About, ClipReport, StemReport, read_folder
from s5cli.trace import QueryTrace


@dataclass(frozen=True)
class Clip:
    """One clip of a run: what the run reports of it, or why there is no report."""

    name: str
    report: ClipReport | None
    failure: str | None
    mixture: Path | None  # None: nobody said where it is, or it is not there any more
    references: tuple[SourceFile, ...] | None  # in slot order; None: no references were given

    @property
    def stems(self) -> tuple[StemReport, ...]:
        return self.report.stems if self.report else ()

    @property
    def queries(self) -> tuple[QueryTrace, ...]:
        return self.report.trace.queries if self.report else ()


@dataclass(frozen=True)
class Run:
    """A run with its clips in name order."""

    folder: Path
    about: About | None  # None: it is not finished
    clips: tuple[Clip, ...]


def read_run(folder: Path, reference: Path | None = None, soundscapes: Path | None = None) -> Run:
    """The run in a folder; one in the middle of its work will do.

    Args:
        folder: what `s5 separate -o` was given.
        reference: the references, named alike, or a folder with `oracle_target/`. A clip without any has no targets.
        soundscapes: the mixtures. By default those that the records name, else those in `soundscape/` beside the
            references or beside their folder.

    Raises:
        UsageError: a folder that does not exist or is no run, or two mixtures of one name.
        InputError: `run.json` is damaged, or no reference belongs to any clip.
    """
    run = read_folder(folder)
    reasons = {failure.name: failure.reason for failure in run.failed} | dict(run.damaged)
    names = sorted({*run.clips, *reasons})
    if not names:
        raise UsageError(f"{folder}: holds no record of a clip; name the output folder of s5 separate")
    references = None if reference is None else _references(inner_folder(reference, ORACLE_TARGET), names)
    files = {failure.name: failure.file for failure in run.failed}
    files |= {clip.name: clip.file for clip in run.clips.values()}
    found, recorded = _mixtures(soundscapes, reference), {name: Path(file) for name, file in files.items() if file}
    clips = []
    for name in names:
        failure = None if name in run.clips else reasons[name]
        mixture = _mixture(recorded.get(name), found.get(name), soundscapes is not None)
        clips.append(Clip(name, run.clips.get(name), failure, mixture, references[name] if references else None))
    return Run(folder, run.about, tuple(clips))


def _mixtures(soundscapes: Path | None, reference: Path | None) -> Mapping[str, Path]:
    if soundscapes is None and reference is not None:
        soundscapes = inner_folder(reference, ORACLE_TARGET).resolve().parent
    return {} if soundscapes is None else official.soundscapes(inner_folder(soundscapes, SOUNDSCAPE), SUFFIXES)


def _mixture(recorded: Path | None, found: Path | None, found_first: bool) -> Path | None:
    """`found_first`: the user said where mixtures are, so that it comes before what the record says.

    What the record says may be no path at all; unlike `Path.is_file`, `os.path.isfile` says no to that.
    """
    order = (found, recorded) if found_first else (recorded, found)
    return next((path for path in order if path is not None and os.path.isfile(path)), None)  # noqa: PTH113


def _references(folder: Path, names: Collection[str]) -> dict[str, tuple[SourceFile, ...]]:
    """Those of each clip, in plain string order of the file names. There may be those of other clips too.

    Only a folder called `oracle_target` may have none at all (clips without targets); else it is the wrong folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; --reference takes the references or their data set")
    found: dict[str, list[SourceFile]] = {name: [] for name in names}
    paths = sorted((path for path in folder.iterdir() if official.is_audio(path, SUFFIXES)), key=lambda path: path.name)
    numbered = official.are_numbered(paths)
    for path in paths:
        match official.owner(path, found, SUFFIXES, numbered):
            case name, source:
                found[name].append(source)
    if folder.name != ORACLE_TARGET and not any(found.values()):
        raise InputError(f"{folder}: no reference in it belongs to a clip of the run; give the references of its clips")
    return {name: tuple(files) for name, files in found.items()}
