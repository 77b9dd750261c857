"""A worker on one of the machines: what it is told, and what it does."""

from __future__ import annotations

import os
import platform
import threading
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from s5cli import __version__
from s5cli.api import LoadedSystem
from s5cli.audio import ChannelOrder
from s5cli.errors import S5Error, UsageError
from s5cli.run.folder import Outcome, Separated, new_folder
from s5cli.run.manifest import Fingerprint
from s5cli.run.pipeline import ReadOptions, Worker, read_batch
from s5cli.run.plan import Batch, Job, Options
from s5cli.run.record import Notice
from s5cli.weights.build import build, provenance

AHEAD = 2  # batches that a worker has at once: one is read, or its stems are sent, while the other is separated
PLACES = ("S5_CACHE_DIR", "S5_DATA_DIR", "S5_CONFIG_DIR")


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker is told once."""

    fingerprint: Fingerprint  # of the run; the worker's own has to be the same
    options: Options
    device: str
    stage: Path  # of the run, inside its output folder
    folders: tuple[Path, ...]  # with recordings
    directory: Path  # where relative paths begin
    places: Mapping[str, str]  # of weights, for machines that are not told otherwise
    version: str

    @classmethod
    def of(cls, job: Job, loaded: LoadedSystem, device: str, stage: Path) -> WorkerSpec:
        """That of a job."""
        return cls(
            fingerprint=Fingerprint.of(loaded, job.options),
            options=job.options,
            device=device,
            stage=stage.absolute(),
            folders=tuple({path.parent.absolute() for path in job.clips.values()}),
            directory=Path.cwd(),
            places={name: os.environ[name] for name in PLACES if os.environ.get(name)},
            version=__version__,
        )


class RemoteWorker:
    """The system on one GPU, or on some CPUs, of the cluster: an actor of Ray, which calls it from `AHEAD` threads."""

    def __init__(self, spec: WorkerSpec) -> None:
        """Builds the system. Its errors are kept for the first question: Ray makes tracebacks of those raised here."""
        import ray

        self._separating = threading.Lock()
        again = ray.get_runtime_context().was_current_actor_reconstructed
        self._notices = [Notice("a worker died and was started again; its clips are separated again")] if again else []
        self._refusal: S5Error | None = None
        try:
            self._worker = prepared(spec)
        except S5Error as error:
            self._refusal = type(error)(f"machine {platform.node()}: {error}")

    def separate(self, batch: Batch) -> list[Outcome]:
        """What becomes of every clip.

        Raises:
            S5Error: this machine cannot take part.
        """
        if self._refusal is not None:
            raise self._refusal
        loaded = self._worker.loaded
        pinned = loaded.device.startswith("cuda")
        clips = read_batch(batch, ReadOptions(loaded.channel_order, loaded.resample, pinned, loaded.first_order))
        with self._separating:
            found = [*self._notices, *self._worker(clips)]
            self._notices = []
        return [_sendable(outcome) for outcome in found]


def prepared(spec: WorkerSpec) -> Worker:
    """The system of an order, of the weights on this machine.

    Raises:
        UsageError: this machine has another version, other weights, or not the folders of the run.
        WeightsError: weights are not here.
        OutputError: the folder of the run cannot be written to from here.
    """
    _check_machine(spec)
    with suppress(OSError):  # absolute paths do without
        os.chdir(spec.directory)
    for name, folder in spec.places.items():
        os.environ.setdefault(name, folder)
    loaded = _loaded(spec.fingerprint, spec.device)
    different = spec.fingerprint.differences(Fingerprint.of(loaded, spec.options).to_json())
    if different:
        raise UsageError(f"would separate with {'; '.join(different)}; give it the same weights")
    stage = new_folder(spec.stage / uuid.uuid4().hex)  # a worker that died may have left half of a long recording
    return Worker(loaded, spec.options, stage)


def _check_machine(spec: WorkerSpec) -> None:
    if spec.version != __version__:
        raise UsageError(f"has s5cli {__version__}, but the run is by {spec.version}; install the same everywhere")
    for folder in (spec.stage, *spec.folders):
        if not folder.is_dir():
            shown = folder.parent if folder == spec.stage else folder
            raise UsageError(f"does not see {shown}; a run on a cluster needs folders that all its machines share")


def _loaded(fingerprint: Fingerprint, device: str) -> LoadedSystem:
    name, channel_order = fingerprint.system, cast(ChannelOrder, fingerprint.channel_order)
    how = fingerprint.precision, fingerprint.engine, fingerprint.compiled
    system = build(
        name,
        device=device,
        thresholds=fingerprint.knobs,
        options=fingerprint.options,
        offline=True,
        precision=how[0],
        engine=how[1],
        compiled=how[2],
    )
    taken = channel_order, fingerprint.resample, provenance(name), fingerprint.first_order
    return LoadedSystem(name, system, device, *taken, *how)


def _sendable(outcome: Outcome) -> Outcome:
    """On the CPU, and each stem without the memory of its batch, which a tensor would bring along."""
    if isinstance(outcome, Notice):
        return replace(outcome, message=f"{platform.node()}: {outcome.message}")
    if isinstance(outcome, Separated):
        residual = None if outcome.residual is None else outcome.residual.detach().cpu().clone()
        stems = tuple(replace(stem, audio=stem.audio.detach().cpu().clone()) for stem in outcome.stems)
        return replace(outcome, stems=stems, residual=residual)
    return outcome
