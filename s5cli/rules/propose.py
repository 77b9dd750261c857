"""Step 1 of the tagging-driven system: what each tagger's tracks propose (Jeong & Kim 2026, "Propose")."""

from dataclasses import dataclass

import numpy as np

from s5cli.labels import N_CLASSES
from s5cli.scene import Floats, Ints, Tags


@dataclass(frozen=True)
class Proposals:
    """One class per track of one tagger, however improbable."""

    classes: Ints  # [b, s], 0…17
    probability: Floats  # [b, s]


def propose(tags: Tags) -> Proposals:
    """The most probable class of every track, silence left out: argmax over p[:, :, :18], lowest class on ties.

    Shapes: probabilities [b, s, 19] to [b, s].

    Raises:
        ValueError: the last axis does not hold 18 classes and silence.

    >>> tags = Tags(np.zeros((1, 1, 19)))
    >>> tags.probabilities[0, 0, [15, 18]] = 0.2, 0.8
    >>> propose(tags)
    Proposals(classes=array([[15]]), probability=array([[0.2]]))
    """
    if tags.probabilities.shape[-1] != N_CLASSES + 1:
        raise ValueError(f"tags must end in {N_CLASSES + 1} probabilities, not {tags.probabilities.shape[-1]}")
    targets = tags.probabilities[..., :N_CLASSES]
    classes = targets.argmax(axis=-1)
    return Proposals(classes, np.take_along_axis(targets, classes[..., None], axis=-1)[..., 0])
