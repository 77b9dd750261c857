"""Tasks: what a kind of network learns from a batch of scenes, and how it is judged while it learns.

A recipe names its task, one of `TASKS` or `module:Class`: a system brings tasks of its own without an edit here.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from s5cli.errors import UsageError, nearest
from s5cli.labels import SILENCE_INDEX
from s5cli.scene import N_CHANNELS
from s5cli.synth.library import Library
from s5cli.train.data import Batch, Scenes
from s5cli.train.losses import class_aware_snr_loss, count_cross_entropy, frame_cross_entropy, pit_cross_entropy
from s5cli.train.recipe import Recipe, named

TASKS: Mapping[str, str] = {
    "tagger": "s5cli.train.tasks:Tagger",
    "stem_tagger": "s5cli.train.stem_tagger:StemTagger",
    "separator": "s5cli.train.tasks:Separator",
    "label_queried": "s5cli.train.label_queried:LabelQueried",
    "frame_tagger": "s5cli.train.label_queried:FrameTagger",
    "universal_separator": "s5cli.train.self_guided:Universal",
    "target_extractor": "s5cli.train.self_guided:Extraction",
    "stem_classifier": "s5cli.train.self_guided:StemClassifier",
}


@dataclass(frozen=True)
class Validation:
    """What a run reports of itself, by name with its unit."""

    scores: Mapping[str, float]

    def line(self) -> str:
        """
        >>> Validation({"loss": 1.5, "sdri_db": 3.25}).line()
        'loss 1.50  sdri_db 3.25'
        """
        return "  ".join(f"{name} {value:.2f}" for name, value in self.scores.items())


class Task(Protocol):
    """What is learned. Networks may come wrapped by Fabric."""

    folder: Path
    """The run's own; set before anything is asked but `problems`."""

    calls: Sequence[str]
    """Methods of the network that the loss calls beside `forward`."""

    def problems(self, recipe: Recipe, network: nn.Module) -> Iterator[str]:
        """What of a recipe cannot be done with this network."""

    def examples(self, recipe: Recipe, library: Library, network: nn.Module) -> Dataset[tuple[Tensor, Tensor, Tensor]]:
        """Example i, always the same: mixture [m, t], targets [s, t] and classes [s]."""

    def loss(self, recipe: Recipe, network: Any, batch: Batch) -> Tensor:
        """The mean loss of a batch."""

    def validate(self, network: nn.Module, scenes: Sequence[Batch]) -> Validation:
        """Scores on scenes from recordings that training never sees; the network is in evaluation mode."""


def task_of(name: str) -> Task:
    """The task that a recipe names.

    Raises:
        UsageError: there is none of that name.

    >>> type(task_of("separator")).__name__
    'Separator'
    """
    known = TASKS.get(name, name)
    if ":" not in known:
        hint = nearest(name, TASKS)
        raise UsageError(f"task {name!r} is unknown{hint}; give one of {', '.join(TASKS)}, or module:Class")
    found = named(known, "task")
    if not (isinstance(found, type) and all(hasattr(found, verb) for verb in ("examples", "loss", "validate"))):
        raise UsageError(f"task {name!r} is no class with the methods of a training task")
    task: Task = found()
    return task


class Tagger:
    """Mixtures (and stems) to the classes in them.

    A network that counts (`counted`) learns how many of each class there are, and when; others learn three tracks.
    """

    calls = ("counted",)

    def problems(self, recipe: Recipe, network: nn.Module) -> Iterator[str]:
        if recipe.schedule.batch_size < 2:
            yield "batch_size must be at least 2, as a tagger's head normalises over clips"
        if recipe.frame_weight and not hasattr(network, "counted"):
            yield f"frame_weight must be 0, as {type(network).__name__} does not say what sounds when"

    def examples(self, recipe: Recipe, library: Library, network: nn.Module) -> Scenes:
        return Scenes(recipe.scenes, library, recipe.examples, getattr(network, "channels", N_CHANNELS))

    def loss(self, recipe: Recipe, network: Any, batch: Batch) -> Tensor:
        if not hasattr(network, "counted"):
            return pit_cross_entropy(network(batch.mixture).float(), batch.tags)
        counts, frames = network.counted(batch.mixture)
        of_frames = frame_cross_entropy(frames.float(), batch.targets, batch.classes)
        return count_cross_entropy(counts.float(), batch.classes) + recipe.frame_weight * of_frames

    def validate(self, network: Any, scenes: Sequence[Batch]) -> Validation:
        """Accuracies as the challenge has them, in percent."""
        logits = [network(batch.mixture[:, : network.channels]).float() for batch in scenes]
        losses = [pit_cross_entropy(out, batch.tags) for out, batch in zip(logits, scenes, strict=True)]
        exact = hits = union = n = 0
        for out, batch in zip(logits, scenes, strict=True):
            for found, true in zip(out.argmax(dim=-1).tolist(), batch.tags.tolist(), strict=True):
                a, b = (Counter(x for x in labels if x != SILENCE_INDEX) for labels in (found, true))
                n, exact, hits, union = n + 1, exact + (a == b), hits + (a & b).total(), union + (a | b).total()
        accuracies = {"accuracy_mixture": 100 * exact / n, "accuracy_source": 100 * hits / max(1, union)}
        return Validation({"loss": float(torch.stack(losses).mean()), **accuracies})


class Separator:
    """Mixtures and the classes asked for to their waveforms."""

    calls: Sequence[str] = ()

    def problems(self, recipe: Recipe, network: nn.Module) -> Iterator[str]:
        if recipe.frame_weight:
            yield "frame_weight must be 0, as a separator does not say what sounds when"

    def examples(self, recipe: Recipe, library: Library, network: nn.Module) -> Dataset[tuple[Tensor, Tensor, Tensor]]:
        return Scenes(recipe.scenes, library, recipe.examples)

    def loss(self, recipe: Recipe, network: Any, batch: Batch) -> Tensor:
        return class_aware_snr_loss(self.separated(network, batch).float(), batch.targets, batch.classes)

    def separated(self, network: Any, batch: Batch) -> Tensor:
        """The waveforms of the true labels, [b, s, t]."""
        separated: Tensor = network(batch.mixture, batch.query)
        return separated

    def validate(self, network: nn.Module, scenes: Sequence[Batch]) -> Validation:
        """SDRi under true labels, beside those of an all-zero stem and of the mixture turned down to a fifth."""
        losses: dict[str, list[Tensor]] = {"stem": [], "mixture": [], "silent": [], "quieter": []}
        for batch in scenes:
            mixture = batch.mixture[:, :1].expand_as(batch.targets)
            answers = {
                "stem": self.separated(network, batch).float(),
                "mixture": mixture,
                "silent": torch.zeros_like(mixture),
                "quieter": 0.2 * mixture,
            }
            for name, answer in answers.items():
                losses[name].append(class_aware_snr_loss(answer, batch.targets, batch.classes))
        mean = {name: float(torch.stack(values).mean()) for name, values in losses.items()}
        names = {"sdri_db": "stem", "silent_sdri_db": "silent", "quieter_sdri_db": "quieter"}
        return Validation({"loss": mean["stem"], **{name: mean["mixture"] - mean[of] for name, of in names.items()}})
