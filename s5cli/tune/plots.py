"""A search as pictures: score against each threshold, gain of each stage, and what each rule removed.

Curves are exact: where a threshold leads to query lists that nobody has asked, networks run for those clips, within a
bound; beyond it a curve has a gap. Style and files as in `s5cli.score.plots`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from s5cli.knobs import Knob, Setting
from s5cli.labels import CLASSES
from s5cli.scene import Floats
from s5cli.score.plots import BLUE, GREEN, GREY, INK, ORANGE, new_figure, note, prepare, save
from s5cli.tune.clips import open_devset
from s5cli.tune.fates import Fate, Queries, fate_under
from s5cli.tune.result import Result
from s5cli.tune.search import CLASS_POINTS, Search, grid, moved
from s5cli.tune.trials import Tell, Trials, untold
from s5cli.tune.tuner import Options, most_new_lists, prepared, searchable
from s5cli.weights.registry import registry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RULE_NAMES = {"solo": "proposed alone, too weak", "rank": "no slot left", "verify": "not verified", "gate": "gates"}
COLUMNS = 6  # small multiples in a row
DASHES, BETWEEN = (0, (4, 4)), (4, (4, 4))  # two dashed lines in one place are both seen


# --------------------------------------------------------------------------------------------------------------- facts
@dataclass(frozen=True)
class Curve:
    """Score against one threshold, all others as tuned."""

    title: str
    values: Floats  # [p]
    scores_db: Floats  # [p], mean over all clips; nan where query lists are unknown
    default: float
    tuned: float


@dataclass(frozen=True)
class Pictured:
    """A result, and the evidence that it was found with."""

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
            self._curve(name, knob, grid(knob, CLASS_POINTS, start.scalar(name)), start.scalar(name), start, None)
            for name, knob in self.knobs.items()
        ]

    def class_curves(self, name: str) -> list[Curve]:
        """Of one knob, one for each class, the other classes as tuned."""
        setting = self.result.setting
        table = np.broadcast_to(np.asarray(setting.values[name], dtype=np.float64), (len(CLASSES),))
        curves = []
        for index, own in enumerate(table.tolist()):
            values = grid(self.knobs[name], CLASS_POINTS, own)
            curves.append(self._curve(name, self.knobs[name], values, own, setting, index))
        return curves

    def _curve(
        self, name: str, knob: Knob, values: list[float], tuned: float, setting: Setting, index: int | None
    ) -> Curve:
        search = Search(self.trials, self.knobs, np.ones(len(self.trials.data.clips), dtype=np.bool_))
        alike = [moved(setting, {name: value}) for value in values]
        settings = alike if index is None else search.sweep(setting, name, index)
        title = name if index is None else f"{CLASSES[index]} ({self._n_references(index)})"
        self.trials.tell(f"plots: {name} {title if index is not None else ''}")
        self.trials.fill(settings)
        outcomes = self.trials.outcomes(settings)
        scores = [np.nan if outcome.unseen.any() else outcome.mean_db() for outcome in outcomes]
        return Curve(title, np.array(values), np.array(scores), knob.default, tuned)

    def _n_references(self, index: int) -> int:
        return int((self.trials.data.references.classes == index).sum())


# --------------------------------------------------------------------------------------------------------------- files
def draw(result: Result, cache: Path, folder: Path, options: Options, tell: Tell = untold) -> list[Path]:
    """Writes `stages`, `rules`, `thresholds` and, where classes may differ, `classes_<knob>`; returns their paths.

    A system without knobs has no pictures. Networks run for at most `options.max_new_lists` query lists.

    Raises:
        UsageError: matplotlib is not installed, or the data are gone.
        OutputError: the folder cannot be written to.
        InputError: a clip that cannot be used.
        WeightsError: weights that are missing or damaged.
    """
    prepare(folder)
    entry, data = registry().system(result.system), open_devset(Path(result.data))
    trials = prepared(entry, data, cache, options, tell)
    shown = Pictured(result, trials, searchable(trials.system, entry))
    trials.memory.start_counting()
    trials.memory.allow(most_new_lists(options, len(data.clips)))
    return [save(make, folder / f"{name}.png", "png") for name, make in _pictures(shown)] if shown.knobs else []


def _pictures(shown: Pictured) -> Iterator[tuple[str, Callable[[], Figure]]]:
    yield "stages", partial(stages, shown.result)
    default, tuned = shown.result.milestones[0].best.setting, shown.result.setting
    before, after = fate_under(shown.trials, default), fate_under(shown.trials, tuned)
    yield "rules", partial(rules, before, after)
    curves = shown.global_curves()
    yield "thresholds", partial(thresholds, curves, "one value for all classes, the other thresholds as tuned")
    for name in [name for name, knob in shown.knobs.items() if knob.per_class]:
        text = f"{name} of one class, all else as tuned; beside each class its references"
        yield f"classes_{name}", partial(thresholds, shown.class_curves(name), text)


# ---------------------------------------------------------------------------------------------------------- thresholds
def thresholds(curves: Sequence[Curve], about: str) -> Figure:
    """Small multiples with one scale of scores: the paper's figure."""
    columns = COLUMNS if len(curves) > 8 else min(4, len(curves))
    rows = -(-len(curves) // columns)
    figure = new_figure(1.2 + 1.75 * columns, 1.0 + 1.5 * rows)
    alike = len({(curve.values[0], curve.values[-1]) for curve in curves}) == 1
    panels = figure.subplots(rows, columns, sharex=alike, sharey=True, squeeze=False).ravel().tolist()
    for axes, curve in zip(panels, curves, strict=False):
        _panel(axes, curve)
    for axes in panels[len(curves) :]:
        axes.set_axis_off()
    figure.supylabel("CAPI-SDRi over all clips, dB", fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    gaps = any(np.isnan(curve.scores_db).any() for curve in curves)
    note(figure, f"{about}{'; gaps: query lists that nobody has asked' if gaps else ''}")
    return figure


def _panel(axes: Axes, curve: Curve) -> None:
    axes.plot(curve.values, curve.scores_db, color=BLUE, linewidth=1.4, label="score")
    axes.axvline(curve.default, color=GREY, linestyle=DASHES, linewidth=1.4, label="default")
    axes.axvline(curve.tuned, color=ORANGE, linestyle=BETWEEN, linewidth=1.4, label="tuned")
    axes.set_title(curve.title, fontsize=8)
    low, high = curve.values[[0, -1]].tolist()
    axes.set_xlim(low - 0.03 * (high - low), high + 0.03 * (high - low))
    axes.grid(axis="y", linewidth=0.5)


# -------------------------------------------------------------------------------------------------------------- stages
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


# --------------------------------------------------------------------------------------------------------------- rules
def rules(default: Fate, tuned: Fate) -> Figure:
    """Left what was proposed and reported, right what each rule removed; true to the left, false to the right."""
    figure = new_figure(9.5, 3.4)
    left, right = figure.subplots(1, 2, width_ratios=(1, 2))
    ends = {name: name for name in ("proposed", "reported")}
    _bars(left, ends, [{name: getattr(one, name) for name in ends} for one in (default, tuned)])
    _bars(right, RULE_NAMES, [one.removed for one in (default, tuned)])
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
