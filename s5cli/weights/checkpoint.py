"""Checkpoint files in, networks with exactly those weights out."""

import dataclasses
import functools
import itertools
import json
import math
import re
import sys
import zipfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook
from torch.overrides import TorchFunctionMode

from s5cli.errors import WeightsError, nearest
from s5cli.official import some_of
from s5cli.weights import places
from s5cli.weights.unpickle import Parameter, TensorPlan, read_pickle

MOST_KEYS = 5  # of those that do not match, in a message
MOST_PICKLE_BYTES = 16 << 20
ALWAYS_BYTES = 1 << 20  # of a storage, whatever its tensors need
MOST_MODULES = 10_000


@dataclass(frozen=True)
class Checkpoint:
    """Named tensors of a file, and the text that a safetensors file carries beside them."""

    path: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]

    @property
    def config(self) -> dict[str, Any]:
        """The network configuration that the file carries; empty where it carries none.

        Raises:
            WeightsError: it carries something else under that name.
        """
        try:
            config = json.loads(self.metadata.get("config", "{}"))
        except (ValueError, RecursionError):
            config = None
        if not isinstance(config, dict):
            raise WeightsError(
                f"{self.path}: its metadata 'config' is not a JSON object; make or download the file again"
            )
        return config


# --- reading ---------------------------------------------------------------------------------------------------------


