"""A recording that is still going on: portions come in, stems grow in files until the end."""

import glob
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import RawIOBase
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, Self

import numpy as np
import soundfile

from s5cli.api import LoadedSystem, check_stems
from s5cli.audio import (
    MIN_DURATION_S,
    ChannelOrder,
    Samples,
    Watched,
    blocks,
    check_channels,
    check_finite,
    check_level,
    check_rate,
    from_fuma,
    opened,
)
from s5cli.errors import InputError, OutputError, UsageError
from s5cli.scene import N_CHANNELS, RATE_HZ, Stem, Subtype
from s5cli.system import Streaming

PORTION_SAMPLES = 1_600  # 50 ms
Encoding = Literal["s16le", "f32le"]
HEADERS = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"FORM")  # of files, which as samples would be noise
_TYPES: Mapping[str, np.dtype[Any]] = {"s16le": np.dtype("<i2"), "f32le": np.dtype("<f4")}


# --- in -------------------------------------------------------------------------------------------------------------


@dataclass
class Incoming:
    """Portions [4, t] with the time at which each came; a thread of its own reads them, however long they wait.

    Nothing is dropped: who is slower than the recording finds them waiting. `stop` ends the recording with what has
    been read until then.
    """

    portions: Iterator[Samples]
    waited_s: float = 0.0  # for portions to come
    n_samples: int = 0  # handed on
    arrivals: deque[tuple[int, float]] = field(default_factory=deque)  # sample after the portion's last, when it came

    def __post_init__(self) -> None:
        self._queue: SimpleQueue[tuple[Samples, float] | Exception | None] = SimpleQueue()
        self._stopped = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        self._queue.put(None)

    def __iter__(self) -> Iterator[Samples]:
        while True:
            began = time.monotonic()
            item = self._queue.get()
            self.waited_s += time.monotonic() - began
            if isinstance(item, Exception):
                raise item
            if item is None:
                return
            samples, came_s = item
            self.n_samples += samples.shape[1]
            self.arrivals.append((self.n_samples, came_s))
            yield samples

    def latency_s(self, end: int) -> float | None:
        """How long ago the sample before `end` came; None if that is past asking."""
        while self.arrivals and self.arrivals[0][0] < end:
            self.arrivals.popleft()
        return time.monotonic() - self.arrivals[0][1] if self.arrivals else None

    def _read(self) -> None:
        try:
            for samples in self.portions:
                if self._stopped.is_set():
                    return
                self._queue.put((samples, time.monotonic()))
        except Exception as error:  # raised where the portions are asked for
            self._queue.put(error)
        self._queue.put(None)


def of_pipe(stream: RawIOBase, encoding: Encoding, channel_order: ChannelOrder) -> Iterator[Samples]:
    """Portions of raw interleaved samples, 32 kHz, four channels.

    `stream` has no buffer of its own: a thread that waits at one could not be left behind when the program ends.

    Raises:
        InputError: samples that are not finite or absurdly loud, or a sound file with a header.
    """
    kind, n_read = _TYPES[encoding], 0
    n_bytes = PORTION_SAMPLES * N_CHANNELS * kind.itemsize
    while len(content := _read(stream, n_bytes)) >= N_CHANNELS * kind.itemsize:
        if not n_read and content.startswith(HEADERS):
            raise InputError("standard input: a sound file, not raw samples; give its path in place of the dash")
        whole = content[: len(content) // (N_CHANNELS * kind.itemsize) * N_CHANNELS * kind.itemsize]
        samples = np.frombuffer(whole, kind).reshape(-1, N_CHANNELS).T.astype(np.float32)
        samples = samples / np.float32(32_768) if encoding == "s16le" else samples
        yield checked(samples, "standard input", channel_order, n_read)
        n_read += samples.shape[1]


def _read(stream: RawIOBase, n_bytes: int) -> bytes:
    """So many bytes, fewer at the end."""
    content = b""
    while len(content) < n_bytes and (more := stream.read(n_bytes - len(content))):
        content += more
    return content


def of_file(path: Path, channel_order: ChannelOrder) -> Iterator[Samples]:
    """Portions of a WAV or FLAC file.

    Raises:
        InputError: as `s5cli.audio.read_scene`.
    """
    with opened(path) as file:
        check_rate(int(file.samplerate), path)
        n_read = 0
        for samples in blocks(file, path, PORTION_SAMPLES):
            check_channels(samples, str(path))
            yield checked(samples, str(path), channel_order, n_read)
            n_read += samples.shape[1]


def of_device(name: str, channel_order: ChannelOrder, tell: Callable[[str], None]) -> Iterator[Samples]:
    """Portions of a sound device's first four channels, until whoever asks for them stops.

    `name` is a number or a part of a name of `python -m sounddevice`; empty means the machine's default input. `tell`
    hears of samples that the machine lost because nobody fetched them in time.

    Raises:
        UsageError: the package or PortAudio is missing, or no such device gives four channels at 32 kHz.
        InputError: samples that are not finite or absurdly loud.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        advice = "pip install 's5cli[live]', and the system's PortAudio library (on Debian libportaudio2)"
        raise UsageError(f"no sound device can be asked ({error}); {advice}") from error
    n_read, device = 0, int(name) if name.isdecimal() else name or None
    try:
        with sounddevice.InputStream(RATE_HZ, PORTION_SAMPLES, device, N_CHANNELS, "float32", latency="high") as stream:
            while True:
                samples, lost = stream.read(PORTION_SAMPLES)
                if lost:
                    tell(f"{n_read / RATE_HZ:.2f} s  the sound device lost samples here")
                yield checked(samples.T, f"sound device {name!r}", channel_order, n_read)
                n_read += PORTION_SAMPLES
    except (sounddevice.PortAudioError, ValueError) as error:
        advice = "`python -m sounddevice` lists devices and their channels"
        raise UsageError(f"sound device {name!r}: {error}; {advice}") from error


def checked(samples: Samples, source: str, channel_order: ChannelOrder, n_before: int) -> Samples:
    """A portion in W, Y, Z, X order."""
    check_finite(samples, source, RATE_HZ, n_before)
    check_level(samples, source)
    return from_fuma(samples) if channel_order == "fuma" else samples


# --- out ------------------------------------------------------------------------------------------------------------


@dataclass
class Growing:
    """One stem's file. Until the end its name has `.part` in it; what is in it can be heard meanwhile."""

    path: Path
    label: str
    file: soundfile.SoundFile
    sink: Watched
    n_samples: int = 0

    @classmethod
    def begin(cls, path: Path, label: str, subtype: Subtype) -> Self:
        partial = path.with_suffix(".part.wav")
        sink = Watched(partial.open("xb", buffering=0))
        one = cls(path, label, soundfile.SoundFile(sink, "w", RATE_HZ, 1, subtype=subtype, format="WAV"), sink)
        if sink.errors:
            one.close()
            partial.unlink()
            raise sink.errors[0]
        return one

    def add(self, samples: Samples, first: int) -> None:
        """Samples [t] of the recording from `first` on; before them it is silent."""
        self.file.write(np.concatenate([np.zeros(first - self.n_samples, np.float32), samples]))
        if self.sink.errors:
            raise self.sink.errors[0]
        self.n_samples = first + len(samples)

    def close(self) -> None:
        self.file.close()
        self.sink.close()

    def finish(self) -> None:
        self.close()
        partial = self.path.with_suffix(".part.wav")
        try:
            partial.replace(self.path)
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"{self.path}: cannot be finished ({reason}); its sound is in {partial.name}") from error


