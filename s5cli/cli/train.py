"""`s5 train`: one of the project's recipes, or a TOML file, on recordings in the official folder layout."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def train(
    recipe: Annotated[str, Argument(help="A recipe's name, or a .toml file; `list` prints the names.")],
    sources: Annotated[Path | None, Option(help="Recordings: a folder in the official layout.")] = None,
    out: Annotated[Path | None, Option("--out", "-o", help="Folder of the run; a second call goes on in it.")] = None,
    split: Annotated[str, Option(help="Split to learn from.")] = "train",
    held_out: Annotated[str, Option(help="Split to report scores on; empty: none.")] = "valid",
    fold: Annotated[
        str | None, Option(help="K/N: learn without this part of the sources, and report on it instead.")
    ] = None,
    init: Annotated[str | None, Option(help="Initial weights: a file, or a name of `s5 weights list`.")] = None,
    steps: Annotated[int | None, Option(min=1, help="Steps instead of the recipe's.")] = None,
    batch_size: Annotated[int | None, Option(min=1, help="Batch size a device instead of the recipe's.")] = None,
    minutes: Annotated[float | None, Option(min=0, help="Stop with a checkpoint after this long.")] = None,
    devices: Annotated[int, Option(min=1, help="GPUs (or CPU processes) of this machine.")] = 1,
    accelerator: Annotated[str, Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str, Option(help="32-true or bf16-mixed.")] = "32-true",
    workers: Annotated[int, Option(min=0, help="Processes that render scenes.")] = 1,
    threads: Annotated[int, Option(min=1, help="CPU threads of the network.")] = 1,
    offline: Annotated[bool, Option(help="Fetch no initial weights.")] = False,
    accept_licence: Annotated[bool, Option("--accept-licence", help="Accept their licence.")] = False,
) -> None:
    """Train a tagger or a separator on mixtures rendered from recordings while it learns."""
    import dataclasses
    import sys

    from s5cli.errors import UsageError
    from s5cli.train.recipe import names, read_recipe

    if recipe == "list":
        print("\n".join(names()))
        return
    chosen = read_recipe(recipe)
    if sources is None or out is None:
        raise UsageError("s5 train needs --sources DIR (recordings) and -o DIR (the run)")
    given = {"steps": steps, "batch_size": batch_size}
    schedule = dataclasses.replace(chosen.schedule, **{key: value for key, value in given.items() if value})
    chosen = dataclasses.replace(chosen, schedule=schedule)

    try:
        from s5cli.train.loop import RunOptions
        from s5cli.train.loop import train as run
    except ModuleNotFoundError as error:
        raise UsageError(f"s5 train needs {error.name}; pip install 's5cli[train]'") from error
    from s5cli.synth.library import Fold, Library
    from s5cli.train.start import began_as, initial_network, initial_paths, install, is_first
    from s5cli.weights.fetch import Access
    from s5cli.weights.licence import on_terminal

    library = Library.scan(sources, split)
    held = Library.scan(sources, held_out) if held_out and not fold else None
    if fold:
        library, held = library.without(Fold.parse(fold)), library.only(Fold.parse(fold))
    access = Access(offline, accept_licence, on_terminal())
    network = initial_network(chosen, init, access)
    options = RunOptions(
        out, devices, accelerator, precision, workers, threads, minutes, lambda line: print(line, file=sys.stderr)
    )
    finished = run(chosen, network, library, held, options, began_as(initial_paths(chosen, init, access)))
    if is_first():
        print(install(chosen, finished) or finished)
