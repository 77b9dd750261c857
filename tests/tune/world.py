"""Development sets on disk in the world of tones (see `tests.systems.tones`), and what is needed to tune on them."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from s5cli.knobs import Setting, setting
from s5cli.labels import CLASSES
from s5cli.scene import RATE_HZ
from s5cli.steps.step import steps_of
from s5cli.systems.tagging_driven import TaggingDriven
from s5cli.tune import crossval, plots, search
from s5cli.tune.cache import Cache, CachedClip, step_fingerprint
from s5cli.tune.clips import DevSet, held, open_devset
from s5cli.tune.evidence import Store
from s5cli.tune.trials import Trials
from tests.systems.tones import N_SAMPLES, Parts, Tone, parts, scene_of

LEVELS = [0.05, 0.15, 0.3, 0.45, 0.55, 0.7, 0.9]


def coarsen(patch: pytest.MonkeyPatch, max_points: int = 4) -> None:
    """Grids and curves small enough for a test."""
    values = {"STAGE_SETTINGS": 27, "MAX_POINTS": max_points, "CLASS_POINTS": 3, "MAX_DESCENTS": 1}
    for name, value in values.items():
        patch.setattr(search, name, value)
    patch.setattr(plots, "CLASS_POINTS", values["CLASS_POINTS"])
    patch.setattr(crossval, "MARGINS_DB", (0.05, 0.0))


def write_clip(folder: Path, name: str, tones: list[Tone], targets: int, n_samples: int = N_SAMPLES) -> None:
    """A mixture of tones, the first of which are its targets; the rest is what taggers wrongly take for one."""
    for inner in ("soundscape", "oracle_target"):
        (folder / inner).mkdir(parents=True, exist_ok=True)
    mixture = scene_of(name, *tones, hum=0.05, n_samples=n_samples).audio.numpy()
    soundfile.write(folder / "soundscape" / f"{name}.wav", mixture.T, RATE_HZ, subtype="FLOAT")
    for number, tone in enumerate(tones[:targets]):
        alone = scene_of(name, tone, n_samples=n_samples).audio[0].numpy()
        path = folder / "oracle_target" / f"{name}_{number}_{tone.label}.wav"
        soundfile.write(path, alone, RATE_HZ, subtype="FLOAT")


def write_devset(folder: Path, n_clips: int, seed: int = 0) -> DevSet:
    """Random clips: up to three targets, some of one class, and false alarms."""
    random = np.random.default_rng(seed)
    for number in range(n_clips):
        labels = random.choice(CLASSES[:6], 3).tolist()
        tones = [
            Tone(label, *random.choice(LEVELS, 4).tolist(), source=labels[:place].count(label))
            for place, label in enumerate(labels)
        ]
        write_clip(folder, f"clip{number:03d}", tones, int(random.integers(0, 4)))
    return open_devset(folder)


def system_of(two_separators: bool = True, knobs=None, **kind) -> tuple[TaggingDriven, Parts]:
    p = parts(**kind)
    found = TaggingDriven(
        tagger_1ch=p.tagger_1ch,
        tagger_4ch=p.tagger_4ch,
        separator_a=p.separator_a,
        separator_b=p.separator_b if two_separators else None,
        setting=setting(TaggingDriven.knobs, knobs),
    )
    return found, p


def trials_of(system, data: DevSet, cache: Path, exchanged: str | None = None, **options) -> Trials:
    """A system and its cache, the parts known by the names of their roles, one perhaps with other weights."""
    roles = {role: part for role, part in vars(system).items() if hasattr(part, "nparams")}
    parts = {id(part): f"other {role}" if role == exchanged else role for role, part in roles.items()}
    options_of = system.setting.options
    steps = {name: step_fingerprint(name, step, parts, options_of) for name, step in steps_of(system).items()}
    return Trials(system, Cache(Store(cache), steps, [clip.key for clip in data.clips]), data, **options)


def knowing(trials: Trials) -> Trials:
    """With all that any search has left in its cache."""
    trials.cache.take_stored()
    return trials


def cached_clips(data: DevSet) -> list[CachedClip]:
    return [CachedClip(clip.key, partial(held, clip)) for clip in data.clips]


def random_setting(random: np.random.Generator, tables: bool = True) -> Setting:
    """Every knob anywhere in its range, some with a value for each class."""
    values = {}
    for name, knob in TaggingDriven.knobs.items():
        many = len(CLASSES) if tables and knob.per_class and random.random() < 0.5 else None
        values[name] = random.uniform(knob.low, knob.high, many)
    return Setting(values)


def first(data: DevSet, n_clips: int) -> DevSet:
    return replace(data, clips=data.clips[:n_clips])


def runs_of(p: Parts) -> dict[str, int]:
    """Clips or stems that each network has been given so far."""
    return {role: sum(part.network.batches) for role, part in vars(p).items()}
