"""`s5 download`: the weights of a system, before they are needed."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def download(
    system: Annotated[str, Argument(help="A name of `s5 systems`.")],
    accept_licence: Annotated[bool, Option("--accept-licence", help="Accept the licences of the weights.")] = False,
    offline: Annotated[bool, Option("--offline", help="Only say whether everything is here.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Print what would be fetched, and touch nothing.")] = False,
    file: Annotated[
        list[str] | None, Option("--file", metavar="NAME=PATH", help="Take this file, or the zip it is in, instead.")
    ] = None,
    json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fetch the weights of a system."""
    import sys

    from s5cli.cli.rows import print_json, print_rows
    from s5cli.weights import fetch, own
    from s5cli.weights.listing import file_row
    from s5cli.weights.registry import needs_training, registry

    known = registry()
    entry = known.system(system)
    given = {name: Path(path) for name, path in map(_name_and_path, file or [])}
    files = [each for each in entry.files if each.name not in given]
    if dry_run:
        plan = fetch.plan(files)
        sizes = ["unknown size" if each.size_bytes is None else f"{each.size_bytes} bytes" for each in plan]
        cells = [(each.url, size, each.licence, ", ".join(each.files)) for each, size in zip(plan, sizes, strict=True)]
        print_json(plan) if json else print_rows(("url", "size", "licence", "files"), cells)
        return
    for name, path in given.items():
        own.give(known.file(name), path, known)
    known = registry()
    untrained = fetch.fetch_published(known.system(system).files, known, fetch.Access(offline, accept_licence))
    rows = [file_row(each, known) for each in known.files.values() if each in known.system(system).files]
    found = [(row.file, row.status, row.path or "-") for row in rows]
    print_json(rows) if json else print_rows(("file", "status", "path"), found)
    if untrained:
        print(needs_training(f"system {entry.name!r}", untrained), file=sys.stderr)


def _name_and_path(text: str) -> tuple[str, str]:
    from s5cli.errors import UsageError

    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise UsageError(f"--file {text!r} is not of the form NAME=PATH; `s5 weights list` lists the names")
    return name, path
