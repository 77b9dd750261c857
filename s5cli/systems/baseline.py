"""The official baseline of DCASE 2026 Task 4 (arXiv:2604.00776): one tagger, one separator, no rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from s5cli.knobs import Knob, Setting
from s5cli.rules.slots import Slots, official_slots
from s5cli.scene import Queries, Scene, Separator, Stem, Tagger, Tap, quiet
from s5cli.steps.answer import Answer
from s5cli.steps.hear import Separate
from s5cli.steps.listen import Listen


class Baseline:
    """Argmax per track, silent tracks last, one separator pass; every stem is reported with its softmax probability.

    Taps: "tags" (Tags), "queries" (Slots), "separated" (Separated). With queries that a user named there are no tags.
    """

    knobs: Mapping[str, Knob] = {}

    def __init__(self, *, tagger: Tagger, separator: Separator, setting: Setting) -> None:
        self.tagger = tagger
        self.separator = separator
        self.setting = setting
        self.nparams = tagger.nparams + separator.nparams
        self.listen = Listen(tagger)
        self.separate = Separate(separator)

    def __call__(self, scenes: Sequence[Scene], tap: Tap = quiet, queries: Queries | None = None) -> list[list[Stem]]:
        return self.decide(scenes, tap, queries).stems()

    def decide(self, scenes: Sequence[Scene], tap: Tap = quiet, queries: Queries | None = None) -> Answer:
        slots = self._slots(scenes, tap) if queries is None else Slots(queries.classes, queries.confidence)
        tap("queries", slots)
        stems = self.separate(scenes, slots.classes)
        tap("separated", stems)
        place = np.broadcast_to(np.arange(slots.classes.shape[1]), slots.classes.shape)
        return Answer(slots.classes, place, slots.probability, stems.waveforms)

    def _slots(self, scenes: Sequence[Scene], tap: Tap) -> Slots:
        tags = self.listen(scenes)
        tap("tags", tags)
        return official_slots(tags)
