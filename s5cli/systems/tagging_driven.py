"""Tagging-driven inference refinement and dual-separator selection (Jeong & Kim, DCASE 2026).

Two taggers propose, one separator (or the better of two) answers, the 1-channel tagger listens to every stem again.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from s5cli.knobs import AblationRow, Knob, Option, Setting
from s5cli.labels import CLASSES, N_SLOTS
from s5cli.rules.fuse import BothTags, Fused, GivenTags, fuse
from s5cli.rules.gate import Gates, gate
from s5cli.rules.pick import compact_order, pick
from s5cli.rules.select import better, match
from s5cli.rules.verify import compact, support, verify
from s5cli.scene import EMPTY, Bools, Queries, Scene, Separator, Stems, Tagger, places
from s5cli.steps.separate import Retagged, SeparateAndCompare, SeparateAndTag
from s5cli.steps.tag import TagTwice
from s5cli.trace import ClipTrace, Drop, QueryTrace, Stage

NOTHING_DROPPED = {
    "w4": 1.0, "solo_4ch": 0.0, "solo_1ch": 0.0, "verify": 0.0, "drop": 0.0, "energy_db": -np.inf, "confidence": 0.0,
}  # fmt: skip
"""What a user names is separated and judged by nobody."""


class TaggingDriven:
    """Two taggers' proposals, verified by re-tagging the stems."""

    knobs: ClassVar[Mapping[str, Knob]] = {
        "w4": Knob(0.6, 0, 1, stage="fusion"),
        "solo_4ch": Knob(0.50, 0, 1, stage="fusion"),
        "solo_1ch": Knob(0.70, 0, 1, stage="fusion"),
        "verify": Knob(0.10, 0, 1, per_class=True, stage="verification"),
        "drop": Knob(0.50, 0, 1, per_class=True, stage="verification"),
        "energy_db": Knob(-30, -60, 0, axis="db", stage="gates"),
        "confidence": Knob(0.30, 0, 1, per_class=True, stage="gates"),
    }
    options: ClassVar[Mapping[str, Option]] = {}
    drops: ClassVar[Mapping[str, Drop]] = {
        "solo": Drop("proposed alone, too weak", flagged=False),
        "rank": Drop("no slot left"),
        "verify": Drop("not verified"),
        "gate": Drop("gates"),
    }
    ablation: ClassVar[Sequence[AblationRow]] = (
        AblationRow(
            "{tagger_4ch}, no rules",
            flow="s5cli.systems.baseline:Baseline",
            roles={"tagger": "tagger_4ch", "separator": "separator_a"},
        ),
        AblationRow("{name}", tunable=True),
        AblationRow("{name}, no verification", knobs={"verify": 0.0}),
        AblationRow("{name}, no gates", knobs={"energy_db": -60.0, "confidence": 0.0}),
        AblationRow("{name}, no separator B", without=("separator_b",)),
        AblationRow("true labels, separator A", true_labels=True, without=("separator_b",)),
        AblationRow("true labels, A or B", true_labels=True),
    )
    window_s: ClassVar[float | None] = 10.0  # what the networks are trained on

    def __init__(
        self,
        *,
        tagger_1ch: Tagger,
        tagger_4ch: Tagger,
        separator_a: Separator,
        separator_b: Separator | None = None,
        setting: Setting,
    ) -> None:
        self.tagger_1ch, self.tagger_4ch, self.setting = tagger_1ch, tagger_4ch, setting
        self.separator_a, self.separator_b = separator_a, separator_b
        of_b = separator_b.nparams if separator_b is not None else 0
        self.nparams = tagger_1ch.nparams + tagger_4ch.nparams + separator_a.nparams + of_b
        self.tag: TagTwice | GivenQueries = TagTwice(tagger_4ch, tagger_1ch)
        self.separate_a = SeparateAndTag(separator_a, tagger_1ch)
        self.separate_b = SeparateAndCompare(separator_b, tagger_1ch) if separator_b is not None else None

    def __call__(self, scenes: Sequence[Scene]) -> "Decision":
        tags = self.tag(scenes)
        fused = fuse(tags, self.setting)
        first = self.separate(scenes, fused.queries)
        kept = verify(first, first.numbers["support"], self.setting)
        refined = self.separate_rest(scenes, first, kept)
        rivals = self.separate_again(scenes, refined)
        from_b = better(refined, refined.numbers["support"], rivals.numbers["support"])
        chosen = refined.where(from_b, rivals)
        gates = gate(chosen, chosen.numbers["energy_db"], tags.silent, self.setting)
        return Decision(self.setting, tags, fused, first, kept, refined, rivals, from_b, chosen, gates)

    def with_queries(self, queries: Queries) -> Self:
        """The same flow for classes that a user named: no tagger is asked, and nothing is dropped."""
        twin = copy.copy(self)
        twin.tag, twin.setting = GivenQueries(queries), self.setting.moved(NOTHING_DROPPED)
        return twin

    def separate(self, scenes: Sequence[Scene], queries: Queries) -> Stems:
        """A pass of the first separator, each stem tagged again."""
        return retagged(queries, self.separate_a(scenes, queries.classes))

    def separate_rest(self, scenes: Sequence[Scene], first: Stems, kept: Bools) -> Stems:
        """What is left of the clips that lost a query is separated again; the others ask for nothing and stay."""
        lost = (first.active & ~kept).any(axis=1, keepdims=True)
        again = self.separate(scenes, compact(first, kept & lost))
        return first.where(np.broadcast_to(lost, kept.shape), replace(again, slot=compact_order(kept)))

    def separate_again(self, scenes: Sequence[Scene], stems: Stems) -> Stems:
        """The second separator's stems, each in the slot that it stands against; without one, the stems themselves."""
        if self.separate_b is None:
            return stems
        found = self.separate_b(scenes, stems.classes, stems.waveforms)
        theirs = retagged(stems, found.stems)
        waveforms, *numbers = pick(match(stems.classes, found.correlation), theirs.waveforms, *theirs.numbers.values())
        return replace(stems, waveforms=waveforms, numbers=dict(zip(theirs.numbers, numbers, strict=True)))


