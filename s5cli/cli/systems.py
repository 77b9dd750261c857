"""`s5 systems`: what can be named after --system, and whether it can run here; `s5 systems NAME`: all about one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from s5cli.knobs import Knob, Option
    from s5cli.weights.registry import PartEntry, Registry, SystemEntry

Table = dict[str, Any]
Cells = tuple[str, ...]


def systems(
    name: Annotated[str | None, typer.Argument(help="One system, in detail.", show_default=False)] = None,
    cost: Annotated[
        bool, typer.Option("--cost", help="Multiply-adds and memory of one system for a clip of 10 s.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")] = False,
) -> None:
    """List the systems and what each of them needs, or describe one with its parts, knobs and options."""
    from s5cli.cli.rows import print_json
    from s5cli.errors import UsageError
    from s5cli.weights.registry import registry

    known = registry()
    if cost:
        if name is None:
            raise UsageError("s5 systems --cost is about one system; name it, as `s5 systems` lists them")
        _print_cost(known.system(name), as_json)
        return
    entries = known.systems.values() if name is None else [known.system(name)]
    described = [_described(entry) for entry in entries]
    if name is None:
        found = {"systems": described, "aliases": known.aliases}
    else:
        found = {**described[0], **_details(known.system(name), known)}
    if as_json:
        print_json(found)
    elif name is None:
        _print_all(described, known.aliases)
    else:
        _print_one(found)


def _print_cost(entry: SystemEntry, as_json: bool) -> None:
    from dataclasses import asdict

    from s5cli.cli.rows import print_json, print_rows
    from s5cli.study.cost import cost
    from s5cli.weights.places import amount

    found = cost(entry)
    if as_json:
        print_json({**asdict(found), "multiply_adds": found.multiply_adds, "peak_bytes": found.peak_bytes})
        return
    rows = [
        (role, one.part, str(one.calls), f"{one.multiply_adds / 1e9:.2f} G", amount(one.peak_bytes))
        for role, one in found.by_role.items()
    ]
    print_rows(("role", "part", "calls", "multiply-adds of one", "memory at its highest"), rows)
    print(
        f"{entry.name}: {found.multiply_adds / 1e9:.1f} G multiply-adds for a clip of 10 s, {amount(found.peak_bytes)}"
    )


# --- every system -----------------------------------------------------------------------------------------------------


def _described(entry: SystemEntry) -> Table:
    from s5cli.weights.fetch import system_status

    words = {"needs training": "needs training", "missing": "needs download"}
    return {
        "name": entry.name,
        "summary": entry.summary,
        "source": entry.source,
        "parts": {role: part.name for role, part in entry.parts.items()},
        "state": words.get(system_status(entry), "ready"),
        "parameters": _parameters(entry),
    }


def _parameters(entry: SystemEntry) -> int | None:
    """As the official code counts them; None where a network's size is only known from weights that are not there."""
    counts = [_part_parameters(part) for part in {part.name: part for part in entry.parts.values()}.values()]
    return None if None in counts else sum(count for count in counts if count is not None)


def _part_parameters(part: PartEntry) -> int | None:
    """As the registry has it, unless the user gave a file of their own; else of the network."""
    if part.nparams is not None and part.file.path is None:
        return part.nparams
    return built_parameters(part)


def built_parameters(part: PartEntry) -> int | None:
    """Built without memory for its weights; the configuration is the part's own, else what its file carries."""
    from s5cli.errors import WeightsError
    from s5cli.study.cost import blank_network, config_of
    from s5cli.weights.build import network_of
    from s5cli.weights.fetch import locate

    if part.file.package and locate(part.file) is None and not part.config:
        return None
    try:
        return int(blank_network(part, network_of(part).Config(**config_of(part))).nparams)
    except (WeightsError, TypeError, ValueError):  # a listing says what it can
        return None


def _print_all(described: Sequence[Table], aliases: Mapping[str, str]) -> None:
    from s5cli.cli.rows import print_rows

    rows = [
        (one["name"], one["state"], _count(one["parameters"]), ", ".join(one["parts"].values()), one["source"])
        for one in described
    ]
    print_rows(("system", "state", "parameters", "parts", "source"), rows)
    for alias, name in aliases.items():
        print(f"{alias} stands for {name}")


