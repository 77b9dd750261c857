"""What `s5 systems` says of every system; neither NumPy nor PyTorch is imported for those that the registry counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from s5cli.cli.rows import print_json, print_rows
from s5cli.errors import WeightsError

if TYPE_CHECKING:
    from s5cli.weights.registry import PartEntry, Registry, SystemEntry

Table = dict[str, Any]


def described(entry: SystemEntry) -> Table:
    """What is said of every system."""
    from s5cli.weights.fetch import system_status

    counts = [part_parameters(part) for part in {part.name: part for part in entry.parts.values()}.values()]
    words = {"needs training": "needs training", "missing": "needs download"}
    return {
        "name": entry.name,
        "summary": entry.summary,
        "source": entry.source,
        "parts": {role: part.name for role, part in entry.parts.items()},
        "state": words.get(system_status(entry), "ready"),
        "parameters": None if None in counts else sum(filter(None, counts)),
    }


def part_parameters(part: PartEntry) -> int | None:
    """As the registry has it, unless the user gave a file of their own; else of the network, as official code counts.

    None where its size is only known from weights that are not there. It is built without memory for its weights; the
    configuration is the part's own, else what its file carries.
    """
    if part.nparams is not None and part.file.path is None:
        return part.nparams
    from s5cli.study.cost import blank_network, config_of  # with torch
    from s5cli.weights.build import network_of
    from s5cli.weights.fetch import locate

    if part.file.package and locate(part.file) is None and not part.config:
        return None
    try:
        return int(blank_network(part, network_of(part).Config(**config_of(part))).nparams)
    except (WeightsError, TypeError, ValueError):  # a listing says what it can
        return None


def print_all(known: Registry, as_json: bool) -> None:
    """A row for every system, and the aliases."""
    found = [described(entry) for entry in known.systems.values()]
    if as_json:
        print_json({"systems": found, "aliases": known.aliases})
        return
    rows = [
        (one["name"], one["state"], count(one["parameters"]), ", ".join(one["parts"].values()), one["source"])
        for one in found
    ]
    print_rows(("system", "state", "parameters", "parts", "source"), rows)
    for alias, name in known.aliases.items():
        print(f"{alias} stands for {name}")


def count(parameters: int | None) -> str:
    return "–" if parameters is None else f"{parameters:,}"
