"""The clips of a run with their mixtures and references: what there is to look at, found and checked, no audio read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from s5cli import official
from s5cli.dataset import ORACLE_TARGET, SOUNDSCAPE, SUFFIXES
from s5cli.errors import InputError, UsageError
from s5cli.official import SourceFile
from s5cli.report.record import About, Record, read_about, read_records


@dataclass(frozen=True)
class Clip:
    """One clip of a run."""

    record: Record
    mixture: Path | None  # None: nobody said where it is, or it is not there any more
    references: tuple[SourceFile, ...] | None  # in slot order; None: no references were given

    @property
    def name(self) -> str:
        return self.record.name


@dataclass(frozen=True)
class Run:
    """A run with its clips in name order."""

    folder: Path
    about: About
    clips: tuple[Clip, ...]
    is_finished: bool


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
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; name the output folder of s5 separate")
    about = read_about(folder)
    records = {record.name: record for record in (about.failed if about else ())} | read_records(folder)
    if not records:
        raise UsageError(f"{folder}: holds no record of a clip; name the output folder of s5 separate")
    references = None if reference is None else _references(_inner(reference, ORACLE_TARGET), records)
    found = _mixtures(soundscapes, reference)
    clips = tuple(
        Clip(
            record,
            _mixture(record.file, found.get(name), soundscapes is not None),
            None if references is None else references[name],
        )
        for name, record in sorted(records.items())
    )
    return Run(folder, about or About(), clips, is_finished=about is not None)


def _inner(folder: Path, name: str) -> Path:
    """The folder of that name inside a data set, or the folder itself."""
    inner = folder / name
    return inner if inner.is_dir() else folder


def _mixtures(soundscapes: Path | None, reference: Path | None) -> Mapping[str, Path]:
    if soundscapes is None and reference is not None:
        soundscapes = _inner(reference, ORACLE_TARGET).resolve().parent
    return {} if soundscapes is None else official.soundscapes(_inner(soundscapes, SOUNDSCAPE), SUFFIXES)


def _mixture(recorded: Path | None, found: Path | None, found_first: bool) -> Path | None:
    """`found_first`: the user said where mixtures are, so that it comes before what the record says."""
    order = (found, recorded) if found_first else (recorded, found)
    return next((path for path in order if path is not None and path.is_file()), None)


def _references(folder: Path, names: Collection[str]) -> dict[str, tuple[SourceFile, ...]]:
    """Those of each clip, in plain string order of the file names. There may be those of other clips too.

    Only a folder called `oracle_target` may have none at all (clips without targets); else it is the wrong folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; --reference takes the references or their data set")
    found: dict[str, list[SourceFile]] = {name: [] for name in names}
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        match _owner(path, names):
            case owner, label:
                found[owner].append(SourceFile(path, label))
    if folder.name != ORACLE_TARGET and not any(found.values()):
        raise InputError(f"{folder}: no reference in it belongs to a clip of the run; give the references of its clips")
    return {name: tuple(files) for name, files in found.items()}


def _owner(path: Path, names: Collection[str]) -> tuple[str, str] | None:
    """Clip and label; of two clips whose names fit, the longer one, as `official.read_sources` has it."""
    unnumbered = path.stem.rpartition("_")[0]
    for name in (unnumbered, unnumbered.rpartition("_")[0]):
        label = official.parse_stem_file_name(path.name, name, SUFFIXES) if name in names else None
        if label is not None:
            return name, label
    return None
