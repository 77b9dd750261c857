"""Clips through a system and onto disk: read, batch, separate, write. Each clip appears whole or not at all."""

from __future__ import annotations

import json
import platform
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from s5cli import __version__, official
from s5cli.api import LoadedSystem, named_queries
from s5cli.audio import read_scene, write_file, write_stem
from s5cli.errors import ClipsFailedError, InputError, OutputError, S5Error
from s5cli.explain import ClipTrail, Trail
from s5cli.job import RUN_NAME, Job, staging
from s5cli.labels import CLASSES
from s5cli.scene import RATE_HZ, Scene, Stem


@dataclass(frozen=True)
class StemReport:
    """One written stem. `slot` is the query's own place; file names count the written stems."""

    file: str
    label: str
    confidence: float
    support: float | None
    energy_db: float | None
    separator: str
    slot: int


@dataclass(frozen=True)
class ClipReport:
    """One finished clip."""

    name: str
    duration_s: float
    stems: tuple[StemReport, ...]
    trail: ClipTrail
    warnings: tuple[str, ...]
    clipped_samples: int

    def to_json(self) -> dict[str, Any]:
        """What `<clip>.json` holds."""
        return {
            "name": self.name,
            "duration_s": self.duration_s,
            "stems": [asdict(stem) for stem in self.stems],
            "dropped": [query.to_json() for query in self.trail.dropped],
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class Failure:
    """A clip that could not be separated; `reason` is one line that says which and why."""

    name: str
    file: str
    reason: str


@dataclass(frozen=True)
class RunResult:
    """What became of every clip, each list in the order of the clips."""

    done: tuple[ClipReport, ...]
    failed: tuple[Failure, ...]

    def raise_failed(self) -> None:
        """Does nothing if all clips are done.

        Raises:
            ClipsFailedError: some are not; the message gives the reason of each.
        """
        n_clips = len(self.done) + len(self.failed)
        reasons = [failure.reason for failure in self.failed]
        if n_clips > 1 and reasons:
            separator = " " if len(reasons) == 1 else "\n  "
            raise ClipsFailedError(separator.join([f"{len(reasons)} of {n_clips} clips failed:", *reasons]))
        if reasons:
            raise ClipsFailedError(reasons[0])


Watch = Callable[[ClipReport | Failure], None]
"""Told of every clip as soon as its files are there, or as soon as it has failed."""


def unwatched(outcome: ClipReport | Failure) -> None:
    """The `watch` that tells nobody."""


# --- read, batch, separate -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Read:
    path: Path
    scene: Scene
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Separated:
    read: _Read
    stems: list[Stem]
    trail: ClipTrail


def separate_all(job: Job, loaded: LoadedSystem, watch: Watch = unwatched) -> RunResult:
    """Separates and writes every clip, then `run.json`. A clip that fails does not stop the others.

    Each clip leaves `<clip>_<number>_<Class>.wav` per stem and `<clip>.json`, which comes last; a clip without targets
    leaves its JSON alone.

    Raises:
        OutputError: the output folder cannot be written to any more. What is finished by then stays.
    """
    started = datetime.now(UTC)
    done: list[ClipReport] = []
    failed: list[Failure] = []
    with staging(job.out_dir) as stage:
        for outcome in _separated(_batches(_read(job, loaded), job.options.batch_size), job, loaded):
            if isinstance(outcome, Failure):
                failed.append(outcome)
                watch(outcome)
            else:
                done.append(_write(outcome, job, stage))
                watch(done[-1])
        result = RunResult(tuple(done), tuple(failed))
        if done:
            write_file(job.out_dir / f"{RUN_NAME}.json", _json(_about(result, job, loaded, started)))
    return result


def _read(job: Job, loaded: LoadedSystem) -> Iterator[_Read | Failure]:
    for name, path in job.clips.items():
        warnings: list[str] = []
        try:
            scene = read_scene(path, loaded.channel_order, loaded.resample, warnings.append)
            yield _Read(path, scene, tuple(warnings))
        except InputError as error:
            yield Failure(name, str(path), str(error))


def _batches(clips: Iterable[_Read | Failure], size: int) -> Iterator[list[_Read] | Failure]:
    """Consecutive clips of one length, at most `size`; failures pass by at once."""
    batch: list[_Read] = []
    for clip in clips:
        if isinstance(clip, Failure):
            yield clip
            continue
        if batch and (len(batch) == size or clip.scene.audio.shape != batch[0].scene.audio.shape):
            yield batch
            batch = []
        batch.append(clip)
    if batch:
        yield batch


def _separated(
    batches: Iterable[list[_Read] | Failure], job: Job, loaded: LoadedSystem
) -> Iterator[_Separated | Failure]:
    for batch in batches:
        if isinstance(batch, Failure):
            yield batch
        else:
            yield from _separate(batch, job, loaded)


def _separate(batch: list[_Read], job: Job, loaded: LoadedSystem) -> Iterator[_Separated | Failure]:
    """A batch that a system refuses is tried clip by clip, so that only the bad one fails."""
    trail = Trail(loaded.system.setting)
    try:
        scenes = [read.scene for read in batch]
        stems = loaded.system(scenes, trail, named_queries(job.options.labels, len(batch)))
    except S5Error as error:
        if len(batch) == 1:
            yield Failure(batch[0].scene.name, str(batch[0].path), f"{batch[0].path}: {error}")
        else:
            for read in batch:
                yield from _separate([read], job, loaded)
        return
    for read, found, clip in zip(batch, stems, trail.clips, strict=True):
        yield _Separated(read, found, clip)


# --- write -----------------------------------------------------------------------------------------------------------


def _write(clip: _Separated, job: Job, stage: Path) -> ClipReport:
    """All files of a clip into the staging folder, then into place."""
    scene, stems, clipped = clip.read.scene, [], 0
    warnings = list(clip.read.warnings)
    for number, stem in enumerate(clip.stems):
        file = official.stem_file_name(scene.name, number, stem.label)
        clipped_here = write_stem(stage / file, stem.audio, job.options.subtype)
        if clipped_here:
            warnings.append(f"{file}: {clipped_here} samples over full scale were clipped (--subtype FLOAT keeps them)")
        clipped += clipped_here
        stems.append(
            StemReport(file, stem.label, stem.confidence, stem.support, stem.energy_db, stem.separator, stem.slot)
        )
    duration_s = scene.audio.shape[-1] / RATE_HZ
    report = ClipReport(scene.name, duration_s, tuple(stems), clip.trail, tuple(warnings), clipped)
    write_file(stage / f"{scene.name}.json", _json(report.to_json()))
    _publish(stage, job.out_dir, [*(stem.file for stem in stems), f"{scene.name}.json"], job.old.get(scene.name, ()))
    return report


def _publish(stage: Path, out_dir: Path, files: Sequence[str], old: Sequence[Path]) -> None:
    """Moves a clip's files into place, the JSON last, after its old ones have gone, the JSON first."""
    with _uninterrupted():
        try:
            for path in old:
                path.unlink(missing_ok=True)
            for file in files:
                (stage / file).replace(out_dir / file)
        except OSError as error:
            raise OutputError(f"{out_dir}: cannot be written to ({error.strerror or error})") from error


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Holds SIGINT and SIGTERM back until the block is done. Only the main thread is ever interrupted by them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        held.append(number)

    before = {int(number): signal.signal(number, hold) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in held:
            signal.raise_signal(number)


def _about(result: RunResult, job: Job, loaded: LoadedSystem, started: datetime) -> dict[str, Any]:
    """What `run.json` holds."""
    return {
        "system": loaded.name,
        "nparams": loaded.system.nparams,
        "weights": list(loaded.weights),
        "knobs": {name: _plain(value) for name, value in loaded.system.setting.values.items()},
        "labels": list(job.options.labels) or None,
        "channel_order": loaded.channel_order,
        "resample": loaded.resample,
        "subtype": job.options.subtype,
        "batch_size": job.options.batch_size,
        "device": loaded.device,
        "versions": {
            "s5cli": __version__,
            "torch": version("torch"),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "clips": {
            "done": len(result.done),
            "without_targets": sum(not clip.stems for clip in result.done),
            "failed": len(result.failed),
        },
        "stems": sum(len(clip.stems) for clip in result.done),
        "clipped_samples": sum(clip.clipped_samples for clip in result.done),
        "failed": [asdict(failure) for failure in result.failed],
    }


def _plain(value: float | np.ndarray[Any, Any]) -> float | dict[str, float]:
    """A knob as a thresholds file writes it."""
    return dict(zip(CLASSES, value.tolist(), strict=True)) if isinstance(value, np.ndarray) else value


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
