"""Separators, and what a tagger and a level meter measure of their stems."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor
from torch.nn.functional import normalize

from s5cli.labels import N_SLOTS
from s5cli.rules.gate import energy_db
from s5cli.scene import EMPTY, Floats, Ints, Scene, Separator, Tagger, Waveforms
from s5cli.steps.step import asked, stacked, waveforms, wide


@dataclass(frozen=True)
class Separated:
    """Stems of a batch; unused slots are zero."""

    waveforms: Waveforms  # [b, s]


@dataclass(frozen=True)
class Separate:
    """One separator pass."""

    gives: ClassVar[type] = Separated
    separator: Separator

    def __call__(self, scenes: Sequence[Scene], classes: Ints) -> Separated:
        return Separated(waveforms(self.separator(scenes, asked(classes)), classes.shape[1]))


@dataclass(frozen=True)
class Retagged:
    """Stems of a batch, heard again; unused slots are zero and improbable."""

    waveforms: Waveforms  # [b, s]
    probability: Floats  # [b, s, tracks], of the query's class in each track of the tagger that hears the stem
    energy_db: Floats  # [b, s], relative to mixture channel 0


@dataclass(frozen=True)
class SeparateAndTag:
    """One separator pass, and the stems of the whole batch tagged in one call."""

    gives: ClassVar[type] = Retagged
    separator: Separator
    tagger: Tagger  # hears single-channel stems

    def __call__(self, scenes: Sequence[Scene], classes: Ints) -> Retagged:
        audio = self.separator(scenes, asked(classes))
        probability = retagged(self.tagger, scenes, classes, audio)
        return Retagged(waveforms(audio, classes.shape[1]), probability, energies_db(scenes, classes, audio))


@dataclass(frozen=True)
class Compared:
    """Another separator's stems, and how they compare with the stems that there are already."""

    stems: Retagged
    correlation: Floats  # [b, s of those that there are, s of these]


@dataclass(frozen=True)
class SeparateAndCompare:
    """As `SeparateAndTag`, with the correlation of each stem with those of another separator."""

    gives: ClassVar[type] = Compared
    separator: Separator
    tagger: Tagger

    def __call__(self, scenes: Sequence[Scene], classes: Ints, ours: Waveforms) -> Compared:
        stems = SeparateAndTag(self.separator, self.tagger)(scenes, classes)
        return Compared(stems, correlations(ours, stems.waveforms))


def retagged(tagger: Tagger, scenes: Sequence[Scene], classes: Ints, audio: Sequence[Tensor]) -> Floats:
    """The probability of its query's class in every track of every stem [s, t] of the batch: [b, s, tracks]."""
    rows, slots = np.nonzero(classes != EMPTY)
    places = zip(rows.tolist(), slots.tolist(), strict=True)
    tags = tagger([Scene(f"{scenes[row].name}:{slot}", audio[row][slot, None]) for row, slot in places])
    n_stems, n_tracks, _ = tags.probabilities.shape
    found = np.zeros((*classes.shape, n_tracks if n_stems else N_SLOTS))
    found[rows, slots] = tags.probabilities[np.arange(n_stems), :, classes[rows, slots]]
    return found


def energies_db(scenes: Sequence[Scene], classes: Ints, audio: Sequence[Tensor]) -> Floats:
    """Power (mean square, in float64) of every stem relative to mixture channel 0, [b, s] in dB."""
    stems = [wide(stem).square().mean(dim=-1).tolist() for stem in audio]
    mixtures = [wide(scene.audio[0]).square().mean().item() for scene in scenes]
    return energy_db(np.reshape(stems, classes.shape), np.array(mixtures))


def correlations(ours: Waveforms, theirs: Waveforms) -> Floats:
    """Normalised correlation of every stem of one separator with every stem of the other, [b, s, s]."""
    found = np.zeros((*ours.shape, ours.shape[1]))
    for row, stems in enumerate(zip(ours, theirs, strict=True)):
        one, other = (normalize(wide(stacked(audio)), dim=-1) for audio in stems)
        found[row] = (one @ other.to(one.device).T).cpu().numpy()
    return found
