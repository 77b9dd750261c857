"""Listings on stdout: aligned columns for people, JSON for programs."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A header line and one line a row; nothing is wrapped or cut, whatever the terminal's width.

    >>> print_rows(("file", "status"), [("m2dat-1c", "missing")])
    file      status
    m2dat-1c  missing
    """
    lines = [columns, *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_json(content: Any) -> None:
    """Dataclasses, lists and tables of them as JSON."""
    print(json.dumps(_plain(content), indent=2))


def _plain(content: Any) -> Any:
    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        return dataclasses.asdict(content)
    if isinstance(content, Mapping):
        return {key: _plain(value) for key, value in content.items()}
    return [_plain(item) for item in content] if isinstance(content, list | tuple) else content
