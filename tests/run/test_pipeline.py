"""The three steps: what shares a batch, what fits into memory, what goes in windows; and the threads around them."""

import json
import pickle
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import soundfile
import torch

from s5cli.api import LoadedSystem
from s5cli.errors import ClipsFailedError, InputError, OutputError
from s5cli.run import folder, pipeline
from s5cli.run.folder import Separated, write_clip
from s5cli.run.pipeline import Read, ReadOptions, Worker, is_out_of_memory, read_batch, separate_all
from s5cli.run.plan import Options, batches, plan
from s5cli.run.record import Failure, Notice
from s5cli.scene import RATE_HZ, Scene, Tags
from s5cli.trace import ClipTrace, QueryTrace
from tests.run.contents import contents
from tests.toy import Toy, ToyDecision, toy, write_tones

LOW_HZ, HIGH_HZ = 500, 5000
PLAIN = ReadOptions("acn", resample=False, pinned=False)


def loaded(system: Any = None) -> LoadedSystem:
    return LoadedSystem("toy", system or toy(), "cpu")


@pytest.fixture
def clips(tmp_path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for index in range(8):
        write_tones(folder / f"{index}.wav", LOW_HZ, HIGH_HZ, n_samples=7000 if index in (2, 5) else 6400)
    return folder


@pytest.fixture
def expected(clips, tmp_path) -> dict[str, bytes]:
    separate_all(plan([clips], tmp_path / "expected", Options(batch_size=1)), loaded())
    return contents(tmp_path / "expected")


OUT_OF_MEMORY = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more than there is"),
    "cpu": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"
        " allocate 4000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "numpy": MemoryError("Unable to allocate 3.73 GiB for an array with shape (1000000000,) and data type float32"),
}


class Small(Toy):
    """Has memory for so many seconds of sound at once, and raises what torch raises beyond that."""

    def __init__(self, fits_samples: int, error: Exception = OUT_OF_MEMORY["cuda"]) -> None:
        super().__init__(setting=toy().setting)
        self.fits_samples, self.error = fits_samples, error

    def __call__(self, scenes: Sequence[Scene]) -> ToyDecision:
        if sum(scene.audio.shape[-1] for scene in scenes) > self.fits_samples:
            self.batches.append(-len(scenes))
            raise self.error
        return super().__call__(scenes)


# --- batches ---------------------------------------------------------------------------------------------------------


def test_clips_of_one_length_share_a_batch_wherever_they_are(clips):
    paths = {path.stem: path for path in sorted(clips.iterdir())}
    found = [list(batch.clips) for batch in batches(paths, 4, None)]
    assert found == [["0", "1", "3", "4"], ["2", "5"], ["6", "7"]]


def test_what_cannot_be_read_is_alone(clips):
    (clips / "3.wav").write_text("not audio")
    (clips / "4.wav").unlink()
    paths = {str(index): clips / f"{index}.wav" for index in range(8)}
    found = [list(batch.clips) for batch in batches(paths, 8, None)]
    assert found == [["0", "1", "6", "7"], ["2", "5"], ["3"], ["4"]]


def test_long_recordings_are_alone_and_go_in_windows(tmp_path):
    lengths_s = {"a": 12, "b": 12.1, "c": 12, "d": 12.1}
    paths = {
        name: write_tones(tmp_path / f"{name}.flac", LOW_HZ, n_samples=int(length_s * RATE_HZ))
        for name, length_s in lengths_s.items()
    }
    found = [(list(batch.clips), batch.window_s) for batch in batches(paths, 4, 10.0)]
    assert found == [(["a", "c"], None), (["b"], 10.0), (["d"], 10.0)]
    assert {batch.window_s for batch in batches(paths, 4, None)} == {None}


def test_reading_gives_the_recording_and_its_hash_or_a_reason(clips):
    (clips / "1.wav").write_text("not audio")
    paths = {str(index): clips / f"{index}.wav" for index in (0, 1)}
    first, second = (read_batch(batch, PLAIN)[0] for batch in batches(paths, 4, None))
    assert isinstance(first, Read)
    assert (first.scene.name, first.scene.audio.shape, len(first.sha256)) == ("0", (4, 6400), 64)
    assert isinstance(second, Failure)
    assert second.reason.startswith(f"{clips / '1.wav'}: not audio")


