"""Stems: the one type in which a flow holds what it separated."""

import numpy as np
import pytest
import soundfile
import torch

from s5cli.errors import OutputError
from s5cli.scene import EMPTY, Stem, Stems, places


def stems(first: int, *, offset: float, **numbers: float) -> Stems:
    """Two clips: one of two stems, one of none."""
    classes = np.array([[first, first + 1, EMPTY], [EMPTY] * 3])
    waveforms = np.empty((2, 3), dtype=object)
    for row, slot in np.ndindex(2, 3):
        waveforms[row, slot] = torch.full((4,), offset + slot)
    named = {name: np.full((2, 3), value) for name, value in numbers.items()}
    return Stems(classes, np.where(classes == EMPTY, 0.0, 0.5 + offset / 100), places(classes), waveforms, named)


def test_slots_of_another_are_taken_whole():
    ours, theirs = stems(3, offset=0, support=0.1, energy_db=-6.0), stems(7, offset=10, support=0.9)
    take = np.array([[False, True, False], [False] * 3])
    mixed = ours.where(take, theirs)
    assert mixed.classes.tolist() == [[3, 8, EMPTY], [EMPTY] * 3]
    assert mixed.confidence[0].tolist() == [0.5, 0.6, 0.0]
    assert [float(waveform[0]) for waveform in mixed.waveforms[0]] == [0, 11, 2]
    assert mixed.numbers["support"][0].tolist() == [0.1, 0.9, 0.1]
    assert "energy_db" not in mixed.numbers, "the other does not know it"


def test_what_is_not_kept_is_not_reported_and_places_stay():
    found = stems(3, offset=0, support=0.1).only(np.array([[False, True, True], [True] * 3]))
    [[stem], none] = found.clips()
    assert (stem.label, stem.slot, stem.confidence, dict(stem.numbers)) == ("Clapping", 1, 0.5, {"support": 0.1})
    assert none == []
    assert found.active.tolist() == [[False, True, False], [False] * 3]


def test_audio_is_the_callers_own():
    found = stems(3, offset=0)
    found.clips()[0][0].audio.fill_(99)
    assert float(found.waveforms[0, 0][0]) == 0


def test_a_stem_saves_itself_as_the_command_would(tmp_path):
    stem = Stem("Speech", 0, 0.9, torch.tensor([0.0, 0.5, -0.25, 1.5]))
    assert stem.save(tmp_path / "a.wav") == 1
    audio, rate_hz = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert (rate_hz, audio.tolist()) == (32_000, [0, 16384, -8192, 32767])
    assert stem.save(str(tmp_path / "b.wav"), "FLOAT") == 0
    assert soundfile.read(tmp_path / "b.wav")[0].tolist() == [0.0, 0.5, -0.25, 1.5]
    with pytest.raises(OutputError, match="cannot be written"):
        stem.save(tmp_path / "nowhere" / "a.wav")
