"""Recordings too long for one forward pass: overlapping windows, separated like clips, and their stems stitched.

A stem of the whole recording is a track here. The rules of stitching are in `s5cli.run.stitch`, told in docs/long.md.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from s5cli import official
from s5cli.api import LoadedSystem, answered, check_answer
from s5cli.audio import Samples
from s5cli.errors import InputError, S5Error
from s5cli.labels import N_SLOTS
from s5cli.rules.gate import energy_db
from s5cli.run import stitch
from s5cli.run.plan import Options
from s5cli.run.record import ClipReport, StemReport, WindowReport, residual_file_name
from s5cli.run.sounding import blocks_of, sounding_s
from s5cli.run.spans import Recording, StemFile, survey
from s5cli.run.stitch import Evidence, Windows
from s5cli.scene import N_CHANNELS, RATE_HZ, Floats, Scene, Stem, Subtype
from s5cli.trace import ClipTrace, QueryTrace


def separate_long(
    path: Path,
    loaded: LoadedSystem,
    window_s: float,
    batch_size: int,
    options: Options,
    stage: Path,
    tell: Callable[[int, int], object] = lambda n_done, n_windows: None,
) -> ClipReport:
    """Separates a recording of any length and writes its stems, in memory that does not grow with the length.

    Stems are in order of first appearance. A stem's confidence and numbers are those of the window that was surest of
    it, its energy is that of the whole stem against all of the mixture's channel 0, its slot that in its first window.

    Args:
        path: looked through from end to end before anything is separated.
        loaded: the system; what it is given are scenes of `window_s`.
        window_s: length of the windows; neighbours share a fifth at least.
        batch_size: windows that go through together.
        options: of labels that are named there each gets one stem; FLAC is made of WAV in the end, as nothing can be
            put into the middle of it.
        stage: folder for the files. After any error, memory that runs out included, none of them is left.
        tell: told after each window how many are through, and how many there are.

    Raises:
        InputError: as `s5cli.audio.read_scene`, or a window that the system refuses or answers with NaN.
        OutputError: the folder cannot be written to or is full.
        UsageError: windows that are too short, or labels that cannot be asked for.
    """
    warnings: list[str] = []
    recording = survey(path, loaded.channel_order, loaded.resample, warnings.append, loaded.first_order)
    windows = stitch.spread(recording.n_samples, window_s)
    tracks = Tracks(path.stem, windows, stage, options.subtype, only_named=bool(options.labels))
    with ExitStack() as undo:
        undo.callback(tracks.remove)
        if options.residual:
            tracks.write_residual()
        traces: list[ClipTrace] = []
        for window in separated(recording, windows, loaded, batch_size, options.labels):
            traces.append(tracks.take(window))
            tell(len(traces), len(windows.starts))
        if options.file_format == "flac":
            tracks.as_flac()
        undo.pop_all()
    starts_s = [start / RATE_HZ for start in windows.starts]
    return ClipReport(
        name=path.stem,
        duration_s=recording.n_samples / RATE_HZ,
        stems=tracks.reports,
        trace=ClipTrace(
            tuple(query for trace in traces for query in trace.queries),
            stitch.silence([trace.silence for trace in traces], max(0, N_SLOTS - len(tracks.all))),
        ),
        warnings=(*warnings, *tracks.warnings),
        clipped_samples=sum(n_clipped for _, n_clipped in tracks.clipped),
        file=str(path.absolute()),
        windows=tuple(
            WindowReport(start_s, len(trace.queries)) for start_s, trace in zip(starts_s, traces, strict=True)
        ),
        residual=tracks.residual.path.name if tracks.residual else "",
    )


# --- windows through the system --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """One window, separated."""

    index: int
    mixture: Samples  # [m, t]
    stems: Sequence[Stem]
    trace: ClipTrace


def separated(
    recording: Recording, windows: Windows, loaded: LoadedSystem, batch_size: int, labels: Sequence[str]
) -> Iterator[Window]:
    """Every window in order; raises as `separate_long` does."""
    import torch

    mixtures = enumerate(_mixtures(recording, windows))
    while batch := list(islice(mixtures, batch_size)):
        scenes = [
            Scene(f"{recording.path.stem}@{windows.starts[index]}", torch.from_numpy(mixture).to(loaded.device))
            for index, mixture in batch
        ]
        try:
            answers = answered(loaded, scenes, labels)
        except S5Error as error:
            raise InputError(f"{recording.path}: {_times(windows, batch[0][0], batch[-1][0])}: {error}") from error
        for (index, mixture), (stems, trace, _) in zip(batch, answers, strict=True):
            check_answer(stems, trace, f"{recording.path}: {_times(windows, index, index)}")
            yield Window(index, mixture, stems, trace)


def _mixtures(recording: Recording, windows: Windows) -> Iterator[Samples]:
    """The windows' samples, [m, t]; no more of the recording is held than they need."""
    blocks, first, held = recording.blocks(), 0, np.zeros((N_CHANNELS, 0), np.float32)
    for start in windows.starts:
        held, first = held[:, start - first :], start
        while held.shape[1] < windows.length:
            held = np.concatenate([held, next(blocks)], axis=1)
        yield held[:, : windows.length].copy()


