"""The official baseline of DCASE 2026 Task 4 (arXiv:2604.00776): one tagger, one separator, no rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from s5cli.knobs import Knob, Setting
from s5cli.labels import CLASSES
from s5cli.rules.slots import Slots, official_slots
from s5cli.scene import EMPTY, Queries, Scene, Separator, Stem, Tagger, Tap, quiet


class Baseline:
    """Argmax per track, silent tracks last, one separator pass; every stem is reported with its softmax probability.

    Taps: "tags" (Tags), "queries" (Slots), "separated" (list of waveforms [s, t]). With queries that a user named
    there are no tags.
    """

    knobs: Mapping[str, Knob] = {}

    def __init__(self, *, tagger: Tagger, separator: Separator, setting: Setting) -> None:
        self.tagger = tagger
        self.separator = separator
        self.setting = setting
        self.nparams = tagger.nparams + separator.nparams

    def __call__(self, scenes: Sequence[Scene], tap: Tap = quiet, queries: Queries | None = None) -> list[list[Stem]]:
        slots = self._slots(scenes, tap) if queries is None else Slots(queries.classes, queries.confidence)
        tap("queries", slots)
        waveforms = self.separator(scenes, slots.queries)
        tap("separated", waveforms)
        return [_stems(slots, row, audio) for row, audio in enumerate(waveforms)]

    def _slots(self, scenes: Sequence[Scene], tap: Tap) -> Slots:
        tags = self.tagger(scenes)
        tap("tags", tags)
        return official_slots(tags)


def _stems(slots: Slots, row: int, audio: Tensor) -> list[Stem]:
    """The active slots of one clip; audio [s, t]."""
    asked = zip(slots.classes[row].tolist(), slots.probability[row].tolist(), strict=True)
    return [
        Stem(CLASSES[index], slot, confidence, audio[slot].cpu().clone())
        for slot, (index, confidence) in enumerate(asked)
        if index != EMPTY
    ]
