"""Settings replayed a second: the flagship's own decisions and the exact score, over cached results.

    python benchmarks/tuning.py [--clips 1512] [--settings 100] [--rounds 5] [--workers 2] [--profile]

The evidence is made by the cached steps that `s5 tune` uses, from taggers and two separators that answer at random but
not absurdly: a true class is usually proposed and heard, a wrong one seldom. Every setting is drawn at random over the
whole range of every knob, per-class knobs with a value for each class. All query lists that these lead to are asked
first (that is the warm cache). Then every round replays all settings several times, in one process and in several:
each time the system decides anew about every clip and every clip is scored anew, no outcome is kept.
The time is wall time from the settings to all outcomes in the process that asked, with starting the workers
and passing on what they found; CPU time is that of all processes. The load is what the whole machine was busy with.
"""

import argparse
import cProfile
import os
import platform
import pstats
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from s5cli.knobs import Setting
from s5cli.labels import CLASSES, N_SLOTS
from s5cli.official import SourceFile
from s5cli.scene import EMPTY, Queries, Scene, Tags
from s5cli.steps.step import steps_of
from s5cli.systems.tagging_driven import TaggingDriven
from s5cli.tune.cache import Cache, CachedClip, caching, step_fingerprint, with_setting
from s5cli.tune.clips import Clip, DevSet, HeldClip
from s5cli.tune.evidence import Store, digest
from s5cli.tune.replay import Replay, replay_of
from s5cli.tune.trials import Workers

N_SAMPLES = 64
SHARES = [0.1, 0.3, 0.35, 0.25]  # of clips with 0, 1, 2 and 3 targets


class GuessingTagger:
    """Probabilities by the name of what it hears; the classes that a clip holds are in the name."""

    nparams = 0

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, scenes: Sequence[Scene]) -> Tags:
        found = np.zeros((len(scenes), N_SLOTS, len(CLASSES) + 1))
        for row, scene in enumerate(scenes):
            random = np.random.default_rng([self.seed, *scene.name.encode()])
            logits = random.normal(0, 1.5, found.shape[1:])
            for track, index in enumerate(scene.name.split(":")[0].split("-")[1:]):
                logits[track, int(index)] += random.normal(3, 2)
            logits[:, -1] += random.normal(2, 1, N_SLOTS)
            powers = np.exp(logits)
            found[row] = powers / powers.sum(axis=1, keepdims=True)
        return Tags(found)


class GuessingSeparator:
    """The reference where there is one of that class, and some of everything else."""

    nparams = 0

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, scenes: Sequence[Scene], queries: Queries) -> list[torch.Tensor]:
        return [self._stems(scene, row) for scene, row in zip(scenes, queries.classes.tolist(), strict=True)]

    def _stems(self, scene: Scene, classes: list[int]) -> torch.Tensor:
        random = np.random.default_rng([self.seed, *scene.name.encode(), *(1 + index for index in classes)])
        stems = random.uniform(0.05, 0.6, (N_SLOTS, 1)) * scene.audio[0].numpy()
        truth = [int(index) for index in scene.name.split("-")[1:]]
        for slot, index in enumerate(classes):
            if index in truth:
                stems[slot] += random.uniform(0.3, 1) * scene.references[truth.index(index)]
        stems[np.array(classes) == EMPTY] = 0
        return torch.tensor(stems, dtype=torch.float32)


def clip_of(number: int, random: np.random.Generator) -> tuple[Clip, HeldClip]:
    """A mixture of noises, each of one class."""
    truth = random.integers(0, len(CLASSES), random.choice(4, p=SHARES)).tolist()
    name = "-".join([f"clip{number:04d}", *map(str, truth)])
    references = random.normal(0, 0.1, (len(truth), N_SAMPLES)).astype(np.float32)
    audio = np.tile(references.sum(axis=0) + random.normal(0, 0.1, N_SAMPLES), (4, 1)).astype(np.float32)
    sources = tuple(SourceFile(Path(name), CLASSES[index]) for index in truth)
    held = HeldClip(name, torch.tensor(audio), digest(name), references)
    return Clip(name, Path(name), sources, digest(name), N_SAMPLES), held


def setting_of(random: np.random.Generator) -> Setting:
    """Every knob anywhere in its range, per-class ones with a value for each class."""
    values = {}
    for name, knob in TaggingDriven.knobs.items():
        size = len(CLASSES) if knob.per_class else None
        values[name] = random.uniform(knob.low, knob.high, size)
    return Setting(values)


def warmed(folder: Path, n_clips: int, settings: Sequence[Setting]) -> tuple[Replay, int]:
    """A replay in which nothing is unseen under these settings, and how many results are cached."""
    random = np.random.default_rng(0)
    clips, held = zip(*(clip_of(number, random) for number in range(n_clips)), strict=True)
    system = TaggingDriven(
        tagger_1ch=GuessingTagger(1), tagger_4ch=GuessingTagger(2), separator_a=GuessingSeparator(3),
        separator_b=GuessingSeparator(4), setting=settings[0],
    )  # fmt: skip
    parts = {id(part): name for name, part in vars(system).items()}
    prints = {name: step_fingerprint(name, step, parts, {}) for name, step in steps_of(system).items()}
    cache, data = Cache(Store(folder), prints, [clip.key for clip in clips]), DevSet(folder, clips)
    in_place_of_scenes = [CachedClip(one.key, partial(replace, one)) for one in held]
    for setting in settings:
        caching(with_setting(system, setting), cache)(in_place_of_scenes)
    return replay_of(system, cache, data), len(cache.asked)


def cpu_s() -> float:
    """Of this process and of all workers that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def measured(replay: Replay, settings: Sequence[Setting], n_workers: int, n_rounds: int) -> str:
    """A line with the median of some rounds."""
    rates, cpu_ms, loads = [], [], [os.getloadavg()[0]]
    for _ in range(n_rounds):
        start, cpu = time.perf_counter(), cpu_s()
        workers = Workers(replay, n_workers)
        outcomes = list(workers.outcomes(settings))
        workers.close()
        rates.append(len(outcomes) / (time.perf_counter() - start))
        cpu_ms.append(1e3 * (cpu_s() - cpu) / len(outcomes))
        if any(outcome.unseen.any() for outcome in outcomes):
            raise RuntimeError("the cache was not warm")
    loads.append(os.getloadavg()[0])
    noisy = "  noisy" if max(rates) / min(rates) > 1.3 else ""
    return (
        f"{n_workers} worker{'s' * (n_workers > 1)}: {statistics.median(rates):.0f} settings/s "
        f"({min(rates):.0f} to {max(rates):.0f}), {statistics.median(cpu_ms):.2f} ms CPU each; "
        f"load {loads[0]:.2f} to {loads[1]:.2f}{noisy}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1512)
    parser.add_argument("--settings", type=int, default=100, help="all different")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=10, help="of every setting in a round, for each worker")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    random = np.random.default_rng(1)
    settings = [setting_of(random) for _ in range(given.settings)]
    with tempfile.TemporaryDirectory() as folder:
        replay, n_results = warmed(Path(folder), given.clips, settings)
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, "
          f"NumPy {np.__version__}")  # fmt: skip
    print(f"{given.clips} clips, {n_results} results cached, {given.settings} random settings, tables for each class")
    if given.profile:
        profile = cProfile.Profile()
        profile.runcall(lambda: [replay(setting) for setting in settings])
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    for n_workers in sorted({1, given.workers}):
        print(measured(replay, settings * (given.repeat * n_workers), n_workers, given.rounds), flush=True)


if __name__ == "__main__":
    main()
