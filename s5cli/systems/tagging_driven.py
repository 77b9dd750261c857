"""Tagging-driven inference refinement and dual-separator selection (Jeong & Kim, DCASE 2026).

Two taggers propose, one separator (or the better of two) answers, the 1-channel tagger listens to every stem again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from s5cli.knobs import Knob, Setting
from s5cli.rules.fuse import Fused, named, rank
from s5cli.rules.gate import gate
from s5cli.rules.pick import closing
from s5cli.rules.select import better
from s5cli.rules.verify import compact, verify
from s5cli.scene import EMPTY, Bools, Floats, Ints, Queries, Scene, Separator, Stem, Tagger, Tap, quiet
from s5cli.steps.answer import Answer
from s5cli.steps.hear import Hear, Heard, HearRivals
from s5cli.steps.listen import Propose
from s5cli.steps.step import Waveforms, stacked

if TYPE_CHECKING:
    from torch import Tensor

NOTHING_DROPPED = Setting({"verify": 0.0, "drop": 0.0, "energy_db": -np.inf, "confidence": 0.0})
"""What a user names is separated and judged by nobody."""


@dataclass(frozen=True)
class Stems:
    """The stems of a batch and what is known of them; unused slots are zero and without support."""

    queries: Queries  # [b, s]
    slot: Ints  # [b, s], the query's place in the fused list, EMPTY where unused
    waveforms: Waveforms  # [b, s]
    support: Floats  # [b, s]
    energy_db: Floats  # [b, s], relative to mixture channel 0
    from_b: Bools  # [b, s], made by the second separator

    @property
    def audio(self) -> list[Tensor]:
        """b × [s, t], for a tap that wants to listen."""
        return [stacked(row) for row in self.waveforms]


class TaggingDriven:
    """Two taggers' proposals, verified by re-tagging the stems.

    Taps: "tags" (BothTags), "fused" (Fused), "separated" (Stems), "verified" (which queries stay, [b, s]), "refined",
    "selected" (Stems), "gated" (Gates). With queries that a user named there are no tags and nothing is dropped.
    """

    knobs: Mapping[str, Knob] = {
        "w4": Knob(0.6, 0, 1, stage="fusion"),
        "solo_4ch": Knob(0.50, 0, 1, stage="fusion"),
        "solo_1ch": Knob(0.70, 0, 1, stage="fusion"),
        "verify": Knob(0.10, 0, 1, per_class=True, stage="verification"),
        "drop": Knob(0.50, 0, 1, per_class=True, stage="verification"),
        "energy_db": Knob(-30, -60, 0, axis="db", stage="gates"),
        "confidence": Knob(0.30, 0, 1, per_class=True, stage="gates"),
    }

    def __init__(
        self,
        *,
        tagger_1ch: Tagger,
        tagger_4ch: Tagger,
        separator_a: Separator,
        separator_b: Separator | None = None,
        setting: Setting,
    ) -> None:
        self.tagger_1ch = tagger_1ch
        self.tagger_4ch = tagger_4ch
        self.separator_a = separator_a
        self.separator_b = separator_b
        self.setting = setting
        of_b = separator_b.nparams if separator_b is not None else 0
        self.nparams = tagger_1ch.nparams + tagger_4ch.nparams + separator_a.nparams + of_b
        self.propose = Propose(tagger_4ch, tagger_1ch)
        self.hear_a = Hear(separator_a, tagger_1ch)
        self.hear_b = HearRivals(separator_b, tagger_1ch) if separator_b is not None else None

    def __call__(self, scenes: Sequence[Scene], tap: Tap = quiet, queries: Queries | None = None) -> list[list[Stem]]:
        return self.decide(scenes, tap, queries).stems()

    def decide(self, scenes: Sequence[Scene], tap: Tap = quiet, queries: Queries | None = None) -> Answer:
        judge = self.setting if queries is None else NOTHING_DROPPED
        fused, silent = self._proposed(scenes, tap) if queries is None else (named(queries), audible(queries))
        tap("fused", fused)
        stems = heard_by_a(fused.queries, self.hear_a(scenes, fused.queries.classes))
        tap("separated", stems)
        keep = verify(stems.queries, stems.support, judge)
        tap("verified", keep)
        stems = self._again(scenes, stems, keep)
        tap("refined", stems)
        stems = self._better(scenes, stems)
        tap("selected", stems)
        gates = gate(stems.queries, stems.energy_db, silent, judge)
        tap("gated", gates)
        return answered(stems, gates.keep)

    def _proposed(self, scenes: Sequence[Scene], tap: Tap) -> tuple[Fused, Bools]:
        proposed = self.propose(scenes)
        tap("tags", proposed.tags)
        return rank(proposed.candidates, self.setting), proposed.silent

    def _again(self, scenes: Sequence[Scene], stems: Stems, keep: Bools) -> Stems:
        """What is left of the clips that lost a query is separated again; the others ask for nothing and stay."""
        lost = (stems.queries.active & ~keep).any(axis=1, keepdims=True)
        rest = compact(stems.queries, keep & lost)
        again = heard_by_a(rest, self.hear_a(scenes, rest.classes))
        return merged(stems, replace(again, slot=closing(keep)), np.broadcast_to(lost, keep.shape))

    def _better(self, scenes: Sequence[Scene], stems: Stems) -> Stems:
        """With a second separator, each slot keeps the stem that its query class is better heard in."""
        if self.hear_b is None:
            return stems
        theirs = self.hear_b(scenes, stems.queries.classes, stems.waveforms).heard
        from_b = better(stems.queries, stems.support, theirs.support)
        return replace(
            stems,
            waveforms=np.where(from_b, theirs.waveforms, stems.waveforms),
            support=np.where(from_b, theirs.support, stems.support),
            energy_db=np.where(from_b, theirs.energy_db, stems.energy_db),
            from_b=from_b,
        )


def audible(queries: Queries) -> Bools:
    """No mixture is too silent for what a user names, [b]."""
    return np.zeros(len(queries.classes), dtype=np.bool_)


def heard_by_a(queries: Queries, heard: Heard) -> Stems:
    """Stems as the first separator gave them, each in its query's own place."""
    slot = np.where(queries.active, np.arange(queries.classes.shape[1]), EMPTY)
    nowhere = np.zeros(slot.shape, dtype=np.bool_)
    return Stems(queries, slot, heard.waveforms, heard.support, heard.energy_db, nowhere)


def merged(ours: Stems, theirs: Stems, take: Bools) -> Stems:
    """`ours`, with `theirs` in the slots to take, [b, s]; both of the first separator."""
    classes = np.where(take, theirs.queries.classes, ours.queries.classes)
    confidence = np.where(take, theirs.queries.confidence, ours.queries.confidence)
    return Stems(
        queries=Queries(classes, confidence),
        slot=np.where(take, theirs.slot, ours.slot),
        waveforms=np.where(take, theirs.waveforms, ours.waveforms),
        support=np.where(take, theirs.support, ours.support),
        energy_db=np.where(take, theirs.energy_db, ours.energy_db),
        from_b=ours.from_b,
    )


def answered(stems: Stems, keep: Bools) -> Answer:
    """The stems that passed the gates, [b, s]."""
    return Answer(
        classes=np.where(keep, stems.queries.classes, EMPTY),
        slot=stems.slot,
        confidence=stems.queries.confidence,
        waveforms=stems.waveforms,
        support=stems.support,
        energy_db=stems.energy_db,
        from_b=stems.from_b,
    )
