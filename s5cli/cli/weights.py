"""`s5 weights`: which checkpoints there are, whether they are sound, where they lie, and the user's own."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from s5cli.cli.rows import print_json, print_rows

Json = Annotated[bool, Option("--json", help="Print JSON.")]
Name = Annotated[str, Argument(help="A file of `s5 weights list`.")]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Checkpoints: list, verify, find, add and remove.")


@app.command("list")
def list_(json: Json = False) -> None:
    """List all systems and checkpoints with where they stand."""
    from s5cli.weights.listing import file_row, system_rows
    from s5cli.weights.registry import registry

    known = registry()
    systems, files = system_rows(known), [file_row(file, known) for file in known.files.values()]
    if json:
        print_json({"systems": systems, "files": files})
        return
    print_rows(("system", "status", "files"), [(row.system, row.status, ", ".join(row.files)) for row in systems])
    print()
    cells = [(row.file, row.status, row.licence, row.path or row.source) for row in files]
    print_rows(("file", "status", "licence", "path or source"), cells)


@app.command()
def verify(
    names: Annotated[list[str] | None, Argument(help="Files of `s5 weights list`; without any, all.")] = None,
    json: Json = False,
) -> None:
    """Compare checkpoints with the hashes that they must have; exit 1 if one has changed."""
    from s5cli.weights.listing import verify_row
    from s5cli.weights.registry import registry

    known = registry()
    rows = [verify_row(known.file(name)) for name in names or known.files]
    cells = [(row.file, row.status, row.sha256 or "-") for row in rows]
    print_json(rows) if json else print_rows(("file", "status", "sha256"), cells)
    if any(row.status == "changed" for row in rows):
        raise typer.Exit(1)


@app.command()
def path(
    name: Annotated[str | None, Argument(help="A file of `s5 weights list`; without one, the cache.")] = None,
    json: Json = False,
) -> None:
    """Print where a checkpoint lies, or the folder of downloads."""
    from s5cli.errors import WeightsError
    from s5cli.weights import fetch, places
    from s5cli.weights.registry import registry

    found = fetch.locate(registry().file(name)) if name else places.cache_dir()
    if found is None:
        raise WeightsError(f"file {name!r} is not on this machine; `s5 weights list` says how it gets here")
    print_json({"name": name, "path": str(found)}) if json else print(found)


@app.command()
def add(
    name: Annotated[str, Argument(help="A file's name (known or new), or a .toml file of sections.")],
    source: Annotated[str | None, Argument(help="A path, https://…, or hf://OWNER/REPO/FILE@REVISION.")] = None,
    member: Annotated[str | None, Option(help="The checkpoint inside, where the source is a zip.")] = None,
    sha256: Annotated[str | None, Option(help="That the checkpoint must have.")] = None,
    licence: Annotated[str | None, Option(help="A licence of the registry; else your own.")] = None,
) -> None:
    """Add a checkpoint, or give a known one another source; or add the sections of a .toml file.

    A checkpoint is opened and compared with the networks that use it; one that does not fit is not added.
    """
    from s5cli.errors import UsageError
    from s5cli.weights import own
    from s5cli.weights.registry import registry

    if source is None and name.endswith(".toml"):
        print("\n".join(f"added {what}" for what in own.add_sections(Path(name))))
        return
    if source is None:
        raise UsageError(
            f"what is the source of {name!r}? give a path or url after it, or a .toml file of sections alone"
        )
    known = registry()
    keys = {key: value for key, value in (("member", member), ("sha256", sha256), ("licence", licence)) if value}
    if name in known.files and source.lower().endswith(".zip") and not keys and not source.startswith(("http", "hf:")):
        what = own.give(known.file(name), Path(source), known)
    else:
        what = own.add_file(name, source, **keys)
    print(f"added file {name}{what}")


@app.command()
def remove(name: Annotated[str, Argument(help="What was added: a file, part or system.")]) -> None:
    """Take out what was added; the checkpoint itself stays where it is."""
    from s5cli.weights import own

    print(f"removed {own.remove(name)} {name}")
