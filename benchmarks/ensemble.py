"""What an ensemble of finished runs of one data set would score: agreement, duplicates merged by correlation, oracles.

    python -m benchmarks.ensemble DATA RUN RUN …      # the first run is the one to beat

A class is reported where the weighted sum of the runs' confidences and of what the 1-channel tagger gives the best of
its stems reaches a threshold. Stems of one class, of different runs, that correlate are one source: either the stem
that the tagger gives most is kept, or their weighted mean. The five knobs are chosen on four fifths of the clips and
scored on the last, five times. Beside it stand the best run for each clip and the best subset of all stems, both chosen
by the references.
"""

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from pathlib import Path

import numpy as np
import torch

from s5cli.dataset import DataSet, open_dataset, read_mixture, read_sources
from s5cli.labels import CLASSES
from s5cli.nn.body_tagger import BodyTagger, tracks
from s5cli.official import SourceFile
from s5cli.run.record import RunFolder, read_folder
from s5cli.scene import Floats
from s5cli.score.bootstrap import DEFAULT
from s5cli.score.metric import capi_sdri_from_matrices, sdr_db
from s5cli.weights import checkpoint, fetch
from s5cli.weights.registry import registry

N_FOLDS, MOST_STEMS = 5, 3
Answer = tuple[list[Floats], list[str]]
"""Stems as weights of a clip's candidates, and their labels."""


@dataclass(frozen=True)
class Clip:
    """The stems of all runs, and inner products from which any weighted sum of them is scored without sound."""

    references: list[str]  # labels
    run: list[int]
    labels: list[str]
    confidence: list[float]
    heard: list[float]  # what the tagger gives a stem's label when it hears the stem
    gram: Floats  # [n, n]
    cross: Floats  # [n, m]
    energy: Floats  # of references, [m]
    mixture_error: Floats  # energy of the mixture minus each reference, [m]

    @cached_property
    def correlation(self) -> Floats:
        norm = np.sqrt(np.maximum(np.diag(self.gram), 1e-12))
        return np.asarray(np.abs(self.gram) / norm[:, None] / norm)

    def capi_sdri_db(self, answer: Answer) -> float:
        """NaN where neither side has a label."""
        weights = np.array(answer[0], dtype=float).reshape(len(answer[0]), len(self.run))
        error = np.einsum("ki,ij,kj->k", weights, self.gram, weights)[:, None] - 2 * weights @ self.cross + self.energy
        sdr = sdr_db(self.energy, np.maximum(error, 0))
        sdri = sdr - sdr_db(self.energy, self.mixture_error)
        score = capi_sdri_from_matrices(answer[1], self.references, sdr, sdri).capi_sdri_db
        return math.nan if score is None else score

    def alone(self, indices: Sequence[int]) -> Answer:
        return [one_hot(len(self.run), index) for index in indices], [self.labels[index] for index in indices]

    def of_run(self, run: int) -> Answer:
        return self.alone([index for index, own in enumerate(self.run) if own == run])

    def best_subset_db(self) -> float:
        answers = (
            self.alone(chosen) for r in range(MOST_STEMS + 1) for chosen in combinations(range(len(self.run)), r)
        )
        return best(self.capi_sdri_db(answer) for answer in answers)


@dataclass(frozen=True)
class Rule:
    """How runs become one."""

    threshold: float
    heard_weight: float
    run_weights: tuple[float, ...]
    same_above: float  # correlation
    mean: bool

    def __call__(self, clip: Clip) -> Answer:
        found = [self.source(clip, group) for label in sorted(set(clip.labels)) for group in self.groups(clip, label)]
        kept = sorted((one for one in found if one[0] >= self.threshold), key=lambda one: -one[0])[:MOST_STEMS]
        return [weights for _, weights, _ in kept], [label for *_, label in kept]

    def groups(self, clip: Clip, label: str) -> list[list[int]]:
        """Stems of a class by source, at most one of each run; the surest first."""
        surest = sorted(
            (index for index, own in enumerate(clip.labels) if own == label),
            key=lambda index: -clip.confidence[index] - self.heard_weight * clip.heard[index],
        )
        groups: list[list[int]] = []
        for index in surest:
            likeness = [max(clip.correlation[index, group]) for group in groups]
            free = [clip.run[index] not in [clip.run[other] for other in group] for group in groups]
            fitting = [n for n in range(len(groups)) if free[n] and likeness[n] >= self.same_above]
            if fitting:
                groups[max(fitting, key=likeness.__getitem__)].append(index)
            else:
                groups.append([index])
        return groups

    def source(self, clip: Clip, group: list[int]) -> tuple[float, Floats, str]:
        """How sure it is, its stem and its label."""
        weights = np.zeros(len(clip.run))
        weights[group] = [self.run_weights[clip.run[index]] for index in group]
        agreed = float(weights @ np.array(clip.confidence)) / sum(self.run_weights)
        heard = max(clip.heard[index] for index in group)
        sure = (agreed + self.heard_weight * heard) / (1 + self.heard_weight)
        stem = weights / weights.sum() if self.mean else one_hot(len(weights), max(group, key=clip.heard.__getitem__))
        return sure, stem, clip.labels[group[0]]


