"""Evaluations as tables on stdout, 80 columns wide at most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:  # they need numpy, which no command loads before it runs
    from s5cli.evaluate import ClassResult, Evaluation, Summary
    from s5cli.metric import TrivialScores

NONE = "–"


def print_evaluation(result: Evaluation) -> None:
    """Scores of all clips and of their kinds, the trivial answers, and the classes."""
    console = Console(highlight=False, markup=False)
    for table in (scores(result), trivial(result), classes(result.classes)):
        console.print(table)
    for line in remarks(result):
        console.print(line)


def scores(result: Evaluation) -> Table:
    """A row for all clips, one for each number of targets, one without and one with same-class sources."""
    rows = [("all clips", result.overall)]
    rows += [(f"{group.name} target{'s' * (group.name != '1')}", group.summary) for group in result.by_n_targets]
    rows += [(f"{group.name} same class", group.summary) for group in result.by_repeats]
    columns = ("", "clips", "CAPI-SDRi", "SI-SDRi", "level", "mixture %", "source %")
    title = "Scores in dB, level of matched stems in dB, accuracies in %"
    return _table(title, columns, [(name, *_summary_cells(summary)) for name, summary in rows])


def _summary_cells(summary: Summary) -> tuple[str, ...]:
    return (
        str(summary.n_clips),
        number(summary.capi_sdri_db),
        number(summary.si_sdri_db),
        number(summary.level_db),
        number(summary.accuracy_mixture_percent, 1),
        number(summary.accuracy_source_percent, 1),
    )


def trivial(result: Evaluation) -> Table:
    """CAPI-SDRi of the stems and of each trivial answer, under the stems' own and under the true labels."""
    own, true = result.own_trivial, result.true_trivial
    rows = [
        ("these stems", number(result.overall.capi_sdri_db), ""),
        ("always silent", number(own.silent_db), number(true.silent_db)),
        ("an all-zero stem per label", number(own.zero_stems_db), number(true.zero_stems_db)),
        ("mixture at its best gain", _at_gain(own), _at_gain(true)),
    ]
    return _table(
        "CAPI-SDRi in dB, beside answers that need no separation", ("answer", "own labels", "true labels"), rows
    )


def _at_gain(scores: TrivialScores) -> str:
    return f"{number(scores.mixture_db)} (at {number(scores.mixture_gain_db, 1)} dB)"


def classes(results: Sequence[ClassResult]) -> Table:
    """A row for each class that occurs."""
    columns = ("class", "ref", "est", "matched", "recall", "precision", "SDRi", "SI-SDRi", "level")
    title = "Classes: references, estimates, shares in %, means over matched pairs in dB"
    return _table(title, columns, [_class_cells(result) for result in results])


def _class_cells(result: ClassResult) -> tuple[str, ...]:
    counts = (result.n_ref, result.n_est, result.n_matched)
    shares = (result.recall_percent, result.precision_percent)
    means_db = (result.sdri_db, result.si_sdri_db, result.level_db)
    return (result.label, *map(str, counts), *(number(share, 1) for share in shares), *map(number, means_db))


def remarks(result: Evaluation) -> list[str]:
    """What no table shows."""
    overall = result.overall
    lines = [f"Above the best trivial answer under the same labels: {number(result.over_trivial_db)} dB"]
    lines.append(f"False alarms on clips without targets: {number(result.false_alarm_percent, 1)} %")
    lines.append(f"Clips without any stem: {overall.n_clips_without_stem} of {overall.n_clips}")
    if overall.n_silent_pairs:
        lines.append(
            f"{overall.n_silent_pairs} of {overall.n_pairs} matched pairs are digital silence: "
            "in CAPI-SDRi, but not in the means of SI-SDRi and level"
        )
    return lines


def number(value: float | None, digits: int = 2) -> str:
    """A value for a cell; what rounds to zero has no sign.

    >>> number(1.25, 1), number(-0.001), number(None)
    ('1.2', '0.00', '–')
    """
    return NONE if value is None else f"{round(value, digits) + 0.0:.{digits}f}"


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table
