"""`s5 separate`: recordings to labelled stems."""

from pathlib import Path
from typing import Annotated, Literal

import typer

EXAMPLES = """\b
Examples:
  s5 separate recordings/ -o stems
  s5 separate clip.wav --labels Speech,Clapping --residual --csv stems.csv
  s5 separate evaluation_set -o run --system baseline-4ch --device cuda:0,cuda:1
"""
DEFAULT_OUT = "separated"
SYSTEM, INPUT, OUTPUT, SHOWN = "System", "Recordings", "Results", "What is shown"
MACHINE, WEIGHTS = "Machine", "Weights"


def separate(
    mixtures: Annotated[
        list[Path], typer.Argument(metavar="MIXTURE", help="Recordings, or folders of them (or of a soundscape/).")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Folder for stems, JSON and run.json; else separated/<system>.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    subtype: Annotated[
        Literal["PCM_16", "PCM_24", "FLOAT"], typer.Option(help="Sample format of stems.", rich_help_panel=OUTPUT)
    ] = "PCM_16",
    file_format: Annotated[
        Literal["wav", "flac"], typer.Option("--format", help="Of stems; submissions take wav.", rich_help_panel=OUTPUT)
    ] = "wav",
    residual: Annotated[
        bool,
        typer.Option("--residual", help="Also write what no stem holds: <clip>_residual.wav.", rich_help_panel=OUTPUT),
    ] = False,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Also write a table, one row a stem.", rich_help_panel=OUTPUT),
    ] = None,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", "--overwrite", help="Begin again and replace results of earlier calls.", rich_help_panel=OUTPUT
        ),
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Compare every byte of what earlier calls wrote; else samples.", rich_help_panel=OUTPUT
        ),
    ] = False,
    system: Annotated[
        str, typer.Option(metavar="NAME", help="One of `s5 systems`.", rich_help_panel=SYSTEM)
    ] = "tagging-driven-compact",  # api.DEFAULT_SYSTEM, whose module needs numpy
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            help="Separate these classes, whatever the taggers think: Speech,Speech.",
            rich_help_panel=SYSTEM,
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Option of the system; may be repeated.", rich_help_panel=SYSTEM),
    ] = None,
    thresholds: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML file with a table [knobs] of thresholds.", rich_help_panel=SYSTEM),
    ] = None,
    force_thresholds: Annotated[
        bool,
        typer.Option(
            "--force-thresholds",
            help="Take thresholds made for another system or with other weights.",
            rich_help_panel=SYSTEM,
        ),
    ] = False,
    window: Annotated[
        str,
        typer.Option(
            metavar="auto|none|S",
            help="Recordings over 1.2 S seconds go in windows of S; auto: 10.",
            rich_help_panel=SYSTEM,
        ),
    ] = "auto",
    channel_order: Annotated[
        Literal["acn", "fuma"], typer.Option(help="acn: W, Y, Z, X (SN3D); fuma: W, X, Y, Z.", rich_help_panel=INPUT)
    ] = "acn",
    resample: Annotated[
        bool, typer.Option("--resample", help="Convert other sample rates to 32 kHz.", rich_help_panel=INPUT)
    ] = False,
    first_order: Annotated[
        bool,
        typer.Option("--first-order", help="Of 9, 16, … channels take the first four.", rich_help_panel=INPUT),
    ] = False,
    device: Annotated[
        str,
        typer.Option(
            help="auto, cpu, mps, cuda or cuda:N; several with commas share the clips: cuda:0,cuda:1.",
            rich_help_panel=MACHINE,
        ),
    ] = "auto",
    batch_size: Annotated[
        int, typer.Option(metavar="N", min=1, help="Clips that go through together.", rich_help_panel=MACHINE)
    ] = 4,
    cluster: Annotated[
        Literal["ray"] | None, typer.Option(help="Spread the run over a Ray cluster's GPUs.", rich_help_panel=MACHINE)
    ] = None,
    cluster_address: Annotated[
        str | None, typer.Option(help="host:port or auto; else RAY_ADDRESS or local.", rich_help_panel=MACHINE)
    ] = None,
    cluster_workers: Annotated[
        int | None, typer.Option(min=1, help="By default one for each GPU.", rich_help_panel=MACHINE)
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.", rich_help_panel=WEIGHTS)] = False,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the licences of downloads.", rich_help_panel=WEIGHTS)
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what every stage said of each query.", rich_help_panel=SHOWN)
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON to stdout.", rich_help_panel=SHOWN)] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show warnings and errors only.", rich_help_panel=SHOWN)
    ] = False,
) -> None:
    """Separate recordings into labelled stems.

    DIR receives <clip>_<number>_<Class>.wav for every stem, <clip>.json for every clip, also for those without
    targets, and run.json about the run. The same call again goes on where an earlier one ended.
    """
    from s5cli import api
    from s5cli.cli.stems import Display
    from s5cli.knobs import read_options
    from s5cli.run import pipeline, plan, table
    from s5cli.run.cluster import chosen

    spread = chosen(cluster, cluster_address, cluster_workers, device)
    options_given = read_options(option or ())
    window_s = plan.parse_window(window)
    options = plan.Options(
        plan.parse_labels(labels), batch_size, subtype, window_s, restart, verify, residual, file_format
    )
    if csv is not None:
        table.check_place(csv)
    planned = plan.plan(mixtures, out or _default_out(system), options)
    systems = [
        api.load(
            system,
            one.strip(),
            thresholds,
            channel_order=channel_order,
            resample=resample,
            first_order=first_order,
            offline=offline,
            accept_licence=accept_licence,
            force_thresholds=force_thresholds,
            options=options_given,
        )
        for one in (device if spread is None else "cpu").split(",")
    ]
    with Display(len(planned.clips), explain, as_json, quiet) as display:
        result = (spread or pipeline).separate_all(planned, systems, display.show)
    if csv is not None:
        table.write(csv, result)
    if as_json:
        display.print_json(planned.out_dir, result)
    display.summarize(planned.out_dir, result)
    result.raise_failed()


def _default_out(system: str) -> Path:
    """One folder for each system, whatever it was called."""
    from s5cli.weights.registry import registry

    return Path(DEFAULT_OUT) / registry().system(system).name