def _times(windows: Windows, first: int, last: int) -> str:
    return f"{windows.starts[first] / RATE_HZ:.1f} s to {(windows.starts[last] + windows.length) / RATE_HZ:.1f} s"


# --- stems into tracks -----------------------------------------------------------------------------------------------


class Track:
    """One source through the recording: its file, and what is needed to go on with it."""

    def __init__(self, file: StemFile, stem: Stem) -> None:
        self.file, self.label, self.slot = file, stem.label, stem.slot
        self.last: Samples | None = None  # [t], its stem in the window before; None where it was silent there
        self.direction: Floats = np.zeros(N_CHANNELS - 1)  # where it was heard last
        self.n_clipped = 0
        self._surest = _without_sound(stem)
        self._energy = 0.0

    def note(self, stem: Stem, direction: Floats) -> None:
        """What the next window says of the source. An unclear direction does not replace a clear one."""
        if stem.confidence > self._surest.confidence:
            self._surest = _without_sound(stem)
        self.direction = direction if direction.any() else self.direction

    def write(self, start: int, samples: Samples) -> None:
        self.n_clipped += self.file.write(start, samples)
        self._energy += _energy(samples)

    def report(self, mixture_energy: float) -> StemReport:
        """All of it in the fields of a short clip's stem."""
        stem_power, mixture_power = np.array([[self._energy], [mixture_energy]]) / self.file.n_samples
        level_db = float(energy_db(stem_power[None], mixture_power)[0, 0])
        sounding = sounding_s(blocks_of(self.file.path))
        return StemReport.of(replace(self._surest, slot=self.slot), self.file.path.name, level_db, sounding)


def _without_sound(stem: Stem) -> Stem:
    """What is said of a stem whose sound is in its file; an empty view would hold on to all of it."""
    return replace(stem, audio=stem.audio[:0].clone())


def _energy(samples: Samples) -> float:
    return float(np.square(samples, dtype=np.float64).sum())


