"""Scores the ladder of systems, and true labels with the same separators, on data in the official layout.

    python benchmarks/ladder.py DATA [--systems NAME …] [--clips N] [--json FILE]

DATA holds `soundscape/` and `oracle_target/`. Beside every score stand the trivial answers under the same labels: an
all-zero stem, and the mixture times the best single gain. The stems are scored as float32, before a file rounds them.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from s5cli import official
from s5cli.audio import read_audio, read_scene
from s5cli.evaluate import SUFFIXES, ClipResult, Evaluation, evaluation, score_clip
from s5cli.labels import CLASSES
from s5cli.scene import EMPTY, Queries, Scene, Stem, System
from s5cli.weights.build import build

COMPACT = ["baseline-compact", *(f"tagging-driven-compact-{rung}" for rung in range(4))]
COLUMNS = [
    "system", "CAPI-SDRi", "zero stem", "best gain", "margin", "SI-SDRi", "level", "acc. mixture", "acc. source",
    "false alarms",
]  # fmt: skip


def true_queries(labels: Sequence[str]) -> Queries:
    """The references' labels as a user would name them."""
    classes = np.full((1, 3), EMPTY, dtype=np.int64)
    classes[0, : len(labels)] = [CLASSES.index(label) for label in labels]
    return Queries(classes, (classes != EMPTY).astype(float))


def scored(scene: Scene, stems: Sequence[Stem], labels: Sequence[str], references: np.ndarray) -> ClipResult:
    """One clip's stems against its references."""
    empty = np.zeros((0, scene.audio.shape[1]), np.float32)
    est = np.stack([stem.audio.numpy() for stem in stems]) if stems else empty
    return score_clip(scene.name, [stem.label for stem in stems], est, labels, references, scene.audio[0].numpy())


def run(system: System, data: Path, names: Sequence[str], oracle: bool, title: str) -> Evaluation:
    """A system over clips, one by one; `oracle` names the true labels to it."""
    mixtures = official.soundscapes(data / "soundscape", SUFFIXES)
    sources = official.read_sources(data / "oracle_target", mixtures, SUFFIXES)
    results = []
    for name in tqdm(names, desc=title, unit="clip"):
        scene, labels = read_scene(mixtures[name]), [source.label for source in sources[name]]
        references = [read_audio(source.path)[0][0] for source in sources[name]]
        empty = np.zeros((0, scene.audio.shape[1]), np.float32)
        queries = true_queries(labels) if oracle else None
        stems = system([scene], queries=queries)[0]
        results.append(scored(scene, stems, labels, np.stack(references) if references else empty))
    return evaluation(results)


def row(title: str, found: Evaluation) -> str:
    """One line of the table."""
    score, trivial = found.overall, found.own_trivial
    numbers = [
        score.capi_sdri_db, trivial.zero_stems_db, trivial.mixture_db, found.over_trivial_db, score.si_sdri_db,
        score.level_db, score.accuracy_mixture_percent, score.accuracy_source_percent, found.false_alarm_percent,
    ]  # fmt: skip
    return f"| {title} | " + " | ".join("–" if number is None else f"{number:.2f}" for number in numbers) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--systems", nargs="*", default=COMPACT)
    parser.add_argument("--true-labels", nargs="*", default=[COMPACT[0], COMPACT[-1]], help="systems also told these")
    parser.add_argument("--clips", type=int, help="only the first N")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="everything, per class and per clip too")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    names = list(official.soundscapes(given.data / "soundscape", SUFFIXES))[: given.clips]
    found, lines = {}, ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for name in given.systems:
        system = build(name, device=given.device)
        runs = [(name, False)] + [(f"{name}, true labels", True)] * (name in given.true_labels)
        for title, oracle in runs:
            found[title] = run(system, given.data, names, oracle, title)
            lines.append(row(title, found[title]))
    print(f"{len(names)} clips of {given.data}, torch {torch.__version__}, {given.device}")
    print("\n".join(lines))
    if given.json:
        given.json.write_text(json.dumps({title: one.to_json() for title, one in found.items()}, indent=1))


if __name__ == "__main__":
    main()
