"""Steps 1 and 2 of the tagging-driven system (Jeong & Kim 2026, "Propose" and "Fuse").

What each tagger's tracks propose, and how two taggers' proposals become at most three queries.

What does not depend on any knob (`propose`, `pair`) is separate from what does (`rank`).
"""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from s5cli.knobs import Setting
from s5cli.labels import N_CLASSES, N_SLOTS
from s5cli.rules.pick import pick
from s5cli.scene import EMPTY, Bools, Floats, Ints, Queries, Tags

T = TypeVar("T", bound=np.generic)


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


@dataclass(frozen=True)
class Candidates:
    """Pairs and solos of every clip, in the order that breaks ties: higher 4-channel probability, class, track.

    A candidate that neither tagger made (its proposal went into a pair) is a place left over: class EMPTY.
    """

    classes: Ints  # [b, c]
    p_4ch: Floats  # [b, c], 0 where that tagger did not propose it
    p_1ch: Floats  # [b, c]
    by_4ch: Bools  # [b, c]
    by_1ch: Bools  # [b, c]

    @cached_property
    def paired(self) -> Bools:
        return self.by_4ch & self.by_1ch

    @cached_property
    def own(self) -> Floats:
        """[b, c], a solo's probability: it has one of the two."""
        return self.p_4ch + self.p_1ch


@dataclass(frozen=True)
class Fused:
    """The queries of every clip, and all candidates that they were chosen from."""

    queries: Queries  # [b, s]
    candidates: Candidates  # [b, c]
    confidence: Floats  # [b, c], fused
    passed: Bools  # [b, c], pairs, and solos that reach their threshold
    order: Ints  # [b, c], candidate indices from the most confident passed one down

    @property
    def slot(self) -> Ints:
        """[b, c], the slot that each candidate got, EMPTY where it got none."""
        place = np.argsort(self.order, axis=1, kind="stable")
        return np.where(self.passed & (place < N_SLOTS), place, EMPTY)


@dataclass(frozen=True)
class BothTags:
    """What two taggers say of a batch."""

    tags_4ch: Tags
    tags_1ch: Tags
    silent: Bools  # [b], every sample of every channel of the mixture is zero

    @cached_property
    def candidates(self) -> Candidates:
        """Both taggers' proposals paired. No knob has a say in it, so a tuner pairs once and fuses many times."""
        return pair(propose(self.tags_4ch), propose(self.tags_1ch))


@dataclass(frozen=True)
class GivenTags:
    """In the place of tags: classes that a user named, as sure of each as can be, in mixtures that are never silent."""

    queries: Queries

    @property
    def silent(self) -> Bools:
        return np.zeros(len(self.queries.classes), dtype=np.bool_)

    @property
    def candidates(self) -> Candidates:
        active, sure = self.queries.active, self.queries.active.astype(np.float64)
        return Candidates(self.queries.classes, sure, sure, active, active)


def fuse(tags: BothTags | GivenTags, setting: Setting) -> Fused:
    """Propose, pair and rank.

    Shapes: probabilities [b, s, 19] of each tagger to queries [b, 3]. Raises as `propose` and `pair` do.

    >>> from s5cli.knobs import Setting
    >>> tags_4ch, tags_1ch = Tags(np.zeros((1, 1, 19))), Tags(np.zeros((1, 1, 19)))
    >>> tags_4ch.probabilities[0, 0, 15], tags_1ch.probabilities[0, 0, 15] = 0.9, 0.4
    >>> tags, setting = BothTags(tags_4ch, tags_1ch, np.array([False])), {"w4": 0.6, "solo_4ch": 0.5, "solo_1ch": 0.7}
    >>> fuse(tags, Setting(setting)).queries
    Queries(classes=array([[15, -1, -1]]), confidence=array([[0.7, 0. , 0. ]]))
    """
    return rank(tags.candidates, setting)


