"""Networks, adapters and flows as small as can be, for what has nothing to do with their size."""

import json
import math
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from s5cli.knobs import AblationRow, Knob, Option, Setting
from s5cli.trace import Drop
from s5cli.weights.registry import Registry, Table, parse

HERE = "tests.weights.tiny"


@dataclass(frozen=True)
class TinyConfig:
    width: int = 3
    kernels: tuple[int, ...] = (1,)


class Tiny(nn.Module):
    """Stores like the official networks: a computed constant, a batch norm, an unused entry."""

    Config = TinyConfig
    stored_constants = (r"^stft\.", "ola_window")

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        self.body = nn.Sequential(*(nn.Conv1d(config.width, config.width, kernel) for kernel in config.kernels))
        self.norm = nn.BatchNorm1d(config.width)
        self.register_buffer("window", torch.hann_window(4), persistent=False)


class Sized(Tiny):
    """Reads its width from the checkpoint."""

    @staticmethod
    def config_from_state(state: Mapping[str, Tensor], config: TinyConfig) -> TinyConfig:
        return replace(config, width=state["norm.running_mean"].numel())


class Other(nn.Module):
    """Another network."""

    Config = TinyConfig

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(4))


class Adapter:
    def __init__(self, network: nn.Module, device: torch.device, gain: float = 1.0) -> None:
        self.network, self.device, self.gain = network, device, gain


class Flow:
    knobs: ClassVar[Mapping[str, Knob]] = {
        "drop": Knob(0.5, 0, 1, per_class=True),
        "gate": Knob(-30, -60, 0),
        "top": Knob(1, 0, math.inf),
    }
    options: ClassVar[Mapping[str, Option]] = {"stages": Option(3, "how many", low=1, high=5)}

    drops: ClassVar[Mapping[str, Drop]] = {}
    ablation: ClassVar[tuple[AblationRow, ...]] = ()
    window_s: ClassVar[float | None] = None

    def __init__(self, *, tagger: Adapter, separator: Adapter | None = None, setting: Setting) -> None:
        self.tagger, self.separator, self.setting = tagger, separator, setting


class Foreign:
    """A class that no torch knows, as hyper-parameters of a training checkpoint hold them."""

    def __init__(self) -> None:
        self.optimiser = {"lr": 0.1}


def contents(n_bytes: int, seed: int = 0) -> bytes:
    """A checkpoint of exactly so many bytes, as a safetensors file has them; 100 at least."""
    n = n_bytes - 96
    header = json.dumps({"w": {"dtype": "U8", "shape": [n], "data_offsets": [0, n]}}).ljust(88)
    return (88).to_bytes(8, "little") + header.encode() + random.Random(seed).randbytes(n)


def write_hollow(path: Path, network: Any) -> Path:
    """A safetensors file with the names and shapes of a network of default size and nothing but zeros; sparse."""
    with torch.device("meta"):
        state = network(network.Config()).state_dict()
    header, end = {}, 0
    for name, value in state.items():
        header[name] = {"dtype": "U8", "shape": list(value.shape), "data_offsets": [end, end + value.numel()]}
        end += value.numel()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + end)
    return path


def state_of(network: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """A state dict of that network with other numbers in it."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(value.shape, generator=generator) if value.is_floating_point() else value + 7
        for name, value in network.state_dict().items()
    }


def save_lightning(path: Path, state: Mapping[str, Tensor], **extra: Any) -> None:
    """A training checkpoint as Lightning writes it: the network under `model.`, constants and a loss beside it."""
    wrapped = {f"model.{name}": value for name, value in state.items()}
    wrapped |= {
        "model.stft.conv.weight": torch.zeros(9),
        "model.ola_window": torch.ones(2),
        "loss.weight": torch.ones(1),
    }
    torch.save({"epoch": 3, "state_dict": wrapped, "optimizer_states": [{"state": {}}], **extra}, path)


def tables(files: Mapping[str, Table], **system: Any) -> dict[str, Table]:
    """Registry tables of one system `tiny` whose parts `tagger`, … have the given files."""
    parts = {name: {"network": f"{HERE}:Tiny", "adapter": f"{HERE}:Adapter", "file": name} for name in files}
    entry = {"flow": f"{HERE}:Flow", "summary": "one", "source": "paper", "parts": {name: name for name in files}}
    return {
        "licence": {
            "free": {"title": "a free licence", "url": "https://example.org/free"},
            "strict": {"title": "A strict licence", "url": "https://example.org/strict", "ask": True},
        },
        "file": {name: {"licence": "free", **keys} for name, keys in files.items()},
        "part": parts,
        "system": {"tiny": {**entry, **system}},
        "alias": {"small": "tiny"},
    }


def registry_of(files: Mapping[str, Table], **system: Any) -> Registry:
    return parse(tables(files, **system), Path("weights.toml"))
