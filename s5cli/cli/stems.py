"""What `s5 separate` shows: clips on stdout as they are finished, progress and warnings on stderr."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from s5cli.run.record import ClipReport, Failure, Notice, RunResult, StemReport
from s5cli.trace import plain, titled, worded

EVERY_S = 30  # between lines about progress where there is no terminal
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]"


class Progress:
    """How many clips are through: a bar on a terminal, elsewhere a line on stderr now and then."""

    def __init__(self, n_clips: int) -> None:
        self._bar = tqdm(total=n_clips, unit=" clips", bar_format=BAR, disable=None)  # None: only on a terminal
        self._n_clips, self._n_before, self._n = n_clips, 0, 0
        self._started_s = self._told_s = time.monotonic()

    def start_at(self, n_done: int) -> None:
        """Clips that earlier calls have done say nothing about the speed of this one."""
        self._n = self._n_before = n_done
        self._bar.reset()
        self._bar.initial = self._bar.n = self._bar.last_print_n = n_done
        self._bar.refresh()

    def step(self) -> None:
        """One clip more."""
        self._n += 1
        self._bar.update()
        now_s = time.monotonic()
        if self._bar.disable and now_s - self._told_s >= EVERY_S:
            self._told_s = now_s
            print(self._line(now_s - self._started_s), file=sys.stderr, flush=True)

    def _line(self, elapsed_s: float) -> str:
        """
        >>> progress = Progress(100)
        >>> progress.start_at(10); progress.step(); progress._line(2.0)
        '11 of 100 clips, 0.50 clips/s, 02:58 left'
        """
        rate = (self._n - self._n_before) / elapsed_s
        left = tqdm.format_interval((self._n_clips - self._n) / rate)
        return f"{self._n} of {self._n_clips} clips, {rate:.2f} clips/s, {left} left"

    def close(self) -> None:
        """The bar stays as it is."""
        self._bar.close()


class Display:
    """The clips above their progress: a table each on a terminal, plain lines elsewhere, nothing for JSON."""

    def __init__(self, n_clips: int, explain: bool, as_json: bool) -> None:
        self.explain = explain
        self.as_json = as_json
        self._console = Console(highlight=False, markup=False, soft_wrap=True)
        self._progress = Progress(n_clips)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._progress.close()

    def show(self, outcome: ClipReport | Failure | Notice) -> None:
        """Everything there is to say of a clip that was not said by its files. Failures are listed in the end."""
        if isinstance(outcome, Notice):
            self._note(outcome)
            return
        if isinstance(outcome, ClipReport):
            with tqdm.external_write_mode():
                for warning in outcome.warnings:
                    print(f"warning: {outcome.name}: {warning}", file=sys.stderr)
                if not self.as_json:
                    self._print(outcome)
        self._progress.step()

    def _note(self, notice: Notice) -> None:
        with tqdm.external_write_mode():
            print(f"note: {notice.message}", file=sys.stderr, flush=True)
        if notice.n_done:
            self._progress.start_at(notice.n_done)

    def _print(self, clip: ClipReport) -> None:
        if self._console.is_terminal and clip.stems:
            self._console.print(_table(clip))
        else:
            print("\n".join(_lines(clip)))
        if self.explain:
            print("\n".join(f"  {query}" for query in clip.trace.queries) or "  nothing was proposed")
        sys.stdout.flush()  # clips take seconds, and somebody may be reading along

    def print_json(self, out_dir: Path, result: RunResult) -> None:
        """One object for the whole run."""
        clips = [clip.to_json() for clip in result.done]
        failed = [vars(failure) for failure in result.failed]
        print(json.dumps({"out": str(out_dir), "clips": clips, "failed": failed}, indent=2))


def _lines(clip: ClipReport) -> list[str]:
    if not clip.stems:
        return [f"{clip.name}: no targets"]
    return [
        f"{stem.file}: {', '.join([stem.label, *(worded(*one) for one in _numbers(stem).items())])}"
        for stem in clip.stems
    ]


def _numbers(stem: StemReport) -> dict[str, float]:
    return {"confidence": stem.confidence, **stem.numbers, "energy_db": stem.energy_db}


def _table(clip: ClipReport) -> Table:
    table = Table(title=f"{clip.name} ({clip.duration_s:.1f} s)", title_justify="left", box=box.SIMPLE_HEAD)
    names = list(dict.fromkeys(name for stem in clip.stems for name in _numbers(stem)))
    table.add_column("class")
    for name in names:
        table.add_column(" ".join(titled(name)).strip(), justify="right")
    table.add_column("file")
    for stem in clip.stems:
        numbers = _numbers(stem)
        table.add_row(
            stem.label, *(plain(name, numbers[name]) if name in numbers else "–" for name in names), stem.file
        )
    return table
