"""The life of every query: who proposed it, what confidence and support it had, and why it was reported or dropped.

`Trail` is a tap. Given to a system it fills `clips`, which `--explain` prints and `<clip>.json` holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from s5cli.knobs import Setting
from s5cli.labels import CLASSES, N_SLOTS
from s5cli.scene import EMPTY, Bools, Ints

if TYPE_CHECKING:
    from s5cli.rules.fuse import Candidates, Fused
    from s5cli.rules.gate import Gates
    from s5cli.rules.slots import Slots
    from s5cli.systems.tagging_driven import Stems

DroppedBy = Literal["solo", "rank", "verify", "gate"]


@dataclass(frozen=True)
class Proposal:
    """One tagger's word for a query."""

    tagger: str  # "4ch", "1ch", or "tagger" where a system has only one
    probability: float


@dataclass(frozen=True)
class QueryLife:
    """What became of one query. None: it never came to that."""

    label: str
    proposals: tuple[Proposal, ...]  # none: a user named it
    confidence: float  # fused
    slot: int | None = None  # its place among the queries asked
    support_first: float | None = None  # after the first separator pass
    support_second: float | None = None  # after the second, where the clip had one
    support: float | None = None  # of the stem in the end
    energy_db: float | None = None  # of the stem in the end, relative to mixture channel 0
    separator: str | None = None  # that made the stem in the end
    dropped_by: DroppedBy | None = None
    reason: str | None = None
    reported: int | None = None  # the number in its file name

    def to_json(self) -> dict[str, Any]:
        """Plain values under the names of the fields; the proposals as {tagger: probability}.

        >>> QueryLife("Speech", (Proposal("4ch", 0.25),), 0.25, dropped_by="rank").to_json()["proposals"]
        {'4ch': 0.25}
        """
        plain = dict(vars(self))
        plain["proposals"] = {proposal.tagger: proposal.probability for proposal in self.proposals}
        return plain

    @property
    def story(self) -> str:
        """One line for people.

        >>> QueryLife("Speech", (Proposal("tagger", 0.9),), 0.9, slot=0, separator="a", reported=0).story
        'Speech: proposed by tagger 0.9 · confidence 0.9 · separator a · reported as stem 0'
        """
        who = " and ".join(f"{proposal.tagger} {proposal.probability:.3g}" for proposal in self.proposals)
        told = [f"proposed by {who}" if who else "named by the user", f"confidence {self.confidence:.3g}"]
        told += [text for text in (self._heard, self._level, self._maker) if text]
        told.append(f"reported as stem {self.reported}" if self.reported is not None else f"dropped: {self.reason}")
        return f"{self.label}: {' · '.join(told)}"

    @property
    def _heard(self) -> str:
        """The supports in the order in which they were found, without repeating one."""
        found = dict.fromkeys(
            f"{s:.3g}" for s in (self.support_first, self.support_second, self.support) if s is not None
        )
        return f"support {' → '.join(found)}" if found else ""

    @property
    def _level(self) -> str:
        return f"{self.energy_db:.1f} dB" if self.energy_db is not None else ""

    @property
    def _maker(self) -> str:
        return f"separator {self.separator}" if self.separator is not None else ""


@dataclass(frozen=True)
class ClipTrail:
    """All queries of one clip: those that were asked in slot order, then those that were not, most confident first."""

    queries: tuple[QueryLife, ...]

    @property
    def reported(self) -> tuple[QueryLife, ...]:
        return tuple(query for query in self.queries if query.reported is not None)

    @property
    def dropped(self) -> tuple[QueryLife, ...]:
        return tuple(query for query in self.queries if query.reported is None)

    def to_json(self) -> dict[str, Any]:
        """{"queries": […]}, each as `QueryLife.to_json` has it."""
        return {"queries": [query.to_json() for query in self.queries]}


