"""Clips scored in memory, with every kind of label error and of separation, and a small data set on disk."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

from s5cli.scene import RATE_HZ
from s5cli.score.clip import ClipResult, score_clip

N_SAMPLES = 400
CLASSES = ("Cough", "Dishes", "Pour", "Speech", "Typing")


def scored_clips(n_clips: int, seed: int = 0, skill: float = 0.8) -> list[ClipResult]:
    """Zero to three targets, one in four clips with two of a class; stems noisy, mislabelled, missed and surplus."""
    random = np.random.default_rng(seed)
    return [_scored_clip(random, f"clip_{index:04d}", skill) for index in range(n_clips)]


def _scored_clip(random: np.random.Generator, name: str, skill: float) -> ClipResult:
    n_ref = int(random.integers(0, 4))
    truth = [str(label) for label in random.choice(CLASSES, n_ref, replace=False)]
    if n_ref > 1 and random.random() < 0.25:
        truth[1] = truth[0]
    ref = random.standard_normal((n_ref, N_SAMPLES))
    mixture = ref.sum(0) + random.standard_normal(N_SAMPLES)
    est = 0.8 * ref + (0.2 + random.random()) * random.standard_normal((n_ref, N_SAMPLES))
    stems = [label if random.random() < skill else str(random.choice(CLASSES)) for label in truth]
    kept = [index for index in range(n_ref) if random.random() < skill]
    est, stems = est[kept], [stems[index] for index in kept]
    if random.random() > skill and len(stems) < 3:
        est, stems = np.concatenate([est, 0.3 * random.standard_normal((1, N_SAMPLES))]), [*stems, "Typing"]
    return score_clip(name, stems, est.reshape(-1, N_SAMPLES), truth, ref, mixture)


def write_dataset(folder: Path, truth: Mapping[str, Sequence[str]], n_samples: int = 4000) -> None:
    """`soundscape/` and `oracle_target/` in a new folder: white references and as much noise."""
    for name in ("soundscape", "oracle_target"):
        (folder / name).mkdir(parents=True)
    for index, (clip, labels) in enumerate(truth.items()):
        refs = [_wave(n_samples, index, slot) for slot in range(len(labels))]
        mixture = np.stack([sum(refs, _wave(n_samples, index, 10 + channel)) for channel in range(4)])
        soundfile.write(folder / "soundscape" / f"{clip}.wav", mixture.T, RATE_HZ, subtype="FLOAT")
        for slot, (label, ref) in enumerate(zip(labels, refs, strict=True)):
            soundfile.write(folder / "oracle_target" / f"{clip}_{slot}_{label}.wav", ref, RATE_HZ, subtype="FLOAT")


def write_run(folder: Path, data: Path, answers: Mapping[str, Sequence[tuple[str, int | None, float]]]) -> None:
    """A run's stems and records: for each stem its label, the slot of the reference that it holds, and its noise."""
    folder.mkdir()
    for index, (clip, stems) in enumerate(answers.items()):
        mixture = soundfile.read(data / "soundscape" / f"{clip}.wav")[0]
        refs = [soundfile.read(path)[0] for path in sorted((data / "oracle_target").glob(f"{clip}_*.wav"))]
        for number, (label, slot, noise) in enumerate(stems):
            held = np.zeros(len(mixture)) if slot is None else refs[slot]
            stem = held + noise * _wave(len(mixture), index, number, 99)
            soundfile.write(folder / f"{clip}_{number}_{label}.wav", stem, RATE_HZ, subtype="FLOAT")
        (folder / f"{clip}.json").write_text("{}")


def _wave(n_samples: int, *seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n_samples) * 0.03
