"""A library of a few short synthetic recordings, two sources a class, in the official folder layout."""

import numpy as np
import pytest
import soundfile

from s5cli.scene import RATE_HZ
from s5cli.synth.library import Library

TONES_HZ = {"AlarmClock": 2000, "Doorbell": 700, "Speech": 250}


def write(path, audio):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.9 * audio / np.abs(audio).max(), RATE_HZ, subtype="PCM_16")


@pytest.fixture(scope="session")
def material(tmp_path_factory):
    root = tmp_path_factory.mktemp("library")
    rng = np.random.default_rng(0)
    t = np.arange(RATE_HZ) / RATE_HZ
    for label, hz in TONES_HZ.items():
        for source in range(2):
            tone = np.sin(2 * np.pi * hz * (1 + 0.1 * source) * t) * np.exp(-3 * t)
            write(root / "sound_event" / "train" / label / f"source{source}" / "take.wav", tone)
    write(root / "interference" / "train" / "Hiss" / "hiss.wav", rng.standard_normal(RATE_HZ // 2))
    write(root / "noise" / "train" / "room.wav", rng.standard_normal(2 * RATE_HZ))
    return root


@pytest.fixture(scope="session")
def library(material):
    return Library.scan(material, "train")
