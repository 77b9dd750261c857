"""Listings on stdout: aligned columns for people, JSON for programs."""

import dataclasses
import json
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from s5cli.errors import printable

LEAST_WIDTH = 20


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A header line and one line a row; on a terminal that is too narrow for them, a block of lines a row.

    Nothing is cut, and elsewhere than on a terminal nothing is wrapped.

    >>> print_rows(("file", "status"), [("m2dat-1c", "missing")])
    file      status
    m2dat-1c  missing
    """
    lines = [columns, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    most = terminal_width()
    if most is not None and sum(widths) + 2 * (len(widths) - 1) > most:
        print("\n".join(block_line for row in lines[1:] for block_line in block(columns, row, most)))
        return
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def block(columns: Sequence[str], row: Sequence[str], width: int) -> list[str]:
    """A row as lines of that width: its first cell, and the others below it, each after its column's name.

    >>> print(*block(("file", "status", "source"), ("m2dat-1c", "missing", "a long way from here"), 24), sep="\\n")
    m2dat-1c
      status  missing
      source  a long way
              from here
    """
    indent = 2 + max(map(len, columns[1:]), default=0) + 2
    cells = [f"  {name}".ljust(indent) + cell for name, cell in zip(columns[1:], row[1:], strict=True)]
    return [row[0], *(line for cell in cells for line in wrapped(cell, width, indent))]


def wrapped(text: str, width: int | None, indent: int) -> list[str]:
    """A text in lines, broken between words only; all but the first are indented. No width: one line."""
    if width is None:
        return [text]
    most = max(width, indent + LEAST_WIDTH)
    return textwrap.wrap(text, most, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def terminal_width() -> int | None:
    """Columns of the terminal on stdout; None where stdout is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_json(content: Any) -> None:
    """Dataclasses, lists and tables of them as JSON."""
    print(json.dumps(_plain(content), indent=2))


def _plain(content: Any) -> Any:
    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        return dataclasses.asdict(content)
    if isinstance(content, Mapping):
        return {key: _plain(value) for key, value in content.items()}
    return [_plain(item) for item in content] if isinstance(content, list | tuple) else content
