"""The ladder of a family: its baselines, its systems 0, 1, …, and true labels, as entries that can be built.

Source: Jeong & Kim, DCASE 2026 Task 4, the table of the ablation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from s5cli.errors import UsageError, nearest
from s5cli.labels import CLASSES
from s5cli.weights.registry import PartEntry, Registry, SystemEntry

BASELINE_FLOW = "s5cli.systems.baseline:Baseline"


@dataclass(frozen=True)
class Rung:
    """One row of a ladder."""

    title: str
    entry: SystemEntry
    true_labels: bool = False  # named to the system in the place of what its taggers propose
    classes: tuple[str, ...] = CLASSES  # that are named; references of others are missed
    has_thresholds: bool = False

    @property
    def content(self) -> tuple[object, ...]:
        """Rungs that agree in this give the same stems, as long as all thresholds are at their defaults."""
        parts = tuple((role, part.name) for role, part in self.entry.parts.items())
        return self.entry.flow, parts, repr(sorted(self.entry.knobs.items())), self.true_labels, self.classes


def families(known: Registry) -> list[str]:
    """Names that a number makes into systems, the lowest of which is 0.

    >>> from s5cli.weights.registry import registry
    >>> "tagging-driven-compact" in families(registry())
    True
    """
    return [name.removesuffix("-0") for name in known.systems if name.endswith("-0")]


def members(family: str, known: Registry) -> list[SystemEntry]:
    """The systems of a family, 0 first.

    Raises:
        UsageError: there is no such family.
    """
    if family not in families(known):
        names = families(known)
        raise UsageError(f"unknown family {family!r}{nearest(family, names)}; there are {', '.join(names)}")
    numbered = {name: re.fullmatch(rf"{re.escape(family)}-(\d+)", name) for name in known.systems}
    found = {int(match[1]): known.systems[name] for name, match in numbered.items() if match}
    return [found[number] for number in sorted(found)]


def ladder(family: str, known: Registry) -> tuple[Rung, ...]:
    """All rows of a family's ablation, from the baselines to true labels.

    Raises:
        UsageError: there is no such family, or its systems are not made of taggers and separators as the paper's are.
    """
    systems = members(family, known)
    first, last = systems[0], systems[-1]
    if not {"tagger_1ch", "tagger_4ch", "separator_a"} <= set(first.parts):
        raise UsageError(f"family {family!r} is not made of two taggers and a separator; name another --family")
    baselines = [Rung(entry.name, entry) for entry in _baselines(first, known)]
    tagger_only = [Rung(f"{part.name}, no rules", without_rules(first, part)) for part in _other_taggers(systems)]
    rungs = [Rung(entry.name, entry, has_thresholds=True) for entry in systems]
    a_alone = without_rules(first, first.parts["tagger_4ch"])
    oracle = [Rung("true labels, separator A", a_alone, true_labels=True)]
    if "separator_b" in last.parts:
        oracle.append(Rung("true labels, A or B", last, true_labels=True))
    return (*baselines, *tagger_only, *rungs, *oracle)


def _baselines(first: SystemEntry, known: Registry) -> Iterator[SystemEntry]:
    """The registry's baselines that are made of the same networks."""
    taggers = {first.parts[role].name for role in ("tagger_1ch", "tagger_4ch")}
    for entry in known.systems.values():
        parts = {role: part.name for role, part in entry.parts.items()}
        alike = entry.flow == BASELINE_FLOW and parts["separator"] == first.parts["separator_a"].name
        if alike and parts["tagger"] in taggers:
            yield entry


def _other_taggers(systems: list[SystemEntry]) -> list[PartEntry]:
    """4-channel taggers of higher systems that the first one has not: the fine-tuned one."""
    found = {entry.parts["tagger_4ch"].name: entry.parts["tagger_4ch"] for entry in systems}
    return [part for name, part in found.items() if name != systems[0].parts["tagger_4ch"].name]


def without_rules(system: SystemEntry, tagger: PartEntry) -> SystemEntry:
    """The baseline's flow with this tagger and the system's first separator."""
    parts = {"tagger": tagger, "separator": system.parts["separator_a"]}
    name = f"{tagger.name}-without-rules"
    return SystemEntry(name, BASELINE_FLOW, f"{tagger.name}, no rules", system.source, parts, {})


def with_entry(known: Registry, entry: SystemEntry) -> Registry:
    """The registry with an entry that it may not have."""
    return replace(known, systems={**known.systems, entry.name: entry})
