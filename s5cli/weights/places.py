"""Where weights, their hashes, accepted licences and the user's own registry lie on this machine."""

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from s5cli.errors import OutputError, WeightsError


def cache_dir() -> Path:
    """What can be fetched or made again: downloads and converted copies. `S5_CACHE_DIR` moves it."""
    return Path(os.environ.get("S5_CACHE_DIR") or platformdirs.user_cache_dir("s5cli"))


def data_dir() -> Path:
    """What cannot: the user's own trained files and the hashes of first downloads. `S5_DATA_DIR` moves it."""
    return Path(os.environ.get("S5_DATA_DIR") or platformdirs.user_data_dir("s5cli"))


def config_dir() -> Path:
    """The user's own registry and the licences he accepted. `S5_CONFIG_DIR` moves it."""
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
    moved = "move the folders with S5_CACHE_DIR, S5_DATA_DIR and S5_CONFIG_DIR"
    return OutputError(f"cannot write to {path} ({error.strerror or error}); {moved}")


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


def read_table(path: Path) -> dict[str, str]:
    """A JSON object of strings; empty where the file is not there.

    Raises:
        WeightsError: the file is not such an object.
    """
    if not path.is_file():
        return {}
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is damaged ({error}); repair or delete it") from error
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise WeightsError(f"{path} is damaged (not an object of strings); repair or delete it")
    return table


def write_table(path: Path, table: Mapping[str, str]) -> None:
    """Writes a JSON object of strings that `read_table` reads."""
    with whole(path) as temporary:
        temporary.write_text(json.dumps(dict(sorted(table.items())), indent=2) + "\n", encoding="utf-8")
