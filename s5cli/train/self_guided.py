"""Training of the self-guided systems: universal separation, extraction by clues, and the classifiers of both.

Tasks are named by a recipe; its table [options] holds `Options`. What a task needs beside the network that learns (the
universal separator whose stems are enrolments, the pretrained networks that listen to stems) are parts of the registry
and stay as they are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s5cli.adapters.slots import label_vectors
from s5cli.labels import N_CLASSES, N_SLOTS
from s5cli.nn.arcface import energy
from s5cli.nn.class_decoder import Said
from s5cli.nn.deft import Separated
from s5cli.synth.library import Library
from s5cli.synth.render import Rendered
from s5cli.train.data import Batch, Scenes, padded
from s5cli.train.enrolments import Enrolments
from s5cli.train.given import Given
from s5cli.train.losses import best_order
from s5cli.train.recipe import Recipe, from_table
from s5cli.train.self_guided_losses import (
    arcface_loss,
    energy_loss,
    errors,
    masked_snr_loss,
    ordered,
    sa_sdr_loss,
    si_snr_loss,
    silence_loss,
    uniform_loss,
)
from s5cli.train.tasks import Validation

N_INTERFERENCE = 2


@dataclass(frozen=True)
class Options:
    """Weights of the losses, and the parts of the registry that a task needs."""

    separation: float = 1.0
    others: float = 0.01  # of interference and noise
    classes: float = 1.0
    silence: float = 1.0
    energy: float = 0.0  # of the energy margins of a stem classifier
    extraction: Literal["sa_sdr", "snr"] = "sa_sdr"  # snr: of active slots alone
    uniform: Literal["from", "to"] = "from"  # which way the divergence from "any class alike" goes
    separator: str | None = None  # makes the enrolments
    semantic: str | None = None  # listens to separated stems, for a classifier
    frames: str | None = None  # listens to enrolments, for the frame clue
    frames_off: float = 0.0  # share of steps without a frame clue
    wrong_clue: float = 0.0  # probability that a slot's class is replaced by none or by another


class Sources(Scenes):
    """Scenes with every source as a target: three foreground events, two interferers, the background; [6, t]."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        rendered, rng = self.rendered(index)
        mixture, targets, classes = padded(rendered, rng.permutation(N_SLOTS))
        return mixture, torch.cat([targets, torch.from_numpy(others(rendered))]), classes


def others(rendered: Rendered) -> np.ndarray:
    """Interferers, zeros where there are fewer than two, and background, [3, t]."""
    found = np.zeros((N_INTERFERENCE + 1, rendered.mixture.shape[-1]), np.float32)
    found[: len(rendered.others) - 1] = rendered.others[:-1]
    found[-1] = rendered.others[-1]
    return found


# --- what is given ----------------------------------------------------------------------------------------------------


def listened(given: Given, stems: Tensor, mixture: Tensor) -> Tensor:
    """Features [b s, m, e] of stems [b, s, t]; levels count relative to the mixture's channel 0."""
    reference = mixture[:, :1].expand(-1, stems.shape[1], -1)
    features: Tensor = given(stems.detach().flatten(0, 1).contiguous(), reference.flatten(0, 1))
    return features


# --- tasks ------------------------------------------------------------------------------------------------------------


