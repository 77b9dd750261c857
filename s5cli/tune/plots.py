"""A search as pictures: score against each threshold, gain of each stage, and what each rule removed.

Curves are exact: where a threshold leads to query lists that nobody has asked, they are asked, within a bound; beyond
it a curve has a gap. Infinite thresholds stand at the edge. Style and files as in `s5cli.score.plots`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from s5cli.knobs import UNITS, Knob, Setting
from s5cli.labels import CLASSES
from s5cli.scene import Floats
from s5cli.score.plots import BLUE, GREEN, GREY, INK, ORANGE, new_figure, note, prepare, save
from s5cli.trace import ClipTrace, Drop
from s5cli.tune.clips import open_devset
from s5cli.tune.result import Result
from s5cli.tune.search import CLASS_POINTS, Search
from s5cli.tune.trials import Progress, Trials, no_progress
from s5cli.tune.tuner import Options, most_new_lists, prepared, searchable
from s5cli.weights.registry import registry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 6  # small multiples in a row
DASHES, BETWEEN = (0, (4, 4)), (4, (4, 4))  # two dashed lines in one place are both seen
EDGE = 0.12  # how far from the searched range an infinite threshold is drawn, as a share of the range


# --- rule counts ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Queries:
    """A number of queries: those that can be matched by label with references, and the others."""

    n_true: int
    n_false: int

    def __sub__(self, rest: Queries) -> Queries:
        return Queries(self.n_true - rest.n_true, self.n_false - rest.n_false)


@dataclass(frozen=True)
class RuleCounts:
    """What became of all proposals under one setting."""

    proposed: Queries
    removed: Mapping[str, Queries]  # by rule, in the order of the flow
    reported: Queries


def counts_under(trials: Trials, setting: Setting) -> RuleCounts:
    """What each rule removes on a development set, under a setting whose query lists are all known."""
    truth = [[CLASSES[index] for index in clip.classes] for clip in trials.data.clips]
    return rule_counts(trials.replay.traces(setting), truth, tuple(trials.system.drops))


def rule_counts(clips: Sequence[ClipTrace], truth: Sequence[Sequence[str]], rules: Sequence[str]) -> RuleCounts:
    """Counts of true and false queries before, between and after the rules.

    A list of labels holds as many true ones as can be matched by label with references. What a rule removes is the
    difference between the list before it and the one after it, so that all counts add up.
    """
    left = [_left(clips, truth, rules[:done]) for done in range(len(rules) + 1)]
    removed = {rule: left[place] - left[place + 1] for place, rule in enumerate(rules)}
    return RuleCounts(left[0], removed, left[-1])


def _left(clips: Sequence[ClipTrace], truth: Sequence[Sequence[str]], rules: Sequence[str]) -> Queries:
    """What these rules have left of the proposals of all clips."""
    n_true = n_all = 0
    for clip, references in zip(clips, truth, strict=True):
        labels = [query.label for query in clip.queries if query.dropped_by not in rules]
        n_all += len(labels)
        n_true += sum(min(labels.count(label), references.count(label)) for label in set(labels))
    return Queries(n_true, n_all - n_true)


# --- curves -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """Score against one threshold, all others as tuned."""

    title: str
    values: Floats  # [p], rising; an end may be infinite
    scores_db: Floats  # [p], mean over all clips; nan where query lists are unknown
    default: float
    tuned: float
    unit: str = ""  # of the values

    @property
    def ends(self) -> tuple[float, float]:
        """The finite values' ends."""
        finite = self.values[np.isfinite(self.values)]
        return float(finite[0]), float(finite[-1])

    def places(self, values: float | Floats) -> Floats:
        """Where values are drawn: infinite ones at the edges."""
        low, high = self.ends
        reach = EDGE * (high - low)
        return np.clip(values, low - reach, high + reach)


