"""Evaluations as tables on stdout, 80 columns wide at most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:  # they need numpy, which no command loads before it runs
    from s5cli.score.bootstrap import Interval
    from s5cli.score.compare import ClipPair, Comparison, Difference
    from s5cli.score.evaluate import ClassResult, Evaluation, Summary
    from s5cli.score.sheet import Score

NONE = "–"
MOST_CONFUSED = 3


def print_evaluation(result: Evaluation) -> None:
    """The score sheet of all clips, scores of their kinds, the trivial answers, and the classes."""
    from s5cli.score.sheet import SCORES

    console = Console(highlight=False, markup=False)
    print(headline(result))
    tables = (sheet(result, SCORES), trivial(result), kinds_db(result), kinds_percent(result), classes(result.classes))
    for shown in tables:
        console.print(shown)
    for line in remarks(result):
        console.print(line)


def headline(result: Evaluation) -> str:
    """The ranking score, and what it is worth beside answers that need no separation."""
    overall, best = result.overall, result.margins["over_trivial_db"]
    score = f"{number(overall.capi_sdri_db)} dB{bracket(overall.intervals.get('capi_sdri_db'), gap=' ')}"
    above = f"{number(result.over_trivial_db)} dB{bracket(best.interval, gap=' ')}"
    return (
        f"CAPI-SDRi of {overall.n_clips} clips: {score}\nAbove the best trivial answer under the same labels: {above}\n"
    )


def sheet(result: Evaluation, scores: Sequence[Score]) -> Table:
    """A row for each score over all clips, with its interval and what it says."""
    values, intervals = vars(result.overall), result.overall.intervals
    rows = []
    for score in scores:
        decimals, interval = digits(score), intervals.get(score.key)
        cells = number(values[score.key], decimals), bracket(interval, decimals)
        rows.append((f"{score.name}, {score.unit}", *cells, score.meaning))
    drawn = result.bootstrap
    title = f"Scores of {result.overall.n_clips} clips" + (
        f", with {drawn.level_percent:g} % intervals from {drawn.resamples} resamples of them" * bool(intervals)
    )
    return table(title, ("score", "", "", "what it says"), rows, text=(3,))


def kinds(result: Evaluation) -> list[tuple[str, Summary]]:
    """Clips by their number of targets, and those without and with same-class sources."""
    rows = [(f"{name} target{'s' * (name != '1')}", found) for name, found in result.by_n_targets.items()]
    return rows + [(f"{name} same class", found) for name, found in result.by_repeats.items()]


def kinds_db(result: Evaluation) -> Table:
    """Separation in each kind of clip."""
    rows = [
        (
            name,
            str(found.n_clips),
            with_interval(found, "capi_sdri_db"),
            number(found.casa_sdri_db),
            number(found.si_sdri_db),
            number(found.level_db),
        )
        for name, found in [("all clips", result.overall), *kinds(result)]
    ]
    return table("Kinds of clips, in dB", ("", "clips", "CAPI-SDRi", "CASA-SDRi", "SI-SDRi", "level"), rows)


def kinds_percent(result: Evaluation) -> Table:
    """Labels in each kind of clip."""
    rows = [
        (
            name,
            with_interval(found, "accuracy_mixture_percent", 1),
            with_interval(found, "accuracy_source_percent", 1),
            number(found.accuracy_slot_percent, 1),
        )
        for name, found in kinds(result)
    ]
    return table("Kinds of clips, labels in %", ("", "mixture accuracy", "source accuracy", "(2025)"), rows)


def trivial(result: Evaluation) -> Table:
    """CAPI-SDRi of the stems and of each trivial answer, and how far the stems are above it."""
    own, true, margins = result.own_trivial, result.true_trivial, result.margins
    above = {key: number(found.value_db) + bracket(found.interval, gap=" ") for key, found in margins.items()}
    answers = (
        ("always silent", own.silent_db, true.silent_db, "over_silent_db"),
        ("an all-zero stem per label", own.zero_stems_db, true.zero_stems_db, "over_zero_stems_db"),
        ("mixture at its best gain", own.mixture_db, true.mixture_db, "over_mixture_db"),
    )
    rows = [("these stems", number(result.overall.capi_sdri_db), "", "")]
    rows += [(name, number(ours), number(theirs), above[key]) for name, ours, theirs, key in answers]
    title = "CAPI-SDRi in dB, beside answers that need no separation"
    return table(title, ("answer", "own labels", "true labels", "stems above it"), rows)


def classes(results: Sequence[ClassResult]) -> Table:
    """A row for each class that occurs."""
    columns = ("class", "ref", "est", "recall", "prec.", "CAPI", "SDRi", "SI-SDRi", "level")
    title = "Classes: counts, shares in %, CAPI-SDRi and means over pairs in dB"
    return table(title, columns, [_class_cells(result) for result in results])


def _class_cells(result: ClassResult) -> tuple[str, ...]:
    counts = (result.n_ref, result.n_est)
    shares = (result.recall_percent, result.precision_percent)
    means_db = (result.capi_sdri_db, result.sdri_db, result.si_sdri_db, result.level_db)
    return (result.label, *map(str, counts), *(number(share, 1) for share in shares), *map(number, means_db))


def remarks(result: Evaluation) -> list[str]:
    """What no table shows."""
    overall = result.overall
    gains = (result.own_trivial.mixture_gain_db, result.true_trivial.mixture_gain_db)
    lines = [
        f"Best gain of the mixture: {number(gains[0], 1)} dB under own labels, {number(gains[1], 1)} under true ones",
        f"Clips without any stem: {overall.n_clips_without_stem} of {overall.n_clips}",
    ]
    if overall.n_silent_pairs:
        lines.append(
            f"{overall.n_silent_pairs} of {overall.n_pairs} matched pairs are digital silence: "
            "in CAPI-SDRi, but not in the means of SI-SDRi and level"
        )
    if found := result.confusion.most_frequent(MOST_CONFUSED):
        shown = ", ".join(f"{true} called {given} ({count})" for true, given, count in found)
        lines.append(f"Most frequent wrong labels: {shown}")
    return lines


# --------------------------------------------------------------------------------------------------------- comparisons
def print_comparison(found: Comparison, most: int) -> None:
    """The differences of two runs, and the clips that moved most."""
    console = Console(highlight=False, markup=False)
    console.print(f"A {found.run_a}", f"B {found.run_b}", sep="\n", soft_wrap=True)
    console.print(differences(found))
    moved = found.moved(most)
    if moved:
        print(f"Clips that moved most, CAPI-SDRi in dB ({len(moved)} of {len(found.moved(len(found.clips)))})")
    for clip in moved:
        for line in movement(clip):
            print(line)


def differences(found: Comparison) -> Table:
    """A row for each score: both runs, their difference with its interval, shares of clips."""
    left_out = found.n_only_a + found.n_only_b
    title = f"{len(found.clips)} clips, dB and %; shares of the clips that have the score in both runs, in %" + (
        f"; {left_out} clips that only one run covers are left out" * bool(left_out)
    )
    columns = ("", "A", "B", "B - A", "better", "worse", "equal")
    return table(title, columns, [_difference_cells(row) for row in found.differences])


def _difference_cells(found: Difference) -> tuple[str, ...]:
    decimals = 2 if found.unit == "dB" else 1
    moved = number(found.difference, decimals)
    shares = (found.n_better, found.n_worse, found.n_equal)
    return (
        found.name,
        number(found.a, decimals),
        number(found.b, decimals),
        moved + bracket(found.interval, decimals, gap=" "),
        *(number(None if n is None or not found.n_paired else 100 * n / found.n_paired, 0) for n in shares),
    )


def movement(clip: ClipPair) -> tuple[str, str]:
    """A clip's two scores, and the labels that led to them."""
    change = f"{number(clip.capi_sdri_a_db)} to {number(clip.capi_sdri_b_db)} ({clip.difference_db or 0.0:+.2f})"
    true, in_a, in_b = (", ".join(labels) or "none" for labels in (clip.ref_labels, clip.labels_a, clip.labels_b))
    return f"{clip.soundscape}: {change}", f"    true {true} | A {in_a} | B {in_b}"