@dataclass(frozen=True)
class GivenQueries:
    """In the place of taggers: what a user named."""

    queries: Queries

    def __call__(self, scenes: Sequence[Scene]) -> GivenTags:
        return GivenTags(self.queries)


def retagged(queries: Queries, found: Retagged) -> Stems:
    """Stems in their queries' own places, with what re-tagging and the level meter say of them."""
    numbers = {"support": support(found.probability), "energy_db": found.energy_db}
    return Stems(queries.classes, queries.confidence, places(queries.classes), found.waveforms, numbers)


# --- what was decided -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decision:
    """What was found of a batch, in the paper's order."""

    setting: Setting
    tags: BothTags | GivenTags
    fused: Fused
    first: Stems  # [b, s], of the first pass
    kept: Bools  # [b, s], verified
    refined: Stems  # [b, s], clips that lost a query separated again
    rivals: Stems  # [b, s], of the second separator
    from_b: Bools  # [b, s], where the second separator's stem is better
    chosen: Stems  # [b, s]
    gates: Gates

    def stems(self) -> Stems:
        """Those that passed the gates."""
        return self.chosen.only(self.gates.keep)

    def trace(self) -> list[ClipTrace]:
        """Per clip the queries that were asked, then the proposals that got no slot, most confident first."""
        slots = self.fused.slot.tolist()
        return [ClipTrace((*self._asked(row, of), *self._unasked(row, of))) for row, of in enumerate(slots)]

    def _asked(self, row: int, slots: Sequence[int]) -> Iterator[QueryTrace]:
        candidate = {slot: c for c, slot in enumerate(slots)}
        for slot in np.flatnonzero(self.fused.queries.active[row]).tolist():
            told = self._kept if self.kept[row, slot] else self._doubted
            yield told(row, slot, candidate[slot])

    def _proposed(self, row: int, c: int) -> Stage:
        """What the taggers said of a candidate."""
        found = self.fused.candidates
        if isinstance(self.tags, GivenTags):
            return Stage("named")
        of_4ch = {"p_4ch": float(found.p_4ch[row, c])} if found.by_4ch[row, c] else {}
        return Stage("proposed", of_4ch | ({"p_1ch": float(found.p_1ch[row, c])} if found.by_1ch[row, c] else {}))

    def _doubted(self, row: int, slot: int, c: int) -> QueryTrace:
        index = self.first.classes[row, [slot]]
        support_1, confidence = float(self.first.numbers["support"][row, slot]), float(self.first.confidence[row, slot])
        return QueryTrace(
            label=CLASSES[index[0]],
            confidence=confidence,
            slot=slot,
            stages=(self._proposed(row, c), stage_of("pass 1", self.first, row, slot)),
            dropped_by="verify",
            reason=f"support {support_1:.3g} is below verify {self.setting.of('verify', index)[0]:g}"
            f" and confidence {confidence:.3g} below drop {self.setting.of('drop', index)[0]:g}",
        )

    def _kept(self, row: int, slot: int, c: int) -> QueryTrace:
        place = int(np.flatnonzero(self.chosen.slot[row] == slot)[0])  # gaps were closed
        passed = bool(self.gates.keep[row, place])
        lost_a_query = bool((self.first.active[row] & ~self.kept[row]).any())
        stages = [self._proposed(row, c), stage_of("pass 1", self.first, row, slot)]
        stages += [stage_of("pass 2", self.refined, row, place)] if lost_a_query else []
        if self.rivals is not self.refined:
            taken = "B taken" if self.from_b[row, place] else "A taken"
            stages.append(replace(stage_of("separator B", self.rivals, row, place), note=taken))
        return QueryTrace(
            label=CLASSES[self.chosen.classes[row, place]],
            confidence=float(self.chosen.confidence[row, place]),
            slot=slot,
            stages=tuple(stages),
            dropped_by=None if passed else "gate",
            reason=None if passed else self._stopped(row, place),
            reported=int(self.gates.keep[row, :place].sum()) if passed else None,
        )

    def _stopped(self, row: int, place: int) -> str:
        """At which gates the stem failed."""
        stems, gates, floor_db = self.chosen, self.gates, self.setting.scalar("energy_db")
        least = self.setting.of("confidence", stems.classes[row, [place]])[0]
        level_db, confidence = stems.numbers["energy_db"][row, place], stems.confidence[row, place]
        found = [
            (gates.silent, "the mixture is digital silence"),
            (gates.quiet, f"power {level_db:.1f} dB is below energy_db {floor_db:g}"),
            (gates.unsure, f"confidence {confidence:.3g} is below the gate's {least:g}"),
        ]
        return " and ".join(reason for stopped, reason in found if stopped[row, place])

    def _unasked(self, row: int, slots: Sequence[int]) -> Iterator[QueryTrace]:
        found, confidence = self.fused.candidates, self.fused.confidence[row]
        left = [c for c in self.fused.order[row].tolist() if slots[c] == EMPTY and found.classes[row, c] != EMPTY]
        for c in sorted(left, key=lambda c: -confidence[c]):
            stage, crowded = self._proposed(row, c), bool(self.fused.passed[row, c])
            yield QueryTrace(
                label=CLASSES[found.classes[row, c]],
                confidence=float(confidence[c]),
                stages=(stage,),
                dropped_by="rank" if crowded else "solo",
                reason=f"the {N_SLOTS} slots went to others" if crowded else self._too_weak(stage),
            )

    def _too_weak(self, proposed: Stage) -> str:
        [(name, probability)] = proposed.numbers.items()
        knob = f"solo_{name.removeprefix('p_')}"
        limit = self.setting.scalar(knob)
        return f"only the {name.removeprefix('p_')} tagger proposed it and {probability:.3g} is below {knob} {limit:g}"


def stage_of(name: str, stems: Stems, row: int, place: int) -> Stage:
    """What is known of one stem after a stage."""
    return Stage(name, {key: float(values[row, place]) for key, values in stems.numbers.items()})
