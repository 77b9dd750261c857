"""What becomes of queries under a setting: which rule removed how many that were right, and how many that were not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from s5cli.explain import ClipTrail, DroppedBy, Trail
from s5cli.knobs import Setting
from s5cli.labels import CLASSES
from s5cli.scene import N_CHANNELS
from s5cli.tune.clips import HeldClip
from s5cli.tune.record import recording, with_setting
from s5cli.tune.trials import Trials

RULES: tuple[str, ...] = get_args(DroppedBy)  # in the order of the flow


@dataclass(frozen=True)
class Queries:
    """A number of queries: those that can be matched by label with references, and the others."""

    n_true: int
    n_false: int

    def __sub__(self, rest: Queries) -> Queries:
        return Queries(self.n_true - rest.n_true, self.n_false - rest.n_false)


@dataclass(frozen=True)
class Fate:
    """What became of all proposals under one setting."""

    proposed: Queries
    removed: Mapping[str, Queries]  # by rule, in the order of the flow
    reported: Queries


def fate_under(trials: Trials, setting: Setting) -> Fate:
    """What each rule removes on a development set, under a setting whose query lists are all known."""
    truth = [[CLASSES[index] for index in clip.classes] for clip in trials.data.clips]
    return fate(trails(trials, setting), truth)


def trails(trials: Trials, setting: Setting) -> list[ClipTrail]:
    """The way of every query of every clip, from evidence alone: the clips are given without sound."""
    from torch import zeros

    silence, none = zeros(N_CHANNELS, 0), np.zeros((0, 0), np.float32)
    trail = Trail(setting)
    system = recording(with_setting(trials.system, setting), trials.memory)
    system.decide([HeldClip(clip.name, silence, clip.key, none) for clip in trials.data.clips], trail)
    return trail.clips


def reported(trials: Trials, setting: Setting) -> list[tuple[str, ...]]:
    """The labels that every clip is given, under a setting whose query lists are all known."""
    return [tuple(query.label for query in clip.reported) for clip in trails(trials, setting)]


def fate(clips: Sequence[ClipTrail], truth: Sequence[Sequence[str]]) -> Fate:
    """Counts of true and false queries before, between and after the rules.

    A list of labels holds as many true ones as can be matched by label with references. What a rule removes is the
    difference between the list before it and the one after it, so that all counts add up.
    """
    left = [_left(clips, truth, RULES[:done]) for done in range(len(RULES) + 1)]
    removed = {rule: left[place] - left[place + 1] for place, rule in enumerate(RULES)}
    return Fate(left[0], removed, left[-1])


def _left(clips: Sequence[ClipTrail], truth: Sequence[Sequence[str]], rules: Sequence[str]) -> Queries:
    """What these rules have left of the proposals of all clips."""
    n_true = n_all = 0
    for clip, references in zip(clips, truth, strict=True):
        labels = [query.label for query in clip.queries if query.dropped_by not in rules]
        n_all += len(labels)
        n_true += sum(min(labels.count(label), references.count(label)) for label in set(labels))
    return Queries(n_true, n_all - n_true)