class SelfGuided:
    """What all tasks have in common: their options, and the parts that they are given."""

    folder: Path
    calls: Sequence[str] = ("said",)
    needs: Sequence[str] = ()

    def __init__(self) -> None:
        self.options, self.given = Options(), dict[str, Given]()

    def problems(self, recipe: Recipe, network: nn.Module) -> Iterator[str]:
        self.prepare(recipe)
        for role in self.needs:
            if role not in self.given:
                yield f"[options] must name the part that is its {role}"
        for given in self.given.values():
            given.path  # noqa: B018  # before anything is rendered
        if self.options.classes and getattr(network, "dpc", None) is not None and "semantic" not in self.given:
            yield "[options] must name the part that is its semantic, as the network has a dual-path classifier"

    def prepare(self, recipe: Recipe) -> None:
        self.options = from_table(Options, recipe.options, f"recipe {recipe.name}: [options]")
        roles = ("separator", "semantic", "frames")
        named = {role: getattr(self.options, role) for role in roles}
        self.given = {role: Given(part) for role, part in named.items() if part is not None}

    def examples(self, recipe: Recipe, library: Library, network: nn.Module) -> Sources:
        self.prepare(recipe)
        return Sources(recipe.scenes, library, recipe.examples)

    def whole_loss(
        self, network: Any, batch: Batch, found: Separated, targets: Tensor, classes: Tensor, is_named: bool = True
    ) -> Tensor:
        """Of all that was found; targets [b, s, t] and classes [b, s] are in its order."""
        o, reference, waveforms = self.options, batch.mixture[:, 0], found.waveforms.float()
        stems = waveforms[:, :N_SLOTS]
        loss = stems.sum() * 0
        if o.separation:
            rest = self.rest_loss(waveforms[:, N_SLOTS:], batch.targets[:, N_SLOTS:], reference)
            of_targets = (
                sa_sdr_loss(stems, targets, reference)
                if o.extraction == "sa_sdr"
                else masked_snr_loss(stems, targets, classes >= 0)
            )
            loss = o.separation * (of_targets + o.others * rest).mean()
        if is_named and (o.classes or o.silence):
            features = self.features(network, stems, batch.mixture)
            loss = loss + self.class_loss(network, found, features, classes)
        return loss

    def rest_loss(self, waveforms: Tensor, targets: Tensor, reference: Tensor) -> Tensor:
        """Of interference in its best order and of noise: [b, 3, t] each, by clip."""
        order = best_order(errors(waveforms[:, :-1], targets[:, :-1]))
        of_interference = sa_sdr_loss(waveforms[:, :-1], ordered(targets[:, :-1], order), reference)
        return of_interference + si_snr_loss(waveforms[:, -1], targets[:, -1])

    def class_loss(self, network: Any, found: Separated, features: Tensor | None, classes: Tensor) -> Tensor:
        """Of what the network's own classifier says of its slots."""
        said, flat = network.said(found, features), classes.flatten()
        logits, active = said.logits.float(), said.active.float()
        told = self.options.silence * silence_loss(active, flat)
        if features is not None:
            return told + self.options.classes * arcface_loss(logits, flat)
        has = flat >= 0
        plain = F.cross_entropy(logits[has], flat[has]) if has.any() else logits.sum() * 0
        return told + self.options.classes * (plain + uniform_loss(logits[~has], self.options.uniform))

    def features(self, network: Any, stems: Tensor, mixture: Tensor) -> Tensor | None:
        if "semantic" not in self.given or not hasattr(network, "dpc"):
            return None
        return listened(self.given["semantic"], stems, mixture)


