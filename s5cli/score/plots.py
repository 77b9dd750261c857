"""An evaluation as pictures: scores of each class, which class is taken for which, scores by number of targets.

Drawn on figures of their own with the Agg, SVG or PDF canvas: no window, no global state. Colours are those of Okabe
and Ito, which colour-blind readers can tell apart; whiskers are the evaluation's confidence intervals.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from s5cli.audio import write_file
from s5cli.errors import OutputError, UsageError
from s5cli.score import metric, sheet
from s5cli.score.bootstrap import Bootstrap
from s5cli.score.casa import Confusion
from s5cli.score.clip import ClipResult
from s5cli.score.evaluate import ClassResult, Evaluation, Summary, summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Kind = Literal["png", "svg", "pdf"]
PROGRAM = "s5cli"  # in every picture, so that those of others are told apart
NAMES = {"classes", "confusion", "targets", "stages", "rules", "thresholds"}
"""What pictures are called, or begin with before an underscore, those of `s5cli.tune.plots` too."""

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#8E4585"
INK, GREY, FAINT, BAND = "#222222", "#7f7f7f", "#d9d9d9", "#f4f4f4"
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "legend.frameon": False,
    "svg.hashsalt": "s5cli",  # the same picture is the same file
    "figure.dpi": 150,
    "figure.constrained_layout.w_pad": 0.1,
}
WHISKERS: dict[str, Any] = {"markersize": 5, "elinewidth": 1.4, "capsize": 2.5}
CELL_INCH, ROW_INCH = 0.34, 0.32
SHIFT = 0.17  # of the two series of one row or one number of targets, either way


def prepare(folder: Path) -> None:
    """Finds out before a long evaluation whether its pictures can be drawn, and makes their folder.

    Raises:
        UsageError: matplotlib is not installed, or pictures of others would be replaced.
        OutputError: the folder cannot be made.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise UsageError("plots need matplotlib: pip install 's5cli[plots]'") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror or error}); name another folder") from error
    for path in sorted(folder.iterdir()):
        if path.suffix[1:] in get_args(Kind) and path.stem.partition("_")[0] in NAMES and not _is_own(path):
            raise UsageError(f"{path}: is there and was not drawn by s5; name another folder, so that it is not lost")


def _is_own(path: Path) -> bool:
    return path.is_file() and PROGRAM.encode() in path.read_bytes()


def draw(result: Evaluation, folder: Path, kind: Kind = "png") -> list[Path]:
    """Writes `classes`, `confusion` and `targets` into a folder, each all or nothing, and returns their paths.

    Raises:
        UsageError: matplotlib is not installed.
        OutputError: the folder cannot be written to.
    """
    prepare(folder)
    pictures: Mapping[str, Callable[[], Figure]] = {
        "classes": lambda: classes(result.classes, result.bootstrap),
        "confusion": lambda: confusion(result.confusion),
        "targets": lambda: targets(result),
    }
    return [save(make, folder / f"{name}.{kind}", kind) for name, make in pictures.items()]


def save(make: Callable[[], Figure], path: Path, kind: Kind) -> Path:
    """Draws a picture in the house's style and writes it, all or nothing; OutputError where that cannot be."""
    import matplotlib

    buffer = io.BytesIO()
    about = {"png": {"Software": PROGRAM}, "svg": {"Creator": PROGRAM, "Date": None}}
    undated = about.get(kind, {"Creator": PROGRAM, "CreationDate": None})
    with matplotlib.rc_context(STYLE):  # as far as style goes there is global state; it is put back
        make().savefig(buffer, format=kind, metadata=undated)
    write_file(path, buffer.getvalue())
    return path