class Tracks:
    """All sources of a recording that were found so far, in order of first appearance."""

    def __init__(self, clip: str, windows: Windows, stage: Path, subtype: Subtype, only_named: bool) -> None:
        self.all: list[Track] = []
        self.residual: StemFile | None = None
        self._residual_clipped = 0
        self._clip, self._windows, self._stage, self._subtype = clip, windows, stage, subtype
        self._only_named = only_named
        self._mixture_energy = 0.0

    def write_residual(self) -> None:
        """From now on what no stem holds is written too."""
        self.residual = self._new_file(residual_file_name(self._clip))

    def take(self, window: Window) -> ClipTrace:
        """The next window: its stems continue tracks or begin some, and all that it decides is written.

        What became of its queries; those reported have the numbers of the files that hold them.
        """
        audio = [np.asarray(stem.audio, dtype=np.float32) for stem in window.stems]
        towards = [stitch.direction(samples, window.mixture) for samples in audio]
        numbers = self._joined(window, audio, towards)
        now = dict(zip(numbers, audio, strict=True))
        left = self._windows.say(window.index, window.mixture[0])
        for number, track in enumerate(self.all):
            left = left - self._go_on(track, now.get(number), window.index)
        if self.residual is not None:
            self._residual_clipped += self.residual.write(self._windows.begin(window.index), left)
        for number, stem, direction in zip(numbers, window.stems, towards, strict=True):
            self.all[number].note(stem, direction)
        self._mixture_energy += _energy(self._windows.say(window.index, window.mixture[0]))
        queries = tuple(_renumbered(query, numbers) for query in window.trace.queries)
        return replace(window.trace, queries=queries)

    def _joined(self, window: Window, audio: Sequence[Samples], towards: Sequence[Floats]) -> list[int]:
        """The number of each stem's track, after those that are new have begun."""
        labels = [track.label for track in self.all], [stem.label for stem in window.stems]
        same_class = np.array(labels[0], dtype=object)[:, None] == np.array(labels[1], dtype=object)
        closeness = stitch.closeness([track.direction for track in self.all], towards)
        evidence = [Evidence(self._likeness(window.index, audio), stitch.LIKE), Evidence(closeness, stitch.CLOSE)]
        if self._only_named:
            evidence.append(Evidence(np.ones(same_class.shape), 1.0))
        found = stitch.joined(same_class, evidence).tolist()
        return [
            self._begun(stem) if number == stitch.NEW else number
            for number, stem in zip(found, window.stems, strict=True)
        ]

    def _likeness(self, index: int, audio: Sequence[Samples]) -> Floats:
        """Of every track with every stem of a window, in what that shares with the window before; [p, q]."""
        found = np.zeros((len(self.all), len(audio)))
        last = {number: track.last for number, track in enumerate(self.all) if track.last is not None}
        if last and audio:
            step = self._windows.starts[index] - self._windows.starts[index - 1]
            found[list(last)] = stitch.likeness(np.stack([*last.values()])[:, step:], np.stack(audio)[:, :-step])
        return found

    def _begun(self, stem: Stem) -> int:
        self.all.append(Track(self._new_file(official.stem_file_name(self._clip, len(self.all), stem.label)), stem))
        return len(self.all) - 1

    def _new_file(self, name: str) -> StemFile:
        return StemFile.create(self._stage / name, self._windows.n_samples, self._subtype)

    def _go_on(self, track: Track, now: Samples | None, index: int) -> Samples | float:
        """What the track has of the part that is written now."""
        before, track.last = track.last, now
        if before is None and now is None:
            return 0.0
        samples = self._windows.stitched(index, before, now)
        track.write(self._windows.begin(index), samples)
        return samples

    def as_flac(self) -> None:
        """All files become FLAC; nothing can be written to them any more."""
        for track in self.all:
            track.file = track.file.as_flac()
        if self.residual is not None:
            self.residual = self.residual.as_flac()

    @property
    def reports(self) -> tuple[StemReport, ...]:
        return tuple(track.report(self._mixture_energy) for track in self.all)

    @property
    def clipped(self) -> list[tuple[str, int]]:
        """Names of files, and how many samples of each were clipped."""
        files = [(track.file.path.name, track.n_clipped) for track in self.all]
        return files + ([(self.residual.path.name, self._residual_clipped)] if self.residual else [])

    @property
    def warnings(self) -> tuple[str, ...]:
        said = "samples over full scale were clipped (--subtype FLOAT keeps them)"
        return tuple(f"{file}: {n_clipped} {said}" for file, n_clipped in self.clipped if n_clipped)

    def remove(self) -> None:
        """Deletes what was written."""
        for file in [track.file for track in self.all] + ([self.residual] if self.residual else []):
            with suppress(OSError):  # they lie in a folder that goes
                file.path.unlink(missing_ok=True)
                file.path.with_suffix(".flac").unlink(missing_ok=True)


def _renumbered(query: QueryTrace, numbers: Sequence[int]) -> QueryTrace:
    """If it is reported, under the number of its track instead of its place in the window."""
    return query if query.reported is None else replace(query, reported=numbers[query.reported])
