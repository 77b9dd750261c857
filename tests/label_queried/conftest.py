"""A machine whose label-queried system hears tones and has a tiny separator that nobody trained."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from s5cli.scene import RATE_HZ
from tests.cli.conftest import machine, s5, start  # noqa: F401  # fixtures
from tests.nn.test_sr_corrnet import tiny
from tests.sixth.networks import Ear, EarConfig
from tests.systems.tones import Tone, scene_of

CLIPS = {
    "one": [Tone("Speech", 0.5)],
    "two": [Tone("Speech", 0.4), Tone("Dishes", 0.3)],
    "faint": [Tone("Pour", 0.04), Tone("Cough", 0.6)],
    "three": [Tone("Buzzer", 0.5), Tone("Cough", 0.2), Tone("Typing", 0.3)],
    "none": [],
    "last": [Tone("Doorbell", 0.3), Tone("Speech", 0.2)],
}


def registry(folder: Path) -> str:
    torch.manual_seed(0)
    network = tiny()
    save_file(network.state_dict(), folder / "corrnet.safetensors", {"config": json.dumps(asdict(network.config))})
    ear = {"config": json.dumps({"floor": 0.05})}
    save_file(Ear(EarConfig()).state_dict(), folder / "ear.safetensors", ear)
    return f"""
[system.tiny]
flow = "s5cli.systems.label_queried:LabelQueried"
summary = "tones and a tiny separator"
source = "the tests"
per_class = true
parts = {{ tagger = "ear", separator = "corrnet" }}
[part.ear]
network = "tests.label_queried.networks:ToneTagger"
adapter = "s5cli.adapters.queried:WhenTagger"
file = "ear"
[part.corrnet]
network = "s5cli.nn.sr_corrnet:SRCorrNet"
adapter = "s5cli.adapters.queried:QueriedSeparator"
file = "corrnet"
[file.ear]
path = "{folder}/ear.safetensors"
licence = "cc-by-4.0"
[file.corrnet]
path = "{folder}/corrnet.safetensors"
licence = "cc-by-4.0"
"""


@pytest.fixture
def lq(machine, s5):  # noqa: F811
    """The command line of a machine that has the tiny system."""
    machine.write_text(registry(machine.parent))
    return s5


def write(path: Path, tones, n_samples: int = RATE_HZ, subtype: str = "PCM_16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = 1e-3 * np.random.default_rng(0).standard_normal((4, n_samples))
    soundfile.write(path, (scene_of(path.stem, *tones, n_samples=n_samples).audio.numpy() + noise).T, RATE_HZ, subtype)
    return path


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """A data set in official layout. The faint source is no target."""
    folder = tmp_path_factory.mktemp("label_queried") / "data"
    (folder / "oracle_target").mkdir(parents=True)
    for name, tones in CLIPS.items():
        write(folder / "soundscape" / f"{name}.wav", tones)
        for number, tone in enumerate(tone for tone in tones if tone.label != "Pour"):
            path = folder / "oracle_target" / f"{name}_{number}_{tone.label}.wav"
            soundfile.write(path, scene_of(name, tone, n_samples=RATE_HZ).audio[0].numpy(), RATE_HZ)
    return folder
