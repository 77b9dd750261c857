"""Checkpoint files in, networks with exactly those weights out."""

import json
import pickle
import re
import sys
import zipfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from s5cli.errors import WeightsError
from s5cli.weights import places
from s5cli.weights.unpickle import Parameter, TensorPlan, read_pickle

MOST_KEYS = 5  # of those that do not match, in a message


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
        except ValueError:
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
    if path.suffix == ".safetensors":
        return Checkpoint(path, *_read_safetensors(path))
    return Checkpoint(path, _state_dict(_load(path), path), {})


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
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        return _load_inert(path)
    except Exception as error:  # a damaged file makes torch raise anything from EOFError to RuntimeError
        raise _damaged(path, error) from error


def _load_inert(path: Path) -> Any:
    """The same for a file that names what torch does not know: our own reader of torch's zip format."""
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
            (pickled,) = pickles
            folder = pickled.removesuffix("data.pkl")
            if (
                f"{folder}byteorder" in archive.namelist()
                and archive.read(f"{folder}byteorder") != sys.byteorder.encode()
            ):
                raise ValueError("it was written on a machine of the other byte order")
            content = read_pickle(archive.read(pickled))
            state = content.get("state_dict", content) if isinstance(content, dict) else content
            if not isinstance(state, dict):
                raise ValueError("it holds no state_dict")
            return {name: _tensor(archive, folder, value) for name, value in state.items()}
    except Exception as error:  # a hostile pickle chooses what is raised
        raise _damaged(path, error) from error


def _tensor(archive: zipfile.ZipFile, folder: str, value: Any) -> Any:
    plan = value.plan if isinstance(value, Parameter) else value
    if not isinstance(plan, TensorPlan):
        return value
    data = bytearray(archive.read(f"{folder}data/{plan.storage.key}"))
    dtype = getattr(torch, plan.storage.dtype)
    storage = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
    return torch.as_strided(storage, plan.size, plan.stride, plan.offset)  # raises if it leaves the storage


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state:
        raise WeightsError(f"{path} holds no weights (neither a state_dict nor named tensors); is it the right file?")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise WeightsError(f"{path} holds no weights: its entry {str(name)[:80]!r} is not a tensor")
    return dict(state)


def _damaged(path: Path, error: Exception) -> WeightsError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return WeightsError(f"{path} is damaged or not a checkpoint ({reason[:120]}); delete it and get it again")


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
    the rest from the weights. `stored_constants` of the class are patterns of names that it computes itself.

    Raises:
        WeightsError: the configuration or the weights are of another network; at most five names are listed.
    """
    config = _config(network_class, dict(given) or checkpoint.config, checkpoint.path)
    with torch.device("meta"):  # names and shapes only
        own = _construct(network_class, config, checkpoint.path).state_dict()
    state = strip_prefix(checkpoint.tensors, own)
    config = _config_from_state(network_class, state, config)
    network = _construct(network_class, config, checkpoint.path)
    own = network.state_dict()
    state = without_constants(state, own, getattr(network_class, "stored_constants", ()))
    _refuse(mismatches(state, own), network_class, checkpoint.path)
    network.load_state_dict(state)
    return network.eval()


def _config(network_class: Any, values: Mapping[str, Any], path: Path) -> Any:
    tuples = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    try:
        return network_class.Config(**tuples)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its configuration is not one of {network_class.__name__} ({error})") from error


def _construct(network_class: Any, config: Any, path: Path) -> nn.Module:
    try:
        network: nn.Module = network_class(config)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:  # what torch says of impossible sizes
        raise WeightsError(f"{path}: no {network_class.__name__} can be built from {config} ({error})") from error
    return network


def _config_from_state(network_class: Any, state: Mapping[str, Tensor], config: Any) -> Any:
    try:
        return network_class.config_from_state(state, config) if hasattr(network_class, "config_from_state") else config
    except KeyError:  # of another network: the match says so by name
        return config


def _refuse(wrong: list[str], network_class: Any, path: Path) -> None:
    if wrong:
        more = f" and {len(wrong) - MOST_KEYS} more" if len(wrong) > MOST_KEYS else ""
        listed = ", ".join(wrong[:MOST_KEYS])
        raise WeightsError(f"{path} does not hold the weights of {network_class.__name__}: {listed}{more}")


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