class Trail:
    """A tap that remembers; `clips` has one record per scene, in the order in which the system was given them.

    It may watch any number of batches. `setting` is the system's own, for the thresholds in the reasons.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.clips: list[ClipTrail] = []
        self._steps: dict[str, Any] = {}

    def __call__(self, step: str, result: Any) -> None:
        self._steps[step] = result
        if step == "gated":
            self._close(tagging_driven_clips(self._steps, self.setting))
        elif step == "separated" and "queries" in self._steps:
            self._close(baseline_clips(self._steps["queries"], proposed="tags" in self._steps))

    def _close(self, clips: Iterator[ClipTrail]) -> None:
        self.clips.extend(clips)
        self._steps = {}


def baseline_clips(slots: Slots, proposed: bool) -> Iterator[ClipTrail]:
    """Every query of a baseline is reported, by its slot."""
    for classes, confidences in zip(slots.classes.tolist(), slots.probability.tolist(), strict=True):
        asked = [(slot, index) for slot, index in enumerate(classes) if index != EMPTY]
        yield ClipTrail(
            tuple(
                QueryLife(
                    label=CLASSES[index],
                    proposals=(Proposal("tagger", confidences[slot]),) if proposed else (),
                    confidence=confidences[slot],
                    slot=slot,
                    separator="a",
                    reported=number,
                )
                for number, (slot, index) in enumerate(asked)
            )
        )


def tagging_driven_clips(steps: dict[str, Any], setting: Setting) -> Iterator[ClipTrail]:
    """What the taps of the tagging-driven system saw of one batch, told per clip."""
    fused: Fused = steps["fused"]
    passes = Passes(steps["separated"], steps["verified"], steps["refined"], steps["selected"], steps["gated"], setting)
    for row, slots in enumerate(fused.slot):
        by_slot = {int(slot): c for c, slot in enumerate(slots) if slot != EMPTY}
        asked = [
            passes.life(row, slot, proposals_of(fused.candidates, row, by_slot[slot]) if by_slot else ())
            for slot in np.flatnonzero(fused.queries.active[row]).tolist()
        ]
        yield ClipTrail((*asked, *rejected(fused, row, slots, setting)))


def proposals_of(candidates: Candidates, row: int, c: int) -> tuple[Proposal, ...]:
    of_4ch = (Proposal("4ch", float(candidates.p_4ch[row, c])),) if candidates.by_4ch[row, c] else ()
    of_1ch = (Proposal("1ch", float(candidates.p_1ch[row, c])),) if candidates.by_1ch[row, c] else ()
    return of_4ch + of_1ch


def rejected(fused: Fused, row: int, slots: Ints, setting: Setting) -> Iterator[QueryLife]:
    """The proposals of a clip that got no slot, most confident first."""
    candidates = fused.candidates
    unasked = [c for c in fused.order[row].tolist() if slots[c] == EMPTY and candidates.classes[row, c] != EMPTY]
    for c in sorted(unasked, key=lambda c: -fused.confidence[row, c]):
        proposals = proposals_of(candidates, row, c)
        crowded = bool(fused.passed[row, c])
        yield QueryLife(
            label=CLASSES[candidates.classes[row, c]],
            proposals=proposals,
            confidence=float(fused.confidence[row, c]),
            dropped_by="rank" if crowded else "solo",
            reason=f"the {N_SLOTS} slots went to others" if crowded else _too_weak_alone(proposals[0], setting),
        )


def _too_weak_alone(proposal: Proposal, setting: Setting) -> str:
    knob = f"solo_{proposal.tagger}"
    return f"only {proposal.tagger} proposed it and {proposal.probability:.3g} is below {knob} {setting.scalar(knob):g}"


@dataclass(frozen=True)
class Passes:
    """The steps of one batch from the first separator pass on."""

    separated: Stems
    verified: Bools  # [b, s]
    refined: Stems
    selected: Stems
    gates: Gates
    setting: Setting

    def life(self, row: int, slot: int, proposals: tuple[Proposal, ...]) -> QueryLife:
        """What became of the query that was asked in this slot."""
        told = self._kept if self.verified[row, slot] else self._unconfirmed
        return told(row, slot, proposals)

    def _unconfirmed(self, row: int, slot: int, proposals: tuple[Proposal, ...]) -> QueryLife:
        stems, index = self.separated, self.separated.queries.classes[row, [slot]]
        support, confidence = float(stems.support[row, slot]), float(stems.queries.confidence[row, slot])
        return QueryLife(
            label=CLASSES[index[0]],
            proposals=proposals,
            confidence=confidence,
            slot=slot,
            support_first=support,
            support=support,
            energy_db=float(stems.energy_db[row, slot]),
            separator="a",
            dropped_by="verify",
            reason=f"support {support:.3g} is below verify {self.setting.of('verify', index)[0]:g}"
            f" and confidence {confidence:.3g} below drop {self.setting.of('drop', index)[0]:g}",
        )

    def _kept(self, row: int, slot: int, proposals: tuple[Proposal, ...]) -> QueryLife:
        stems = self.selected
        place = int(np.flatnonzero(stems.slot[row] == slot)[0])  # gaps were closed
        passed = bool(self.gates.keep[row, place])
        lost_a_query = bool((self.separated.queries.active[row] & ~self.verified[row]).any())
        return QueryLife(
            label=CLASSES[stems.queries.classes[row, place]],
            proposals=proposals,
            confidence=float(stems.queries.confidence[row, place]),
            slot=slot,
            support_first=float(self.separated.support[row, slot]),
            support_second=float(self.refined.support[row, place]) if lost_a_query else None,
            support=float(stems.support[row, place]),
            energy_db=float(stems.energy_db[row, place]),
            separator="b" if stems.from_b[row, place] else "a",
            dropped_by=None if passed else "gate",
            reason=None if passed else self._stopped(row, place),
            reported=int(self.gates.keep[row, :place].sum()) if passed else None,
        )

    def _stopped(self, row: int, place: int) -> str:
        """At which gates the stem failed."""
        stems, gates, floor_db = self.selected, self.gates, self.setting.scalar("energy_db")
        least = self.setting.of("confidence", stems.queries.classes[row, [place]])[0]
        level_db, confidence = stems.energy_db[row, place], stems.queries.confidence[row, place]
        found = [
            (gates.silent, "the mixture is digital silence"),
            (gates.quiet, f"power {level_db:.1f} dB is below energy_db {floor_db:g}"),
            (gates.unsure, f"confidence {confidence:.3g} is below the gate's {least:g}"),
        ]
        return " and ".join(reason for stopped, reason in found if stopped[row, place])
