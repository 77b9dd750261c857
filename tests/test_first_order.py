"""`--first-order`: the first four channels of higher-order ambisonics, where somebody asks for them."""

import numpy as np
import pytest
import soundfile
import torch

from s5cli.api import LoadedSystem
from s5cli.audio import read_scene
from s5cli.errors import InputError, UsageError
from s5cli.run.manifest import Fingerprint
from s5cli.run.pipeline import separate_all
from s5cli.run.plan import Options, plan
from s5cli.run.spans import survey
from s5cli.scene import RATE_HZ
from tests.toy import tones, toy


@pytest.fixture
def recorded(tmp_path):
    """Third order; what is beyond the first is noise."""
    audio = np.concatenate([tones(500), np.random.default_rng(0).normal(0, 0.1, (12, 6400))]).astype(np.float32)
    soundfile.write(tmp_path / "hoa.wav", audio.T, RATE_HZ, subtype="FLOAT")
    soundfile.write(tmp_path / "foa.wav", audio[:4].T, RATE_HZ, subtype="FLOAT")
    return tmp_path


def loaded(first_order: bool) -> LoadedSystem:
    return LoadedSystem("toy", toy(), "cpu", first_order=first_order)


@pytest.mark.parametrize("how", [{}, {"channel_order": "fuma"}])
def test_the_first_four_are_taken_on_request(recorded, how):
    expected = read_scene(recorded / "foa.wav", **how).audio
    assert torch.equal(read_scene(recorded / "hoa.wav", first_order=True, **how).audio, expected)
    blocks = survey(recorded / "hoa.wav", first_order=True, **how).blocks()
    assert np.array_equal(np.concatenate([*blocks], axis=1), expected)


def test_else_they_are_refused_with_the_way_out(recorded):
    for read in (read_scene, survey):
        with pytest.raises(InputError, match=r"16 channels, not 4; --first-order takes the first four"):
            read(recorded / "hoa.wav")
    soundfile.write(recorded / "surround.wav", np.zeros((6400, 6)), RATE_HZ)
    for read in (read_scene, survey):
        with pytest.raises(InputError, match=r"6 channels, not 4; give first-order"):
            read(recorded / "surround.wav", first_order=True)


def test_from_python(recorded):
    audio = soundfile.read(recorded / "hoa.wav", dtype="float32")[0].T
    [stem] = loaded(True)(audio)
    [of_file] = loaded(True)(recorded / "hoa.wav")
    [expected] = loaded(False)(recorded / "foa.wav")
    assert torch.equal(stem.audio, expected.audio)
    assert torch.equal(of_file.audio, expected.audio)
    with pytest.raises(InputError, match="--first-order"):
        loaded(False)(audio)


@pytest.mark.parametrize("window", [None, 1], ids=["whole", "in windows"])
def test_a_run_and_what_it_remembers(recorded, tmp_path, window):
    audio = soundfile.read(recorded / "hoa.wav")[0]
    soundfile.write(recorded / "hoa.wav", np.tile(audio, (10, 1)), RATE_HZ, subtype="FLOAT")
    job = plan([recorded / "hoa.wav"], tmp_path / "out", Options(window=window))
    assert len(separate_all(job, loaded(True)).done) == 1
    with pytest.raises(UsageError, match="first_order True, not None"):
        separate_all(job, loaded(False))
    assert "first_order" not in Fingerprint.of(loaded(False), Options()).to_json()
