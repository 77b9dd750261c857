"""Where a run starts from and where its result goes: initial weights and the registry's own files."""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from s5cli.errors import UsageError
from s5cli.train.recipe import Recipe, from_table, network_class
from s5cli.weights import checkpoint, fetch, hashes, places
from s5cli.weights.fetch import Access
from s5cli.weights.registry import registry


def initial_network(recipe: Recipe, init: str | None, access: Access) -> nn.Module:
    """The recipe's network, with the weights of `init` (else of the recipe's own `init`), or fresh.

    `init` is a path or the name of a file in the registry, which is fetched first if need be; or several, with commas
    between them, for a network that grows out of more than one.

    Raises:
        UsageError: neither a file nor a name.
        WeightsError: the weights cannot be had, or are of another network.
    """
    paths = initial_paths(recipe, init, access)
    if not paths:
        return recipe.build()
    given, kind = checkpoint.read(paths[0]), network_class(recipe.network)
    for path in paths[1:]:
        given = replace(given, tensors={**checkpoint.read(path).tensors, **given.tensors})
    if recipe.grows:
        config = from_table(kind.Config, recipe.config, f"recipe {recipe.name}: config")
        given = replace(given, tensors=kind.grown(given.tensors, config))
    return checkpoint.build_network(kind, given, recipe.config)


def initial_paths(recipe: Recipe, init: str | None, access: Access) -> list[Path]:
    """The files of `initial_network`'s weights, fetched if need be; none if the network is to be fresh."""
    return [initial_path(source, access) for source in (init or recipe.init or "").split(",") if source]


def initial_path(source: str, access: Access) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    if path.suffix:
        raise UsageError(f"no such file of initial weights: {path}")
    known = registry()
    return fetch.fetch(known.file(source), known, access)


def began_as(paths: Sequence[Path]) -> list[str]:
    """What a network that begins with these files has been, the latest first: names, with licences where known.

    A run's own file says what it began as; a file of the registry is known by its content.
    """
    return [name for path in paths for name in _been(path)]


def _been(path: Path) -> list[str]:
    sha256 = hashes.sha256_of(path)
    known = next((file for file in registry().files.values() if file.sha256 == sha256), None)
    metadata = checkpoint.read_metadata(path)
    name = f"{known.name}, {known.licence.title}, {known.licence.url}" if known else metadata.get("recipe", path.name)
    return [name, *json.loads(metadata.get("began_as", "[]"))]


def is_first() -> bool:
    """Whether this process is the one of a run's that speaks and installs."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def install(recipe: Recipe, weights: Path) -> Path | None:
    """Copies a finished run to where the registry looks for the file that the recipe makes, if it makes one.

    A run that was stopped early takes nobody's place.
    """
    if recipe.installs is None:
        return None
    done = int(checkpoint.read_metadata(weights)["steps"])
    if done < recipe.schedule.steps:
        print(f"stopped after {done} of {recipe.schedule.steps} steps, so not installed; call again", file=sys.stderr)
        return None
    target = fetch.trained_path(registry().file(recipe.installs))
    with places.whole(target) as temporary:
        shutil.copyfile(weights, temporary)
    return target