def read(path: Path) -> Checkpoint:
    """Reads a `.safetensors` file or a torch checkpoint, never running code that it names.

    A torch checkpoint is a dictionary of tensors or a training checkpoint with one as its `state_dict`.

    Raises:
        WeightsError: the file is missing, damaged, or not a checkpoint.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is not there; `s5 weights list` tells where weights are looked for")
    if path.suffix == ".safetensors" or is_safetensors(path):
        return Checkpoint(path, *_read_safetensors(path))
    return Checkpoint(path, _state_dict(_load(path), path), {})


def is_safetensors(path: Path) -> bool:
    """Whether it begins as such a file does: eight bytes of length, then a JSON object."""
    try:
        with path.open("rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError:  # reading it says so
        return False


def read_metadata(path: Path) -> dict[str, str]:
    """Only the text that a safetensors file carries; empty where the file is missing or damaged."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, safetensors.SafetensorError):
        return {}


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        return load_file(path), read_metadata(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise _damaged(path, error) from error


def _load(path: Path) -> Any:
    try:
        if zipfile.is_zipfile(path):
            return _load_zip(path)
        return torch.load(path, map_location="cpu", weights_only=True)  # the format before torch 1.6
    except Exception as error:  # damaged or hostile files choose what is raised
        raise _damaged(path, error) from error


def _load_zip(path: Path) -> Any:
    """Our own reader of torch's zip format, which reads no more than the tensors need and knows no other class."""
    with zipfile.ZipFile(path) as archive:
        _check_directory(archive, path.stat().st_size)
        pickles = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("a zip without one data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != sys.byteorder.encode():
            raise ValueError("it was written on a machine of the other byte order")
        content = read_pickle(archive.read(pickles[0]))
        state = _inner(content) if isinstance(content, dict) else content
        if not isinstance(state, dict):
            return state
        plans = {name: value.plan if isinstance(value, Parameter) else value for name, value in state.items()}
        _check_storages(archive, folder, [plan for plan in plans.values() if isinstance(plan, TensorPlan)])
        stored = functools.cache(lambda key: bytearray(archive.read(f"{folder}data/{key}")))
        return {name: _tensor(stored, plan) for name, plan in plans.items()}


def _check_directory(archive: zipfile.ZipFile, size: int) -> None:
    """ValueError where a member would become larger than the file that it lies in: torch compresses nothing."""
    members = archive.infolist()
    if sum(info.file_size for info in members) > size or any(info.compress_type for info in members):
        raise ValueError("its members would become larger than the file")
    for info in members:
        if info.filename.endswith("/data.pkl") and info.file_size > MOST_PICKLE_BYTES:
            raise ValueError(f"its data.pkl has {info.file_size} bytes, as no list of tensors has")


def _check_storages(archive: zipfile.ZipFile, folder: str, plans: Sequence[TensorPlan]) -> None:
    """ValueError where a storage is far larger than all tensors in it, or a tensor larger than its storage."""
    needed: dict[str, int] = defaultdict(int)
    for plan in plans:
        n_bytes = math.prod(plan.size) * getattr(torch, plan.storage.dtype).itemsize
        needed[plan.storage.key] += n_bytes
        if n_bytes > archive.getinfo(f"{folder}data/{plan.storage.key}").file_size:
            raise ValueError(f"a tensor of shape {list(plan.size)} that is larger than its storage")
    for key, n_bytes in needed.items():
        stored = archive.getinfo(f"{folder}data/{key}").file_size
        if stored > ALWAYS_BYTES + 2 * n_bytes:
            raise ValueError(f"a storage of {stored} bytes for tensors of {n_bytes}")


def _tensor(stored: Callable[[str], bytearray], plan: Any) -> Any:
    if not isinstance(plan, TensorPlan):
        return plan
    data = stored(plan.storage.key)
    dtype = getattr(torch, plan.storage.dtype)
    storage = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
    return torch.as_strided(storage, plan.size, plan.stride, plan.offset)  # raises if it leaves the storage


def _inner(content: Mapping[Any, Any]) -> Any:
    """The weights of a training checkpoint, by either of two names; else the whole."""
    return next((content[name] for name in ("state_dict", "model_state_dict") if name in content), content)


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    state = _inner(content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state:
        raise WeightsError(f"{path} holds no weights (neither a state_dict nor named tensors); is it the right file?")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise WeightsError(f"{path} holds no weights: its entry {str(name)[:80]!r} is not a tensor")
        if value.numel() * value.itemsize > value.untyped_storage().nbytes():
            raise WeightsError(f"{path} is damaged: its entry {name[:80]!r} is larger than what is stored of it")
    return dict(state)


def _damaged(path: Path, error: Exception) -> WeightsError:
    return WeightsError(f"{path} is damaged or not a checkpoint ({_reason(error)}); give another file, or get it again")


def _reason(error: Exception) -> str:
    """The beginning of what an exception says, which may be of any length."""
    if "Weights only load failed" in str(error):  # a page of advice on how to load it all the same follows
        return "it is more or something else than tensors"
    if isinstance(error, LookupError | TypeError | AttributeError):  # as "pop from empty list"
        return "its bytes are those of something else"
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]


# --- matching --------------------------------------------------------------------------------------------------------


def strip_prefix(tensors: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """Tensors under a network's own names, out of a wrapper's.

    The official rule: if the names differ, find the name that ends with the first own one; what precedes is the
    wrapper's prefix; names without it are the wrapper's own and dropped.

    >>> strip_prefix({"loss.w": 1, "model.a.w": 2, "model.b": 3}, ["a.w", "b"])
    {'a.w': 2, 'b': 3}
    """
    first = next(iter(own), "")
    found = next((name for name in tensors if name == first or name.endswith(f".{first}")), None)
    if set(tensors) == set(own) or found is None:
        return dict(tensors)
    prefix = found.removesuffix(first)
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def without_constants(
    tensors: Mapping[str, Tensor], own: Collection[str], constants: Iterable[str]
) -> dict[str, Tensor]:
    """Drops what a network computes instead of storing: names that it does not own and that one pattern is found in."""
    patterns = [re.compile(pattern) for pattern in constants]
    return {
        name: tensor
        for name, tensor in tensors.items()
        if name in own or not any(pattern.search(name) for pattern in patterns)
    }


def mismatches(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """What keeps tensors from filling a network's state exactly, one phrase a name."""
    missing = [f"{name} is missing" for name in own if name not in tensors]
    unexpected = [f"{name} is unexpected" for name in tensors if name not in own]
    shapes = [
        f"{name} has shape {list(tensors[name].shape)} instead of {list(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    return missing + unexpected + shapes


# --- building --------------------------------------------------------------------------------------------------------


def build_network(network_class: Any, checkpoint: Checkpoint, given: Mapping[str, Any]) -> nn.Module:
    """A network in inference mode with exactly the checkpoint's weights.

    The configuration is `given`, else what the file carries; a class's `config_from_state(state, config)` then reads
    the rest from the weights. `stored_constants` of the class are patterns of names that it computes itself, `renamed`
    gives the names of older files in its own.

    Raises:
        WeightsError: the configuration or the weights are of another network; at most five names are listed.
    """
    config, state = match(network_class, checkpoint, given)
    with _NoInitialValues():
        network = _construct(network_class, config, checkpoint.path)
    network.load_state_dict(state)
    return network.eval()


def match(network_class: Any, checkpoint: Checkpoint, given: Mapping[str, Any]) -> tuple[Any, dict[str, Tensor]]:
    """The configuration of a network and its state, which fits name by name and shape by shape; no memory is taken.

    Raises:
        WeightsError: as `build_network`.
    """
    config = _config(network_class, dict(given) or checkpoint.config, checkpoint.path)
    renamed, own = getattr(network_class, "renamed", dict), _own_state(network_class, config, checkpoint.path)
    state = strip_prefix(renamed(checkpoint.tensors), own)
    found = config
    if hasattr(network_class, "config_from_state"):
        with suppress(KeyError):  # of another network: the match says so by name
            found = network_class.config_from_state(state, config)
    if found != config:
        config, own = found, _own_state(network_class, found, checkpoint.path)
    state = without_constants(state, own, getattr(network_class, "stored_constants", ()))
    if wrong := mismatches(state, own):
        listed = some_of(wrong, MOST_KEYS)
        raise WeightsError(f"{checkpoint.path} does not hold the weights of {network_class.__name__}: {listed}")
    return config, state


_INITIAL_VALUES = {
    nn.init.kaiming_uniform_, nn.init.normal_, nn.init.uniform_, Tensor.erfinv_, Tensor.normal_, Tensor.uniform_
}  # fmt: skip


class _NoInitialValues(TorchFunctionMode):
    """Parameters stay as memory has them, as those of a checkpoint come next: drawing numbers takes longer."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _INITIAL_VALUES:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


class _ShapesOnly(_NoInitialValues):
    """On the meta device PyTorch imports its compiler for these functions' values, which takes as long as a clip."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is Tensor.neg or (func in (Tensor.mul, Tensor.div) and isinstance(args[1], float | int)):
            return args[0]
        if func is torch.arange and all(isinstance(arg, int) for arg in args) and not kwargs:
            return torch.empty(len(range(*args)), dtype=torch.long)
        if func is torch.hann_window:
            return torch.empty(args[0])
        if func is torch.randn and not kwargs:
            return torch.empty(*args)
        return super().__torch_function__(func, types, args, kwargs)


_own_states: dict[tuple[Any, str], Mapping[str, Tensor]] = {}


def _own_state(network_class: Any, config: Any, path: Path) -> Mapping[str, Tensor]:
    """Names and shapes of a network's state: a process that builds it again, as a study does, knows them already."""
    key = network_class, repr(config)
    if key not in _own_states:
        _own_states[key] = blank(network_class, config, path).state_dict()
    return _own_states[key]


def blank(network_class: Any, config: Any, path: Path) -> nn.Module:
    """The network on the meta device: names and shapes only.

    Raises:
        WeightsError: there is none of that configuration; `path` is the file that is blamed.
    """
    try:
        return _without_numbers(network_class, config, path)
    except WeightsError as error:
        if not isinstance(error.__cause__, NotImplementedError):
            raise
        import_module("torch._meta_registrations")  # see `s5cli.cli.quick`
        return _without_numbers(network_class, config, path)


def _without_numbers(network_class: Any, config: Any, path: Path) -> nn.Module:
    n_modules = itertools.count(1)

    def refuse_too_many(*_: object) -> None:
        if next(n_modules) > MOST_MODULES:
            raise ValueError(f"more than {MOST_MODULES} modules")

    with torch.device("meta"), _ShapesOnly(), register_module_module_registration_hook(refuse_too_many):
        return _construct(network_class, config, path)


def _config(network_class: Any, values: Mapping[str, Any], path: Path) -> Any:
    known, name = {field.name for field in dataclasses.fields(network_class.Config)}, network_class.__name__
    for key in values:
        if key not in known:
            raise WeightsError(f"{path}: its configuration has {key!r}, {name} has not{nearest(key, known)}")
    tuples = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    try:
        return network_class.Config(**tuples)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its configuration is not one of {name} ({_reason(error)})") from error


def _construct(network_class: Any, config: Any, path: Path) -> nn.Module:
    try:
        network: nn.Module = network_class(config)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:  # what torch says of impossible sizes
        what = f"no {network_class.__name__} can be built from {str(config)[:300]}"
        raise WeightsError(f"{path}: {what} ({_reason(error)})") from error
    return network


# --- the local copy --------------------------------------------------------------------------------------------------


def copy_path(name: str) -> Path:
    """Where the safetensors copy of a torch checkpoint lies. It stays on this machine: it is under the same licence."""
    return places.cache_dir() / "converted" / f"{name}.safetensors"


def has_copy(name: str, metadata: Mapping[str, str]) -> bool:
    """Whether the copy was made from the same source for the same network."""
    found = read_metadata(copy_path(name))
    return bool(found) and all(found.get(key) == value for key, value in metadata.items())


def save_copy(name: str, network: nn.Module, metadata: Mapping[str, str]) -> None:
    """Writes a network's state as safetensors, whole or not at all.

    Raises:
        OutputError: the cache cannot be written to.
    """
    with places.whole(copy_path(name)) as temporary:
        state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
        save_file(state, temporary, dict(metadata))