def _count(parameters: int | None) -> str:
    return "–" if parameters is None else f"{parameters:,}"


# --- one system -------------------------------------------------------------------------------------------------------


def _details(entry: SystemEntry, known: Registry) -> Table:
    """What its section and its flow declare; a knob's or option's default is the section's."""
    from s5cli.knobs import setting
    from s5cli.study.rows import ablation_rows
    from s5cli.system import Streaming
    from s5cli.weights.build import flow_of

    flow = flow_of(entry)
    comes_with = setting(flow.knobs, entry.knobs, flow.options, entry.options)
    defaults = comes_with.to_json()
    return {
        "aliases": [alias for alias, name in known.aliases.items() if name == entry.name],
        "parts": {role: _part(part) for role, part in entry.parts.items()},
        "knobs": {name: _knob(knob, defaults[name], entry.per_class) for name, knob in flow.knobs.items()},
        "options": {name: _option(option, comes_with.options[name]) for name, option in flow.options.items()},
        "drops": {rule: drop.title for rule, drop in flow.drops.items()},
        "ablation": [row.title for row in ablation_rows(entry, known)],
        "window_s": flow.window_s,
        "streams": issubclass(flow, Streaming),
    }


def _part(part: PartEntry) -> Table:
    from s5cli.weights.fetch import status

    return {
        "name": part.name,
        "file": part.file.name,
        "state": status(part.file),
        "parameters": _part_parameters(part),
        "licence": part.file.licence.title,
    }


def _knob(knob: Knob, default: Any, tables_allowed: bool) -> Table:
    from s5cli.knobs import finite_or_text

    return {
        "default": default,
        "low": finite_or_text(knob.low),
        "high": finite_or_text(knob.high),
        "axis": knob.axis,
        "per_class": knob.per_class and tables_allowed,
        "stage": knob.stage,
    }


def _option(option: Option, default: Any) -> Table:
    ends = {"low": option.low, "high": option.high}
    return {
        "default": default,
        "help": option.help,
        "choices": list(option.choices),
        **{end: value for end, value in ends.items() if math.isfinite(value)},
        "expected": option.expected,
    }


def _print_one(found: Table) -> None:
    from s5cli.cli.rows import print_rows

    print(f"{found['name']}: {found['summary']}")
    print(f"source: {found['source']}")
    print(f"state: {found['state']}, {_count(found['parameters'])} parameters")
    if found["aliases"]:
        print(f"also called: {', '.join(found['aliases'])}")
    for columns, rows in _tables(found):
        if rows:
            print()
            print_rows(columns, rows)


def _tables(found: Table) -> Iterator[tuple[Cells, list[Cells]]]:
    """Column heads and rows of all that is a table; without rows where the system has nothing of the kind."""
    yield (
        ("role", "part", "file", "state", "parameters", "licence"),
        [
            (role, one["name"], one["file"], one["state"], _count(one["parameters"]), one["licence"])
            for role, one in found["parts"].items()
        ],
    )
    yield (
        ("knob", "default", "range", "axis", "by class", "searched with"),
        [
            (name, _value(one["default"]), f"{one['low']} to {one['high']}", one["axis"],
             "yes" if one["per_class"] else "no", one["stage"])
            for name, one in found["knobs"].items()
        ],
    )  # fmt: skip
    yield (
        ("option", "default", "may be", "what it is"),
        [(name, _value(one["default"]), one["expected"], one["help"]) for name, one in found["options"].items()],
    )
    yield ("rule that drops queries", "title"), [*found["drops"].items()]
    yield ("rows of `s5 study ablation`",), [(title,) for title in found["ablation"]]


def _value(value: Any) -> str:
    """A value for people.

    >>> _value(0.5), _value(True), _value({"Speech": 0.1})
    ('0.5', 'on', 'differs by class')
    """
    if isinstance(value, bool):
        return "on" if value else "off"
    return "differs by class" if isinstance(value, dict) else str(value)
