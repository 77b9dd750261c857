"""A training recipe: a TOML file that names network, data and schedule. The project's own lie in `recipes/`."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module, resources
from pathlib import Path
from typing import Any

from torch import nn

from s5cli.errors import UsageError, nearest
from s5cli.synth.settings import SceneSettings
from s5cli.train.data import ExampleSettings
from s5cli.weights.places import read_toml

FOLDER = resources.files("s5cli.train") / "recipes"


@dataclass(frozen=True)
class Schedule:
    """Learning-rate schedule and optimiser (AdamW): linear warm-up, then a half cosine down to zero."""

    steps: int
    batch_size: int
    echo: int = 1  # steps that a rendered scene takes part in, in changing company
    learning_rate: float = 1e-3
    slow_scale: float = 1.0  # of the learning rate, for what the recipe calls slow
    warmup_steps: int = 100
    weight_decay: float = 1e-2
    pull_back: float = 0.0  # weight decay towards the weights that the run began with instead of zero
    clip_norm: float = 5.0
    ema: float = 0.998  # decay per step of the averaged weights, which are what is saved
    checkpoint_steps: int = 200
    validate_steps: int = 400
    validation_scenes: int = 24


@dataclass(frozen=True)
class Recipe:
    """Everything that a run depends on but the recordings."""

    name: str
    task: str  # one of `s5cli.train.tasks`, or "module:Class"
    network: str  # "module:Class"
    schedule: Schedule
    scenes: SceneSettings
    examples: ExampleSettings
    config: Mapping[str, Any] = field(default_factory=dict)
    frame_weight: float = 0.0  # of a tagger's second loss, what sounds when; the network must say so (`counted`)
    init: str | None = None  # a file of the registry, a package:NAME, or a path; --init overrides
    grows: bool = False  # initial weights of another network, which this one's class says how to take over (`grown`)
    trainable: tuple[str, ...] = ("",)  # prefixes of parameter names; the rest is frozen, batch statistics too
    slow: tuple[str, ...] = ()  # prefixes of parameter names that learn at `slow_scale`
    freeze_statistics: bool = False  # all batch statistics stay as they begin
    half: bool = True  # save float16
    installs: str | None = None  # the registry's file that the result becomes
    options: Mapping[str, Any] = field(default_factory=dict)  # what the task alone reads

    def build(self) -> nn.Module:
        """The network, freshly initialised; UsageError if there is none of that configuration."""
        kind = network_class(self.network)
        config = from_table(kind.Config, self.config, f"recipe {self.name}: config")
        try:
            network: nn.Module = kind(config)
        except (ValueError, TypeError, ArithmeticError, LookupError, RuntimeError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise UsageError(f"recipe {self.name}: no {kind.__name__} can be built of its config ({reason})") from error
        return network


def network_class(name: str) -> Any:
    """The class that `module:Class` names.

    Raises:
        UsageError: there is no such module or class, or it is no network with a Config.
    """
    found = named(name, "network")
    if not isinstance(found, type) or not dataclasses.is_dataclass(getattr(found, "Config", None)):
        raise UsageError(f"network {name!r} is no class with a dataclass Config")
    return found


def named(name: str, kind: str) -> Any:
    """What `module:Name` names, imported; UsageError if there is none."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"{kind} {name!r} cannot be imported: {error}") from error


_KINDS: Mapping[str, tuple[Any, str]] = {
    "int": (int, "whole number"),
    "float": ((int, float), "number"),
    "bool": (bool, "true or false"),
    "str": (str, "text"),
    "str | None": (str, "text"),
    "tuple": ((list, tuple), "list"),
    "Mapping": (Mapping, "table"),
}
"""What a TOML value is, by the annotation of the field that it is for; others are not looked at."""


def from_table(kind: Any, table: Mapping[str, Any], where: str) -> Any:
    """A dataclass from a TOML table; arrays become tuples.

    Raises:
        UsageError: it is no table, or has a key that is unknown or missing, or a value that is not of its kind.
    """
    if not isinstance(table, Mapping):
        raise UsageError(f"{where}: {table!r} is no table of settings")
    known = {f.name: str(getattr(f.type, "__name__", f.type)).partition("[")[0] for f in dataclasses.fields(kind)}
    for key, value in table.items():
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}{nearest(key, known)}")
        wanted, told = _KINDS.get(known[key], (object, ""))
        if told and (not isinstance(value, wanted) or isinstance(value, bool) != (wanted is bool)):
            raise UsageError(f"{where}: {key} = {value!r} is no {told}")
    unset = (dataclasses.MISSING, dataclasses.MISSING)
    for one in dataclasses.fields(kind):
        if (one.default, one.default_factory) == unset and one.name not in table:
            raise UsageError(f"{where}: lacks {one.name!r}")
    try:
        return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()})
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: {error}") from error


def names() -> list[str]:
    """The project's own recipes."""
    return sorted(path.name.removesuffix(".toml") for path in FOLDER.iterdir() if path.name.endswith(".toml"))


def read_recipe(name_or_path: str) -> Recipe:
    """A recipe of the project by name, or any TOML file.

    Raises:
        UsageError: no such recipe or file, one that is not TOML, or a key in it that nobody reads.
    """
    known, path = names(), Path(name_or_path)
    if name_or_path in known:
        with resources.as_file(FOLDER / f"{name_or_path}.toml") as own:
            return recipe_of(name_or_path, read_toml(own))
    if path.suffix != ".toml" or not path.is_file():
        hint = nearest(name_or_path, known)
        raise UsageError(f"no recipe {name_or_path!r}{hint}; give one of {', '.join(known)} or a .toml file")
    try:
        return recipe_of(path.stem, read_toml(path))
    except (OSError, ValueError) as error:
        raise UsageError(f"recipe {path}: cannot be read as TOML ({error})") from error


def recipe_of(name: str, table: Mapping[str, Any]) -> Recipe:
    """A recipe from the table that its file holds."""
    parts = {"schedule": Schedule, "scenes": SceneSettings, "examples": ExampleSettings}
    made = {key: from_table(kind, table.get(key, {}), f"recipe {name}: [{key}]") for key, kind in parts.items()}
    recipe: Recipe = from_table(Recipe, {"name": name, **table, **made}, f"recipe {name}")
    return recipe
