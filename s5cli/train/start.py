"""Where a run starts from and where its result goes: initial weights and the registry's own files."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from s5cli.errors import UsageError
from s5cli.train.recipe import Recipe, network_class
from s5cli.weights import checkpoint, fetch, places
from s5cli.weights.fetch import Access
from s5cli.weights.registry import registry


def initial_network(recipe: Recipe, init: str | None, access: Access) -> nn.Module:
    """The recipe's network, with the weights of `init` (else of the recipe's own `init`), or fresh.

    `init` is a path or the name of a file in the registry, which is fetched first if need be.

    Raises:
        UsageError: neither a file nor a name.
        WeightsError: the weights cannot be had, or are of another network.
    """
    source = init or recipe.init
    if source is None:
        return recipe.build()
    path = Path(source)
    if not path.is_file():
        known = registry()
        if path.suffix:
            raise UsageError(f"no such file of initial weights: {path}")
        path = fetch.fetch(known.file(source), known, access)
    given = checkpoint.read(path)
    if recipe.grows:
        given = replace(given, tensors=grown(given.tensors, recipe.build().state_dict()))
    return checkpoint.build_network(network_class(recipe.network), given, recipe.config)


def grown(small: Mapping[str, Tensor], large: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A smaller network's weights in a larger network's shapes, the new inputs of convolutions at zero.

    The larger network then begins with exactly the smaller one's answer. Only second axes grow; whatever else differs
    is left as it is, for the strict load to refuse.
    """
    return {name: _with_more_inputs(value, large.get(name, value)) for name, value in small.items()}


def _with_more_inputs(small: Tensor, large: Tensor) -> Tensor:
    others_fit = (
        small.ndim == large.ndim == 4 and small.shape[0] == large.shape[0] and small.shape[2:] == large.shape[2:]
    )
    if not others_fit or small.shape[1] >= large.shape[1]:
        return small
    return torch.nn.functional.pad(small, (0, 0, 0, 0, 0, large.shape[1] - small.shape[1]))


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