@dataclass(frozen=True)
class Summary:
    """What a recording came to."""

    duration_s: float
    stems: tuple[tuple[str, Path], ...]
    latencies_s: tuple[float, ...]  # of each portion of stems: since its last sample came
    busy_s: float  # not waiting for input

    def __str__(self) -> str:
        told = [f"{self.duration_s:.1f} s in, {len(self.stems)} stems"]
        if self.latencies_s:
            mean = sum(self.latencies_s) / len(self.latencies_s)
            told.append(f"latency {mean:.2f} s on average, {max(self.latencies_s):.2f} s at most")
        told.append(f"real-time factor {self.busy_s / self.duration_s:.2f}")
        return "; ".join(told)


def record(
    loaded: LoadedSystem,
    labels: tuple[str, ...],
    incoming: Incoming,
    out_dir: Path,
    name: str,
    subtype: Subtype,
    tell: Callable[[str], None],
) -> Summary:
    """Writes `<name>_<n>_<class>.wav` for every source while it is heard; `tell` hears of each that begins.

    However the recording ends, the files are finished with what they hold.

    Raises:
        UsageError: the system does not stream, or stems of that name lie there.
        InputError: less than 0.1 s, or the system answers with NaN or infinity.
        OutputError: the folder cannot be written to or is full.
    """
    system = loaded.asked(labels, 1)
    if not isinstance(system, Streaming):
        raise UsageError(f"system {loaded.name!r} takes whole recordings and does not stream; use `s5 separate`")
    growing: dict[int, Growing] = {}
    latencies: list[float] = []
    began = time.monotonic()
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        if there := sorted(out_dir.glob(f"{glob.escape(name)}_*.wav")):
            raise UsageError(f"{there[0]} is there already; give another -o or --name")
        for stems in _streamed(system, incoming):
            for stem in stems:
                first = _first(stem, growing)
                if stem.slot not in growing:
                    path = out_dir / f"{name}_{stem.slot}_{stem.label}.wav"
                    growing[stem.slot] = Growing.begin(path, stem.label, subtype)
                    tell(f"{first / RATE_HZ:.2f} s  {stem.label}: {path}")
                growing[stem.slot].add(stem.audio.numpy(), first)
            if stems and (latency := incoming.latency_s(growing[stems[0].slot].n_samples)) is not None:
                latencies.append(latency)
    except OSError as error:
        raise OutputError(f"{out_dir}: cannot be written ({error.strerror or error})") from error
    finally:
        with ExitStack() as stack:  # of one that fails the others are finished all the same
            for one in growing.values():
                stack.callback(one.finish)
    duration_s = incoming.n_samples / RATE_HZ
    if duration_s < MIN_DURATION_S:
        raise InputError(f"the recording: {duration_s:.3f} s, shorter than {MIN_DURATION_S} s; give a longer one")
    files = tuple((one.label, one.path) for one in growing.values())
    return Summary(duration_s, files, tuple(latencies), time.monotonic() - began - incoming.waited_s)


def _streamed(system: Streaming, incoming: Incoming) -> Iterator[list[Stem]]:
    import torch

    for stems in system.stream(torch.from_numpy(np.ascontiguousarray(portion)) for portion in incoming):
        [found] = stems.clips()
        check_stems(found, "the recording")
        yield found


def _first(stem: Stem, growing: dict[int, Growing]) -> int:
    """Where in the recording a portion of a stem begins, in samples: where it says, else behind what there is of it."""
    if "begin_s" in stem.numbers:
        return round(stem.numbers["begin_s"] * RATE_HZ)
    return growing[stem.slot].n_samples if stem.slot in growing else 0
