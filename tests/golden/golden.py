"""Where golden data are looked up.

The project carries its own in `data/`. `S5_GOLDEN_DIR=<folder>` replaces them: `<name>.golden.json/.npz` and folders
are then taken from there and nowhere else; a `.state.json` that is not there comes from `data/`. What is missing is a
failure. The recipe of pseudo-weights and test signals is always the project's own.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.golden import weights_recipe as recipe

OWN = Path(__file__).parent / "data"
__all__ = ["golden_dir", "golden_file", "golden_folder", "load_json", "load_npz", "recipe", "state_file"]


def golden_dir() -> Path:
    """The folder given in `S5_GOLDEN_DIR`, else the project's own."""
    given = os.environ.get("S5_GOLDEN_DIR")
    return Path(given) if given else OWN


def golden_file(name: str) -> Path:
    """Path of golden data, e.g. `capi_sdri.golden.json`; fails the test if it is missing."""
    path = golden_dir() / name
    if not path.is_file():
        pytest.fail(f"golden data missing: {path}", pytrace=False)
    return path


def golden_folder(name: str) -> Path:
    """Path of a folder of golden data, e.g. `mini_e2e`; fails the test if it is missing."""
    path = golden_dir() / name
    if not path.is_dir():
        pytest.fail(f"golden data missing: {path}", pytrace=False)
    return path


def state_file(name: str) -> Path:
    """Path of a state-dict manifest, e.g. `resunetk.state.json`: beside the golden data, else the project's own."""
    given = golden_dir() / name
    path = given if given.is_file() else OWN / name
    if not path.is_file():
        pytest.fail(f"golden manifest missing: {given} and {OWN / name}", pytrace=False)
    return path


def load_json(path: Path) -> Any:
    """A JSON file's content."""
    return json.loads(path.read_text(encoding="utf-8"))


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an npz file, read once."""
    with np.load(path) as arrays:
        return {key: arrays[key] for key in arrays.files}
