"""A system's networks as ONNX files, with hashes: `s5 export`."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s5cli import __version__
from s5cli.errors import UsageError
from s5cli.weights import build, fetch, hashes, onnx, places
from s5cli.weights.registry import PartEntry, SystemEntry, registry

if TYPE_CHECKING:
    from torch import nn

ABOUT = "system.json"


def export_system(name: str, out_dir: Path) -> dict[str, Any]:
    """Writes the core of every part of a system as `<part>.onnx` into a folder, and `system.json` about them.

    Returns the content of that file: system, opset, versions; by part its network, core, weights' sha256, and the
    sha256 and size of its file.

    Raises:
        UsageError: unknown system, a network that names no core, or a folder with files that no export of it left.
        WeightsError: weights are not on this machine.
        OutputError: the folder cannot be written to.
    """
    entry = registry().system(name)
    _check_place(out_dir, entry)
    # all of them, or nothing is written
    weights = {role: fetch.present(part.file, name) for role, part in entry.parts.items()}
    cores = {role: _with_core(part, weights[role]) for role, part in entry.parts.items()}
    parts: dict[str, Any] = {}
    about = {"system": entry.name, "opset": onnx.OPSET, "s5cli": __version__, "torch": version("torch"), "parts": parts}
    _write_about(out_dir, about)  # first, so that the folder of a call that is stopped is known again
    for role, (network, core, adapter) in cores.items():
        target = out_dir / f"{role}.onnx"
        onnx.export(core, adapter, target)
        parts[role] = _about(entry.parts[role], network, weights[role], target)
    _write_about(out_dir, about)
    return about


def _check_place(out_dir: Path, entry: SystemEntry) -> None:
    files = [ABOUT, *(f"{role}.onnx" for role in entry.parts)]
    there = [out_dir / file for file in files if (out_dir / file).exists()]
    if not there:
        return
    try:
        about = json.loads((out_dir / ABOUT).read_bytes())
        is_own = about["system"] == entry.name and "opset" in about
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        is_own = False
    if not is_own:
        raise UsageError(f"{there[0]}: is there and no export of {entry.name}; give another folder with -o")


def _write_about(out_dir: Path, about: Mapping[str, Any]) -> None:
    with places.whole(out_dir / ABOUT) as temporary:
        temporary.write_text(json.dumps(about, indent=2) + "\n")


def _with_core(part: PartEntry, weights: Path) -> "tuple[nn.Module, nn.Module, Any]":
    from s5cli.nn.core import core_of

    network, adapter = build.ready(part, weights)
    core = core_of(network)
    if core is None or not onnx.can_hold(core):
        raise UsageError(f"part {part.name!r} cannot be exported: {type(network).__name__} has no core for it")
    return network, core, adapter


def _about(part: PartEntry, network: "nn.Module", weights: Path, target: Path) -> dict[str, Any]:
    return {
        "network": part.network,
        "core": network.core,
        "weights_sha256": hashes.sha256_of(weights),
        "file": target.name,
        "sha256": hashes.sha256_of(target),
        "bytes": target.stat().st_size,
    }