def one_hot(n: int, index: int) -> Floats:
    return np.eye(n)[index]


def best(scores: Iterable[float]) -> float:
    """The highest; NaN, to say nothing where there is nothing, is better than any."""
    found = list(scores)
    return math.nan if any(map(math.isnan, found)) else max(found)


def clips(data: Path, runs: Sequence[Path]) -> list[Clip]:
    """Those that all runs have."""
    known = registry()
    path = fetch.locate(known.files["tagger-1ch"])
    assert path
    tagger = checkpoint.build_network(BodyTagger, checkpoint.read(path), {})
    dataset = open_dataset(data)
    folders = [read_folder(run) for run in runs]
    names = [name for name in dataset.mixtures if all(name in folder.clips for folder in folders)]
    return [clip_of(dataset, name, folders, tagger) for name in names]


def clip_of(dataset: DataSet, name: str, folders: Sequence[RunFolder], tagger: BodyTagger) -> Clip:
    path, sources = dataset.mixtures[name], dataset.references[name]
    mixture = read_mixture(path)
    references = read_sources(sources, path, len(mixture)).astype(np.float64)
    stems = [(n, stem) for n, folder in enumerate(folders) for stem in folder.clips[name].stems]
    files = [SourceFile(folders[n].folder / stem.file, stem.label) for n, stem in stems]
    sounds = read_sources(files, path, len(mixture)).astype(np.float64)
    labels = [stem.label for _, stem in stems]
    return Clip(
        [source.label for source in sources], [n for n, _ in stems], labels, [stem.confidence for _, stem in stems],
        heard(tagger, sounds, labels), sounds @ sounds.T, sounds @ references.T, np.square(references).sum(1),
        np.square(references - mixture).sum(1),
    )  # fmt: skip


@torch.inference_mode()
def heard(tagger: BodyTagger, sounds: Floats, labels: Sequence[str]) -> list[float]:
    """What a tagger gives the label of each sound [n, t]."""
    if not labels:
        return []
    probability = tracks(tagger.counted(torch.from_numpy(sounds).float()[:, None])[0]).softmax(-1).amax(1)
    return [float(probability[index, CLASSES.index(label)]) for index, label in enumerate(labels)]


def rules(n_runs: int) -> list[Rule]:
    weights = [(w, *(1.0,) * (n_runs - 1)) for w in (1.0, 2.0, 4.0)]
    grid = product(np.arange(0.1, 0.75, 0.05), (0.0, 0.5, 1.0, 2.0), weights, (0.3, 0.6, 0.9), (False, True))
    return [Rule(*knobs) for knobs in grid]


def held_out(scores: Floats) -> Floats:
    """Scores [rules, clips] to those of each clip by the rule that was best on the other fifths."""
    fold = np.random.default_rng(0).permutation(scores.shape[1]) % N_FOLDS
    found = np.empty(scores.shape[1])
    for number in range(N_FOLDS):
        chosen = np.nanmean(scores[:, fold != number], axis=1).argmax()
        found[fold == number] = scores[chosen, fold == number]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    args = parser.parse_args()
    found = clips(args.data, args.runs)

    def tell(what: str, score: Callable[[Clip], float]) -> Floats:
        scores = np.array([score(clip) for clip in found])
        print(f"{np.nanmean(scores):6.2f} dB  {what}", flush=True)
        return scores

    print(f"{len(found)} clips, CAPI-SDRi")
    alone = [tell(str(run), lambda clip, n=n: clip.capi_sdri_db(clip.of_run(n))) for n, run in enumerate(args.runs)]
    tell("the best run for each clip", lambda c: best(c.capi_sdri_db(c.of_run(n)) for n in range(len(args.runs))))
    tell("the best subset of all stems", Clip.best_subset_db)
    scores = np.array([[clip.capi_sdri_db(rule(clip)) for clip in found] for rule in rules(len(args.runs))])
    ensemble = held_out(scores)
    print(f"{np.nanmean(ensemble):6.2f} dB  the ensemble, held out")
    either = ~(np.isnan(ensemble) & np.isnan(alone[0]))
    gain = (np.nan_to_num(ensemble) - np.nan_to_num(alone[0]))[either]
    draws = np.random.default_rng(DEFAULT.seed).integers(0, len(gain), (2000, len(gain)))
    low, high = np.percentile(gain[draws].mean(1), [2.5, 97.5])
    print(f"{gain.mean():+6.2f} dB [{low:.2f}, {high:.2f}]  against the first run, clips in pairs")


if __name__ == "__main__":
    main()
