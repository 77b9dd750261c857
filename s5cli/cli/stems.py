"""What `s5 separate` shows: clips on stdout as they are finished, progress and warnings on stderr."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich import box
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from s5cli.batch import ClipReport, Failure, RunResult, StemReport


class Display:
    """A progress bar with the clips above it: a table each on a terminal, plain lines elsewhere, nothing for JSON."""

    def __init__(self, n_clips: int, explain: bool, as_json: bool) -> None:
        self.explain = explain
        self.as_json = as_json
        self._console = Console(highlight=False, markup=False, soft_wrap=True)
        self._bar = tqdm(total=n_clips, unit="clip", disable=None)  # None: only on a terminal

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._bar.close()

    def show(self, outcome: ClipReport | Failure) -> None:
        """Everything there is to say of a clip that was not said by its files. Failures are listed in the end."""
        self._bar.update()
        if isinstance(outcome, Failure):
            return
        with tqdm.external_write_mode():
            for warning in outcome.warnings:
                print(f"warning: {outcome.name}: {warning}", file=sys.stderr)
            if not self.as_json:
                self._print(outcome)

    def _print(self, clip: ClipReport) -> None:
        if self._console.is_terminal and clip.stems:
            self._console.print(_table(clip))
        else:
            print("\n".join(_lines(clip)))
        if self.explain:
            print("\n".join(f"  {query.story}" for query in clip.trail.queries) or "  nothing was proposed")
        sys.stdout.flush()  # clips take seconds, and somebody may be reading along

    def print_json(self, out_dir: Path, result: RunResult) -> None:
        """One object for the whole run."""
        clips = [_content(clip, self.explain) for clip in result.done]
        failed = [vars(failure) for failure in result.failed]
        print(json.dumps({"out": str(out_dir), "clips": clips, "failed": failed}, indent=2))


def _content(clip: ClipReport, explain: bool) -> dict[str, Any]:
    return clip.to_json() | (clip.trail.to_json() if explain else {})


def _lines(clip: ClipReport) -> list[str]:
    if not clip.stems:
        return [f"{clip.name}: no targets"]
    return [
        f"{stem.file}: {stem.label}, confidence {stem.confidence:.2f}, support {_number(stem.support, 2)}, "
        f"energy {_number(stem.energy_db, 1)} dB, separator {stem.separator}"
        for stem in clip.stems
    ]


def _table(clip: ClipReport) -> Table:
    table = Table(title=f"{clip.name} ({clip.duration_s:.1f} s)", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("class", "confidence", "support", "energy dB", "separator", "file"):
        table.add_column(column, justify="left" if column in ("class", "separator", "file") else "right")
    for stem in clip.stems:
        table.add_row(*_cells(stem))
    return table


def _cells(stem: StemReport) -> tuple[str, ...]:
    numbers = (f"{stem.confidence:.2f}", _number(stem.support, 2), _number(stem.energy_db, 1))
    return (stem.label, *numbers, stem.separator, stem.file)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
