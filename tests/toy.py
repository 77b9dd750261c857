"""A system without weights that obeys the whole protocol: what is below 2 kHz is Speech, what is above is Dishes."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from s5cli.errors import InputError
from s5cli.knobs import AblationRow, Knob, Option, Setting, setting
from s5cli.labels import CLASSES, N_SLOTS, index_of
from s5cli.scene import EMPTY, RATE_HZ, Queries, Scene, Stem, Stems, places
from s5cli.trace import ClipTrace, Drop, QueryTrace, Stage

CROSSOVER_HZ = 2000

SECTION = """
[system.toy]
flow = "tests.toy:Toy"
summary = "two bands of channel 0"
source = "the tests"
parts = {}
per_class = true

[alias]
toy-alias = "toy"
"""


@dataclass(frozen=True)
class ToyDecision:
    found: Stems

    def stems(self) -> Stems:
        return self.found

    def trace(self) -> list[ClipTrace]:
        return [ClipTrace(tuple(reported(*one) for one in enumerate(clip))) for clip in self.found.clips()]


def reported(number: int, stem: Stem) -> QueryTrace:
    return QueryTrace(stem.label, stem.confidence, stem.slot, (Stage("band"),), reported=number)


class Toy:
    """Reports a band of channel 0 if its share of the power reaches `share`; takes `pause_s` for every clip."""

    knobs: ClassVar[Mapping[str, Knob]] = {
        "share": Knob(0.01, 0, 1),
        "gain": Knob(1, 0, 100, per_class=True),
        "pause_s": Knob(0, 0, 10),
    }

    options: ClassVar[Mapping[str, Option]] = {}
    drops: ClassVar[Mapping[str, Drop]] = {}
    ablation: ClassVar[Sequence[AblationRow]] = (AblationRow("{name}"),)
    window_s: ClassVar[float | None] = 10.0

    def __init__(self, *, setting: Setting) -> None:
        self.setting = setting
        self.nparams = 2
        self.batches: list[int] = []
        self.asked: Queries | None = None

    def __call__(self, scenes: Sequence[Scene]) -> ToyDecision:
        self.batches.append(len(scenes))
        for scene in scenes:
            if scene.name.startswith("refused"):
                raise InputError(f"the toy does not take {scene.name}")
            if scene.name.startswith("bug"):
                raise ZeroDivisionError
            time.sleep(self.setting.scalar("pause_s"))
        asked = self._proposed(scenes) if self.asked is None else self.asked
        waveforms = np.empty(asked.classes.shape, dtype=object)
        for row, scene in enumerate(scenes):
            gain = self.setting.of("gain", asked.classes[row])
            for slot in np.flatnonzero(asked.active[row]).tolist():
                waveforms[row, slot] = band(scene, CLASSES[asked.classes[row, slot]]) * gain[slot]
        return ToyDecision(Stems(asked.classes, asked.confidence, places(asked.classes), waveforms))

    def with_queries(self, queries: Queries) -> Toy:
        twin = copy.copy(self)
        twin.asked = queries
        return twin

    def _proposed(self, scenes: Sequence[Scene]) -> Queries:
        classes = np.full((len(scenes), N_SLOTS), EMPTY)
        confidence = np.zeros((len(scenes), N_SLOTS))
        for row, scene in enumerate(scenes):
            power = {label: band(scene, label).square().sum().item() for label in ("Speech", "Dishes")}
            whole = sum(power.values()) or 1.0
            found = [label for label in power if power[label] / whole >= self.setting.scalar("share")]
            for slot, label in enumerate(found):
                classes[row, slot], confidence[row, slot] = index_of(label), power[label] / whole
        return Queries(classes, confidence)


def band(scene: Scene, label: str) -> torch.Tensor:
    """The part of channel 0 below the crossover for Speech, above it for everything else; [t]."""
    spectrum = torch.fft.rfft(scene.audio[0].double())
    low = torch.fft.rfftfreq(scene.audio.shape[-1], 1 / RATE_HZ) < CROSSOVER_HZ
    return torch.fft.irfft(spectrum * (low if label == "Speech" else ~low), n=scene.audio.shape[-1]).float()


def toy(**knobs: float) -> Toy:
    return Toy(setting=setting(Toy.knobs, knobs))


def tones(*frequencies_hz: float, n_samples: int = 6400) -> np.ndarray:
    """[4, t] float32: tones in channel 0, half as loud in the others."""
    t_s = np.arange(n_samples) / RATE_HZ
    omni = sum((0.3 * np.sin(2 * np.pi * f * t_s) for f in frequencies_hz), np.zeros(n_samples))
    return np.stack([omni, omni / 2, omni / 2, omni / 2]).astype(np.float32)


def write_tones(path: Path, *frequencies_hz: float, n_samples: int = 6400, rate_hz: int = RATE_HZ) -> Path:
    import soundfile

    soundfile.write(path, tones(*frequencies_hz, n_samples=n_samples).T, rate_hz)
    return path