def matched(estimates: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The foreground's targets [b, s, t] and classes [b, s] in the order that is nearest to estimates [b, s, t]."""
    targets = batch.targets[:, :N_SLOTS]
    order = best_order(errors(estimates, targets))
    return ordered(targets, order), ordered(batch.classes, order)


class Universal(SelfGuided):
    """Every source of a mixture, in any order; and, where the network has a classifier, what they are."""

    def loss(self, recipe: Recipe, network: Any, batch: Batch) -> Tensor:
        found = Separated(*network(batch.mixture))
        targets, classes = matched(found.waveforms[:, :N_SLOTS].float().detach(), batch)
        return self.whole_loss(network, batch, found, targets, classes)

    def validate(self, network: Any, scenes: Sequence[Batch]) -> Validation:
        seen = Seen()
        for batch in scenes:
            found = network(batch.mixture)
            stems = found.waveforms[:, :N_SLOTS].float()
            targets, classes = matched(stems, batch)
            seen.separated(stems, targets, batch.mixture[:, :1])
            if self.options.classes or self.options.silence:
                seen.named(network.said(found, self.features(network, stems, batch.mixture)), classes)
        return seen.scores()


class Extraction(SelfGuided):
    """The sources that enrolments and classes mean, slot by slot."""

    needs = ("separator",)
    kept: Enrolments | None = None

    def examples(self, recipe: Recipe, library: Library, network: nn.Module) -> Sources:
        """What the separator makes of them is kept in the run's folder, if they come round again."""
        found = super().examples(recipe, library, network)
        if recipe.examples.scenes:
            self.kept = Enrolments(self.folder / "enrolments", self.given["separator"].path, self.enrolments)
        return found

    def enrolments(self, mixture: Tensor) -> Tensor:
        found: Tensor = self.given["separator"](mixture).waveforms[:, :N_SLOTS].float()
        return found

    def clues(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Enrolments [b, s, t], and targets and classes in their order."""
        enrolments = (self.kept or self.enrolments)(batch.mixture)
        return enrolments, *matched(enrolments, batch)

    def frames(self, enrolments: Tensor, mixture: Tensor, classes: Tensor) -> Tensor | None:
        """The frame clue [b, s, m, e], zeros where a slot is silent."""
        if "frames" not in self.given:
            return None
        features: Tensor = listened(self.given["frames"], enrolments, mixture).unflatten(0, enrolments.shape[:2])
        return features * (classes >= 0)[..., None, None]

    def extracted(self, network: Any, batch: Batch, clue: Tensor, enrolments: Tensor, with_frames: bool) -> Separated:
        features = self.frames(enrolments, batch.mixture, clue) if with_frames else None
        return Separated(*network(batch.mixture, enrolments, label_vectors(clue), features))

    def loss(self, recipe: Recipe, network: Any, batch: Batch) -> Tensor:
        enrolments, targets, classes = self.clues(batch)
        with_frames = bool(torch.rand(()) >= self.options.frames_off)
        found = self.extracted(network, batch, self.mistaken(classes), enrolments, with_frames)
        return self.whole_loss(network, batch, found, targets, classes, is_named=hasattr(network, "dpc"))

    def mistaken(self, classes: Tensor) -> Tensor:
        """Classes [b, s] as an earlier stage might say them: some replaced by none or by any."""
        if not self.options.wrong_clue:
            return classes
        any_class = torch.randint(-1, N_CLASSES, classes.shape, device=classes.device)
        wrong = torch.rand(classes.shape, device=classes.device) < self.options.wrong_clue
        return torch.where(wrong, any_class, classes)

    def validate(self, network: Any, scenes: Sequence[Batch]) -> Validation:
        """Scores under true classes, beside those of the enrolments."""
        seen = Seen()
        for batch in scenes:
            enrolments, targets, classes = self.clues(batch)
            found = self.extracted(network, batch, classes, enrolments, True)
            stems = found.waveforms[:, :N_SLOTS].float()
            seen.separated(stems, targets, batch.mixture[:, :1], {"enrolment": enrolments})
            if hasattr(network, "dpc"):
                seen.named(network.said(found, self.features(network, stems, batch.mixture)), classes)
        return seen.scores()


class StemClassifier(Extraction):
    """Classes of stems that a universal separator made, and an energy for those of none."""

    calls: Sequence[str] = ()

    def answers(self, network: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits [b s, k] and classes [b s]."""
        stems, _, classes = self.clues(batch)
        listener = self.given.get("semantic")
        heard = listened(listener, stems, batch.mixture) if listener else stems.flatten(0, 1)
        return network(heard).float(), classes.flatten()

    def loss(self, recipe: Recipe, network: Any, batch: Batch) -> Tensor:
        o = self.options
        logits, classes = self.answers(network, batch)
        loss = o.classes * arcface_loss(logits, classes) + o.silence * uniform_loss(logits[classes < 0], o.uniform)
        return loss + o.energy * energy_loss(logits, classes) if o.energy else loss

    def validate(self, network: Any, scenes: Sequence[Batch]) -> Validation:
        seen = Seen()
        for batch in scenes:
            logits, classes = self.answers(network, batch)
            seen.named(Said(logits, -3.5 - energy(logits)), classes)
        return seen.scores()


# --- scores -----------------------------------------------------------------------------------------------------------


class Seen:
    """What a validation has seen: SNR improvements of active slots in dB, and whether names and silence were right."""

    def __init__(self) -> None:
        self.improvements: dict[str, list[float]] = {}
        self.right: dict[str, list[bool]] = {}

    def separated(
        self, stems: Tensor, targets: Tensor, mixture: Tensor, beside: dict[str, Tensor] | None = None
    ) -> None:
        """Stems and targets [b, s, t], mixture [b, 1, t]; silence and the mixture at a fifth stand beside them."""
        answers = {"stem": stems, **(beside or {}), "silent": torch.zeros_like(stems), "quieter": 0.2 * mixture}
        active = targets.square().sum(dim=-1) > 0
        before = (mixture - targets).square().sum(dim=-1)
        for name, answer in answers.items():
            after = (answer - targets).square().sum(dim=-1)
            gained = 10 * torch.log10(before.clamp_min(1e-12) / after.clamp_min(1e-12))
            self.improvements.setdefault(name, []).extend(gained[active].tolist())

    def named(self, said: Said, classes: Tensor) -> None:
        """Classes of all slots, −1 for none."""
        flat = classes.flatten()
        has = flat >= 0
        named = said.logits.argmax(dim=-1) == flat
        self.right.setdefault("class", []).extend(named[has].tolist())
        self.right.setdefault("silence", []).extend(((said.active >= 0) == has).tolist())

    def scores(self) -> Validation:
        gained = {f"{name}_snri_db": mean(values) for name, values in self.improvements.items()}
        return Validation(gained | {f"{name}_right_percent": 100 * mean(values) for name, values in self.right.items()})


def mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))