@dataclass(frozen=True)
class Pictured:
    """A result, and the trials that lead to it."""

    result: Result
    trials: Trials
    knobs: Mapping[str, Knob]

    @property
    def alike(self) -> Setting:
        """The best setting that treats all classes alike, from which the search by class began."""
        settings = [one.best.setting for one in self.result.milestones]
        return [one for one in settings if not any(np.ndim(value) for value in one.values.values())][-1]

    def global_curves(self) -> list[Curve]:
        """One for each knob, the same value for all classes."""
        start = self.alike
        return [
            self._curve(name, knob.grid(CLASS_POINTS, start.scalar(name)), start.scalar(name), start, None)
            for name, knob in self.knobs.items()
        ]

    def class_curves(self, name: str) -> list[Curve]:
        """Of one knob, one for each class, the other classes as tuned."""
        setting = self.result.setting
        table = np.broadcast_to(np.asarray(setting.values[name], dtype=np.float64), (len(CLASSES),))
        return [
            self._curve(name, self.knobs[name].grid(CLASS_POINTS, own), own, setting, index)
            for index, own in enumerate(table.tolist())
        ]

    def _curve(self, name: str, values: list[float], tuned: float, setting: Setting, index: int | None) -> Curve:
        search = Search(self.trials, self.knobs, np.ones(len(self.trials.data.clips), dtype=np.bool_))
        alike = [setting.moved({name: value}) for value in values]
        settings = alike if index is None else search.sweep(setting, name, index)
        references = self.trials.data.references.classes
        title = name if index is None else f"{CLASSES[index]} ({(references == index).sum()})"
        self.trials.progress(f"plots: {name} {title if index is not None else ''}")
        self.trials.fill(settings)
        outcomes = self.trials.outcomes(settings)
        scores = [np.nan if outcome.unseen.any() else outcome.mean_db() for outcome in outcomes]
        knob = self.knobs[name]
        return Curve(title, np.array(values), np.array(scores), knob.default, tuned, UNITS[knob.axis])


# --- files ------------------------------------------------------------------------------------------------------------


def draw(result: Result, cache: Path, folder: Path, options: Options, progress: Progress = no_progress) -> list[Path]:
    """Writes `stages`, `rules`, `thresholds` and, where classes may differ, `classes_<knob>`; returns their paths.

    A system without knobs has no pictures, one without rules no `rules`. At most `options.max_new_lists` query lists
    are asked beyond those of the settings that the result names.

    Raises:
        UsageError: matplotlib is not installed, or the data are gone.
        OutputError: the folder cannot be written to.
        InputError: a clip that cannot be used.
        WeightsError: weights that are missing or damaged.
    """
    prepare(folder)
    entry, data = registry().system(result.system), open_devset(Path(result.data))
    trials = prepared(entry, data, cache, options, progress)
    shown = Pictured(result, trials, searchable(trials.system, entry))
    if not shown.knobs:
        return []
    trials.cache.take_stored()
    trials.fill([*(one.best.setting for one in result.milestones), result.setting])
    trials.cache.start_counting()
    trials.cache.allow(most_new_lists(options, len(data.clips)))
    return [save(make, folder / f"{name}.png", "png") for name, make in _pictures(shown)]


def _pictures(shown: Pictured) -> Iterator[tuple[str, Callable[[], Figure]]]:
    yield "stages", partial(stages, shown.result)
    if shown.trials.system.drops:
        default, tuned = shown.result.milestones[0].best.setting, shown.result.setting
        before, after = counts_under(shown.trials, default), counts_under(shown.trials, tuned)
        yield "rules", partial(rules, before, after, shown.trials.system.drops)
    curves = shown.global_curves()
    yield "thresholds", partial(thresholds, curves, "one value for all classes, the other thresholds as tuned")
    for name in [name for name, knob in shown.knobs.items() if knob.per_class]:
        text = f"{name} of one class, all else as tuned; beside each class its references"
        yield f"classes_{name}", partial(thresholds, shown.class_curves(name), text)


# --- thresholds -------------------------------------------------------------------------------------------------------


