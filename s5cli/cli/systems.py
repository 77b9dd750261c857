"""`s5 systems`: what can be named after --system, and whether it can run here; `s5 systems NAME`: all about one."""

from __future__ import annotations

from typing import Annotated

import typer

from s5cli.cli.listed import print_all
from s5cli.errors import UsageError


def systems(
    name: Annotated[str | None, typer.Argument(help="One system, in detail.", show_default=False)] = None,
    cost: Annotated[
        bool, typer.Option("--cost", help="Multiply-adds and memory of one system for a clip of 10 s.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")] = False,
) -> None:
    """List the systems and what each of them needs, or describe one with its parts, knobs and options."""
    from s5cli.weights.registry import registry

    known = registry()
    if cost and name is None:
        raise UsageError("s5 systems --cost is about one system; name it, as `s5 systems` lists them")
    if name is None:
        print_all(known, as_json)
        return
    from s5cli.cli.described import print_cost, print_one  # with NumPy

    if cost:
        print_cost(known.system(name), as_json)
    else:
        print_one(known.system(name), known, as_json)
