"""What `s5 separate` shows: clips on stdout as they are finished, progress and warnings on stderr."""

import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tqdm import tqdm

from s5cli.cli.rows import print_rows, terminal_width, wrapped
from s5cli.errors import printable
from s5cli.run.record import ClipReport, Failure, Notice, RunResult, StemReport
from s5cli.trace import plain, titled, worded

EVERY_S = 30  # between lines about progress where there is no terminal
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"
NONE = "–"


class Progress:
    """How many clips are through: a bar on a terminal, elsewhere a line on stderr now and then."""

    def __init__(self, n_clips: int, quiet: bool = False) -> None:
        disable = True if quiet else None  # None: only on a terminal
        self._bar = tqdm(total=n_clips, unit=" clips", bar_format=BAR, disable=disable)
        self._n_clips, self._n_before, self._n, self._quiet = n_clips, 0, 0, quiet
        self._within = ""
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
        self._within = ""
        self._bar.set_postfix_str("", refresh=False)
        self._bar.update()
        self._tell()

    def within(self, message: str) -> None:
        """How far the networks are within a clip."""
        self._within = message
        self._bar.set_postfix_str(message)
        self._tell()

    def _tell(self) -> None:
        now_s = time.monotonic()
        if self._bar.disable and not self._quiet and now_s - self._told_s >= EVERY_S:
            self._told_s = now_s
            print(self._line(now_s - self._started_s), file=sys.stderr, flush=True)

    def _line(self, elapsed_s: float) -> str:
        """
        >>> progress = Progress(100)
        >>> progress.start_at(10); progress.step(); progress._line(2.0)
        '11 of 100 clips, 0.50 clips/s, 02:58 left'
        >>> progress.within("long: 3 of 40 windows"); progress._line(2.0)
        '11 of 100 clips, 0.50 clips/s, 02:58 left; long: 3 of 40 windows'
        """
        line = f"{self._n} of {self._n_clips} clips"
        if rate := (self._n - self._n_before) / elapsed_s:
            line += f", {rate:.2f} clips/s, {tqdm.format_interval((self._n_clips - self._n) / rate)} left"
        return f"{line}; {self._within}" if self._within else line

    def close(self) -> None:
        """The bar stays as it is."""
        self._bar.close()


class Display:
    """The clips above their progress: a table each on a terminal, plain lines elsewhere, nothing for JSON."""

    def __init__(self, n_clips: int, explain: bool, as_json: bool, quiet: bool = False) -> None:
        self.explain, self.as_json, self.quiet = explain, as_json, quiet
        self._n_clips, self._n_done = n_clips, 0
        self._sound_s, self._started_s = 0.0, time.monotonic()  # what this call has separated, and since when
        self._progress = Progress(n_clips, quiet)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._progress.close()
        if isinstance(error, SystemExit):  # a signal
            error.add_note(f"{self._n_done} of {self._n_clips} clips are done, and the same command goes on")

    def show(self, outcome: ClipReport | Failure | Notice) -> None:
        """Everything there is to say of a clip that was not said by its files. Failures are listed in the end."""
        if isinstance(outcome, Notice):
            self._note(outcome)
            return
        if isinstance(outcome, ClipReport):
            self._n_done += 1
            self._sound_s += outcome.duration_s
            with tqdm.external_write_mode():
                for warning in outcome.warnings:
                    print(f"warning: {printable(f'{outcome.name}: {warning}')}", file=sys.stderr)
                if not (self.as_json or self.quiet):
                    self._print(outcome)
        self._progress.step()

    def _note(self, notice: Notice) -> None:
        if notice.is_progress:
            self._progress.within(printable(notice.message))
            return
        if not self.quiet:
            with tqdm.external_write_mode():
                print(f"note: {printable(notice.message)}", file=sys.stderr, flush=True)
        if notice.n_done:
            self._n_done = notice.n_done
            self._progress.start_at(notice.n_done)

    def _print(self, clip: ClipReport) -> None:
        width = terminal_width()
        if width is not None and clip.stems:
            _print_table(clip)
        else:
            print("\n".join(map(printable, _lines(clip))))
        if self.explain:
            queries = [f"  {printable(str(query))}" for query in clip.trace.queries] or ["  nothing was proposed"]
            print("\n".join(line for query in queries for line in wrapped(query, width, indent=6)))
        sys.stdout.flush()  # clips take seconds, and somebody may be reading along

    def summarize(self, out_dir: Path, result: RunResult) -> None:
        """One line on stderr about a run of several clips."""
        if self._n_clips < 2 or self.as_json or self.quiet:
            return
        seconds = time.monotonic() - self._started_s
        n_stems = sum(len(clip.stems) for clip in result.done)
        counts = f"{len(result.done)} of {self._n_clips} clips, {n_stems} stems, {len(result.failed)} failed"
        speed = f" ({self._sound_s / seconds:.1f} times real time)" if self._sound_s else ""
        print(f"done: {counts}, {seconds:.1f} s{speed}: {printable(str(out_dir))}", file=sys.stderr)

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


def _print_table(clip: ClipReport) -> None:
    names = list(dict.fromkeys(name for stem in clip.stems for name in _numbers(stem)))
    rows = [
        (stem.label, *(plain(name, said[name]) if name in said else NONE for name in names), stem.file)
        for stem, said in zip(clip.stems, map(_numbers, clip.stems), strict=True)
    ]
    print(printable(f"{clip.name} ({clip.duration_s:.1f} s)"))
    print_rows(("class", *(" ".join(titled(name)).strip() for name in names), "file"), rows)
    print()
