"""Where golden data are looked up, and what cases they hold.

The project carries its own in `data/`. `S5_GOLDEN_DIR=<folder>` replaces them: `<name>.golden.json/.npz` and folders
are then taken from there and nowhere else; a `.state.json` that is not there comes from `data/`. What is missing is a
failure. The recipe of pseudo-weights and test signals is always the project's own.

Models, cases, seeds, lengths, salt, batches and strides are those of the files. What no file says:

- Which network a model is. A name that begins with `m2dat` is a tagger, one with `resunetk` a separator, in the
  published configuration; a tagger whose entries begin with `m2d.` hears four channels.
- What `mini_e2e` runs: `m2dat_1c_d768` and `resunetk`, in batches of two.
- A missing salt is the empty one, a missing stride 1, a missing bias of silence 0; a missing checksum is not compared.
"""

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pytest

from s5cli.labels import CLASSES, SILENCE
from tests.golden import weights_recipe as recipe

OWN = Path(__file__).parent / "data"
NO_CASE = "no-case"
__all__ = [
    "Case", "Model", "filled", "golden_dir", "golden_file", "golden_folder", "label_vector", "load_json", "load_npz",
    "models", "models_and_cases", "recipe", "state_file",
]  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- files
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


def filled(document: Mapping[str, Any], key: str, path: Path) -> Any:
    """The cases under a key of a JSON file; fails the test if there are none."""
    if not document.get(key):
        pytest.fail(f"golden data missing: {path} has no {key}", pytrace=False)
    return document[key]


# --------------------------------------------------------------------------------------------------------------- cases
def models(kind: str) -> list[str]:
    """Names of all models of a kind: of the project, whose data must be there, and what else the folder holds."""
    found = {path.name for folder in (OWN, golden_dir()) for path in folder.glob(f"{kind}*.golden.json")}
    return sorted(name.removesuffix(".golden.json") for name in found)


def models_and_cases(kind: str) -> list[tuple[str, str]]:
    """What a test of all cases of a kind is given; `NO_CASE` for a model without any, which fails once it is read."""
    return [(model, case) for model in models(kind) for case in _named(model) or [NO_CASE]]


def _named(model: str) -> list[str]:
    """Cases that the files of a model name, in their order; of a file that cannot be read none."""
    names: dict[str, None] = {}
    try:
        names |= dict.fromkeys(load_json(golden_dir() / f"{model}.golden.json")["cases"])
        with np.load(golden_dir() / f"{model}.golden.npz") as arrays:
            names |= dict.fromkeys(key.rpartition("/")[0] for key in arrays.files)
    except (OSError, ValueError, KeyError, TypeError, BadZipFile):
        pass
    return list(names)


@dataclass(frozen=True)
class Case:
    """A case of a network: what the JSON says of it, and the expected values by quantity."""

    where: str
    about: Mapping[str, Any]
    expected: Mapping[str, np.ndarray]

    @cached_property
    def clips(self) -> np.ndarray:
        """The input by recipe, [b, 4, t] float32, of the stated checksum."""
        clips = np.stack([recipe.make_clip(**clip) for clip in self.about["clips"]])
        stated = self.about.get("input", {}).get("crc32_float32")
        assert stated in (None, zlib.crc32(clips.tobytes())), f"{self.where}: the recipe gives another input"
        return clips

    @property
    def label_vector(self) -> np.ndarray:
        """What a separator is asked for, [b, 54] float32."""
        return label_vector(self.about["labels"])

    @property
    def stride(self) -> int:
        """Every how many-th sample of the output is stored."""
        return int(self.about.get("waveform_stride", 1))

    def __getitem__(self, quantity: str) -> np.ndarray:
        if quantity not in self.expected:
            pytest.fail(f"golden data missing: {self.where}/{quantity}", pytrace=False)
        return self.expected[quantity]

    def check(self, quantity: str, actual: Any, tolerance: float = 1e-4) -> None:
        """The test fails where values differ by more than the tolerance, absolute, or shapes at all."""
        expected = self[quantity]
        assert tuple(actual.shape) == expected.shape, f"{self.where}/{quantity}"
        np.testing.assert_allclose(
            np.asarray(actual), expected, rtol=0, atol=tolerance, err_msg=f"{self.where}/{quantity}"
        )


def label_vector(labels: Sequence[Sequence[str]]) -> np.ndarray:
    """Of each clip its labels one-hot side by side, zeros for silence, float32."""
    unknown = {label for clip in labels for label in clip} - {*CLASSES, SILENCE}
    assert not unknown, f"unknown labels {unknown}"
    rows = [[[label == name for name in CLASSES] for label in clip] for clip in labels]
    return np.array(rows, np.float32).reshape(len(rows), -1)


class Model:
    """Golden data of a network: `<name>.golden.json`, `<name>.golden.npz` and `<name>.state.json`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.json = golden_file(f"{name}.golden.json")
        self.npz = golden_file(f"{name}.golden.npz")
        self.document = load_json(self.json)
        self.manifest = recipe.load_manifest(state_file(f"{name}.state.json"))

    @cached_property
    def numbers(self) -> dict[str, np.ndarray]:
        return load_npz(self.npz)

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        """Pseudo-weights of the stated checksum."""
        weights = recipe.make_weights(self.manifest, self.document.get("salt", ""))
        stated = self.document.get("pseudo_weights_crc32")
        assert stated in (None, recipe.weights_digest(weights)), f"{self.json}: the recipe gives other weights"
        return weights

    @property
    def nparams(self) -> int:
        """All parameters of the checkpoint, constant ones too."""
        return sum(int(np.prod(entry["shape"])) for entry in self.manifest.values() if entry["kind"] == "parameter")

    def case(self, name: str) -> Case:
        cases = filled(self.document, "cases", self.json)
        if name not in cases:
            pytest.fail(f"golden data missing: {self.json} does not name {name}, {self.npz} does", pytrace=False)
        prefix = f"{name}/"
        expected = {key.removeprefix(prefix): value for key, value in self.numbers.items() if key.startswith(prefix)}
        return Case(f"{self.npz}: {name}", cases[name], expected)

    def shortest_case(self) -> Case:
        """The one with the fewest samples."""
        cases = filled(self.document, "cases", self.json)
        n_samples = {name: sum(clip["n_samples"] for clip in about["clips"]) for name, about in cases.items()}
        return self.case(min(n_samples, key=n_samples.__getitem__))
