"""`s5 doctor`: what this machine has, for a person who wonders why something does not run."""

import json
import os
import platform
import shutil
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from s5cli.errors import WeightsError, printable


def doctor(as_json: Annotated[bool, Option("--json", help="Print JSON to stdout.")] = False) -> None:
    """Report what this machine has, and in the last line whether `s5 separate` runs on it.

    Versions of torch and ONNX Runtime, devices, memory, disk, extras, folders, weights, accepted licences, threads.
    """
    from s5cli import __version__
    from s5cli.weights import fetch, licence, places, registry

    folders = {"cache": places.cache_dir(), "data": places.data_dir(), "config": places.config_dir()}
    found: dict[str, Any] = {
        "s5cli": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": _torch(),
        "onnxruntime": _onnxruntime(),
        "extras": _extras(),
        "memory_gib": _memory_gib(),
        "disk_free_gib": {"here": _free_gib(Path()), "cache": _free_gib(folders["cache"])},
        "folders": {name: {"path": str(at), "size_mib": _size_mib(at)} for name, at in folders.items()},
        "weights": _or_problem(lambda: {name: fetch.status(file) for name, file in registry.registry().files.items()}),
        "licences_accepted": _or_problem(licence.accepted),
    }
    found["verdict"] = _verdict(found)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        verdict = found.pop("verdict")
        print("\n".join(map(printable, [*_lines(found), "", verdict])))


def _torch() -> dict[str, Any]:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a CUDA library that does not load
        return {"problem": str(error)}
    return {
        "version": torch.__version__,
        "built_for_cuda": torch.version.cuda,
        "gpus": [_gpu(index) for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else [],
        "mps": torch.backends.mps.is_available(),
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


EXTRAS = {
    "train": ("lightning", "pyroomacoustics", "h5py", "tensorboard"),
    "plots": ("matplotlib",),
    "cluster": ("ray",),
    "onnx": ("onnx",),
    "live": ("sounddevice",),
}


def _extras() -> dict[str, str]:
    """Modules that are not everybody's, without loading them."""
    lacking = {extra: [name for name in names if find_spec(name) is None] for extra, names in EXTRAS.items()}
    advice = "lacks {}; pip install 's5cli[{}]'"
    return {extra: advice.format(", ".join(names), extra) if names else "here" for extra, names in lacking.items()}


def _memory_gib() -> dict[str, float]:
    """Of this machine, where the system tells."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return {}
    sizes_kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    told = {"total": "MemTotal", "available": "MemAvailable"}
    return {title: round(sizes_kib[name] / 2**20, 1) for title, name in told.items() if name in sizes_kib}


def _free_gib(folder: Path) -> float:
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if os.path.isdir(each))  # noqa: PTH112
    return round(shutil.disk_usage(there).free / 2**30, 1)


LEAST_GIB = 1.0
"""Of memory and of disk, below which it is said that there is little. A run of the embedded networks takes as much."""


def _verdict(found: Mapping[str, Any]) -> str:
    """Whether recordings can be separated here, and what stands in the way."""
    troubles = [f"{name}: {found[name]['problem']}" for name in ("torch", "weights", "licences_accepted")
                if "problem" in found[name]]  # fmt: skip
    for what in ("memory_gib", "disk_free_gib"):
        for where, size_gib in found[what].items():
            if size_gib < LEAST_GIB and where != "total":
                troubles.append(f"little {what.split('_')[0]} ({where}): {size_gib} GiB")
    if troubles:
        return f"verdict: {len(troubles)} in the way: {'; '.join(troubles)}"
    gpus = [gpu["device"] for gpu in found["torch"]["gpus"]] or ["mps"] * found["torch"]["mps"]
    return f"verdict: ready; `s5 separate` runs on {', '.join(gpus) or 'the CPU'} with the embedded networks"


def _size_mib(folder: Path) -> float:
    sizes = (path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return round(sum(sizes) / 2**20, 1)


def _or_problem(told: Callable[[], Mapping[str, str]]) -> Mapping[str, str]:
    """What is told, or why nothing can be."""
    try:
        return told()
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
