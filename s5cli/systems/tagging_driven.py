"""Tagging-driven inference refinement and dual-separator selection (Jeong & Kim, DCASE 2026).

Two taggers propose, one separator (or the better of two) answers, the 1-channel tagger listens to every stem again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from s5cli.knobs import Knob, Setting
from s5cli.labels import CLASSES
from s5cli.rules.fuse import Fused, fuse, named
from s5cli.rules.gate import Gates, energy_db, gate
from s5cli.rules.select import select
from s5cli.rules.verify import closing, compact, support, verify
from s5cli.scene import EMPTY, Bools, Floats, Ints, Queries, Scene, Separator, Stem, Tagger, Tags, Tap, quiet

NOTHING_DROPPED = Setting({"verify": 0.0, "drop": 0.0, "energy_db": -np.inf, "confidence": 0.0})
"""What a user names is separated and judged by nobody."""


@dataclass(frozen=True)
class BothTags:
    """What the two taggers say of a batch."""

    tags_4ch: Tags
    tags_1ch: Tags


@dataclass(frozen=True)
class Stems:
    """The stems of a batch and what is known of them; unused slots are zero and without support."""

    queries: Queries  # [b, s]
    slot: Ints  # [b, s], the query's place in the fused list, EMPTY where unused
    audio: list[Tensor]  # b × [s, t]
    support: Floats  # [b, s]
    energy_db: Floats  # [b, s], relative to mixture channel 0
    from_b: Bools  # [b, s], made by the second separator


class TaggingDriven:
    """Two taggers' proposals, verified by re-tagging the stems.

    Taps: "tags" (BothTags), "fused" (Fused), "separated" (Stems), "verified" (which queries stay, [b, s]), "refined",
    "selected" (Stems), "gated" (Gates). With queries that a user named there are no tags and nothing is dropped.
    """

    knobs: Mapping[str, Knob] = {
        "w4": Knob(0.6, 0, 1),
        "solo_4ch": Knob(0.50, 0, 1),
        "solo_1ch": Knob(0.70, 0, 1),
        "verify": Knob(0.10, 0, 1, per_class=True),
        "drop": Knob(0.50, 0, 1, per_class=True),
        "energy_db": Knob(-30, -60, 0, axis="db"),
        "confidence": Knob(0.30, 0, 1, per_class=True),
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

    def __call__(self, scenes: Sequence[Scene], tap: Tap = quiet, queries: Queries | None = None) -> list[list[Stem]]:
        judge = self.setting if queries is None else NOTHING_DROPPED
        fused = self._proposed(scenes, tap) if queries is None else named(queries)
        tap("fused", fused)
        stems = self._hear(scenes, fused.queries, self.separator_a)
        tap("separated", stems)
        keep = verify(stems.queries, stems.support, judge)
        tap("verified", keep)
        stems = self._again(scenes, stems, keep)
        tap("refined", stems)
        stems = self._better(scenes, stems)
        tap("selected", stems)
        gates = gate(stems.queries, stems.energy_db, silent(scenes) & (queries is None), judge)
        tap("gated", gates)
        return [reported(stems, gates, row) for row in range(len(scenes))]

    def _proposed(self, scenes: Sequence[Scene], tap: Tap) -> Fused:
        tags = BothTags(self.tagger_4ch(scenes), self.tagger_1ch(scenes))
        tap("tags", tags)
        return fuse(tags.tags_4ch, tags.tags_1ch, self.setting)

    def _hear(self, scenes: Sequence[Scene], queries: Queries, separator: Separator) -> Stems:
        """One separator pass, and what the single-channel tagger and a level meter say of its stems."""
        audio = separator(scenes, queries)
        heard, level = self._support(scenes, queries, audio), energies(scenes, queries, audio)
        slot = np.where(queries.active, np.arange(queries.classes.shape[1]), EMPTY)
        return Stems(queries, slot, audio, heard, level, np.zeros(slot.shape, dtype=np.bool_))

    def _support(self, scenes: Sequence[Scene], queries: Queries, audio: Sequence[Tensor]) -> Floats:
        """Every stem of the batch is tagged in one call. [b, s], 0 where unused."""
        rows, slots = np.nonzero(queries.active)
        places = zip(rows.tolist(), slots.tolist(), strict=True)
        tags = self.tagger_1ch([Scene(f"{scenes[row].name}:{slot}", audio[row][slot, None]) for row, slot in places])
        found = np.zeros(queries.classes.shape)
        found[rows, slots] = support(tags, queries.classes[rows, slots])
        return found

    def _again(self, scenes: Sequence[Scene], stems: Stems, keep: Bools) -> Stems:
        """What is left of the clips that lost a query is separated again; the others ask for nothing and stay."""
        lost = (stems.queries.active & ~keep).any(axis=1, keepdims=True)
        again = self._hear(scenes, compact(stems.queries, keep & lost), self.separator_a)
        return merged(stems, replace(again, slot=closing(keep)), np.broadcast_to(lost, keep.shape))

    def _better(self, scenes: Sequence[Scene], stems: Stems) -> Stems:
        """With a second separator, each slot keeps the stem that its query class is better heard in."""
        if self.separator_b is None:
            return stems
        other = self._hear(scenes, stems.queries, self.separator_b)
        chosen = select(stems.queries, correlations(stems, other), stems.support, other.support)
        matched = replace(
            other,
            slot=stems.slot,
            audio=[audio[order] for audio, order in zip(other.audio, chosen.match.tolist(), strict=True)],
            support=np.take_along_axis(other.support, chosen.match, axis=1),
            energy_db=np.take_along_axis(other.energy_db, chosen.match, axis=1),
            from_b=chosen.from_b,
        )
        return merged(stems, matched, chosen.from_b)


def merged(ours: Stems, theirs: Stems, take: Bools) -> Stems:
    """`ours`, with `theirs` in the slots to take, [b, s]."""
    pairs = zip(ours.audio, theirs.audio, take.tolist(), strict=True)
    classes = np.where(take, theirs.queries.classes, ours.queries.classes)
    confidence = np.where(take, theirs.queries.confidence, ours.queries.confidence)
    return Stems(
        queries=Queries(classes, confidence),
        slot=np.where(take, theirs.slot, ours.slot),
        audio=[torch.where(torch.tensor(row, device=a.device)[:, None], b.to(a), a) for a, b, row in pairs],
        support=np.where(take, theirs.support, ours.support),
        energy_db=np.where(take, theirs.energy_db, ours.energy_db),
        from_b=np.where(take, theirs.from_b, ours.from_b),
    )


def energies(scenes: Sequence[Scene], queries: Queries, audio: Sequence[Tensor]) -> Floats:
    """Power (mean square, in float64) of every stem relative to mixture channel 0, [b, s] in dB."""
    stems = [waveforms.double().square().mean(dim=-1).tolist() for waveforms in audio]
    mixtures = [scene.audio[0].double().square().mean().item() for scene in scenes]
    return energy_db(np.reshape(stems, queries.classes.shape), np.array(mixtures))


def silent(scenes: Sequence[Scene]) -> Bools:
    """Which mixtures are digital silence in every channel, [b]."""
    return np.array([not scene.audio.any() for scene in scenes], dtype=np.bool_)


def correlations(ours: Stems, theirs: Stems) -> Floats:
    """Normalised correlation of every stem of one separator with every stem of the other, [b, s, s]."""
    found = np.zeros((*ours.slot.shape, ours.slot.shape[1]))
    for row, (one, other) in enumerate(zip(ours.audio, theirs.audio, strict=True)):
        one, other = normalize(one.double(), dim=-1), normalize(other.to(one.device).double(), dim=-1)
        found[row] = (one @ other.T).cpu().numpy()
    return found


def reported(stems: Stems, gates: Gates, row: int) -> list[Stem]:
    """The stems of one clip that passed the gates, in slot order, each with its query's own place in the fused list."""
    return [
        Stem(
            label=CLASSES[stems.queries.classes[row, slot]],
            slot=int(stems.slot[row, slot]),
            confidence=float(stems.queries.confidence[row, slot]),
            audio=stems.audio[row][slot].cpu().clone(),
            support=float(stems.support[row, slot]),
            energy_db=float(stems.energy_db[row, slot]),
            separator="b" if stems.from_b[row, slot] else "a",
        )
        for slot in np.flatnonzero(gates.keep[row]).tolist()
    ]
