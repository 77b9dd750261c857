"""Where weights, their hashes, accepted licences and the user's own registry lie on this machine."""

import json
import math
import os
import tomllib
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

from s5cli.errors import OutputError, WeightsError

MOST_TEXT_BYTES = 1 << 18
MOST_LINE_BYTES = 10_000  # tomllib's time grows with the square of a dotted key's length
MOST_DEPTH = 32
MOST_INTEGER = 1 << 63  # what TOML allows


def cache_dir() -> Path:
    """What can be fetched or made again: downloads and converted copies. `S5_CACHE_DIR` moves it."""
    return Path(os.environ.get("S5_CACHE_DIR") or platformdirs.user_cache_dir("s5cli"))


def data_dir() -> Path:
    """What cannot: the user's own trained files and the hashes of first downloads. `S5_DATA_DIR` moves it."""
    return Path(os.environ.get("S5_DATA_DIR") or platformdirs.user_data_dir("s5cli"))


def config_dir() -> Path:
    """The user's own registry and the licences that were accepted. `S5_CONFIG_DIR` moves it."""
    return Path(os.environ.get("S5_CONFIG_DIR") or platformdirs.user_config_dir("s5cli"))


def make_folder(folder: Path) -> Path:
    """The folder, made if it was not there.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    return folder


def unwritable(path: Path, error: OSError) -> OutputError:
    """The error that says what to do where a file cannot be written."""
    is_own = any(path.is_relative_to(folder) for folder in (cache_dir(), data_dir(), config_dir()))
    moved = "move the folders with S5_CACHE_DIR, S5_DATA_DIR and S5_CONFIG_DIR"
    advice = moved if is_own else "make room there, or give another folder"
    return OutputError(f"cannot write to {path} ({error.strerror or error}); {advice}")


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """A temporary path beside `target` that takes its place when the block ends well and goes when it does not.

    Raises:
        OutputError: the folder cannot be written to.
    """
    make_folder(target.parent)
    temporary = target.with_name(f".{uuid.uuid4().hex}-{target.name}")
    try:
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise unwritable(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def amount(n_bytes: int) -> str:
    """A size for people.

    >>> amount(7_947_700), amount(25)
    ('7.9 MB', '25 bytes')
    """
    units = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
    return next((f"{n_bytes / unit:.1f} {name}" for unit, name in units if n_bytes >= unit), f"{n_bytes} bytes")


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file of settings.

    Raises:
        OSError: not readable.
        ValueError: not TOML, or larger, wider or deeper than any file of settings.
    """
    found: dict[str, Any] = _read_bounded(path, tomllib.loads)
    return found


def _read_bounded(path: Path, parse: Callable[[str], Any]) -> Any:
    with path.open("rb") as file:
        content = file.read(MOST_TEXT_BYTES + 1)
    if len(content) > MOST_TEXT_BYTES or max(map(len, content.splitlines()), default=0) > MOST_LINE_BYTES:
        raise ValueError(f"it is larger than {MOST_TEXT_BYTES} bytes, or has a line of over {MOST_LINE_BYTES}")
    try:
        found = parse(content.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _check_values(found)
    return found


def _check_values(found: Any) -> None:
    layer = [found]
    for _ in range(MOST_DEPTH):
        if any(isinstance(value, int) and not -MOST_INTEGER <= value < MOST_INTEGER for value in layer):
            raise ValueError("it has an integer of more than 64 bits")
        tables = [value for value in layer if isinstance(value, dict | list)]
        layer = [value for table in tables for value in (table.values() if isinstance(table, dict) else table)]
    if layer:
        raise ValueError("it is nested too deeply")


def toml_value(value: Any) -> str:
    """One TOML value. JSON's strings, numbers and booleans are TOML's too; DEL alone must be escaped besides."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{toml_value(key)} = {toml_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # inf, -inf and nan, as TOML has them
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def read_table(path: Path) -> dict[str, str]:
    """A JSON object of strings; empty where the file is not there.

    Raises:
        WeightsError: the file is not such an object.
    """
    if not path.is_file():
        return {}
    try:
        table = _read_bounded(path, json.loads)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is damaged ({error}); repair or delete it") from error
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise WeightsError(f"{path} is damaged (not an object of strings); repair or delete it")
    return table


def write_table(path: Path, table: Mapping[str, str]) -> None:
    """Writes a JSON object of strings that `read_table` reads."""
    with whole(path) as temporary:
        temporary.write_text(json.dumps(dict(sorted(table.items())), indent=2) + "\n", encoding="utf-8")
