"""From a name to a system that runs: what `weights.toml` names is imported, loaded strictly and put together."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from s5cli.errors import UsageError, WeightsError
from s5cli.knobs import setting
from s5cli.system import System
from s5cli.weights import engine as engines
from s5cli.weights import fetch, hashes
from s5cli.weights import registry as registries
from s5cli.weights.device import resolve_device
from s5cli.weights.fetch import Access
from s5cli.weights.licence import Ask
from s5cli.weights.registry import PartEntry, Registry, SystemEntry

if TYPE_CHECKING:
    import torch
    from torch import nn


DECLARED = ("knobs", "options", "drops", "ablation", "window_s")  # by every `s5cli.system.System`


class Provenance(TypedDict):
    """Which weights a part of a system ran with."""

    part: str
    file: str
    sha256: str
    licence: str


def build(
    system: str | SystemEntry,
    *,
    device: str = "cpu",
    thresholds: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    offline: bool = False,
    accept_licence: bool = False,
    ask: Ask | None = None,
    registry: Registry | None = None,
    precision: str = "fp32",
    engine: str = "torch",
    compiled: bool = False,
) -> System:
    """The system of that name, or of an entry, its networks loaded and on `device`, see `resolve_device`.

    `thresholds` are knob values that go before those of the section and the flow's defaults: a number, or a table from
    class name to number where the section allows it. `options` go before the section's in the same way. `precision`,
    `engine` and `compiled` are those of `s5cli.weights.engine`.

    Raises:
        UsageError: an unknown system, device, knob or option, or a precision or engine that is not to be had.
        NeedsTrainingError: nobody publishes some of its weights; the message names the commands that make them.
        WeightsError: weights are missing, damaged, of another network, or not licensed yet.
    """
    known = registry or registries.registry()
    entry = known.system(system) if isinstance(system, str) else system
    flow = flow_of(entry)
    _check_parts(entry, flow)
    for part in entry.parts.values():
        adapter_of(part)
    knobs = {**entry.knobs, **_allowed(entry, thresholds or {})}
    chosen = setting(flow.knobs, knobs, flow.options, {**entry.options, **(options or {})})
    place = resolve_device(device)
    engines.check(precision, engine, place, compiled)
    access = Access(offline, accept_licence, ask)
    paths = fetch.fetch_all(f"system {entry.name!r}", entry.files, known, access)
    made: dict[str, Any] = {}  # a part in two roles is one
    for part, path in zip(entry.parts.values(), paths, strict=True):
        if part.name not in made:
            network, made[part.name] = ready(part, path, place)
            engines.start(network, made[part.name], path, part.name, precision, engine, place, compiled)
    built: System = flow(**{role: made[part.name] for role, part in entry.parts.items()}, setting=chosen)
    return built


def ready(part: PartEntry, path: Path, place: str | torch.device = "cpu") -> tuple[nn.Module, Any]:
    """The part's network in inference form, and the adapter that moved it to its device.

    Raises:
        WeightsError: as `load_network` and `adapter_of`.
    """
    network = load_network(part, path)
    prepare = getattr(network, "prepare", None)
    if callable(prepare):
        prepare()
    return network, adapter_of(part)(network, device=place, **part.options)


def load_network(part: PartEntry, path: Path) -> nn.Module:
    """The part's network with the weights of `path`, on the CPU and in inference mode.

    A torch checkpoint leaves a safetensors copy in the cache, which is read instead as long as the checkpoint has the
    same content.

    Raises:
        WeightsError: the file is damaged or of another network.
    """
    from s5cli.weights import checkpoint

    network_class = network_of(part)
    if path.suffix == ".safetensors" or checkpoint.is_safetensors(path):
        return checkpoint.build_network(network_class, checkpoint.read(path), part.config)
    origin = {"source_sha256": hashes.sha256_of(path), "network": part.network}
    if checkpoint.has_copy(part.file.name, origin):
        copy = checkpoint.read(checkpoint.copy_path(part.file.name))
        return checkpoint.build_network(network_class, copy, part.config)
    network = checkpoint.build_network(network_class, checkpoint.read(path), part.config)
    checkpoint.save_copy(part.file.name, network, origin)
    return network


def provenance(name: str, registry: Registry | None = None) -> list[Provenance]:
    """The weights that a system runs with, in the order of its parts.

    Raises:
        WeightsError: one is not on this machine.
    """
    files = {role: part.file for role, part in (registry or registries.registry()).system(name).parts.items()}
    sums = {role: hashes.sha256_of(fetch.present(file, name)) for role, file in files.items()}
    return [
        Provenance(part=role, file=file.name, sha256=sums[role], licence=file.licence.name)
        for role, file in files.items()
    ]


def check(entry: SystemEntry) -> None:
    """Raises WeightsError or UsageError if a system could not be built even with its weights; nothing is fetched."""
    flow = flow_of(entry)
    _check_parts(entry, flow)
    setting(flow.knobs, entry.knobs, flow.options, entry.options)
    for part in entry.parts.values():
        network_of(part)
        adapter_of(part)


def flow_of(entry: SystemEntry) -> Any:
    """The class that a system's flow names.

    Raises:
        WeightsError: it is no flow.
    """
    flow, where = resolve(entry.flow), f"[system.{entry.name}] in weights.toml: flow = {entry.flow!r}"
    if lacks := [name for name in DECLARED if not hasattr(flow, name)]:
        raise WeightsError(f"{where} is no flow: it declares no {', '.join(lacks)}")
    return flow


def network_of(part: PartEntry) -> Any:
    """The class that a part's network names.

    Raises:
        WeightsError: it is no network.
    """
    from torch import nn

    network = resolve(part.network)
    if not issubclass(network, nn.Module) or not is_dataclass(getattr(network, "Config", None)):
        raise WeightsError(
            f"[part.{part.name}] in weights.toml: network = {part.network!r} is no network: a network is a torch module"
            " with a dataclass `Config`"
        )
    return network


def adapter_of(part: PartEntry) -> Any:
    """The class that a part's adapter names.

    Raises:
        WeightsError: it is no adapter, or takes other options.
    """
    adapter, where = resolve(part.adapter), f"[part.{part.name}] in weights.toml: adapter = {part.adapter!r}"
    if hasattr(adapter, "Config") or hasattr(adapter, "knobs"):
        raise WeightsError(f"{where} is no adapter but a network or a flow")
    _check_call(where, adapter, None, device=None, **part.options)
    return adapter


def resolve(text: str) -> Any:
    """The class that `module:Name` names, imported.

    Raises:
        WeightsError: there is no such module or class.

    >>> resolve("s5cli.scene:Scene").__name__
    'Scene'
    """
    module, _, name = text.partition(":")
    try:
        if "torch" in sys.modules and not module.startswith("s5cli."):
            import_module("torch._meta_registrations")  # nobody else knows what `s5cli.cli.quick` leaves out
        found = getattr(import_module(module), name)
    except Exception as error:  # a module raises what it likes while it is imported
        raise WeightsError(f"{text!r} in weights.toml names nothing that can be imported ({error})") from error
    if not isinstance(found, type):
        raise WeightsError(f"{text!r} in weights.toml is no class; it must name a network, an adapter or a flow")
    return found


def _check_parts(entry: SystemEntry, flow: Any) -> None:
    where = f"[system.{entry.name}] in weights.toml: flow = {entry.flow!r}"
    _check_call(where, flow, **dict.fromkeys(entry.parts), setting=None)


def _check_call(where: str, kind: Any, *network: None, **given: Any) -> None:
    try:
        inspect.signature(kind).bind(*network, **given)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{where} does not take what its section gives it ({error})") from error


def _allowed(entry: SystemEntry, thresholds: Mapping[str, Any]) -> Mapping[str, Any]:
    for knob, value in thresholds.items():
        if isinstance(value, Mapping) and not entry.per_class:
            raise UsageError(
                f"system {entry.name!r} takes one value for {knob!r}, not one per class; give a number, or use a system"
                " whose section in weights.toml says per_class = true"
            )
    return thresholds
