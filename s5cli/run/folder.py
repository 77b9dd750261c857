"""The output folder of a run: what is in it already, and every finished clip into place and into the manifest.

Whoever spreads a run over threads or machines opens the results, separates the batches `todo` in any order and hands
every outcome to `take`, from one thread at a time:

    with opened(job, systems, watch) as results:
        for batch in results.todo: ...
            results.take(outcome)
    return results.result
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from s5cli import __version__, official
from s5cli.api import LoadedSystem
from s5cli.audio import write_file, write_stem
from s5cli.errors import OutputError
from s5cli.run.content import Content
from s5cli.run.faults import FULL, errno_of, unnamable, writing
from s5cli.run.manifest import Fingerprint, Manifest, Record
from s5cli.run.plan import Batch, Job, Options, batches, old_results
from s5cli.run.record import (
    DAMAGE,
    RUN_FILE,
    STAGES,
    ClipReport,
    Failure,
    Notice,
    RunResult,
    StemReport,
    as_json,
    residual_file_name,
)
from s5cli.run.sounding import sounding_s
from s5cli.run.staging import staging
from s5cli.scene import Stem
from s5cli.trace import ClipTrace

if TYPE_CHECKING:
    from torch import Tensor

Watch = Callable[[ClipReport | Failure | Notice], None]
"""Told of every clip as soon as its files are there, or as soon as it has failed; by one thread at a time."""


def silent(outcome: ClipReport | Failure | Notice) -> None:
    """The `watch` that tells nobody."""


# --- what comes from the networks -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Separated:
    """A clip whose stems are in memory."""

    name: str
    path: Path
    sha256: str  # of the recording
    duration_s: float
    warnings: tuple[str, ...]
    stems: tuple[Stem, ...]
    energies_db: tuple[float, ...]  # of the stems, relative to mixture channel 0
    trace: ClipTrace
    residual: Tensor | None = None  # [t], what no stem holds, where it is asked for
    staged: Mapping[str, tuple[Stem, ...]] = field(default_factory=dict)  # of earlier stages, where they are asked for


@dataclass(frozen=True)
class LongSeparated:
    """A long recording whose stems are in the folder already."""

    name: str
    sha256: str  # of the recording
    folder: Path
    report: ClipReport


Outcome: TypeAlias = Separated | LongSeparated | Failure | Notice


# --- the folder -------------------------------------------------------------------------------------------------------


class Results:
    """The clips of a job that are done or have failed. Made by `opened`, used by one thread at a time."""

    def __init__(self, job: Job, loaded: Sequence[LoadedSystem], stage: Path, watch: Watch) -> None:
        """Looks at what is there, and removes what a killed process left half-done.

        Raises:
            UsageError: results made under another fingerprint, and this is no restart.
        """
        self.stage = stage
        self._job, self._loaded, self._watch = job, loaded[0], watch
        self._run_json = job.out_dir / RUN_FILE
        self._about = _about(job, loaded)
        self._fingerprint = Fingerprint.of(self._loaded, job.options)
        self._old = old_results(job.out_dir, job.clips)
        self._manifest = Manifest(job.out_dir, self._fingerprint, self._about, job.options.restart)
        self._done = self._manifest.finished(job)
        with writing(job.out_dir):
            for path in self._manifest.halves:
                path.unlink(missing_ok=True)
        self._failed: dict[str, Failure] = {}
        self._is_new = False
        if self._done:
            watch(Notice(f"{len(self._done)} of {len(job.clips)} clips are done already", len(self._done)))

    @property
    def todo(self) -> list[Batch]:
        """What is left. A batch that is done in part is whole again, and what is done of it will be ignored."""
        options = self._job.options
        planned = batches(self._job.clips, options.batch_size, options.window_s(self._loaded.system.window_s))
        return [batch for batch in planned if not batch.clips.keys() <= self._done.keys()]

    @property
    def n_done(self) -> int:
        """Clips, those of earlier calls too."""
        return len(self._done)

    @property
    def result(self) -> RunResult:
        """What became of the clips so far, in the order of the job."""
        names = self._job.clips
        return RunResult(
            tuple(self._done[name] for name in names if name in self._done),
            tuple(self._failed[name] for name in names if name in self._failed),
        )

    def take(self, outcome: Outcome) -> None:
        """Writes what is new; tells the watch.

        Raises:
            OutputError: the output folder cannot be written to any more. Finished clips stay.
        """
        if isinstance(outcome, Notice):
            self._watch(outcome)
        elif outcome.name not in self._done:
            self._watch(self._kept(outcome) if isinstance(outcome, Separated | LongSeparated) else self._lost(outcome))

    def _lost(self, failure: Failure) -> Failure:
        self._failed[failure.name] = failure
        return failure

    def _kept(self, clip: Separated | LongSeparated) -> ClipReport | Failure:
        try:
            folder, report = write_clip(clip, self.stage, self._job.options)
        except OutputError as error:
            return self._lost(unnamable(self._job.clips[clip.name], error))
        with writing(self._job.out_dir):
            contents = {file: Content.of(folder / file) for file in report.files}
        self._publish(folder, report)
        self._manifest.write_done(Record(clip.name, report.file, clip.sha256, contents))
        self._done[clip.name] = report
        self._is_new = True
        return report

    def _publish(self, folder: Path, report: ClipReport) -> None:
        """Moves a clip's files into place, the JSON last, after its old ones have gone, the JSON first."""
        out_dir, old = self._job.out_dir, self._old.get(report.name, ())
        self._manifest.write_begin(report.name, [*report.files, *(path.name for path in old)])
        with writing(out_dir):
            self._run_json.unlink(missing_ok=True)  # it does not know of this clip
            for path in old:
                path.unlink(missing_ok=True)
            for file in report.files:
                (out_dir / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).replace(out_dir / file)
            shutil.rmtree(folder)

    def write_run_json(self) -> None:
        """The file about the run, unless there is no clip to tell of, or nothing to tell that it does not tell already.

        Raises:
            OutputError: the output folder cannot be written to any more.
        """
        if not self._done:
            return
        result, options = self.result, self._job.options
        content = {
            "system": self._loaded.name,
            "nparams": self._loaded.system.nparams,
            "weights": list(self._loaded.weights),
            "knobs": self._fingerprint.knobs,
            "options": self._fingerprint.options,
            "drops": {name: asdict(drop) for name, drop in self._loaded.system.drops.items()},
            "labels": list(options.labels) or None,
            "channel_order": self._loaded.channel_order,
            "resample": self._loaded.resample,
            "subtype": options.subtype,
            **self._about,
            "finished": _now(),
            "clips": {
                "done": len(result.done),
                "without_targets": sum(not clip.stems for clip in result.done),
                "failed": len(result.failed),
            },
            "stems": sum(len(clip.stems) for clip in result.done),
            "clipped_samples": sum(clip.clipped_samples for clip in result.done),
            "failed": [asdict(failure) for failure in result.failed],
            "fingerprint": self._fingerprint.to_json(),
        }
        if self._is_new or not self._tells(content):
            write_file(self._run_json, as_json(content))
            self._manifest.sync()

    def _tells(self, content: Mapping[str, Any]) -> bool:
        """Whether `run.json` is there and says the same, but for the circumstances of the call that wrote it."""
        try:
            written = json.loads(self._run_json.read_bytes())
            own = {*self._about, "finished"}
            return all(written[key] == value for key, value in content.items() if key not in own)
        except DAMAGE:
            return False


