"""From tagger output to slots as the official baseline does it (DCASE 2026 Task 4 baseline, revision 20e6992)."""

from dataclasses import dataclass

import numpy as np

from s5cli.labels import SILENCE_INDEX
from s5cli.scene import EMPTY, Floats, Ints, Queries, Tags


@dataclass(frozen=True)
class Slots:
    """What the tagger says of each slot; unlike a query, a silent slot keeps its probability (that of silence)."""

    classes: Ints  # [b, s], EMPTY where silent, silent slots last
    probability: Floats  # [b, s]

    @property
    def queries(self) -> Queries:
        return Queries(self.classes, np.where(self.classes == EMPTY, 0.0, self.probability))


def official_slots(tags: Tags) -> Slots:
    """The most probable of the 19 outputs of every track, silent tracks moved to the end, order otherwise kept.

    No merging of equal labels and no threshold; first index on ties. Shapes: probabilities [b, s, 19] to [b, s].

    >>> tags = Tags(np.zeros((1, 2, 19)))
    >>> tags.probabilities[0, 0, 18] = tags.probabilities[0, 1, 15] = 0.6
    >>> official_slots(tags)
    Slots(classes=array([[15, -1]]), probability=array([[0.6, 0.6]]))
    """
    best = tags.probabilities.argmax(axis=-1)
    order = np.argsort(best == SILENCE_INDEX, axis=1, kind="stable")
    best = np.take_along_axis(best, order, axis=1)
    probability = np.take_along_axis(tags.probabilities.max(axis=-1), order, axis=1)
    return Slots(np.where(best == SILENCE_INDEX, EMPTY, best), probability)
