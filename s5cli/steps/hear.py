"""Separators, and what a tagger and a level meter say of their stems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor
from torch.nn.functional import normalize

from s5cli.rules.gate import energy_db
from s5cli.rules.select import match
from s5cli.rules.verify import support
from s5cli.scene import EMPTY, Floats, Ints, Scene, Separator, Tagger
from s5cli.steps.step import Waveforms, asked, stacked, waveforms


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
class Heard:
    """Stems of a batch and what is known of them; unused slots are zero and without support."""

    waveforms: Waveforms  # [b, s]
    support: Floats  # [b, s], the largest probability that re-tagging gives the query class
    energy_db: Floats  # [b, s], relative to mixture channel 0


@dataclass(frozen=True)
class Hear:
    """One separator pass, and the stems of the whole batch tagged in one call."""

    gives: ClassVar[type] = Heard
    separator: Separator
    tagger: Tagger  # hears single-channel stems

    def __call__(self, scenes: Sequence[Scene], classes: Ints) -> Heard:
        audio = self.separator(scenes, asked(classes))
        found, level = supports(self.tagger, scenes, classes, audio), energies(scenes, classes, audio)
        return Heard(waveforms(audio, classes.shape[1]), found, level)


@dataclass(frozen=True)
class Rivals:
    """Another separator's stems, each in the slot of the stem that it stands against."""

    heard: Heard
    match: Ints  # [b, s], its own slot of the stem


@dataclass(frozen=True)
class HearRivals:
    """As `Hear`, and then slots of one class are matched to the stems that there are already (see `rules.select`)."""

    gives: ClassVar[type] = Rivals
    separator: Separator
    tagger: Tagger

    def __call__(self, scenes: Sequence[Scene], classes: Ints, ours: Waveforms) -> Rivals:
        heard = Hear(self.separator, self.tagger)(scenes, classes)
        order = match(classes, correlations(ours, heard.waveforms))
        matched = Heard(
            *(np.take_along_axis(a, order, axis=1) for a in (heard.waveforms, heard.support, heard.energy_db))
        )
        return Rivals(matched, order)


def supports(tagger: Tagger, scenes: Sequence[Scene], classes: Ints, audio: Sequence[Tensor]) -> Floats:
    """What the tagger hears of its query's class in every stem [s, t] of the batch: [b, s], 0 where unused."""
    rows, slots = np.nonzero(classes != EMPTY)
    places = zip(rows.tolist(), slots.tolist(), strict=True)
    tags = tagger([Scene(f"{scenes[row].name}:{slot}", audio[row][slot, None]) for row, slot in places])
    found = np.zeros(classes.shape)
    found[rows, slots] = support(tags, classes[rows, slots])
    return found


def energies(scenes: Sequence[Scene], classes: Ints, audio: Sequence[Tensor]) -> Floats:
    """Power (mean square, in float64) of every stem relative to mixture channel 0, [b, s] in dB."""
    stems = [stem.double().square().mean(dim=-1).tolist() for stem in audio]
    mixtures = [scene.audio[0].double().square().mean().item() for scene in scenes]
    return energy_db(np.reshape(stems, classes.shape), np.array(mixtures))


def correlations(ours: Waveforms, theirs: Waveforms) -> Floats:
    """Normalised correlation of every stem of one separator with every stem of the other, [b, s, s]."""
    found = np.zeros((*ours.shape, ours.shape[1]))
    for row, stems in enumerate(zip(ours, theirs, strict=True)):
        one, other = (normalize(stacked(audio).double(), dim=-1) for audio in stems)
        found[row] = (one @ other.to(one.device).T).cpu().numpy()
    return found
