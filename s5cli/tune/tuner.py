"""`s5 tune` as a function: evidence, search, cross-validation, result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from s5cli import __version__
from s5cli.knobs import Knob
from s5cli.scene import Bools
from s5cli.steps.step import steps_of
from s5cli.system import System
from s5cli.tune.cache import Cache, step_fingerprint
from s5cli.tune.clips import DevSet, open_devset
from s5cli.tune.crossval import NONE_DB, HeldOut, cross_validate, folds
from s5cli.tune.evidence import Store, digest
from s5cli.tune.result import Result
from s5cli.tune.search import Candidate, Milestone, Search
from s5cli.tune.trials import Progress, Trials, no_progress
from s5cli.weights.build import build, provenance
from s5cli.weights.device import resolve_device
from s5cli.weights.fetch import locate
from s5cli.weights.hashes import sha256_of
from s5cli.weights.registry import PartEntry, SystemEntry, registry

LISTS_PER_CLIP = 2  # that a search may ask beyond those of the defaults, unless told otherwise


@dataclass(frozen=True)
class Options:
    """How a search is run."""

    device: str = "auto"
    batch_size: int = 4
    folds: int = 5  # 0: no cross-validation
    max_new_lists: int | None = None  # None: `LISTS_PER_CLIP` for each clip
    seed: int = 0
    workers: int = 1
    offline: bool = False
    accept_licence: bool = False
    system_options: Mapping[str, Any] = field(default_factory=dict)  # the system's own, by name


def tune(
    system: str, data: Path, cache: Path, options: Options | None = None, progress: Progress = no_progress
) -> Result:
    """Searches a system's thresholds on a development set in official layout.

    Networks run once for each clip and query list; what they said is kept in `cache`, from where an interrupted search
    goes on and later ones start. Every score is exact. A system without knobs is scored, and nothing is searched.

    Raises:
        UsageError: an unknown system, option or device, a folder that does not exist, or folds that cannot be made.
        InputError: a clip that cannot be used.
        WeightsError: weights that are missing, damaged or not licensed yet.
        OutputError: the cache cannot be written to.
    """
    chosen = options or Options()
    entry, clips = registry().system(system), open_devset(data)
    held_out = folds(clips.references.count, chosen.folds, chosen.seed) if chosen.folds else []
    tuning = begun(entry, clips, cache, chosen, progress)
    knobs, trials = tuning.search.knobs, tuning.search.trials
    validated = tuning.cross_validated(held_out) if knobs and held_out else None
    milestones = tuning.milestones(validated) if knobs else (Milestone("default", tuning.start),)
    best = milestones[-1].best
    return Result(
        system=entry.name,
        setting=best.setting,
        untuned=tuning.start.outcome,
        tuned=best.outcome,
        milestones=milestones,
        held_out=validated,
        seed=chosen.seed,
        data=str(data.resolve()),
        fingerprint=clips.fingerprint,
        weights={part["part"]: part["sha256"] for part in provenance(entry.name)},
        effort=trials.effort,
        program=f"s5cli {__version__}",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


@dataclass(frozen=True)
class Tuning:
    """A search that is about to begin: over what, from where, and how much it may ask."""

    search: Search  # that looks at all clips
    start: Candidate  # the defaults
    budget: int  # query lists that it may ask beyond those of the start

    @property
    def per_class(self) -> bool:
        """Whether classes may differ in a knob."""
        return any(knob.per_class for knob in self.search.knobs.values())

    def cross_validated(self, held_out: Sequence[Bools]) -> HeldOut:
        """What the search is worth on clips that it has not seen; each fold is held out once."""
        return cross_validate(self.search, self.start, held_out, self.per_class, self.budget)

    def milestones(self, validated: HeldOut | None) -> tuple[Milestone, ...]:
        """The search on all clips; per-class values only with the margin that did best on held-out clips."""
        self.search.trials.cache.allow(self.budget)
        found = [Milestone("default", self.start), *self.search.stages(self.start)]
        margin = validated.margin_db if validated else NONE_DB
        if self.per_class and margin != NONE_DB:
            found.append(Milestone("per class", self.search.by_class(found[-1].best, margin)))
        return tuple(found)


def begun(entry: SystemEntry, data: DevSet, cache: Path, options: Options, progress: Progress = no_progress) -> Tuning:
    """A system built and scored with its defaults, which costs nothing of the budget. Raises as `prepared` does."""
    trials = prepared(entry, data, cache, options, progress)
    search = Search(trials, searchable(trials.system, entry), np.ones(len(data.clips), dtype=np.bool_))
    start = search.candidate(trials.system.setting)
    trials.cache.start_counting()
    return Tuning(search, start, most_new_lists(options, len(data.clips)))


def most_new_lists(options: Options, n_clips: int) -> int:
    """Query lists that may be asked of so many clips beyond those of the defaults."""
    return LISTS_PER_CLIP * n_clips if options.max_new_lists is None else options.max_new_lists


def searchable(system: System, entry: SystemEntry) -> Mapping[str, Knob]:
    """The system's knobs; where its section allows no tables, none differs by class."""
    return {name: replace(knob, per_class=knob.per_class and entry.per_class) for name, knob in system.knobs.items()}


def prepared(
    entry: SystemEntry, data: DevSet, cache: Path, options: Options, progress: Progress = no_progress
) -> Trials:
    """A system built, and what the cache holds of it on these clips. The registry need not have the entry.

    Raises:
        UsageError: an unknown device or option.
        InputError: a clip that cannot be used.
        WeightsError: weights that are missing, damaged or not licensed yet.
        OutputError: the cache cannot be written to.
    """
    place, access = resolve_device(options.device), {key: vars(options)[key] for key in ("offline", "accept_licence")}
    system = build(entry, device=str(place), options=options.system_options, **access)
    parts, chosen = part_fingerprints(system, entry, place.type), system.setting.options
    steps = {name: step_fingerprint(name, step, parts, chosen) for name, step in steps_of(system).items()}
    filed = Cache(Store(cache), steps, [clip.key for clip in data.clips])
    return Trials(system, filed, data, options.batch_size, options.workers, progress)


def part_fingerprints(system: System, entry: SystemEntry, device_type: str) -> dict[object, str]:
    """For each part its fingerprint: by identity where the system keeps it, else by role."""
    return {
        id(getattr(system, role)) if hasattr(system, role) else role: part_fingerprint(part, device_type)
        for role, part in entry.parts.items()
    }


def part_fingerprint(part: PartEntry, device_type: str) -> str:
    """The hash of all that a part's answers depend on."""
    path = locate(part.file)
    content = sha256_of(path) if path else None
    how = [device_type, "fp32", "torch", __version__]  # device, precision and engine
    return digest([content, part.network, part.adapter, dict(part.config), dict(part.options), *how])
