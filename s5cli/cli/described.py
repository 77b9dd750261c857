"""What `s5 systems NAME` says of a system: as JSON for programs, in columns for people."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from s5cli.cli.listed import Table, count, described, part_parameters
from s5cli.cli.rows import print_json, print_rows
from s5cli.knobs import Knob, Option, finite_or_text, setting
from s5cli.study.rows import ablation_rows
from s5cli.system import Streaming
from s5cli.weights.build import flow_of
from s5cli.weights.fetch import status
from s5cli.weights.places import amount
from s5cli.weights.registry import PartEntry, Registry, SystemEntry

Cells = tuple[str, ...]


def print_cost(entry: SystemEntry, as_json: bool) -> None:
    """Multiply-adds and memory of a system's networks."""
    from s5cli.study.cost import cost  # which imports torch

    found = cost(entry)
    if as_json:
        print_json({**asdict(found), "multiply_adds": found.multiply_adds, "peak_bytes": found.peak_bytes})
        return
    rows = [
        (role, one.part, str(one.calls), f"{one.multiply_adds / 1e9:.2f} G", amount(one.peak_bytes))
        for role, one in found.by_role.items()
    ]
    print_rows(("role", "part", "calls", "multiply-adds of one", "memory at its highest"), rows)
    work = f"{found.multiply_adds / 1e9:.1f} G multiply-adds for a clip of 10 s"
    print(f"{entry.name}: {work}, {amount(found.peak_bytes)}")


def _details(entry: SystemEntry, known: Registry) -> Table:
    """What its section and its flow declare; a knob's or option's default is the section's."""
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
    return {
        "name": part.name,
        "file": part.file.name,
        "state": status(part.file),
        "parameters": part_parameters(part),
        "licence": part.file.licence.title,
    }


def _knob(knob: Knob, default: Any, tables_allowed: bool) -> Table:
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


def print_one(entry: SystemEntry, known: Registry, as_json: bool) -> None:
    """All about one system."""
    found = {**described(entry), **_details(entry, known)}
    if as_json:
        print_json(found)
        return
    print(f"{found['name']}: {found['summary']}")
    print(f"source: {found['source']}")
    print(f"state: {found['state']}, {count(found['parameters'])} parameters")
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
            (role, one["name"], one["file"], one["state"], count(one["parameters"]), one["licence"])
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
