"""The three steps of a clip: read a batch, separate it on a device, write what came out.

Plain functions of values that can be pickled, so that threads, processes and other machines can take any of them:
`read_batch` and a `Worker` anywhere, `write_clip` where the output folder is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import soundfile

from s5cli import official
from s5cli.api import LoadedSystem, check_stems, named_queries
from s5cli.audio import ChannelOrder, Subtype, read_scene, write_file, write_stem
from s5cli.errors import InputError, OutputError, S5Error
from s5cli.explain import ClipTrail, Trail
from s5cli.run.manifest import sha256_of
from s5cli.run.plan import Options
from s5cli.run.record import ClipReport, Failure, Notice, StemReport, WindowReport, as_json
from s5cli.run.windows import LongResult, is_long, separate_long
from s5cli.scene import RATE_HZ, Scene, Stem

# --- batches ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """Clips of one length, by name, that go through the networks together; or one long recording."""

    clips: Mapping[str, Path]
    window_s: float | None = None  # of the long recording


def batches(clips: Mapping[str, Path], size: int, window_s: float | None) -> list[Batch]:
    """All clips in batches of at most `size`, in the order of each batch's first clip; long recordings alone.

    What shares a batch depends on nothing but the clips, as a network's last bits may depend on what shares its batch:
    a run that was interrupted separates the same batches again.
    """
    groups: dict[object, list[str]] = {}
    long = {name for name, path in clips.items() if is_long(path, window_s)}
    for name, path in clips.items():
        groups.setdefault(name if name in long else _length(path) or name, []).append(name)
    place = {name: index for index, name in enumerate(clips)}
    chunks = [group[i : i + size] for group in groups.values() for i in range(0, len(group), size)]
    return [
        Batch({name: clips[name] for name in chunk}, window_s if chunk[0] in long else None)
        for chunk in sorted(chunks, key=lambda chunk: place[chunk[0]])
    ]


def _length(path: Path) -> tuple[int, int] | None:
    """Frames and their rate in Hz as the header has them; None where reading will say what is wrong."""
    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError, TypeError):
        return None
    return info.frames, info.samplerate


# --- read ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Taking:
    """How recordings are taken."""

    channel_order: ChannelOrder
    resample: bool
    pinned: bool  # into memory from which a CUDA device copies while it computes


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


def read_batch(batch: Batch, taking: Taking) -> list[Read | LongRead | Failure]:
    """Every clip of a batch, or why it cannot be taken."""
    return [_read(name, path, batch.window_s, taking) for name, path in batch.clips.items()]


def _read(name: str, path: Path, window_s: float | None, taking: Taking) -> Read | LongRead | Failure:
    warnings: list[str] = []
    try:
        sha256 = sha256_of(path)
        if window_s is not None:
            return LongRead(path, sha256, window_s)
        scene = read_scene(path, taking.channel_order, taking.resample, warnings.append)
    except InputError as error:
        return Failure(name, str(path), str(error))
    audio = scene.audio.pin_memory() if taking.pinned else scene.audio
    return Read(path, sha256, replace(scene, audio=audio), tuple(warnings))


# --- separate --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Separated:
    """A clip whose stems are in memory."""

    name: str
    path: Path
    sha256: str  # of the recording
    duration_s: float
    warnings: tuple[str, ...]
    stems: tuple[Stem, ...]
    trail: ClipTrail


@dataclass(frozen=True)
class LongSeparated:
    """A long recording whose stems are in the folder already."""

    name: str
    path: Path
    sha256: str  # of the recording
    folder: Path
    result: LongResult


Outcome: TypeAlias = Separated | LongSeparated | Failure | Notice


class Worker:
    """A system on its device, and how many clips (or windows) fit into its memory at once.

    `stage` is where the stems of long recordings are made, in a folder for each.
    """

    def __init__(self, loaded: LoadedSystem, options: Options, stage: Path) -> None:
        self.loaded, self.options, self.stage = loaded, options, stage
        self.fits = options.batch_size

    def __call__(self, clips: Sequence[Read | LongRead | Failure]) -> Iterator[Outcome]:
        """What becomes of every clip of a batch; failures pass. Where memory runs out it goes on with half as many."""
        yield from (clip for clip in clips if isinstance(clip, Failure))
        left = [clip for clip in clips if not isinstance(clip, Failure)]
        fitted = self.fits
        while left:
            part = left[: self.fits]
            at_once = self.fits if isinstance(part[0], LongRead) else len(part)
            found = self._within_memory(part, at_once)
            if found is None and at_once > 1:
                self.fits = at_once // 2
                yield Notice(f"{self.loaded.device}: out of memory with {at_once} at once, goes on with {self.fits}")
                continue
            if found is None:
                found = [_failure(part[0].path, "does not fit into the device's memory even alone; give --device cpu")]
                self.fits = fitted  # it says nothing about other clips
            yield from found
            left = left[len(part) :]

    def _within_memory(self, clips: Sequence[Read | LongRead], at_once: int) -> Sequence[Outcome] | None:
        """None where it does not suffice."""
        import torch

        try:
            if isinstance(clips[0], LongRead):
                return [separate_windows(clips[0], self.loaded, self.options, at_once, self.stage)]
            return separate_batch([clip for clip in clips if isinstance(clip, Read)], self.loaded, self.options.labels)
        except torch.OutOfMemoryError:
            pass  # what the error holds on to is freed only now
        torch.cuda.empty_cache()
        return None


def separate_windows(
    clip: LongRead, loaded: LoadedSystem, options: Options, at_once: int, stage: Path
) -> LongSeparated | Failure:
    """A long recording through the networks, `at_once` windows together, into a folder of its own in `stage`.

    Raises:
        OutputError: the place cannot be written to or is full.
        torch.OutOfMemoryError: so many windows do not fit together.
    """
    name = clip.path.stem
    folder = new_folder(stage / name)
    try:
        result = separate_long(clip.path, loaded, clip.window_s, at_once, options.labels, folder, options.subtype)
    except InputError as error:
        folder.rmdir()
        return Failure(name, str(clip.path), str(error))
    return LongSeparated(name, clip.path, clip.sha256, folder, result)


def separate_batch(clips: Sequence[Read], loaded: LoadedSystem, labels: Sequence[str]) -> list[Separated | Failure]:
    """A batch through the networks. One that the system refuses is tried clip by clip, so that only the bad one fails.

    A clip that it answers with NaN or infinity fails too.

    Raises:
        torch.OutOfMemoryError: they do not fit together.
    """
    trail = Trail(loaded.system.setting)
    try:
        scenes = [_on(loaded.device, clip.scene) for clip in clips]
        stems = loaded.system(scenes, trail, named_queries(labels, len(clips)))
    except S5Error as error:
        if len(clips) == 1:
            return [_failure(clips[0].path, str(error))]
        return [outcome for clip in clips for outcome in separate_batch([clip], loaded, labels)]
    return [_separated(*found) for found in zip(clips, stems, trail.clips, strict=True)]


def _on(device: str, scene: Scene) -> Scene:
    """Once here instead of in every network."""
    return scene if device == "cpu" else replace(scene, audio=scene.audio.to(device, non_blocking=True))


def _separated(clip: Read, stems: Sequence[Stem], trail: ClipTrail) -> Separated | Failure:
    try:
        check_stems(stems, str(clip.path))
    except InputError as error:
        return Failure(clip.path.stem, str(clip.path), str(error))
    duration_s = clip.scene.audio.shape[-1] / RATE_HZ
    return Separated(clip.scene.name, clip.path, clip.sha256, duration_s, clip.warnings, tuple(stems), trail)


def _failure(path: Path, reason: str) -> Failure:
    return Failure(path.stem, str(path), f"{path}: {reason}")


# --- write -----------------------------------------------------------------------------------------------------------


def new_folder(folder: Path) -> Path:
    """The folder of one clip, empty.

    Raises:
        OutputError: the place cannot be written to or is full.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written to ({error.strerror or error})") from error
    return folder


