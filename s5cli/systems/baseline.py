"""The official baseline of DCASE 2026 Task 4 (arXiv:2604.00776): one tagger, one separator, no rules."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from s5cli.knobs import AblationRow, Knob, Option, Setting
from s5cli.labels import CLASSES, N_CLASSES, SILENCE_INDEX
from s5cli.rules.slots import Slots, official_slots
from s5cli.scene import EMPTY, Queries, Scene, Separator, Stems, Tagger, Tags, places
from s5cli.steps.separate import Separate
from s5cli.steps.tag import Tag
from s5cli.trace import ClipTrace, Drop, QueryTrace, Stage


@dataclass(frozen=True)
class Decision:
    """What was found of a batch. With classes that a user named the tags are theirs."""

    tags: Tags
    slots: Slots  # [b, s]
    separated: Stems  # [b, s]
    given: bool

    def stems(self) -> Stems:
        """All of them."""
        return self.separated

    def trace(self) -> list[ClipTrace]:
        """Every query is reported; of the other slots the tagger says how sure it is of silence."""
        return [self._clip(row) for row in range(len(self.slots.classes))]

    def _clip(self, row: int) -> ClipTrace:
        active = self.separated.active[row]
        asked = np.flatnonzero(active).tolist()
        queries = tuple(self._query(row, slot, number) for number, slot in enumerate(asked))
        return ClipTrace(queries, silence=tuple(self.slots.probability[row, ~active].tolist()))

    def _query(self, row: int, slot: int, number: int) -> QueryTrace:
        confidence = float(self.slots.probability[row, slot])
        stage = Stage("named") if self.given else Stage("proposed", {"p": confidence})
        label = CLASSES[self.slots.classes[row, slot]]
        return QueryTrace(label, confidence, slot, (stage,), reported=number)


class Baseline:
    """Argmax per track, silent tracks last, one separator pass; every stem is reported with its softmax probability."""

    knobs: ClassVar[Mapping[str, Knob]] = {}
    options: ClassVar[Mapping[str, Option]] = {}
    drops: ClassVar[Mapping[str, Drop]] = {}
    ablation: ClassVar[Sequence[AblationRow]] = (AblationRow("{name}"), AblationRow("true labels", true_labels=True))
    window_s: ClassVar[float | None] = 10.0  # of its training; the official program takes any recording whole

    def __init__(self, *, tagger: Tagger, separator: Separator, setting: Setting) -> None:
        self.tagger, self.separator, self.setting = tagger, separator, setting
        self.nparams = tagger.nparams + separator.nparams
        self.tag: Tag | GivenQueries = Tag(tagger)
        self.separate = Separate(separator)

    def __call__(self, scenes: Sequence[Scene]) -> Decision:
        tags = self.tag(scenes)
        slots = official_slots(tags)
        found = self.separate(scenes, slots.classes)
        stems = Stems(slots.classes, slots.probability, places(slots.classes), found.waveforms)
        return Decision(tags, slots, stems, given=isinstance(self.tag, GivenQueries))

    def with_queries(self, queries: Queries) -> Self:
        """The same for classes that a user named, in place of what the tagger says."""
        twin = copy.copy(self)
        twin.tag = GivenQueries(queries)
        return twin


@dataclass(frozen=True)
class GivenQueries:
    """In the place of a tagger: as sure as can be of what a user named."""

    queries: Queries

    def __call__(self, scenes: Sequence[Scene]) -> Tags:
        classes = self.queries.classes
        return Tags(np.eye(N_CLASSES + 1)[np.where(classes == EMPTY, SILENCE_INDEX, classes)])