def thresholds(curves: Sequence[Curve], about: str) -> Figure:
    """Small multiples with one scale of scores: the paper's figure."""
    columns = COLUMNS if len(curves) > 8 else min(4, len(curves))
    rows = -(-len(curves) // columns)
    figure = new_figure(1.2 + 1.75 * columns, 1.0 + 1.5 * rows)
    alike = len({(curve.values[0], curve.values[-1], curve.unit) for curve in curves}) == 1
    panels = figure.subplots(rows, columns, sharex=alike, sharey=True, squeeze=False).ravel().tolist()
    for axes, curve in zip(panels, curves, strict=False):
        _panel(axes, curve, unit_shown=not alike)
    for axes in panels[len(curves) :]:
        axes.set_axis_off()
    figure.supylabel("CAPI-SDRi over all clips, dB", fontsize=9)
    if alike and curves[0].unit:
        figure.supxlabel(curves[0].unit, fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    note(figure, "; ".join([about, *_notes(curves)]))
    return figure


def _notes(curves: Sequence[Curve]) -> Iterator[str]:
    if any(np.isnan(curve.scores_db).any() for curve in curves):
        yield "gaps: query lists that nobody has asked"
    if not all(np.isfinite([*curve.values, curve.default, curve.tuned]).all() for curve in curves):
        yield "beyond the dotted lines: infinite"


def _panel(axes: Axes, curve: Curve, unit_shown: bool) -> None:
    finite, places = np.isfinite(curve.values), curve.places(curve.values)
    axes.plot(places[finite], curve.scores_db[finite], color=BLUE, linewidth=1.4, label="score")
    for one in np.flatnonzero(~finite).tolist():
        axes.plot(places[one], curve.scores_db[one], "<" if curve.values[one] < 0 else ">", color=BLUE, markersize=4)
    axes.axvline(float(curve.places(curve.default)), color=GREY, linestyle=DASHES, linewidth=1.4, label="default")
    axes.axvline(float(curve.places(curve.tuned)), color=ORANGE, linestyle=BETWEEN, linewidth=1.4, label="tuned")
    axes.set_title(curve.title, fontsize=8)
    low, high = curve.ends
    margin = 0.03 * (high - low)
    for end, drawn in ((low - margin, places[0] < low), (high + margin, places[-1] > high)):
        if drawn:
            axes.axvline(end, color=INK, linestyle=":", linewidth=0.8)
    axes.set_xlim(min(low, places[0]) - margin, max(high, places[-1]) + margin)
    if curve.unit and unit_shown:
        axes.set_xlabel(curve.unit, fontsize=8)
    axes.grid(axis="y", linewidth=0.5)


# --- stages -----------------------------------------------------------------------------------------------------------


def stages(result: Result) -> Figure:
    """From the defaults upwards, stage by stage; at the end what clips score that the search has not seen."""
    scores = np.array([one.best.score_db for one in result.milestones])
    names = [one.stage for one in result.milestones]
    figure = new_figure(2.2 + 0.95 * (len(names) + 1), 3.6)
    axes = figure.subplots()
    axes.axhline(scores[0], color=GREY, linestyle=DASHES, linewidth=1.2, label="defaults")
    axes.plot([0], [scores[0]], "s", color=GREY, markersize=5)
    for place, (before, after) in enumerate(pairwise(scores), start=1):
        axes.bar(place, after - before, bottom=before, width=0.6, color=BLUE, label="gain" if place == 1 else None)
        axes.annotate(f"{after - before:+.3f}", (place, after), (0, 3), textcoords="offset points", ha="center")
    _held_out(axes, result, len(names))
    shown = ["defaults", *names[1:], *(["held out"] if result.held_out else [])]
    axes.set_xticks(range(len(shown)), shown)
    axes.set(ylabel="CAPI-SDRi, dB", title=f"{result.system}: {scores[0]:.3f} to {scores[-1]:.3f} dB")
    axes.margins(y=0.15)
    axes.set_xlim(-0.5, len(shown) - 0.5)
    axes.grid(axis="y", linewidth=0.5)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def _held_out(axes: Axes, result: Result, place: int) -> None:
    if result.held_out is None:
        return
    found = result.held_out.score
    ends = found.interval
    reach = None if ends is None else [[found.mean_db - ends.low], [ends.high - found.mean_db]]
    label = f"on clips not searched on ({len(result.held_out.folds)} folds), 95 % interval"
    axes.errorbar([place], [found.mean_db], yerr=reach, fmt="o", color=ORANGE, capsize=3, label=label)


# --- rules ------------------------------------------------------------------------------------------------------------


def rules(default: RuleCounts, tuned: RuleCounts, drops: Mapping[str, Drop]) -> Figure:
    """Left what was proposed and reported, right what each rule removed; true to the left, false to the right."""
    figure = new_figure(9.5, 3.4)
    left, right = figure.subplots(1, 2, width_ratios=(1, 2))
    ends = {name: name for name in ("proposed", "reported")}
    _bars(left, ends, [{name: getattr(one, name) for name in ends} for one in (default, tuned)])
    _bars(right, {rule: drop.title for rule, drop in drops.items()}, [one.removed for one in (default, tuned)])
    left.set_title("Queries")
    right.set_title("Removed by each rule")
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    note(figure, "true: matched by label with a reference")
    return figure


def _bars(axes: Axes, names: Mapping[str, str], series: Sequence[Mapping[str, Queries]]) -> None:
    """Two bars a row, defaults above tuned."""
    looks = (("defaults", 0.45, -0.2), ("tuned", 1.0, 0.2))
    for (label, alpha, shift), found in zip(looks, series, strict=True):
        places = [row + shift for row in range(len(names))]
        true, false = ([vars(found[key])[which] for key in names] for which in ("n_true", "n_false"))
        axes.barh(places, [-n for n in true], 0.36, color=ORANGE, alpha=alpha, label=f"true, {label}")
        axes.barh(places, false, 0.36, color=GREEN, alpha=alpha, label=f"false, {label}")
        for place, n_true, n_false in zip(places, true, false, strict=True):
            axes.annotate(str(n_true), (-n_true, place), (-3, 0), textcoords="offset points", ha="right", va="center")
            axes.annotate(str(n_false), (n_false, place), (3, 0), textcoords="offset points", ha="left", va="center")
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(names)), list(names.values()))
    axes.invert_yaxis()
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("queries")
    axes.margins(x=0.18)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