def pair(of_4ch: Proposals, of_1ch: Proposals) -> Candidates:
    """Proposals of one class are paired best with best: those of equal rank within their class and tagger.

    A class that one tagger proposes twice and the other once gives one pair and one solo.
    Shapes: [b, s] of each tagger to [b, 2 s].

    Raises:
        ValueError: the taggers speak of different batches.

    >>> two = Proposals(np.array([[15, 15]]), np.array([[0.3, 0.8]]))
    >>> one = Proposals(np.array([[15, 7]]), np.array([[0.6, 0.1]]))
    >>> found = pair(two, one)
    >>> found.classes, found.p_4ch, found.p_1ch
    (array([[15, 15,  7, -1]]), array([[0.8, 0.3, 0. , 0. ]]), array([[0.6, 0. , 0.1, 0. ]]))
    """
    if of_4ch.classes.shape != of_1ch.classes.shape:
        raise ValueError(f"taggers of different batches: {of_4ch.classes.shape} and {of_1ch.classes.shape}")
    same = of_4ch.classes[:, :, None] == of_1ch.classes[:, None, :]
    partners = same & (_rank_in_class(of_4ch)[:, :, None] == _rank_in_class(of_1ch)[:, None, :])  # [b, s, s]
    lonely = ~partners.any(axis=1)  # of the 1-channel tagger
    partner_p = np.where(partners, of_1ch.probability[:, None, :], 0).sum(axis=2)
    none, zero = np.zeros_like(lonely), np.zeros_like(of_4ch.probability)
    return _in_tie_order(
        Candidates(
            classes=np.hstack([of_4ch.classes, np.where(lonely, of_1ch.classes, EMPTY)]),
            p_4ch=np.hstack([of_4ch.probability, zero]),
            p_1ch=np.hstack([partner_p, lonely * of_1ch.probability]),
            by_4ch=np.hstack([~none, none]),
            by_1ch=np.hstack([partners.any(axis=2), lonely]),
        )
    )


def _rank_in_class(proposals: Proposals) -> Ints:
    """How many proposals of the same tagger and class come before each: more probable, or as probable and earlier."""
    p, track = proposals.probability, np.arange(proposals.classes.shape[1])
    same = proposals.classes[:, :, None] == proposals.classes[:, None, :]
    level = p[:, None, :] == p[:, :, None]
    before = (p[:, None, :] > p[:, :, None]) | (level & (track[None, None, :] < track[None, :, None]))
    return np.asarray((same & before).sum(axis=2))


def _in_tie_order(found: Candidates) -> Candidates:
    b, c = found.classes.shape
    track = np.tile(np.arange(c // 2), (b, 2))
    unused = ~(found.by_4ch | found.by_1ch)
    order = np.lexsort((track, found.classes, -found.p_4ch, unused), axis=1)
    columns = (getattr(found, one.name) for one in fields(found))
    return Candidates(*(np.take_along_axis(column, order, axis=1) for column in columns))


def rank(candidates: Candidates, setting: Setting) -> Fused:
    """The three most confident candidates, in that order.

    A pair's confidence is w4·p4 + (1 − w4)·p1 and always passes; a solo's is its own probability p, and it passes if
    p ≥ solo_4ch (or solo_1ch). Ties: higher 4-channel probability, then class index, then track.
    Shapes: [b, c] to queries [b, 3].

    >>> solos = Candidates(np.array([[3, 15]]), np.array([[0.6, 0]]), np.array([[0, 0.6]]),
    ...                    np.array([[True, False]]), np.array([[False, True]]))
    >>> rank(solos, Setting({"w4": 0.6, "solo_4ch": 0.5, "solo_1ch": 0.7})).queries.classes
    array([[ 3, -1, -1]])
    """
    w4, paired = setting.scalar("w4"), candidates.paired
    confidence = np.where(paired, w4 * candidates.p_4ch + (1 - w4) * candidates.p_1ch, candidates.own)
    solo_4ch = candidates.by_4ch & (candidates.p_4ch >= setting.scalar("solo_4ch"))
    solo_1ch = candidates.by_1ch & (candidates.p_1ch >= setting.scalar("solo_1ch"))
    passed = paired | solo_4ch | solo_1ch
    rank_by = np.where(passed, -confidence, np.inf)
    order = np.argsort(rank_by, axis=1, kind="stable")
    return Fused(_queries(candidates.classes, rank_by, order), candidates, confidence, passed, order)


def _queries(classes: Ints, rank_by: Floats, order: Ints) -> Queries:
    best, first = pick(order[:, :N_SLOTS], rank_by, classes)
    passed = best < np.inf
    return Queries(_padded(np.where(passed, first, EMPTY), EMPTY), _padded(np.where(passed, -best, 0.0), 0.0))


def _padded(values: npt.NDArray[T], fill: float) -> npt.NDArray[T]:
    """[b, c] to [b, 3], if c is less."""
    spare = N_SLOTS - values.shape[1]
    return np.pad(values, ((0, 0), (0, spare)), constant_values=fill) if spare > 0 else values
