"""`s5 export`: a system's networks as ONNX files."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    system: Annotated[str, typer.Argument(help="A name of `s5 systems`.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the files.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write what a system's networks compute as ONNX files, for other programs.

    DIR receives <part>.onnx and system.json with hashes. Transforms and decisions are not in them: `s5 separate
    --engine onnx` runs the same files inside the whole system.
    """
    from s5cli.cli.rows import print_json, print_rows
    from s5cli.weights.export import export_system

    about = export_system(system, out)
    if as_json:
        print_json(about)
        return
    rows = [(role, part["core"], part["file"], part["bytes"], part["sha256"]) for role, part in about["parts"].items()]
    print_rows(("part", "core", "file", "bytes", "sha256"), [tuple(map(str, row)) for row in rows])
