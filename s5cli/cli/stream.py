"""`s5 stream`: stems of a recording as they form."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option


def stream(
    recording: Annotated[
        str, Argument(help="A WAV or FLAC file, or - for raw samples from standard input: 32 kHz, four channels.")
    ] = "-",
    sound_device: Annotated[
        str | None, Option(metavar="NAME", help="Of this input of the machine instead; '' is its default one.")
    ] = None,
    out: Annotated[Path, Option("--out", "-o", metavar="DIR", help="Folder for the stems.")] = Path("live"),
    name: Annotated[str, Option(help="What the stems' names begin with.")] = "live",
    encoding: Annotated[Literal["s16le", "f32le"], Option(help="Of raw samples.")] = "s16le",
    subtype: Annotated[Literal["PCM_16", "PCM_24", "FLOAT"], Option(help="Sample format of stems.")] = "PCM_16",
    system: Annotated[
        str, Option(metavar="NAME", help="One of `s5 systems` that streams.")
    ] = "label-queried-corrnet-compact",
    labels: Annotated[str | None, Option(metavar="A,B,C", help="These classes, whatever the tagger thinks.")] = None,
    option: Annotated[
        list[str] | None, Option(metavar="NAME=VALUE", help="Option of the system, as stream=matched.")
    ] = None,
    thresholds: Annotated[Path | None, Option(metavar="FILE", help="TOML file with a table [knobs].")] = None,
    channel_order: Annotated[Literal["acn", "fuma"], Option(help="acn: W, Y, Z, X (SN3D); fuma: W, X, Y, Z.")] = "acn",
    device: Annotated[str, Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Separate a recording while it goes on; Ctrl-C ends it and finishes the files."""
    import signal
    import sys
    from io import FileIO

    from s5cli.cli.quick import import_torch

    import_torch()
    from s5cli import api
    from s5cli.errors import UsageError
    from s5cli.knobs import read_options
    from s5cli.run import live, plan

    if recording != "-" and sound_device is not None:
        raise UsageError(f"either {recording} or --sound-device, not both")
    if recording == "-" and sound_device is None and (sys.stdin is None or sys.stdin.isatty()):
        advice = "pipe it in, such as `arecord … | s5 stream`, or name a --sound-device"
        raise UsageError(f"s5 stream waits for sound on standard input; {advice}")
    if Path(name).name != name:
        raise UsageError(f"--name {name!r} is no name of a file; give one without a folder")
    options = read_options(option or ())
    loaded = api.load(system, device, thresholds, channel_order=channel_order, options=options)

    def tell(line: str) -> None:
        print(line, file=sys.stderr)

    if sound_device is not None:
        portions = live.of_device(sound_device, channel_order, tell)
    elif recording == "-":
        portions = live.of_pipe(FileIO(sys.stdin.fileno(), closefd=False), encoding, channel_order)
    else:
        portions = live.of_file(Path(recording), channel_order)
    incoming = live.Incoming(portions)
    at_once = signal.getsignal(signal.SIGINT)

    def end(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, at_once)  # whoever asks twice does not want to wait
        incoming.stop()

    signal.signal(signal.SIGINT, end)
    try:
        chosen = tuple(plan.parse_labels(labels))
        print(live.record(loaded, chosen, incoming, out, name, subtype, tell))
    finally:
        signal.signal(signal.SIGINT, at_once)
