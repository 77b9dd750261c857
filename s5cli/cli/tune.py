"""`s5 tune`: thresholds from a development set."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def tune(
    system: Annotated[str, Argument(help="One of `s5 systems`.")],
    data: Annotated[Path, Option(help="Development set: a folder with soundscape/ and oracle_target/.")],
    cache: Annotated[Path, Option(metavar="DIR", help="Where evidence is kept, for this search and later ones.")],
    out: Annotated[Path | None, Option("--out", "-o", metavar="FILE", help="Thresholds as TOML.")] = None,
    option: Annotated[
        list[str] | None, Option(metavar="NAME=VALUE", help="An option of the system; may be repeated.")
    ] = None,
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    batch_size: Annotated[int, Option(metavar="N", min=1, help="Clips that go through networks together.")] = 4,
    folds: Annotated[int, Option(metavar="N", min=0, help="Folds of the cross-validation; 0: none.")] = 5,
    max_new_lists: Annotated[
        int | None, Option(metavar="N", min=0, help="Query lists asked beyond those of the defaults (2 a clip).")
    ] = None,
    seed: Annotated[int, Option(metavar="N", min=0, help="Seed of the folds.")] = 0,
    workers: Annotated[
        int | None, Option(metavar="N", min=1, help="Processes that replay settings (one for each core).")
    ] = None,
    plots: Annotated[
        Path | None, Option("--plots", metavar="DIR", help="Also draw stages, rules and score against thresholds.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print everything as JSON.")] = False,
    offline: Annotated[bool, Option("--offline", help="Download nothing.")] = False,
    accept_licence: Annotated[
        bool, Option("--accept-licence", help="Accept the licences of weights to be downloaded.")
    ] = False,
) -> None:
    """Search a system's thresholds for the highest exact CAPI-SDRi, and say what they are worth on unseen clips.

    Networks run once for each clip and query list. What they said is kept in the cache, so that an interrupted search
    goes on where it was, and every later one is a matter of minutes. The thresholds go to `s5 separate --thresholds`.
    """
    from s5cli.audio import write_file
    from s5cli.knobs import read_options
    from s5cli.score.plots import prepare
    from s5cli.tune.plots import draw
    from s5cli.tune.result import check_place, lines
    from s5cli.tune.trials import usable_workers
    from s5cli.tune.tuner import Options
    from s5cli.tune.tuner import tune as search

    if out is not None:
        check_place(out)
    if plots is not None:
        prepare(plots)
    n_workers = workers or usable_workers()
    chosen = read_options(option or [])
    options = Options(device, batch_size, folds, max_new_lists, seed, n_workers, offline, accept_licence, chosen)
    found = search(system, data, cache, options, ProgressLine())
    if out is not None:
        write_file(out, found.to_toml().encode())
    drawn = draw(found, cache, plots, options, ProgressLine()) if plots is not None else []
    print("\r\033[K" if sys.stderr.isatty() else "", end="", file=sys.stderr)
    for path in drawn:
        print(f"drawn: {path}", file=sys.stderr)
    print(json.dumps(found.to_json(), indent=2) if as_json else "\n".join(lines(found)))


class ProgressLine:
    """Progress on stderr: one line that changes on a terminal, elsewhere a line now and then."""

    def __init__(self, pause_s: float = 15.0) -> None:
        self.live, self.pause_s, self._last = sys.stderr.isatty(), pause_s, 0.0

    def __call__(self, line: str) -> None:
        if self.live:
            print(f"\r\033[K{line[:100]}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self._last > self.pause_s:
            self._last = time.monotonic()
            print(line, file=sys.stderr, flush=True)
