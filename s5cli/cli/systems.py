"""`s5 systems`: what can be named after --system, and whether it can run here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from s5cli.weights.registry import PartEntry, SystemEntry


def systems(as_json: Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")] = False) -> None:
    """List the systems and what each of them needs."""
    from s5cli.weights.registry import registry

    known = registry()
    described = [_described(entry) for entry in known.systems.values()]
    if as_json:
        print(json.dumps({"systems": described, "aliases": dict(known.aliases)}, indent=2))
        return
    _print(described)
    for alias, name in known.aliases.items():
        print(f"{alias} stands for {name}")


def _described(entry: SystemEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "summary": entry.summary,
        "source": entry.source,
        "parts": {role: part.name for role, part in entry.parts.items()},
        "state": _state(entry),
        "parameters": _parameters(entry),
    }


def _state(entry: SystemEntry) -> str:
    from s5cli.weights.fetch import status

    found = {status(file) for file in entry.files}
    if "needs training" in found:
        return "needs training"
    return "needs download" if "missing" in found else "ready"


def _parameters(entry: SystemEntry) -> int | None:
    """As the official code counts them; None where a network's size is only known from weights that are not there."""
    counts = [_part_parameters(part) for part in entry.parts.values()]
    return None if None in counts else sum(count for count in counts if count is not None)


def _part_parameters(part: PartEntry) -> int | None:
    """Built without memory for its weights; the configuration is the part's own, else what its file carries."""
    import torch

    from s5cli.errors import WeightsError
    from s5cli.weights.build import resolve
    from s5cli.weights.checkpoint import read
    from s5cli.weights.fetch import locate

    network, path, config = resolve(part.network), locate(part.file), dict(part.config)
    if part.file.package and path is None and not config:
        return None
    try:
        if not config and path is not None and path.suffix == ".safetensors":
            config = read(path).config
        with torch.device("meta"):
            return int(network(network.Config(**config)).nparams)
    except (WeightsError, TypeError, ValueError):  # a listing says what it can
        return None


def _print(described: list[dict[str, Any]]) -> None:
    from s5cli.cli.rows import print_rows

    columns = ("system", "state", "parameters", "parts", "source")
    print_rows(columns, [_cells(system) for system in described])


def _cells(system: dict[str, Any]) -> tuple[str, ...]:
    size = "–" if system["parameters"] is None else f"{system['parameters']:,}"
    return system["name"], system["state"], size, ", ".join(system["parts"].values()), system["source"]
