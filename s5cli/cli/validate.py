"""`s5 validate`: all that is wrong with a submission, at once."""

import json
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option


def validate(
    path: Annotated[
        Path, Argument(help="A submission folder, its zip of stems, the package (folder or zip), or what holds them.")
    ],
    soundscapes: Annotated[
        Path, Option("--soundscapes", metavar="DIR", help="Mixtures of the evaluation set, or its folder.")
    ],
    dev_soundscapes: Annotated[
        Path | None, Option("--dev-soundscapes", metavar="DIR", help="The same of the development test set.")
    ] = None,
    strict: Annotated[bool, Option("--strict", help="Exit 1 on warnings too.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print JSON to stdout.")] = False,
) -> None:
    """Check a submission against every official rule and more.

    Prints all findings. The exit code is 1 if one of them is an error: something that the organisers' program refuses
    or cannot read, or that is left to fill in. Warnings (clipping, unknown keys, stray files) leave it at 0.
    """
    import sys

    from tqdm import tqdm

    from s5cli.challenge.validate import validate as check

    report = check(path, soundscapes, dev_soundscapes, lambda names: tqdm(names, unit="stem", disable=None))
    if as_json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        print("\n".join(finding.line for finding in report.findings), end="\n" if report.findings else "")
        counts = ((report.n_errors, "error"), (report.n_warnings, "warning"))
        told = ", ".join(f"{n} {what}{'s' * (n != 1)}" for n, what in counts)
        print(f"{told} in {', '.join(report.checked) or path}")
        for what in report.unchecked:
            print(f"not checked: {what}", file=sys.stderr)
    if report.n_errors or (strict and report.n_warnings):
        raise typer.Exit(1)