def test_every_step_can_be_taken_elsewhere(clips, tmp_path):
    """What goes between the steps survives pickling, as do the workers."""
    (batch,) = batches({"0": clips / "0.wav", "1": clips / "1.wav"}, 4, None)
    read = pickle.loads(pickle.dumps(read_batch(pickle.loads(pickle.dumps(batch)), PLAIN)))  # noqa: S301
    worker = pickle.loads(pickle.dumps(Worker(loaded(), Options(), tmp_path)))  # noqa: S301
    for clip in pickle.loads(pickle.dumps(list(worker(read)))):  # noqa: S301
        assert isinstance(clip, Separated)
        folder, report = write_clip(clip, tmp_path, Options())
        assert sorted(path.name for path in folder.iterdir()) == sorted(report.files)


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OUT_OF_MEMORY)
def test_out_of_memory_halves_the_batch_and_goes_on(clips, out, expected, kind):
    system, told = Small(2 * 6400, OUT_OF_MEMORY[kind]), []
    result = separate_all(plan([clips], out, Options(batch_size=8)), loaded(system), told.append)
    assert result.failed == ()
    assert contents(out) == expected
    assert [notice.message for notice in told if isinstance(notice, Notice)] == [
        "cpu: out of memory with 6 at once, goes on with 3",
        "cpu: out of memory with 3 at once, goes on with 1",
    ]
    assert system.batches[:2] == [-6, -3]
    assert set(system.batches[2:]) == {1}, "what did not fit is not tried again"
    assert json.loads((out / "run.json").read_text())["batch_size"] == 8


def test_a_clip_that_fits_nowhere_fails_alone(clips, out, expected):
    result = separate_all(plan([clips], out, Options(batch_size=4)), loaded(Small(6500)))
    assert [failure.name for failure in result.failed] == ["2", "5"]
    with pytest.raises(ClipsFailedError, match=r"2\.wav: does not fit into memory even alone; take it in shorter"):
        result.raise_failed()
    assert contents(out) == {name: content for name, content in expected.items() if name[0] not in "25"}


def test_what_torch_really_says_where_memory_is_short_is_understood():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_recording_too_big_to_be_read_fails_alone(clips, out, expected, monkeypatch):
    read = pipeline.read_scene

    def short_of_memory(path: Path, *args: Any) -> Scene:
        if path.stem == "3":
            raise MemoryError
        return read(path, *args)

    monkeypatch.setattr(pipeline, "read_scene", short_of_memory)
    result = separate_all(plan([clips], out, Options()), loaded())
    assert [failure.reason for failure in result.failed] == [f"{clips / '3.wav'}: {pipeline.TOO_BIG}"]
    assert contents(out) == {name: content for name, content in expected.items() if name[0] != "3"}


def test_a_clip_that_fits_nowhere_does_not_make_other_batches_smaller(clips, out):
    write_tones(clips / "!.wav", LOW_HZ, n_samples=64_000)  # the first one
    system = Small(8 * 6400)
    separate_all(plan([clips], out, Options(batch_size=4)), loaded(system))
    assert system.batches == [-1, 4, 2, 2]


def test_windows_of_a_long_recording_are_halved_too(tmp_path, out):
    recording = write_tones(tmp_path / "long.flac", LOW_HZ, HIGH_HZ, n_samples=4 * RATE_HZ)
    system = Small(2 * RATE_HZ)
    elsewhere = replace(loaded(system), device="cpu:0")  # as on any device but the CPU
    result = separate_all(plan([recording], out, Options(batch_size=4, window=1)), elsewhere)
    assert result.failed == ()
    assert system.batches[0] == -4
    assert set(system.batches[1:]) <= {1, 2}
    on_cpu = Small(RATE_HZ)
    separate_all(plan([recording], tmp_path / "all", Options(batch_size=4, window=1)), loaded(on_cpu))
    assert set(on_cpu.batches) == {1}, "the CPU takes one at a time"
    assert contents(out) == contents(tmp_path / "all")


# --- long recordings -------------------------------------------------------------------------------------------------


