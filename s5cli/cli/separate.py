"""`s5 separate`: recordings to labelled stems."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

EXAMPLES = """\b
Examples:
  s5 separate recordings/ -o stems
  s5 separate clip.wav --labels Speech,Clapping --residual --csv stems.csv
  s5 separate evaluation_set -o run --system baseline-4ch --device cuda:0,cuda:1
"""
DEFAULT_OUT = "separated"
TITLES = ("System", "Recordings", "Results", "What is shown", "Machine", "Weights")
SYSTEM, INPUT, OUTPUT, SHOWN, MACHINE, WEIGHTS = (partial(Option, rich_help_panel=title) for title in TITLES)
"""Groups of options."""


def separate(
    mixtures: Annotated[
        list[Path], Argument(metavar="MIXTURE", help="Recordings, or folders of them (or of a soundscape/).")
    ],
    out: Annotated[
        Path | None,
        OUTPUT("--out", "-o", metavar="DIR", help="Folder for stems, JSON and run.json; else separated/<system>."),
    ] = None,
    subtype: Annotated[Literal["PCM_16", "PCM_24", "FLOAT"], OUTPUT(help="Sample format of stems.")] = "PCM_16",
    file_format: Annotated[Literal["wav", "flac"], OUTPUT("--format", help="Of stems; submissions take wav.")] = "wav",
    residual: Annotated[bool, OUTPUT("--residual", help="Also write what no stem holds: <clip>_residual.wav.")] = False,
    csv: Annotated[Path | None, OUTPUT("--csv", metavar="FILE", help="Also write a table, one row a stem.")] = None,
    restart: Annotated[
        bool, OUTPUT("--restart", "--overwrite", help="Begin again and replace results of earlier calls.")
    ] = False,
    verify: Annotated[
        bool, OUTPUT("--verify", help="Compare every byte of what earlier calls wrote; else samples.")
    ] = False,
    system: Annotated[
        str, SYSTEM(metavar="NAME", help="One of `s5 systems`.")
    ] = "baseline-compact",  # api.DEFAULT_SYSTEM, whose module needs numpy
    labels: Annotated[
        str | None, SYSTEM(metavar="A,B,C", help="Separate these classes, whatever the taggers think: Speech,Speech.")
    ] = None,
    option: Annotated[
        list[str] | None, SYSTEM(metavar="NAME=VALUE", help="Option of the system; may be repeated.")
    ] = None,
    thresholds: Annotated[
        Path | None, SYSTEM(metavar="FILE", help="TOML file with a table [knobs] of thresholds.")
    ] = None,
    force_thresholds: Annotated[
        bool, SYSTEM("--force-thresholds", help="Take thresholds made for another system or with other weights.")
    ] = False,
    window: Annotated[
        str, SYSTEM(metavar="auto|none|S", help="Recordings over 1.2 S seconds go in windows of S; auto: 10.")
    ] = "auto",
    channel_order: Annotated[Literal["acn", "fuma"], INPUT(help="acn: W, Y, Z, X (SN3D); fuma: W, X, Y, Z.")] = "acn",
    resample: Annotated[bool, INPUT("--resample", help="Convert other sample rates to 32 kHz.")] = False,
    first_order: Annotated[bool, INPUT("--first-order", help="Of 9, 16, … channels take the first four.")] = False,
    device: Annotated[
        str, MACHINE(help="auto, cpu, mps, cuda or cuda:N; several with commas share the clips: cuda:0,cuda:1.")
    ] = "auto",
    precision: Annotated[
        Literal["fp32", "tf32", "bf16", "fp16"], MACHINE(help="Of the networks' arithmetic; tf32 needs CUDA.")
    ] = "fp32",
    engine: Annotated[Literal["torch", "onnx"], MACHINE(help="What computes: PyTorch or ONNX Runtime.")] = "torch",
    compiled: Annotated[
        bool, MACHINE("--compile", help="Have PyTorch compile the networks, which pays in long runs.")
    ] = False,
    batch_size: Annotated[int, MACHINE(metavar="N", min=1, help="Clips that go through together.")] = 4,
    cluster: Annotated[Literal["ray"] | None, MACHINE(help="Spread the run over a Ray cluster's GPUs.")] = None,
    cluster_address: Annotated[str | None, MACHINE(help="host:port or auto; else RAY_ADDRESS or local.")] = None,
    cluster_workers: Annotated[int | None, MACHINE(min=1, help="By default one for each GPU.")] = None,
    offline: Annotated[bool, WEIGHTS("--offline", help="Download nothing.")] = False,
    accept_licence: Annotated[bool, WEIGHTS("--accept-licence", help="Accept the licences of downloads.")] = False,
    explain: Annotated[bool, SHOWN("--explain", help="Show what every stage said of each query.")] = False,
    as_json: Annotated[bool, SHOWN("--json", help="Print JSON to stdout.")] = False,
    quiet: Annotated[bool, SHOWN("--quiet", "-q", help="Show warnings and errors only.")] = False,
) -> None:
    """Separate recordings into labelled stems.

    DIR receives <clip>_<number>_<Class>.wav for every stem, <clip>.json for every clip, also for those without
    targets, and run.json about the run. The same call again goes on where an earlier one ended.
    """
    from s5cli.cli.quick import import_torch

    import_torch()
    from s5cli import api
    from s5cli.cli.stems import Display
    from s5cli.knobs import read_options
    from s5cli.run import pipeline, plan, table
    from s5cli.run.cluster import chosen
    from s5cli.weights.registry import registry

    spread = chosen(cluster, cluster_address, cluster_workers, device)
    options_given = read_options(option or ())
    window_s = plan.parse_window(window)
    named = plan.parse_labels(labels)
    options = plan.Options(named, batch_size, subtype, window_s, restart, verify, residual, file_format)
    if csv is not None:
        table.check_place(csv)
    if out is None:  # one folder for each system, whatever it was called
        out = Path(DEFAULT_OUT) / registry().system(system).name
    planned = plan.plan(mixtures, out, options)
    systems = [
        api.load(
            system, one.strip(), thresholds, channel_order=channel_order, resample=resample, first_order=first_order,
            offline=offline, accept_licence=accept_licence, force_thresholds=force_thresholds, options=options_given,
            precision=precision, engine=engine, compile=compiled,
        )
        for one in (device if spread is None else "cpu").split(",")
    ]  # fmt: skip
    with Display(len(planned.clips), explain, as_json, quiet) as display:
        result = (spread or pipeline).separate_all(planned, systems, display.show)
    if csv is not None:
        table.write(csv, result)
    if as_json:
        display.print_json(planned.out_dir, result)
    display.summarize(planned.out_dir, result)
    result.raise_failed()
