"""What a long recording holds on to does not grow with its length, however many sources come and go in it."""

import ctypes
import gc
from collections.abc import Sequence
from pathlib import Path

import pytest
import soundfile
import torch

from benchmarks.measure import live_bytes
from s5cli.api import LoadedSystem
from s5cli.run.plan import Options
from s5cli.run.windows import separate_long
from s5cli.scene import RATE_HZ, Scene
from tests.toy import Toy, ToyDecision, tones, toy

WINDOW_BYTES = 4 * RATE_HZ  # of one stem of a second


class Restless(Toy):
    """Two sources that were never heard before, in every window."""

    def __call__(self, scenes: Sequence[Scene]) -> ToyDecision:
        decision = super().__call__(scenes)
        for waveforms in decision.stems().waveforms:
            for slot in range(2):
                waveforms[slot] = torch.randn(scenes[0].audio.shape[-1]) / 10
        return decision


def held_bytes() -> int:
    """In tensors, each storage once."""
    storages = {
        one.untyped_storage().data_ptr(): one.untyped_storage().nbytes()
        for one in gc.get_objects()
        if type(one) is torch.Tensor
    }
    return sum(storages.values())


def test_sound_of_sources_that_are_over_is_let_go(tmp_path):
    audio = tones(500, 5000, n_samples=20 * RATE_HZ)
    audio[1:] = 0  # from nowhere, so that no source is known again by its direction
    soundfile.write(tmp_path / "long.wav", audio.T, RATE_HZ)
    held: list[int] = []
    loaded = LoadedSystem("toy", Restless(setting=toy().setting), "cpu")
    path = tmp_path / "long.wav"
    report = separate_long(path, loaded, 1.0, 1, Options(), tmp_path, tell=lambda *_: held.append(held_bytes()))
    assert len(report.stems) > 40, "hardly any source goes on"
    assert len(held) == len(report.windows) > 20
    assert max(held[10:]) - max(held[:10]) < 4 * WINDOW_BYTES
    assert all(Path(tmp_path / stem.file).exists() for stem in report.stems)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="only glibc says what is live")
def test_nothing_is_held_for_each_minute(tmp_path):
    """By the allocator's own count, arrays included: what is resident says little, as glibc keeps what was freed."""
    soundfile.write(tmp_path / "long.wav", tones(500, 5000, n_samples=60 * RATE_HZ).T, RATE_HZ)
    held: list[int] = []
    loaded = LoadedSystem("toy", toy(), "cpu")
    path = tmp_path / "long.wav"
    separate_long(path, loaded, 1.0, 4, Options(), tmp_path, tell=lambda *_: held.append(live_bytes()))
    assert len(held) > 70
    third = len(held) // 3
    assert max(held[-third:]) - max(held[:third]) < 4 * WINDOW_BYTES
