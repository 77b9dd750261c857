"""What a system's networks take for a clip of 10 s: multiply-adds, and memory at its highest.

Networks are run without numbers (PyTorch's meta device), so that the largest take seconds and need no weights.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from s5cli.challenge.macs import DURATION_S, counted
from s5cli.scene import N_CHANNELS, RATE_HZ, Scene
from s5cli.train.recipe import read_recipe
from s5cli.weights import build, fetch, registry
from s5cli.weights.registry import PartEntry, SystemEntry


@dataclass(frozen=True)
class PartCost:
    """One network, called once for a clip, or for one stem of it."""

    part: str
    calls: int  # for a clip of which all slots are used
    multiply_adds: int
    peak_bytes: int  # of parameters, and of tensors at once while it runs


@dataclass(frozen=True)
class Cost:
    """A system: each network as often as it is called, and the highest of their memory."""

    by_role: Mapping[str, PartCost]

    @property
    def multiply_adds(self) -> int:
        return sum(one.calls * one.multiply_adds for one in self.by_role.values())

    @property
    def peak_bytes(self) -> int:
        """What lies in memory of the other networks are their parameters alone, which are small beside it."""
        return max(one.peak_bytes for one in self.by_role.values())


def cost(entry: SystemEntry) -> Cost:
    """That of every network of a system; how often each is called its flow says (`calls`), else once.

    Raises:
        WeightsError: a network cannot be built, or not be run without numbers.
    """
    calls = getattr(build.flow_of(entry), "calls", {})
    return Cost({role: part_cost(part, calls.get(role, 1)) for role, part in entry.parts.items()})


def part_cost(part: PartEntry, calls: int = 1) -> PartCost:
    """That of one network. Its groups change no product, and its blocks are alike: one shows the highest memory."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from s5cli.nn.sizes import remembering

    config = build.network_of(part).Config(**config_of(part))
    scene = Scene("clip", torch.zeros(N_CHANNELS, DURATION_S * RATE_HZ, device="meta"))
    with sdpa_kernel(SDPBackend.MATH), remembering():
        macs = counted(_sized(part, lighter(config, group_tokens=0)), scene)
        peak = peak_bytes(_sized(part, lighter(config, blocks=1)), scene)
    whole: Any = _sized(part, config)
    return PartCost(
        part.name, calls, macs, peak + sum(p.numel() * p.element_size() for p in whole.network.parameters())
    )


def blank_network(part: PartEntry, config: Any) -> Any:
    """A part's network of that configuration, without memory for its weights.

    Raises:
        WeightsError: there is none.
    """
    from s5cli.weights.checkpoint import blank

    return blank(build.network_of(part), config, registry.user_path())


def _sized(part: PartEntry, config: Any) -> Any:
    network = blank_network(part, config)
    return _Shapes(network, build.adapter_of(part)(network, device="meta", **part.options))


@dataclass(frozen=True)
class _Shapes:
    """A part whose answer nobody takes out."""

    network: Any
    adapter: Any

    def exercise(self, scene: Scene) -> None:
        try:
            self.adapter.exercise(scene)
        except NotImplementedError as error:
            if "copy out of meta" not in str(error):  # the network has answered, and the adapter looks at its numbers
                raise


def lighter(config: Any, **changes: int) -> Any:
    """A configuration with other values for those of its fields that it has."""
    known = {one.name for one in fields(config)}
    return replace(config, **{name: value for name, value in changes.items() if name in known})


def config_of(part: PartEntry) -> dict[str, Any]:
    """The section's, else the file's, else that of the recipe that makes the file; arrays are tuples."""
    from s5cli.weights.checkpoint import read

    path, config = fetch.locate(part.file), dict(part.config)
    if not config and path is not None and path.suffix == ".safetensors":
        config = read(path).config
    if not config and path is None and part.file.trained_by:
        config = dict(read_recipe(part.file.trained_by).config)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}


def peak_bytes(part: Any, scene: Scene) -> int:
    """The most that tensors take at once while a part is exercised, inputs included, parameters not."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Watch(TorchDispatchMode):
        """Storages that come and go."""

        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.held, self.now, self.peak = weakref.WeakSet[Any](), 0, 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            for tensor in tree_leaves(out):
                if isinstance(tensor, torch.Tensor) and tensor.is_meta:
                    self.see(tensor.untyped_storage())
            return out

        def see(self, storage: Any) -> None:
            if storage in self.held or storage in own:
                return
            self.held.add(storage)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.gone, storage.nbytes())

        def gone(self, size: int) -> None:
            self.now -= size

    own = weakref.WeakSet(p.untyped_storage() for p in part.network.parameters())
    with Watch() as watch:
        part.exercise(scene)
    peak: int = watch.peak
    return peak + scene.audio.numel() * scene.audio.element_size()
