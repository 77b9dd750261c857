"""`s5 doctor`: what this machine has, for a person who wonders why something does not run."""

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")] = False) -> None:
    """Report what this machine has.

    Versions of torch and ONNX Runtime, devices, folders, weights, accepted licences, threads.
    """
    from s5cli import __version__

    found = {
        "s5cli": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": _torch(),
        "onnxruntime": _onnxruntime(),
        "folders": _folders(),
        "weights": _weights(),
        "licences_accepted": _licences(),
    }
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(_lines(found)))


def _torch() -> dict[str, Any]:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a CUDA library that does not load
        return {"problem": str(error)}
    return {
        "version": torch.__version__,
        "built_for_cuda": torch.version.cuda,
        "gpus": [_gpu(index) for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else [],
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
    }


def _gpu(index: int) -> dict[str, Any]:
    import torch

    free_bytes, total_bytes = torch.cuda.mem_get_info(index)
    return {
        "device": f"cuda:{index}",
        "name": torch.cuda.get_device_name(index),
        "memory_gib": round(total_bytes / 2**30, 1),
        "free_gib": round(free_bytes / 2**30, 1),
    }


def _onnxruntime() -> dict[str, Any]:
    """The wheel that is installed: onnxruntime and onnxruntime-gpu are imported by one name."""
    from importlib.metadata import packages_distributions

    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        return {"problem": str(error)}
    return {
        "version": onnxruntime.__version__,
        "wheel": sorted(set(packages_distributions().get("onnxruntime", []))),
        "providers": onnxruntime.get_available_providers(),
    }


def _folders() -> dict[str, Any]:
    from s5cli.weights import places

    folders = {"cache": places.cache_dir(), "data": places.data_dir(), "config": places.config_dir()}
    return {name: {"path": str(folder), "size_mib": _size_mib(folder)} for name, folder in folders.items()}


def _size_mib(folder: Path) -> float:
    sizes = (path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return round(sum(sizes) / 2**20, 1)


def _weights() -> dict[str, str]:
    from s5cli.errors import WeightsError
    from s5cli.weights.fetch import status
    from s5cli.weights.registry import registry

    try:
        return {name: status(file) for name, file in registry().files.items()}
    except WeightsError as error:
        return {"problem": str(error)}


def _licences() -> dict[str, str]:
    from s5cli.errors import WeightsError
    from s5cli.weights.licence import accepted

    try:
        return accepted()
    except WeightsError as error:
        return {"problem": str(error)}


def _lines(found: Mapping[str, Any], indent: str = "") -> list[str]:
    """Nested values as indented lines.

    >>> _lines({"torch": {"version": "2.13", "gpus": []}})
    ['torch', '  version  2.13', '  gpus     none']
    """
    width = max(map(len, found), default=0)
    lines = []
    for name, value in found.items():
        items = {str(item["device"]): item for item in value} if _are_devices(value) else value
        if isinstance(items, dict) and items:
            lines += [f"{indent}{name}", *_lines(items, indent + "  ")]
        else:
            text = ", ".join(map(str, items)) if isinstance(items, list) else str(items)
            lines.append(f"{indent}{name:{width}}  {text if items not in ([], {}, None) else 'none'}")
    return lines


def _are_devices(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)