def write_clip(clip: Separated | LongSeparated, stage: Path, subtype: Subtype) -> tuple[Path, ClipReport]:
    """Completes the folder of a clip: its stems, if they are in memory, and its JSON.

    Raises:
        OutputError: the place cannot be written to or is full.
    """
    if isinstance(clip, LongSeparated):
        folder, report = clip.folder, _long_report(clip)
    else:
        folder = new_folder(stage / clip.name)
        report = _write_stems(clip, folder, subtype)
    write_file(folder / f"{clip.name}.json", as_json(report.to_json()))
    return folder, report


def _write_stems(clip: Separated, folder: Path, subtype: Subtype) -> ClipReport:
    stems: list[StemReport] = []
    warnings, clipped = list(clip.warnings), 0
    for number, stem in enumerate(clip.stems):
        file = official.stem_file_name(clip.name, number, stem.label)
        clipped_here = write_stem(folder / file, stem.audio, subtype)
        if clipped_here:
            warnings.append(f"{file}: {clipped_here} samples over full scale were clipped (--subtype FLOAT keeps them)")
        clipped += clipped_here
        stems.append(
            StemReport(file, stem.label, stem.confidence, stem.support, stem.energy_db, stem.separator, stem.slot)
        )
    file, warned = str(clip.path.absolute()), tuple(warnings)
    return ClipReport(clip.name, clip.duration_s, tuple(stems), clip.trail, warned, clipped, file)


def _long_report(clip: LongSeparated) -> ClipReport:
    found = clip.result
    queries = tuple(query for window in found.windows for query in window.trail.queries)
    return ClipReport(
        name=found.name,
        duration_s=found.duration_s,
        stems=found.stems,
        trail=ClipTrail(queries),
        warnings=found.warnings,
        clipped_samples=found.clipped_samples,
        file=str(clip.path.absolute()),
        windows=tuple(WindowReport(window.start_s, len(window.trail.queries)) for window in found.windows),
    )