@contextmanager
def opened(job: Job, loaded: Sequence[LoadedSystem], watch: Watch = silent) -> Iterator[Results]:
    """The results of a job, for one system on one or several devices. `run.json` is written in the end.

    Raises:
        UsageError: results made under another fingerprint (and this is no restart), or an output folder that cannot be
            written to or that another process is writing to.
        OutputError: the output folder cannot be written to any more.
    """
    with staging(job.out_dir) as stage:
        results = Results(job, loaded, stage, watch)
        try:
            yield results
            results.write_run_json()
        except OutputError as error:
            then = "with room there" if errno_of(error) in FULL else "once it can be written to again,"
            told = f"{results.n_done} of {len(job.clips)} clips are done; {then} the same command goes on"
            raise OutputError(f"{error}; {told}") from error


def _about(job: Job, loaded: Sequence[LoadedSystem]) -> dict[str, Any]:
    """What is recorded of a call and changes no result."""
    python = platform.python_version()
    versions = {"s5cli": __version__, "torch": version("torch"), "numpy": np.__version__, "python": python}
    return {
        "batch_size": job.options.batch_size,
        "device": ",".join(system.device for system in loaded),
        "versions": versions,
        "started": _now(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


# --- one clip ---------------------------------------------------------------------------------------------------------


def new_folder(folder: Path) -> Path:
    """The folder of one clip, empty.

    Raises:
        OutputError: the place cannot be written to or is full.
    """
    with writing(folder):
        folder.mkdir(exist_ok=True)
    return folder


def write_clip(clip: Separated | LongSeparated, stage: Path, options: Options) -> tuple[Path, ClipReport]:
    """Completes the folder of a clip: its stems, if they are in memory, and its JSON.

    Raises:
        OutputError: the place cannot be written to or is full.
    """
    if isinstance(clip, LongSeparated):
        folder, report = clip.folder, clip.report
    else:
        folder = new_folder(stage / clip.name)
        report = _write_stems(clip, folder, options)
    write_file(folder / f"{clip.name}.json", as_json(report.to_json()))
    return folder, report


def _write_stems(clip: Separated, folder: Path, options: Options) -> ClipReport:
    stems: list[StemReport] = []
    warnings, clipped = list(clip.warnings), 0

    def write(file: str, audio: Tensor) -> None:
        nonlocal clipped
        if clipped_here := write_stem(folder / file, audio, options.subtype):
            warnings.append(f"{file}: {clipped_here} samples over full scale were clipped (--subtype FLOAT keeps them)")
            clipped += clipped_here

    for number, (stem, energy_db) in enumerate(zip(clip.stems, clip.energies_db, strict=True)):
        file = official.stem_file_name(clip.name, number, stem.label, options.file_format)
        write(file, stem.audio)
        stems.append(StemReport.of(stem, file, energy_db, sounding_s([np.asarray(stem.audio)])))
    residual = "" if clip.residual is None else residual_file_name(clip.name, options.file_format)
    if clip.residual is not None:
        write(residual, clip.residual)
    file, warned, staged = str(clip.path.absolute()), tuple(warnings), _write_staged(clip, folder, options)
    found = ClipReport(clip.name, clip.duration_s, tuple(stems), clip.trace, warned, clipped, file, residual=residual)
    return replace(found, staged=staged)


def _write_staged(clip: Separated, folder: Path, options: Options) -> tuple[str, ...]:
    """The stems of each stage, in a folder for each that is named like the results of a run."""
    files = []
    for stage, stems in clip.staged.items():
        with writing(folder):
            (folder / STAGES / stage).mkdir(parents=True, exist_ok=True)
        for number, stem in enumerate(stems):
            file = official.stem_file_name(clip.name, number, stem.label, options.file_format)
            files.append(f"{STAGES}/{stage}/{file}")
            write_stem(folder / files[-1], stem.audio, options.subtype)
    return tuple(files)
