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
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Clips that go through together.")] = 4,
    thresholds: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file with a table [knobs] of thresholds.")
    ] = None,
    force_thresholds: Annotated[
        bool, typer.Option("--force-thresholds", help="Take thresholds that were made for another system.")
    ] = False,
    subtype: Annotated[Literal["PCM_16", "PCM_24", "FLOAT"], typer.Option(help="Sample format of stems.")] = "PCM_16",
    explain: Annotated[bool, typer.Option("--explain", help="Tell the life of every query.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results of an earlier run.")] = False,
    resample: Annotated[bool, typer.Option("--resample", help="Convert other sample rates to 32 kHz.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.")] = False,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the licences of weights to be downloaded.")
    ] = False,
) -> None:
    """Separate recordings into labelled stems.

    DIR receives <clip>_<number>_<Class>.wav for every stem, <clip>.json for every clip, also for those without
    targets, and run.json about the run.
    """
    from s5cli import api, batch, job
    from s5cli.cli.stems import Display

    named = tuple(label.strip() for label in labels.split(",")) if labels else ()
    planned = job.plan(mixtures, out, job.Options(named, batch_size, subtype, overwrite))
    loaded = api.load(
        system,
        device,
        thresholds,
        channel_order=channel_order,
        resample=resample,
        offline=offline,
        accept_licence=accept_licence,
        force_thresholds=force_thresholds,
    )
    with Display(len(planned.clips), explain, as_json) as display:
        result = batch.separate_all(planned, loaded, display.show)
    if as_json:
        display.print_json(planned.out_dir, result)
    result.raise_failed()
