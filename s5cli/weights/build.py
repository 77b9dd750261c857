"""From a name to a system that runs: what `weights.toml` names is imported, loaded strictly and put together."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from s5cli.errors import UsageError, WeightsError
from s5cli.knobs import setting
from s5cli.system import System
from s5cli.weights import fetch, hashes
from s5cli.weights import registry as registries
from s5cli.weights.device import resolve_device
from s5cli.weights.fetch import Access
from s5cli.weights.licence import Ask
from s5cli.weights.registry import PartEntry, Registry, SystemEntry

if TYPE_CHECKING:
    from torch import nn


class Provenance(TypedDict):
    """Which weights a part of a system ran with."""

    part: str
    file: str
    sha256: str
    licence: str


def build(
    name: str,
    *,
    device: str = "cpu",
    thresholds: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    offline: bool = False,
    accept_licence: bool = False,
    ask: Ask | None = None,
    registry: Registry | None = None,
) -> System:
    """The system of that name, its networks loaded and on `device` (auto, cpu, cuda or cuda:N).

    `thresholds` are knob values that go before those of the section and the flow's defaults: a number, or a table from
    class name to number where the section allows it. `options` go before the section's in the same way.

    Raises:
        UsageError: an unknown system, device, knob or option.
        NeedsTrainingError: nobody publishes some of its weights; the message names the commands that make them.
        WeightsError: weights are missing, damaged, of another network, or not licensed yet.
    """
    known = registry or registries.registry()
    entry = known.system(name)
    flow = resolve(entry.flow)
    knobs = {**entry.knobs, **_allowed(entry, thresholds or {})}
    chosen = setting(flow.knobs, knobs, flow.options, {**entry.options, **(options or {})})
    place = resolve_device(device)
    access = Access(offline, accept_licence, ask)
    paths = fetch.fetch_all(f"system {entry.name!r}", entry.files, known, access)
    parts = {}
    for (role, part), path in zip(entry.parts.items(), paths, strict=True):
        parts[role] = resolve(part.adapter)(load_network(part, path), device=place, **part.options)
    system: System = flow(**parts, setting=chosen)
    return system


def load_network(part: PartEntry, path: Path) -> nn.Module:
    """The part's network with the weights of `path`, on the CPU and in inference mode.

    A torch checkpoint leaves a safetensors copy in the cache, which is read instead as long as the checkpoint has the
    same content.

    Raises:
        WeightsError: the file is damaged or of another network.
    """
    from s5cli.weights import checkpoint

    network_class = resolve(part.network)
    if path.suffix == ".safetensors":
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
    found = []
    for role, part in (registry or registries.registry()).system(name).parts.items():
        path = fetch.locate(part.file)
        if path is None:
            raise WeightsError(f"file {part.file.name!r} is not on this machine; run `s5 download {name}`")
        found.append(
            Provenance(part=role, file=part.file.name, sha256=hashes.sha256_of(path), licence=part.file.licence.name)
        )
    return found


def resolve(text: str) -> Any:
    """What `module:Name` names, imported.

    Raises:
        WeightsError: there is no such module or name.

    >>> resolve("s5cli.labels:index_of")("Speech")
    15
    """
    module, _, name = text.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise WeightsError(f"{text!r} in weights.toml names nothing that can be imported ({error})") from error


def _allowed(entry: SystemEntry, thresholds: Mapping[str, Any]) -> Mapping[str, Any]:
    for knob, value in thresholds.items():
        if isinstance(value, Mapping) and not entry.per_class:
            raise UsageError(
                f"system {entry.name!r} takes one value for {knob!r}, not one per class; give a number, or use a system"
                " whose section in weights.toml says per_class = true"
            )
    return thresholds