def test_a_long_recording_becomes_one_clip(tmp_path, out):
    write_tones(tmp_path / "short.wav", LOW_HZ, n_samples=RATE_HZ)
    write_tones(tmp_path / "long.wav", LOW_HZ, HIGH_HZ, n_samples=13 * RATE_HZ)
    job = plan([tmp_path / "long.wav", tmp_path / "short.wav"], out, Options())
    result = separate_all(job, loaded())
    assert sorted(contents(out)) == [
        "long.json", "long_0_Speech.wav", "long_1_Dishes.wav", "short.json", "short_0_Speech.wav"
    ]  # fmt: skip
    assert {soundfile.info(out / name).frames for name in ("long_0_Speech.wav", "long_1_Dishes.wav")} == {13 * RATE_HZ}
    about = json.loads((out / "long.json").read_text())
    assert (about["duration_s"], about["file"]) == (13.0, str(tmp_path / "long.wav"))
    starts_s = [window["start_s"] for window in about["windows"]]
    assert starts_s[0] == 0
    assert np.all(np.diff(starts_s) <= 8)
    assert sum(window["n_queries"] for window in about["windows"]) == len(about["queries"]) == 2 * len(starts_s)
    assert "windows" not in json.loads((out / "short.json").read_text())
    told: list[object] = []
    assert separate_all(plan([tmp_path / "long.wav", tmp_path / "short.wav"], out, Options()), loaded(), told.append)
    assert told == [Notice("2 of 2 clips are done already", 2)]
    assert result.done[0].windows == separate_all(job, loaded()).done[0].windows


def test_without_windows_it_is_taken_whole(tmp_path, out):
    recording = write_tones(tmp_path / "long.wav", LOW_HZ, n_samples=13 * RATE_HZ)
    system = toy()
    separate_all(plan([recording], out, Options(window=None)), loaded(system))
    assert system.batches == [1]
    assert "windows" not in json.loads((out / "long.json").read_text())


def test_a_short_clip_is_the_same_with_and_without_windows(clips, out, expected):
    separate_all(plan([clips], out, Options(window=1)), loaded())
    assert contents(out) == expected


def test_a_long_recording_that_is_refused_fails_alone_and_leaves_nothing(tmp_path, clips, out, expected):
    write_tones(clips / "refused.wav", LOW_HZ, n_samples=13 * RATE_HZ)
    result = separate_all(plan([clips], out, Options()), loaded())
    assert [failure.name for failure in result.failed] == ["refused"]
    assert contents(out) == expected


# --- devices and threads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_devices", [1, 2, 3])
def test_results_do_not_depend_on_the_number_of_devices(clips, out, expected, n_devices):
    systems = [toy(pause_s=0.01 * index) for index in range(n_devices)]
    result = separate_all(plan([clips], out, Options(batch_size=2)), [loaded(system) for system in systems])
    assert [clip.name for clip in result.done] == [str(index) for index in range(8)]
    assert contents(out) == expected
    assert sum(sum(system.batches) for system in systems) == 8
    assert json.loads((out / "run.json").read_text())["device"] == ",".join(["cpu"] * n_devices)


def test_devices_share_the_work(clips, out):
    systems = [toy(pause_s=0.05), toy(pause_s=0.05)]
    separate_all(plan([clips], out, Options(batch_size=1)), [loaded(system) for system in systems])
    assert all(len(system.batches) >= 2 for system in systems)


@pytest.mark.parametrize("place", [0, 1])
def test_a_bug_on_any_device_surfaces_and_what_is_finished_stays(clips, out, place):
    """One device breaks down when a clip is finished and the other is at work."""
    finished, broken = threading.Event(), threading.Event()

    class Broken(Toy):
        def __call__(self, *args: Any) -> ToyDecision:
            finished.wait(30)
            broken.set()
            raise ZeroDivisionError

    class Sound(Toy):
        def __call__(self, *args: Any) -> ToyDecision:
            if self.batches:
                broken.wait(30)
            return super().__call__(*args)

    systems = [Broken(setting=toy().setting), Sound(setting=toy().setting)]
    devices = [loaded(systems[place]), loaded(systems[1 - place])]
    with pytest.raises(ZeroDivisionError):
        separate_all(plan([clips], out, Options(batch_size=1)), devices, lambda outcome: finished.set())
    assert all(thread.name[:3] != "s5-" for thread in threading.enumerate())
    told: list[object] = []
    assert len(separate_all(plan([clips], out, Options(batch_size=1)), loaded(), told.append).done) == 8
    assert isinstance(told[0], Notice)
    assert told[0].n_done >= 1


