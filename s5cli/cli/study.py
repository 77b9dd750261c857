"""`s5 study`: what each part of a system is worth."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from s5cli.cli.tune import ProgressLine

if TYPE_CHECKING:
    from s5cli.study.studies import Study

app = typer.Typer(help="What each part of a system is worth, on data with references.", no_args_is_help=True)

Data = Annotated[Path, Argument(help="Data set: a folder with soundscape/ and oracle_target/.")]
Clips = Annotated[int | None, Option(metavar="N", min=1, help="Only the first N clips, by name.")]
Device = Annotated[str, Option(help="auto, cpu, cuda, cuda:N or mps.")]
BatchSize = Annotated[int, Option(metavar="N", min=1, help="Clips that go through networks together.")]
AsJson = Annotated[bool, Option("--json", help="Print everything as JSON, every class and clip included.")]
Offline = Annotated[bool, Option("--offline", help="Download nothing.")]
SystemOption = Annotated[
    list[str] | None, Option("--option", metavar="NAME=VALUE", help="Option of the system; may be repeated.")
]
Accept = Annotated[bool, Option("--accept-licence", help="Accept the licences of weights to be downloaded.")]
Cache = Annotated[
    Path | None, Option(metavar="DIR", help="Where results are kept, from which the same command goes on.")
]


@app.command()
def oracle(
    data: Data,
    system: Annotated[list[str] | None, Option(help="One of `s5 systems`; may be repeated.")] = None,
    classes: Annotated[
        str | None, Option(metavar="A,B,…", help="Only these classes are named, references of others missed.")
    ] = None,
    option: SystemOption = None,
    cache: Cache = None,
    clips: Clips = None,
    device: Device = "auto",
    batch_size: BatchSize = 4,
    as_json: AsJson = False,
    offline: Offline = False,
    accept_licence: Accept = False,
) -> None:
    """Name the true labels to unchanged separators: what a system would score if its taggers were always right."""
    from s5cli.knobs import read_options
    from s5cli.labels import CLASSES, listed
    from s5cli.study import studies
    from s5cli.tune.tuner import Options

    given = read_options(option or ())
    options = Options(device, batch_size, offline=offline, accept_licence=accept_licence, system_options=given)
    named = CLASSES if classes is None else listed(classes)
    systems = system or ["tagging-driven-compact"]
    _print(studies.oracle(data, systems, clips, options, ProgressLine(), named, _folder(cache), _note), as_json)


@app.command()
def ablation(
    data: Data,
    system: Annotated[str, Option(metavar="NAME", help="One of `s5 systems`.")] = "tagging-driven-compact",
    tuned: Annotated[bool, Option("--tuned", help="Tune thresholds too, with cross-validation.")] = False,
    cache: Cache = None,
    folds: Annotated[int, Option(metavar="N", min=2, help="Folds of the cross-validation.")] = 5,
    max_new_lists: Annotated[
        int | None, Option(metavar="N", min=0, help="Query lists that a search may newly ask (2 a clip).")
    ] = None,
    workers: Annotated[
        int | None, Option(metavar="N", min=1, help="Processes that replay settings (one for each core).")
    ] = None,
    option: SystemOption = None,
    clips: Clips = None,
    device: Device = "auto",
    batch_size: BatchSize = 4,
    as_json: AsJson = False,
    offline: Offline = False,
    accept_licence: Accept = False,
) -> None:
    """Score a system beside others and with parts and rules switched off, as `s5 systems NAME` lists its rows."""
    from s5cli.knobs import read_options
    from s5cli.study import studies
    from s5cli.tune.trials import usable_workers
    from s5cli.tune.tuner import Options

    cores = workers or usable_workers()
    given = read_options(option or ())
    options = Options(device, batch_size, folds, max_new_lists, 0, cores, offline, accept_licence, given)
    _print(studies.ablation(data, system, _folder(cache), clips, options, ProgressLine(), tuned, _note), as_json)


def _folder(cache: Path | None) -> Path:
    """The one that was given, else one of the user's own."""
    from s5cli.weights.places import cache_dir

    return cache or cache_dir() / "study"


def _note(line: str) -> None:
    print(f"note: {line}", file=sys.stderr)


def _print(found: "Study", as_json: bool) -> None:
    print("\r\033[K" if sys.stderr.isatty() else "", end="", file=sys.stderr)
    print(json.dumps(found.to_json(), indent=2) if as_json else "\n".join(found.lines()))
    found.check()
