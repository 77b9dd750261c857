"""`s5 study` as functions: true labels to the separators, and the ablation that a system declares."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from s5cli.errors import InputError, NeedsTrainingError, RowsFailedError, UsageError, WeightsError
from s5cli.labels import CLASSES, index_of
from s5cli.score.evaluate import Evaluation
from s5cli.study.kept import Kept
from s5cli.study.rows import Variant, ablation_rows
from s5cli.study.runs import run_all
from s5cli.study.table import Row, evaluated, lines, tuned_rows
from s5cli.study.tuned import Tuned, tuned
from s5cli.tune.clips import DevSet, open_devset
from s5cli.tune.crossval import folds
from s5cli.tune.evidence import Store
from s5cli.tune.trials import Progress, no_progress
from s5cli.tune.tuner import Options
from s5cli.weights.device import resolve_device
from s5cli.weights.fetch import Access, fetch_all
from s5cli.weights.registry import Registry, SystemEntry, registry


@dataclass(frozen=True)
class Study:
    """Rows of a table, and all that they were taken from."""

    data: str  # folder
    n_clips: int
    rows: tuple[Row, ...]
    runs: Mapping[str, Evaluation]  # by the row's title
    tuned: Mapping[str, Tuned]  # by the row's title
    options: Mapping[str, object]  # that the system was given
    left_out: tuple[str, ...] = ()  # why some rows are missing
    failed: Mapping[str, str] = field(default_factory=dict)  # what went wrong, by the row's title

    def check(self) -> None:
        """Raises RowsFailedError if rows failed, which `lines` and `to_json` give the reasons of."""
        if self.failed:
            titles = ", ".join(map(repr, self.failed))
            raise RowsFailedError(f"rows failed: {titles}; the others are done, and the same command tries again")

    def lines(self) -> Iterator[str]:
        """For people: the clips, and the table in Markdown."""
        given = "".join(f", {name}={value}" for name, value in self.options.items())
        yield f"{self.n_clips} clips of {self.data}{given}"
        yield ""
        yield from lines(self.rows)
        yield from (f"left out: {reason}" for reason in self.left_out)
        yield from (f"failed: {title}: {reason}" for title, reason in self.failed.items())

    def to_json(self) -> dict[str, Any]:
        """Everything, also per class and per clip."""
        return {
            "data": {"folder": self.data, "clips": self.n_clips},
            "options": dict(self.options),
            "rows": [asdict(row) | {"title": row.title.strip(), "margin_db": row.margin_db} for row in self.rows],
            "runs": {title: found.to_json() for title, found in self.runs.items()},
            "tuned": {name: found.to_json() for name, found in self.tuned.items()},
            "left_out": list(self.left_out),
            "failed": dict(self.failed),
        }


def oracle(
    data: Path,
    systems: Sequence[str],
    n_clips: int | None = None,
    options: Options | None = None,
    progress: Progress = no_progress,
    classes: Sequence[str] = CLASSES,
    cache: Path | None = None,
    note: Progress = no_progress,
) -> Study:
    """The references' labels named to unchanged systems: what they would score if their taggers were always right.

    Args:
        data: a folder in official layout.
        systems: names of the registry.
        n_clips: only the first so many.
        classes: that the taggers know and are always right in; all references of other classes are missed.
        options: also the options of all these systems; they go before those of their sections.
        cache: where results are kept, clip by clip, from which the same call goes on; None: nowhere.
        note: told in one line how far it is already.

    Raises:
        UsageError: an unknown system, option, class or device, no class at all, or a folder that does not exist.
        InputError: a clip that cannot be used, or has more targets than a system can be asked for.
        WeightsError: weights that are missing, damaged or not licensed yet.
        OutputError: the cache cannot be written to.
    """
    if not classes:
        raise UsageError("no class is named; name one of the 18 or more, or leave all")
    known, chosen = registry(), options or Options()
    named = tuple(CLASSES[index] for index in sorted({index_of(label) for label in classes}))
    variants = [Variant(name, _given(known.system(name), chosen), True, named) for name in systems]
    clips = first_clips(open_devset(data), n_clips)
    for one in variants:
        fetch_all(f"system {one.entry.name!r}", one.entry.files, known, _access(chosen))
    with _going_on(cache):
        runs, errors = run_all(variants, clips, chosen, progress, _kept(cache, chosen), note)
    which = "true labels" if named == CLASSES else f"true labels of {len(named)} classes"
    rows = tuple(evaluated(f"{title}, {which}", found) for title, found in runs.items())
    failed = {title: str(error) for title, error in errors.items()}
    return Study(str(data), len(clips.clips), rows, runs, {}, chosen.system_options, failed=failed)


def ablation(
    data: Path,
    system: str,
    cache: Path | None = None,
    n_clips: int | None = None,
    options: Options | None = None,
    progress: Progress = no_progress,
    tune: bool = False,
    note: Progress = no_progress,
) -> Study:
    """The systems that a section wants beside its own, and the ablation that its flow declares.

    Rows with networks that nobody has trained yet are left out, and `left_out` says so. A row that fails costs no
    other, and `failed` says why; where all fail, the first one's error is raised.

    Args:
        data: a folder in official layout.
        system: a name of the registry.
        cache: where results are kept, clip by clip, from which the same call goes on; None: nowhere.
        n_clips: only the first so many.
        options: also the options of this system; they go before those of its section.
        tune: also tunes thresholds, with cross-validation; what networks said is kept in the cache, which it needs.
        note: told in one line how far it is already.

    Raises:
        UsageError: an unknown system, option or device, a folder that does not exist, or folds that cannot be made.
        InputError: a clip that cannot be used, or has more targets than a system can be asked for.
        WeightsError: weights that are missing, damaged or not licensed yet.
        OutputError: the cache cannot be written to.
    """
    known, chosen = registry(), options or Options()
    variants, left_out = available(ablation_rows(_given(known.system(system), chosen), known), known, chosen)
    clips = first_clips(open_devset(data), n_clips)
    if tune:  # a search comes last and takes long, so what stands in its way is found out now
        folds(clips.references.count, chosen.folds, chosen.seed)
    searches: dict[str, Tuned] = {}
    with _going_on(cache):
        runs, errors = run_all(variants, clips, chosen, progress, _kept(cache, chosen), note)
        for one in variants:
            if tune and cache and one.tunable and one.title in runs:
                try:
                    searches[one.title] = tuned(one, clips, cache, chosen, progress)
                except (InputError, WeightsError) as error:
                    errors[f"{one.title}, tuned"] = error
    rows = [row for title, one in runs.items() for row in _rows(title, one, searches.get(title))]
    failed = {title: str(error) for title, error in errors.items()}
    return Study(str(data), len(clips.clips), tuple(rows), runs, searches, chosen.system_options, left_out, failed)


def _kept(cache: Path | None, options: Options) -> Kept:
    return Kept(Store(cache) if cache else None, resolve_device(options.device).type)


@contextmanager
def _going_on(cache: Path | None) -> Iterator[None]:
    """Says to whom stops it that nothing is lost."""
    try:
        yield
    except SystemExit as stopped:  # a signal
        if cache:
            stopped.add_note(f"finished clips are kept in {cache}, and the same command goes on")
        raise


def _given(entry: SystemEntry, options: Options) -> SystemEntry:
    """The entry with the options that its user chose."""
    return replace(entry, options={**entry.options, **options.system_options})


def available(variants: Sequence[Variant], known: Registry, options: Options) -> tuple[list[Variant], tuple[str, ...]]:
    """Those whose weights there are, fetched now; of the others, which nobody has trained yet, what they need.

    Raises:
        NeedsTrainingError: there is none.
        WeightsError: weights cannot be fetched, or are not licensed yet.
    """
    found, left_out = [], []
    for one in variants:
        try:
            fetch_all(f"system {one.entry.name!r}", one.entry.files, known, _access(options))
            found.append(one)
        except NeedsTrainingError as error:
            left_out.append(str(error))
    if not found:
        raise NeedsTrainingError(left_out[0])
    return found, tuple(dict.fromkeys(left_out))


def _access(options: Options) -> Access:
    return Access(options.offline, options.accept_licence)


def _rows(title: str, found: Evaluation, search: Tuned | None) -> tuple[Row, ...]:
    own = evaluated(title, found)
    return (own, *tuned_rows(search, [clip.products for clip in found.clips])) if search else (own,)


def first_clips(data: DevSet, n_clips: int | None) -> DevSet:
    """The first clips in name order; None: all.

    Raises:
        UsageError: fewer than one.
    """
    if n_clips is not None and n_clips < 1:
        raise UsageError(f"{n_clips} clips; give 1 or more")
    return replace(data, clips=data.clips[:n_clips])
