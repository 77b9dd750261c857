"""How a tagger learns from stems that separators made: what was asked for, or nothing where it is not there.

Source: the re-tagging step of "Tagging-driven" S5 (Jeong & Kim, DCASE 2026), whose tagger judges the separators' own
stems; asking for what is not there is ours, as a query that should be dropped is what the step is for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from s5cli.labels import N_CLASSES, N_SLOTS
from s5cli.nn.ears import full_precision
from s5cli.scene import EMPTY, N_CHANNELS
from s5cli.synth.library import Library
from s5cli.train.data import Batch, Scenes
from s5cli.train.given import Given
from s5cli.train.recipe import Recipe, from_table
from s5cli.train.tasks import Tagger


@dataclass(frozen=True)
class StemSettings:
    """The recipe's `[options]`."""

    separators: tuple[str, ...] = ()  # parts of the registry, which take turns at random
    stems: int = 3  # clips of a batch that are replaced by one of their stems
    absent: float = 0.3  # probability that a stem is asked for that is not there


class StemTagger(Tagger):
    """Mixtures, and stems that the compact separators make of them, to the classes in them; channel 0 only."""

    def problems(self, recipe: Recipe, network: nn.Module) -> Iterator[str]:
        yield from super().problems(recipe, network)
        settings = self.prepared(recipe)
        if getattr(network, "channels", None) != 1:
            yield "[config] channels must be 1, as stems have one"
        if not settings.separators:
            yield "[options] must name the separators whose stems are to be learned"
        if not 1 <= settings.stems <= recipe.schedule.batch_size:
            yield "[options] stems must be at least 1 and at most the batch_size"
        if not 0 <= settings.absent <= 1:
            yield "[options] absent must be between 0 and 1"
        for given in self.given:
            given.path  # noqa: B018  # before anything is rendered

    def prepared(self, recipe: Recipe) -> StemSettings:
        settings: StemSettings = from_table(StemSettings, recipe.options, f"recipe {recipe.name}: [options]")
        self.settings, self.given = settings, [Given(part) for part in settings.separators]
        return settings

    def examples(self, recipe: Recipe, library: Library, network: nn.Module) -> Scenes:
        self.prepared(recipe)
        return Scenes(recipe.scenes, library, recipe.examples, N_CHANNELS)

    def loss(self, recipe: Recipe, network: Any, batch: Batch) -> Tensor:
        return super().loss(recipe, network, self.with_stems(batch))

    def with_stems(self, batch: Batch) -> Batch:
        """Channel 0 of a batch, its first clips replaced by stems of theirs, at the level that they come in."""
        n = self.settings.stems
        asked, slots = self.asked(batch.classes[:n])
        separate = self.given[int(torch.randint(len(self.given), ()))]
        rows = torch.arange(n, device=slots.device)
        part = Batch(batch.mixture[:n], batch.targets[:n], asked)
        with full_precision(batch.mixture.device.type):
            stems = separate(part.mixture, part.query)[rows, slots][:, None]
        is_there = asked[rows, slots] == batch.classes[rows, slots]
        here = (torch.arange(N_SLOTS, device=slots.device) == slots[:, None]) & is_there[:, None]
        return Batch(
            torch.cat([stems, batch.mixture[n:, :1]]),
            torch.cat([batch.targets[:n] * here[..., None], batch.targets[n:]]),
            torch.cat([batch.classes[:n].where(here, EMPTY), batch.classes[n:]]),
        )

    def asked(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """What is asked for [b, s], where classes [b, s] are there, and which slot's stem is heard [b].

        The slot is one that holds a target, and now and then one that asks for a class that the clip lacks; in a clip
        without targets always.
        """
        asked, slots = classes.clone(), []
        for row in asked:
            held, free = (row >= 0).nonzero()[:, 0], (row < 0).nonzero()[:, 0]
            if len(free) and (not len(held) or torch.rand(()) < self.settings.absent):
                slot = int(free[int(torch.randint(len(free), ()))])
                others = [k for k in range(N_CLASSES) if k not in row.tolist()]
                row[slot] = others[int(torch.randint(len(others), ()))]
            else:
                slot = int(held[int(torch.randint(len(held), ()))])
            slots.append(slot)
        return asked, torch.tensor(slots, device=classes.device)
