"""What a run reports of itself while it learns: a few scenes from recordings that it never sees."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from s5cli.labels import SILENCE_INDEX
from s5cli.train.data import Batch
from s5cli.train.losses import class_aware_snr_loss, pit_cross_entropy


@dataclass(frozen=True)
class Validation:
    """A tagger's accuracies, or a separator's SDRi under true labels beside the trivial answers."""

    loss: float
    accuracy_mixture: float | None = None  # %
    accuracy_source: float | None = None  # %
    sdri_db: float | None = None
    silent_sdri_db: float | None = None  # an all-zero stem
    quieter_sdri_db: float | None = None  # the mixture turned down to a fifth

    def scalars(self) -> dict[str, float]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    def line(self) -> str:
        return "  ".join(f"{name} {value:.2f}" for name, value in self.scalars().items())


@torch.inference_mode()
def validate(task: str, network: nn.Module, scenes: list[Batch], fabric: Fabric) -> Validation:
    """Scores a network on rendered scenes, in evaluation mode."""
    moved = [batch.to(fabric.device) for batch in scenes]
    return validate_tagger(network, moved) if task == "tagger" else validate_separator(network, moved)


def validate_tagger(network: nn.Module, scenes: list[Batch]) -> Validation:
    logits = [network(batch.mixture[:, : network.channels]).float() for batch in scenes]
    losses = [pit_cross_entropy(out, batch.tags) for out, batch in zip(logits, scenes, strict=True)]
    exact = hits = union = 0
    for out, batch in zip(logits, scenes, strict=True):
        for said, true in zip(out.argmax(dim=-1).tolist(), batch.tags.tolist(), strict=True):
            a, b = (Counter(x for x in labels if x != SILENCE_INDEX) for labels in (said, true))
            exact += a == b
            hits += (a & b).total()
            union += (a | b).total()
    n = sum(len(batch.classes) for batch in scenes)
    return Validation(float(torch.stack(losses).mean()), 100 * exact / n, 100 * hits / max(1, union))


def validate_separator(network: nn.Module, scenes: list[Batch]) -> Validation:
    losses: dict[str, list[Tensor]] = {"stem": [], "mixture": [], "silent": [], "quieter": []}
    for batch in scenes:
        mixture = batch.mixture[:, :1].expand_as(batch.targets)
        answers = {
            "stem": network(batch.mixture, batch.query).float(),
            "mixture": mixture,
            "silent": torch.zeros_like(mixture),
            "quieter": 0.2 * mixture,
        }
        for name, answer in answers.items():
            losses[name].append(class_aware_snr_loss(answer, batch.targets, batch.classes))
    mean = {name: float(torch.stack(values).mean()) for name, values in losses.items()}
    gains = (mean["mixture"] - mean[name] for name in ("stem", "silent", "quieter"))
    return Validation(mean["stem"], None, None, *gains)
