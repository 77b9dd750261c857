"""`s5 separate`: recordings to labelled stems."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def separate(
    mixtures: Annotated[
        list[Path], typer.Argument(metavar="MIXTURE", help="Recordings, or folders of them (or of a soundscape/).")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for stems, JSON and run.json.")],
    system: Annotated[
        str, typer.Option(metavar="NAME", help="One of `s5 systems`.")
    ] = "tagging-driven-compact",  # api.DEFAULT_SYSTEM, whose module needs numpy
    labels: Annotated[
        str, typer.Option(metavar="A,B,C", help="Separate these classes, whatever the taggers think: Speech,Speech.")
    ] = "",
    channel_order: Annotated[
        Literal["acn", "fuma"], typer.Option(help="acn: W, Y, Z, X (SN3D); fuma: W, X, Y, Z.")
    ] = "acn",
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or cuda:N; several with commas share the clips: cuda:0,cuda:1.")
    ] = "auto",
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Clips that go through together.")] = 4,
    window: Annotated[
        str, typer.Option(metavar="auto|none|S", help="Recordings over 1.2 S seconds go in windows of S; auto: 10.")
    ] = "auto",
    thresholds: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file with a table [knobs] of thresholds.")
    ] = None,
    force_thresholds: Annotated[
        bool, typer.Option("--force-thresholds", help="Take thresholds made for another system or with other weights.")
    ] = False,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Option of the system; may be repeated."),
    ] = None,
    subtype: Annotated[Literal["PCM_16", "PCM_24", "FLOAT"], typer.Option(help="Sample format of stems.")] = "PCM_16",
    explain: Annotated[bool, typer.Option("--explain", help="Show what every stage said of each query.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", "--overwrite", help="Begin again and replace results of earlier calls.")
    ] = False,
    resample: Annotated[bool, typer.Option("--resample", help="Convert other sample rates to 32 kHz.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.")] = False,
    accept_licence: Annotated[bool, typer.Option("--accept-licence", help="Accept the licences of downloads.")] = False,
    cluster: Annotated[Literal["ray"] | None, typer.Option(help="Spread the run over a Ray cluster's GPUs.")] = None,
    cluster_address: Annotated[str | None, typer.Option(help="host:port or auto; else RAY_ADDRESS or local.")] = None,
    cluster_workers: Annotated[int | None, typer.Option(min=1, help="By default one for each GPU.")] = None,
) -> None:
    """Separate recordings into labelled stems.

    DIR receives <clip>_<number>_<Class>.wav for every stem, <clip>.json for every clip, also for those without
    targets, and run.json about the run. The same call again goes on where an earlier one ended.
    """
    from s5cli import api
    from s5cli.cli.stems import Display
    from s5cli.knobs import read_options
    from s5cli.labels import listed
    from s5cli.run import pipeline, plan
    from s5cli.run.cluster import chosen

    spread = chosen(cluster, cluster_address, cluster_workers, device)
    options_given = read_options(option or ())
    options = plan.Options(listed(labels), batch_size, subtype, plan.parse_window(window), restart)
    planned = plan.plan(mixtures, out, options)
    systems = [
        api.load(
            system,
            one.strip(),
            thresholds,
            channel_order=channel_order,
            resample=resample,
            offline=offline,
            accept_licence=accept_licence,
            force_thresholds=force_thresholds,
            options=options_given,
        )
        for one in (device if spread is None else "cpu").split(",")
    ]
    with Display(len(planned.clips), explain, as_json) as display:
        result = (spread or pipeline).separate_all(planned, systems, display.show)
    if as_json:
        display.print_json(planned.out_dir, result)
    result.raise_failed()