# ------------------------------------------------------------------------------------------------------ cells and frame
def digits(score: Score) -> int:
    """Decimals that a score is shown with."""
    return 2 if score.unit == "dB" else 1


def with_interval(found: Summary, key: str, decimals: int = 2) -> str:
    """A score as `value [low, high]`."""
    return number(vars(found)[key], decimals) + bracket(found.intervals.get(key), decimals, gap=" ")


def bracket(interval: Interval | None, decimals: int = 2, gap: str = "") -> str:
    """`[low, high]` behind a gap; nothing where there is no interval."""
    return f"{gap}[{number(interval.low, decimals)}, {number(interval.high, decimals)}]" if interval else ""


def number(value: float | None, digits: int = 2) -> str:
    """A value for a cell; what rounds to zero has no sign.

    >>> number(1.25, 1), number(-0.001), number(None)
    ('1.2', '0.00', '–')
    """
    return NONE if value is None else f"{round(value, digits) + 0.0:.{digits}f}"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], text: Sequence[int] = ()) -> Table:
    """Numbers to the right; the first column and those of `text` to the left, the latter wrapped."""
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for index, column in enumerate(columns):
        left = index == 0 or index in text
        made.add_column(column, justify="left" if left else "right", no_wrap=index not in text)
    for row in rows:
        made.add_row(*row)
    return made
