"""A folder of clips through a system, each clip whole or not at all: reading, networks and writing overlap.

A clip is read, separated on a device and written (`s5cli.run.folder`). One thread reads ahead, one per device separates
(the first device's is the caller's, so that a signal stops the networks at once), one writes; bounded queues keep them
within a few batches of each other. A run on other machines (`s5cli.run.cluster`) has its workers do `read_batch` and
`Worker`, and gives `results.take` what they return, so names, resuming and the list of failures stay the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from s5cli.api import LoadedSystem, answered, check_answer, check_stems
from s5cli.audio import ChannelOrder, read_scene
from s5cli.errors import InputError, OutputError, S5Error
from s5cli.rules.gate import energy_db
from s5cli.run.content import sha256_of
from s5cli.run.faults import unnamable
from s5cli.run.folder import LongSeparated, Outcome, Results, Separated, Watch, new_folder, opened, silent
from s5cli.run.plan import Batch, Job, Options, check_name
from s5cli.run.record import Failure, Notice, RunResult
from s5cli.run.threads import CancelledError, Channel, Crew
from s5cli.run.windows import separate_long
from s5cli.scene import RATE_HZ, Scene, Stem
from s5cli.steps.step import Step, with_steps
from s5cli.trace import ClipTrace

if TYPE_CHECKING:
    from torch import Tensor

TOO_BIG = "does not fit into memory even alone; take it in shorter windows (--window 10), or cut it"
Tell = Callable[[Notice], None]
AHEAD = 2  # batches that wait for a device, and outcomes that wait to be written, for each device

# --- read ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReadOptions:
    """How recordings are taken."""

    channel_order: ChannelOrder
    resample: bool
    pinned: bool  # into memory from which a CUDA device copies while it computes
    first_order: bool = False  # of higher-order ambisonics take the first four channels


@dataclass(frozen=True)
class Read:
    """A clip that was read."""

    path: Path
    sha256: str  # of the file
    scene: Scene
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class LongRead:
    """A long recording, which is read while it is separated."""

    path: Path
    sha256: str  # of the file
    window_s: float


def read_batch(batch: Batch, how: ReadOptions) -> list[Read | LongRead | Failure]:
    """Every clip of a batch, or why it cannot be taken."""
    return [_read(name, path, batch.window_s, how) for name, path in batch.clips.items()]


def _read(name: str, path: Path, window_s: float | None, how: ReadOptions) -> Read | LongRead | Failure:
    warnings: list[str] = []
    try:
        check_name(path)
        sha256 = sha256_of(path)
        if window_s is not None:
            return LongRead(path, sha256, window_s)
        scene = read_scene(path, how.channel_order, how.resample, warnings.append, how.first_order)
    except InputError as error:
        return Failure(name, str(path), str(error))
    except MemoryError:
        return _failure(path, TOO_BIG)
    audio = scene.audio.pin_memory() if how.pinned else scene.audio
    return Read(path, sha256, replace(scene, audio=audio), tuple(warnings))


# --- separate --------------------------------------------------------------------------------------------------------


class Worker:
    """A system on its device, and how many clips (or windows) fit into its memory at once.

    `stage` is where the stems of long recordings are made, in a folder for each; `tell` is told how far they are.
    """

    def __init__(self, loaded: LoadedSystem, options: Options, stage: Path, tell: Tell = silent) -> None:
        self.loaded, self.options, self.stage, self.tell = loaded, options, stage, tell
        self.fits = options.batch_size

    def __call__(self, clips: Sequence[Read | LongRead | Failure]) -> Iterator[Outcome]:
        """What becomes of every clip of a batch; failures pass. Where memory runs out it goes on with half as many."""
        yield from (clip for clip in clips if isinstance(clip, Failure))
        left = [clip for clip in clips if not isinstance(clip, Failure)]
        fitted = self.fits
        while left:
            part = left[: self.fits]
            at_once = self._at_once(part)
            found = self._within_memory(part, at_once)
            if found is None and at_once > 1:
                self.fits = at_once // 2
                yield Notice(f"{self.loaded.device}: out of memory with {at_once} at once, goes on with {self.fits}")
                continue
            if found is None:
                on_cpu = self.loaded.device == "cpu"
                too_big = TOO_BIG if on_cpu else "does not fit into the device's memory even alone; give --device cpu"
                found = [_failure(part[0].path, too_big)]
                self.fits = fitted  # it says nothing about other clips
            yield from found
            left = left[len(part) :]

    def _at_once(self, clips: Sequence[Read | LongRead]) -> int:
        """All clips, or windows of a long recording: on the CPU one, as more take more memory and no less time."""
        if not isinstance(clips[0], LongRead):
            return len(clips)
        return 1 if self.loaded.device == "cpu" else self.fits

    def _within_memory(self, clips: Sequence[Read | LongRead], at_once: int) -> Sequence[Outcome] | None:
        """None where memory runs out."""
        import torch

        try:
            if isinstance(clips[0], LongRead):
                return [separate_windows(clips[0], self.loaded, self.options, at_once, self.stage, self.tell)]
            return separate_batch([clip for clip in clips if isinstance(clip, Read)], self.loaded, self.options)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        empty_cache = torch.mps.empty_cache if self.loaded.device == "mps" else torch.cuda.empty_cache
        empty_cache()  # what the error held on to is freed only now
        return None


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, of CUDA or of the machine, for which PyTorch and ONNX Runtime have no class of error.

    >>> is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to …"))
    True
    >>> is_out_of_memory(RuntimeError("size mismatch"))
    False
    """
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    told = ("allocate memory", "not enough memory", "bad_alloc", "bad allocation", "MPS backend out of memory")
    return any(words in str(error) for words in told)


