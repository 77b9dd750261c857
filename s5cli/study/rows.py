"""What a study runs: systems of the registry, and what a system declares as its own ablation, as entries to build."""

from collections import Counter
from dataclasses import dataclass, replace
from string import Formatter

from s5cli.errors import UsageError
from s5cli.knobs import AblationRow, setting
from s5cli.labels import CLASSES
from s5cli.weights.build import resolve
from s5cli.weights.registry import Registry, SystemEntry


@dataclass(frozen=True)
class Variant:
    """A system as one row of a study runs it."""

    title: str
    entry: SystemEntry
    true_labels: bool = False  # the references' classes are named to it
    classes: tuple[str, ...] = CLASSES  # that are named; references of others are missed
    tunable: bool = False  # whether thresholds are searched for it

    @property
    def content(self) -> tuple[object, ...]:
        """Variants that agree in this give the same stems.

        Raises:
            UsageError: the entry has a knob or option that its flow does not know.
        """
        entry, flow = self.entry, resolve(self.entry.flow)
        chosen = setting(flow.knobs, entry.knobs, flow.options, entry.options)
        parts = frozenset((role, part.name) for role, part in entry.parts.items())
        return entry.flow, parts, chosen.key, self.true_labels, self.classes

    @property
    def differs_by_class(self) -> bool:
        """Whether a search may give classes thresholds of their own."""
        return self.entry.per_class and any(knob.per_class for knob in resolve(self.entry.flow).knobs.values())


def ablation_rows(entry: SystemEntry, known: Registry) -> tuple[Variant, ...]:
    """The systems that a section wants beside its own, then the ablation that its flow declares; equal rows once.

    Raises:
        UsageError: a row has a knob or option that its flow does not know, or two different rows have one title.
    """
    others = [known.system(name) for name in entry.beside]
    beside = [Variant(other.name, other, tunable=bool(resolve(other.flow).knobs)) for other in others]
    own = [_variant(row, entry) for row in resolve(entry.flow).ablation if _needs(row) <= entry.parts.keys()]
    found: dict[tuple[object, ...], Variant] = {}
    for one in (*beside, *own):
        found.setdefault((one.content, one.differs_by_class), one)
    titles = Counter(one.title for one in found.values())
    if twice := [title for title, n in titles.items() if n > 1]:
        raise UsageError(f"system {entry.name!r} has two different ablation rows {twice[0]!r}; rename one in its file")
    return tuple(found.values())


def _needs(row: AblationRow) -> set[str]:
    """Roles without which there is no such row. One that is only taken out may be missing from the start."""
    named = {field for _, field, _, _ in Formatter().parse(row.title) if field}
    return (named - {"name"}) | set(row.roles.values())


def _variant(row: AblationRow, entry: SystemEntry) -> Variant:
    title = row.title.format(name=entry.name, **{role: part.name for role, part in entry.parts.items()})
    if row.flow is None:
        parts = {role: part for role, part in entry.parts.items() if role not in row.without}
        knobs, options = {**entry.knobs, **row.knobs}, {**entry.options, **row.options}
        made = replace(entry, parts=parts, knobs=knobs, options=options)
    else:
        parts = {own: entry.parts[role] for own, role in row.roles.items()}
        made = replace(entry, flow=row.flow, parts=parts, knobs=row.knobs, options=row.options)
    return Variant(title, made, row.true_labels, tunable=row.tunable and bool(resolve(made.flow).knobs))