def new_figure(width_inch: float, height_inch: float) -> Figure:
    """An empty figure that makes room for all that is drawn on it."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_inch, height_inch), layout="constrained")


# ------------------------------------------------------------------------------------------------------------- classes
def classes(results: Sequence[ClassResult], bootstrap: Bootstrap) -> Figure:
    """Left the scores of each class in dB, right recall and precision; the class with the highest score on top."""
    ordered = sorted(results, key=lambda result: _or(result.capi_sdri_db, -np.inf))
    figure = new_figure(9.5, 1.5 + ROW_INCH * max(len(ordered), 1))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    rows = np.arange(len(ordered))
    _points(left, ordered, rows + SHIFT, "sdri_db", _Look(GREEN, "s", "SDRi of its pairs by label"), "x")
    with_zeros = _Look(BLUE, "o", "CAPI-SDRi: with 0 dB for missed and surplus")
    _points(left, ordered, rows - SHIFT, "capi_sdri_db", with_zeros, "x")
    _points(right, ordered, rows + SHIFT, "recall_percent", _Look(ORANGE, "D", "recall"), "x")
    _points(right, ordered, rows - SHIFT, "precision_percent", _Look(PURPLE, "o", "precision"), "x")
    left.axvline(0, color=GREY, linewidth=1)
    left.set_yticks(range(len(ordered)), [f"{found.label}  {found.n_ref} | {found.n_est}" for found in ordered])
    left.set(title="Separation of each class", xlabel="dB", ylim=(-0.5, max(len(ordered), 1) - 0.5))
    right.set(title="Labels of each class", xlabel="%", xlim=(-3, 103))
    for axes in (left, right):
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", linewidth=0.5)
        for row in range(1, len(ordered), 2):
            axes.axhspan(row - 0.5, row + 0.5, color=BAND, zorder=0)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.5 / figure.get_figheight()))
    note(figure, f"beside each class: references | stems; {_whiskers(bootstrap)}")
    return figure


def note(figure: Figure, text: str) -> None:
    """Small and grey in the upper right corner: what a reader has to know."""
    figure.suptitle(text, x=0.99, horizontalalignment="right", fontsize=8, color=GREY)


def _whiskers(bootstrap: Bootstrap) -> str:
    return f"whiskers: {bootstrap.level_percent:g} % confidence" if bootstrap.resamples else "no whiskers"


# ----------------------------------------------------------------------------------------------------------- confusion
def confusion(found: Confusion) -> Figure:
    """Rows are true classes, columns given ones, shaded by the share of the row; what is 0 stays empty."""
    n = len(found.labels) + 1
    figure = new_figure(2.2 + CELL_INCH * n, 2.2 + CELL_INCH * n)
    axes = figure.subplots()
    shares = found.counts / np.maximum(found.counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    for row, column in np.argwhere(found.counts):
        colour = "white" if shares[row, column] > 0.55 else INK
        axes.text(column, row, str(found.counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(n), [*found.labels, "missed"], rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(n), [*found.labels, "surplus"])
    axes.set(xlabel="label of the stem", ylabel="label of the reference")
    axes.set_title("Stems matched to references by sound\ncount, shaded by share of the row", loc="left")
    _frame_cells(axes, n)
    return figure


def _frame_cells(axes: Axes, n: int) -> None:
    """Thin lines between cells, a thick one before what is missed or surplus."""
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(which="minor", linewidth=0.5)
    axes.tick_params(which="both", length=0)
    axes.axhline(n - 1.5, color=GREY, linewidth=1.2)
    axes.axvline(n - 1.5, color=GREY, linewidth=1.2)


# ------------------------------------------------------------------------------------------------------------- targets
@dataclass(frozen=True)
class _Kind:
    """Clips with one number of targets, without or with sources of one class."""

    n_targets: int
    repeats: bool
    n_clips: int
    place: float  # on the axis of numbers of targets
    scores: Summary
    trivial_db: float | None  # the best trivial answer under the stems' own labels


def targets(result: Evaluation) -> Figure:
    """CAPI-SDRi, CASA-SDRi and mixture accuracy by number of targets, without and with same-class sources."""
    kinds = _kinds(result)
    figure = new_figure(10, 3.9)
    panels = figure.subplots(1, 3)
    panels[1].sharey(panels[0])
    looks = {False: _Look(BLUE, "o", "no class twice"), True: _Look(ORANGE, "D", "a class twice or more")}
    keys = ("capi_sdri_db", "casa_sdri_db", "accuracy_mixture_percent")
    titles = ("CAPI-SDRi, dB", "CASA-SDRi, dB", "Mixture accuracy, %")
    for axes, key, title in zip(panels, keys, titles, strict=True):
        for repeats, look in looks.items():
            shown = [kind for kind in kinds if kind.repeats == repeats]
            _points(axes, [kind.scores for kind in shown], [kind.place for kind in shown], key, look, "y")
        axes.set(title=title, xlabel="targets in a clip (clips of either sort)")
        axes.grid(axis="y", linewidth=0.5)
        _label_kinds(axes, kinds)
    _trivial_marks(panels[0], kinds)
    panels[2].set_ylim(-4, 104)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    note(figure, _whiskers(result.bootstrap))
    return figure


def _kinds(result: Evaluation) -> list[_Kind]:
    trivial = sheet.best_margin(result.own_trivial)
    split: dict[tuple[int, bool], list[ClipResult]] = {}
    for clip in result.clips:
        split.setdefault((len(clip.ref_labels), clip.repeats_a_class), []).append(clip)
    return [_kind(n_targets, repeats, clips, result, trivial) for (n_targets, repeats), clips in sorted(split.items())]


def _kind(n_targets: int, repeats: bool, clips: Sequence[ClipResult], result: Evaluation, margin: sheet.Score) -> _Kind:
    scores = summary(clips, result.bootstrap)
    above = metric.mean(total / n for total, n in map(margin.terms, clips) if n)
    trivial_db = None if above is None or scores.capi_sdri_db is None else scores.capi_sdri_db - above
    shift = SHIFT * (1 if repeats else -1) if n_targets > 1 else 0.0  # one target alone cannot repeat a class
    return _Kind(n_targets, repeats, len(clips), n_targets + shift, scores, trivial_db)


def _trivial_marks(axes: Axes, kinds: Sequence[_Kind]) -> None:
    """A dash where the best answer without separation stands, beside each point."""
    shown = [(kind.place, kind.trivial_db) for kind in kinds if kind.trivial_db is not None]
    label = "best answer without separation, same labels"
    axes.hlines([y for _, y in shown], [x - 0.11 for x, _ in shown], [x + 0.11 for x, _ in shown], INK, label=label)
    axes.axhline(0, color=GREY, linewidth=1, zorder=0)


def _label_kinds(axes: Axes, kinds: Sequence[_Kind]) -> None:
    """Under each number of targets, how many clips it has of either sort."""
    numbers = sorted({kind.n_targets for kind in kinds})
    counts = [[str(kind.n_clips) for kind in kinds if kind.n_targets == n] for n in numbers]
    axes.set_xticks(numbers, [f"{n}\n({', '.join(count)})" for n, count in zip(numbers, counts, strict=True)])
    axes.set_xlim(min(numbers, default=0) - 0.5, max(numbers, default=0) + 0.5)


# --------------------------------------------------------------------------------------------------------------- marks
@dataclass(frozen=True)
class _Look:
    colour: str
    marker: str
    label: str


def _points(
    axes: Axes,
    scored: Sequence[ClassResult | Summary],
    places: npt.ArrayLike,
    key: str,
    look: _Look,
    along: Literal["x", "y"],
) -> None:
    """One score of each with whiskers; a value along the x or the y axis, its place on the other."""
    numbers = np.array([_or(vars(one)[key], np.nan) for one in scored], float)
    found = [one.intervals.get(key) for one in scored]
    lows = [number if ends is None else ends.low for number, ends in zip(numbers, found, strict=True)]
    highs = [number if ends is None else ends.high for number, ends in zip(numbers, found, strict=True)]
    reach = np.maximum([numbers - lows, highs - numbers], 0)
    x, y = (numbers, places) if along == "x" else (places, numbers)
    reaches: dict[str, Any] = {f"{along}err": reach}
    axes.errorbar(x, y, **reaches, fmt=look.marker, color=look.colour, label=look.label, **WHISKERS)


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
