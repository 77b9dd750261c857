"""A folder of clips through a system, each clip whole or not at all: reading, networks and writing overlap.

One thread reads ahead, one per device separates (the first device's is the caller's, so that a signal stops the
networks at once), one writes; bounded queues keep them within a few batches of each other. A run on other machines
(`s5cli.run.cluster`) takes the place of `_separate_with_threads`: it has its workers do `work.read_batch` and
`work.Worker`, and gives `results.take` what they return, so names, resuming and the list of failures stay the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from s5cli.api import LoadedSystem, TunedSystem
from s5cli.run.folder import Results, Watch, opened, unwatched
from s5cli.run.pipeline import LongRead, Outcome, Read, Taking, Worker, read_batch
from s5cli.run.plan import Job
from s5cli.run.record import ClipReport, Failure, Notice, RunResult, StemReport
from s5cli.run.threads import CancelledError, Channel, Crew
from s5cli.scene import Queries, Scene, Stem, Tap, quiet

__all__ = ["ClipReport", "Failure", "Notice", "RunResult", "StemReport", "Watch", "separate_all", "unwatched"]

AHEAD = 2  # batches that wait for a device, and outcomes that wait to be written, for each device


def separate_all(job: Job, loaded: LoadedSystem | Sequence[LoadedSystem], watch: Watch = unwatched) -> RunResult:
    """Separates and writes every clip that is not done yet, then `run.json`. A clip that fails stops no other.

    Each clip leaves `<clip>_<number>_<Class>.wav` per stem and `<clip>.json`, which comes last; a clip without targets
    leaves its JSON alone. The results do not depend on how many devices there are.

    Args:
        job: what is to be done, see `s5cli.run.plan.plan`.
        loaded: a system, or the same system on several devices.
        watch: told of every clip; not always by the caller's thread.

    Raises:
        UsageError: there are results of another system or setting (unless the job is a restart), or another process is
            writing to the output folder.
        OutputError: the output folder cannot be written to any more. What is finished by then stays.
    """
    systems = (loaded,) if isinstance(loaded, LoadedSystem) else tuple(loaded)
    with opened(job, systems, watch) as results:
        _separate_with_threads(results, job, systems)
    return results.result


def _separate_with_threads(results: Results, job: Job, systems: Sequence[LoadedSystem]) -> None:
    read = Channel[list[Read | LongRead | Failure]](AHEAD * len(systems))
    separated = Channel[Outcome](AHEAD * len(systems) * job.options.batch_size)
    batches, taking = results.todo, _taking(systems)
    crew = Crew(read, separated)

    def read_ahead() -> None:
        for batch in batches:
            read.put(read_batch(batch, taking))
        read.close()

    def separate(worker: Worker) -> None:
        for clips in read:
            for outcome in worker(clips):
                separated.put(outcome)

    def write() -> None:
        for outcome in separated:
            results.take(outcome)

    with crew:
        crew.start(read_ahead, "s5-read")
        crew.start(write, "s5-write")
        first, *others = [
            Worker(replace(system, system=_Stoppable(system.system, crew)), job.options, results.stage)
            for system in systems
        ]
        threads = [crew.start(partial(separate, worker), "s5-separate") for worker in others]
        separate(first)
        for thread in threads:
            thread.join()
        separated.close()


def _taking(systems: Sequence[LoadedSystem]) -> Taking:
    on_cuda = any(system.device.startswith("cuda") for system in systems)
    return Taking(systems[0].channel_order, systems[0].resample, pinned=on_cuda)


class _Stoppable:
    """A system that is left between two of its steps once the crew stops."""

    def __init__(self, system: TunedSystem, crew: Crew) -> None:
        self.setting, self.nparams = system.setting, system.nparams
        self._system, self._crew = system, crew

    def __call__(self, scenes: Sequence[Scene], tap: Tap = quiet, queries: Queries | None = None) -> list[list[Stem]]:
        def checked(step: str, result: Any) -> None:
            if self._crew.stopping:
                raise CancelledError
            tap(step, result)

        return self._system(scenes, checked, queries)