def separate_windows(
    clip: LongRead, loaded: LoadedSystem, options: Options, at_once: int, stage: Path, tell: Tell
) -> LongSeparated | Failure:
    """A long recording through the networks, `at_once` windows together, into a folder of its own in `stage`.

    Raises:
        OutputError: the place cannot be written to or is full.
        torch.OutOfMemoryError: so many windows do not fit together.
    """
    name = clip.path.stem

    def told(n_done: int, n_windows: int) -> None:
        tell(Notice(f"{name}: {n_done} of {n_windows} windows", is_progress=True))

    try:
        folder = new_folder(stage / name)
        report = separate_long(clip.path, loaded, clip.window_s, at_once, options, folder, told)
    except InputError as error:
        return Failure(name, str(clip.path), str(error))
    except OutputError as error:
        return unnamable(clip.path, error)
    return LongSeparated(name, clip.sha256, folder, report)


def separate_batch(clips: Sequence[Read], loaded: LoadedSystem, options: Options) -> list[Separated | Failure]:
    """A batch through the networks. One that the system refuses is tried clip by clip, so that only the bad one fails.

    A clip that it answers with NaN or infinity fails too.

    Raises:
        torch.OutOfMemoryError: they do not fit together.
    """
    scenes = [_on(loaded.device, clip.scene) for clip in clips]
    try:
        answers = answered(loaded, scenes, options.labels)
    except S5Error as error:
        if len(clips) == 1:
            return [_failure(clips[0].path, str(error))]
        return [outcome for clip in clips for outcome in separate_batch([clip], loaded, options)]
    return [_separated(clip, *answer, options.residual) for clip, answer in zip(clips, answers, strict=True)]


def _on(device: str, scene: Scene) -> Scene:
    """Once here instead of in every network."""
    return scene if device == "cpu" else replace(scene, audio=scene.audio.to(device, non_blocking=True))


def _separated(
    clip: Read, stems: Sequence[Stem], trace: ClipTrace, staged: Mapping[str, Sequence[Stem]], with_residual: bool
) -> Separated | Failure:
    try:
        check_answer(stems, trace, str(clip.path))
        check_stems([stem for before in staged.values() for stem in before], str(clip.path))
    except InputError as error:
        return Failure(clip.path.stem, str(clip.path), str(error))
    return Separated(
        name=clip.scene.name,
        path=clip.path,
        sha256=clip.sha256,
        duration_s=clip.scene.audio.shape[-1] / RATE_HZ,
        warnings=clip.warnings,
        stems=tuple(stems),
        energies_db=_energies_db(stems, clip.scene),
        trace=trace,
        residual=residual(stems, clip.scene) if with_residual else None,
        staged={stage: tuple(before) for stage, before in staged.items()},
    )


def residual(stems: Sequence[Stem], mixture: Scene) -> Tensor:
    """What of a mixture's channel 0 no stem holds, [t]."""
    left = mixture.audio[0].clone()
    for stem in stems:
        left -= stem.audio
    return left


def _energies_db(stems: Sequence[Stem], mixture: Scene) -> tuple[float, ...]:
    """Of each stem, relative to mixture channel 0."""
    sounds = [mixture.audio[0], *(stem.audio for stem in stems)]
    whole, *powers = [audio.double().square().mean().item() for audio in sounds]
    return tuple(energy_db(np.array([powers]), np.array([whole]))[0].tolist())


def _failure(path: Path, reason: str) -> Failure:
    return Failure(path.stem, str(path), f"{path}: {reason}")


# --- all clips --------------------------------------------------------------------------------------------------------


def separate_all(job: Job, loaded: LoadedSystem | Sequence[LoadedSystem], watch: Watch = silent) -> RunResult:
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
    separated = Channel[Outcome](AHEAD * len(systems) * min(job.options.batch_size, len(job.clips)))
    takes, on_cuda = systems[0], any(system.device.startswith("cuda") for system in systems)
    how = ReadOptions(takes.channel_order, takes.resample, on_cuda, takes.first_order)
    batches, crew = results.todo, Crew(read, separated)

    def read_ahead() -> None:
        for batch in batches:
            read.put(read_batch(batch, how))
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
            Worker(stoppable(system, crew), job.options, results.stage, separated.put) for system in systems
        ]
        threads = [crew.start(partial(separate, worker), "s5-separate") for worker in others]
        separate(first)
        for thread in threads:
            thread.join()
        separated.close()


def stoppable(loaded: LoadedSystem, crew: Crew) -> LoadedSystem:
    """A system that is left before its next step once the crew stops."""

    def checked(_: str, step: Step) -> Callable[..., Any]:
        def call(*inputs: Any) -> Any:
            if crew.stopping:
                raise CancelledError
            return step(*inputs)

        return call

    return replace(loaded, system=with_steps(loaded.system, checked))