def test_a_bug_while_reading_surfaces(clips, out, monkeypatch):
    def broken(*args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("s5cli.run.pipeline.read_scene", broken)
    with pytest.raises(ZeroDivisionError):
        separate_all(plan([clips], out, Options()), loaded())
    assert not out.exists()


def test_networks_stop_soon_after_writing_became_impossible(clips, out):
    """Between two steps, not after the whole batch."""

    @dataclass(frozen=True)
    class Listen:
        gives: ClassVar[type] = Tags

        def __call__(self, scenes: Sequence[Scene]) -> None:
            time.sleep(0.1)

    class Slow(Toy):
        listen = None

        def __call__(self, scenes: Sequence[Scene]) -> ToyDecision:
            if scenes[0].name != "0":
                for _ in range(600):
                    self.listen(scenes)
            return super().__call__(scenes)

    def full(outcome: object) -> None:
        raise OutputError("no room")

    began_s = time.monotonic()
    slow = Slow(setting=toy().setting)
    slow.listen = Listen()
    with pytest.raises(OutputError, match=r"no room; 1 of 8 clips are done; .* the same command goes on"):
        separate_all(plan([clips], out, Options(batch_size=1)), loaded(slow), full)
    assert time.monotonic() - began_s < 30


def test_reading_writing_and_networks_overlap(clips, out, monkeypatch):
    """Writing clip 0, separating clip 1 and reading clip 3 wait for one another: in one thread none would go on."""
    meet = threading.Barrier(3, timeout=30)
    read, write = pipeline.read_scene, folder.write_clip

    def read_scene(path: Path, *args: Any) -> Scene:
        if path.stem == "3":
            meet.wait()
        return read(path, *args)

    def write_clip(clip: Separated, *args: Any) -> Any:
        if clip.name == "0":
            meet.wait()
        return write(clip, *args)

    class Meeting(Toy):
        def __call__(self, scenes: Sequence[Scene]) -> ToyDecision:
            if scenes[0].name == "1":
                meet.wait()
            return super().__call__(scenes)

    monkeypatch.setattr(pipeline, "read_scene", read_scene)
    monkeypatch.setattr(folder, "write_clip", write_clip)
    found = separate_all(plan([clips], out, Options(batch_size=1)), loaded(Meeting(setting=toy().setting)))
    assert len(found.done) == 8
    assert not meet.broken


class Overflowing(Toy):
    """Gives a value that is no sound in one sample of the second stem of a clip."""

    def __init__(self, name: str, value: float) -> None:
        super().__init__(setting=toy().setting)
        self.name, self.value = name, value

    def __call__(self, scenes: Sequence[Scene]) -> ToyDecision:
        decision = super().__call__(scenes)
        for row, scene in enumerate(scenes):
            if scene.name == self.name:
                decision.stems().waveforms[row, 1][123] = self.value
        return decision


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_an_answer_that_is_no_sound_fails_its_clip_alone(clips, out, expected, value, batch_size):
    system = Overflowing("1", value)
    result = separate_all(plan([clips], out, Options(batch_size=batch_size)), loaded(system))
    path = clips / "1.wav"
    reason = f"{path}: the system gave NaN or infinity as Dishes; give another system or device"
    assert result.failed == (Failure("1", str(path), reason),)
    assert contents(out) == {name: content for name, content in expected.items() if name[0] != "1"}
    assert sum(system.batches) == 8, "no clip is separated twice"


class Unsure(Toy):
    """Says NaN as a confidence of one clip, which has no stems; as a tagger that overflowed."""

    def __call__(self, scenes: Sequence[Scene]) -> Any:
        decision = super().__call__(scenes)
        traces = decision.trace()
        broken = ClipTrace((QueryTrace("Speech", float("nan")),))
        told = [broken if scene.name == "1" else trace for scene, trace in zip(scenes, traces, strict=True)]
        return SimpleNamespace(stems=decision.stems, trace=lambda: told)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_number_that_is_none_fails_its_clip_alone(clips, out, expected, batch_size):
    result = separate_all(plan([clips], out, Options(batch_size=batch_size)), loaded(Unsure(setting=toy().setting)))
    reason = f"{clips / '1.wav'}: the system gave NaN or infinity as a number; give another system or device"
    assert [failure.reason for failure in result.failed] == [reason]
    assert contents(out) == {name: content for name, content in expected.items() if name[0] != "1"}


def test_a_batch_that_is_refused_is_tried_clip_by_clip(clips, out):
    class Picky(Toy):
        def __call__(self, scenes: Sequence[Scene]) -> Any:
            if len(scenes) > 1:
                raise InputError("one at a time")
            return super().__call__(scenes)

    assert separate_all(plan([clips], out, Options()), loaded(Picky(setting=toy().setting))).failed == ()
