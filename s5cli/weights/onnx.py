"""Networks' cores as ONNX files, and ONNX Runtime to compute them; `s5cli.weights.engine` says when.

A file takes the tensors of `s5cli.nn.core.packed` as `in0`, `in1`, … and gives `out`, of any batch and length.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s5cli import __version__
from s5cli.errors import UsageError
from s5cli.scene import N_CHANNELS, RATE_HZ, Part, Scene
from s5cli.weights import hashes, places

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

OPSET = 17
WHEELS = ("onnxruntime", "onnxruntime-gpu")
LENGTHS_S = (1, 2)  # of the noise that a core is traced with; the axes in which its inputs differ may have any length


def can_hold(core: nn.Module) -> bool:
    """Whether a file can hold what a core computes."""
    return bool(getattr(core, "for_onnx", True))


def cached(core: nn.Module, part: Part, weights: Path, name: str) -> Path:
    """The file of a core in the cache, made where it is not there or no longer what was made."""
    made_of = [hashes.sha256_of(weights)[:16], __version__, version("torch")]
    path = places.cache_dir() / "onnx" / f"{name}-{'-'.join(made_of)}.onnx"
    seal = path.with_suffix(".sha256")
    if not (path.is_file() and seal.is_file() and seal.read_bytes() == hashes.sha256_of(path).encode()):
        export(core, part, path)
        with places.whole(seal) as temporary:
            temporary.write_text(hashes.sha256_of(path))
    return path


def export(core: nn.Module, part: Part, path: Path) -> None:
    """Writes a core as it computes while `part` is exercised with noise; makes the folder.

    Raises:
        OutputError: the place cannot be written to.
        UsageError: PyTorch's exporter lacks the package `onnx`.
    """
    import torch

    from s5cli.nn.core import Packed, packed

    if find_spec("onnx") is None:
        raise UsageError("exporting networks to ONNX needs the package onnx; pip install 's5cli[onnx]'")

    first, second = (_arguments(core, part, duration_s) for duration_s in LENGTHS_S)
    tensors = packed(first)
    names = [f"in{number}" for number in range(len(tensors))]
    axes = {
        name: {0: "b"} | {axis: f"n{axis}" for axis in range(1, one.ndim) if one.shape[axis] != two.shape[axis]}
        for name, one, two in zip(names, tensors, packed(second), strict=True)
    }
    with places.whole(path) as temporary, warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of the exporter, whose successor needs onnxscript too
        torch.onnx.export(
            Packed(core, first).eval(), tensors, str(temporary), input_names=names, output_names=["out"],
            dynamic_axes=axes, opset_version=OPSET, dynamo=False,
        )  # fmt: skip


def _arguments(core: nn.Module, part: Part, duration_s: int) -> tuple[Any, ...]:
    """What the core is called with for so much noise."""
    import torch

    seen: list[tuple[Any, ...]] = []
    handle = core.register_forward_pre_hook(lambda _, args: seen.append(args))
    noise = torch.randn(N_CHANNELS, duration_s * RATE_HZ, generator=torch.Generator().manual_seed(0)) / 10
    part.exercise(Scene("noise", noise))
    handle.remove()
    return seen[0]


# --- run -------------------------------------------------------------------------------------------------------------


def check_installed(place: torch.device) -> None:
    """Raises UsageError if ONNX Runtime cannot compute on that device."""
    found = {wheel for wheel in WHEELS if _is_installed(wheel)}
    if not found:
        raise UsageError("engine onnx: ONNX Runtime is not installed; pip install onnxruntime (or onnxruntime-gpu)")
    if len(found) > 1:
        raise UsageError(
            "engine onnx: both onnxruntime and onnxruntime-gpu are installed, and one has overwritten the other;"
            " pip uninstall both, then install one"
        )
    if place.type not in ("cpu", "cuda"):
        raise UsageError(f"engine onnx runs on cpu and cuda, not {place.type}; give engine torch")


def _is_installed(wheel: str) -> bool:
    try:
        return bool(version(wheel))
    except PackageNotFoundError:
        return False


def session(core: nn.Module, part: Part, weights: Path, name: str, place: torch.device, tf32: bool) -> Session:
    """A core in ONNX Runtime; raises as `Session` and `cached`."""
    return Session(cached(core, part, weights, name), place, tf32)


class Session:
    """A core's file in ONNX Runtime, called as the core itself: float32 tensors on one device in and out.

    Raises:
        UsageError: ONNX Runtime would compute it elsewhere than asked.
    """

    def __init__(self, path: Path, place: torch.device, tf32: bool = False) -> None:
        import torch  # before onnxruntime: it brings the CUDA libraries along
        import onnxruntime  # isort: skip

        self.place, self.index = place, place.index or 0
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        cuda: tuple[str, Mapping[str, Any]] = (
            "CUDAExecutionProvider", {"device_id": self.index, "use_tf32": int(tf32)}
        )  # fmt: skip
        wanted = [cuda] if place.type == "cuda" else ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(str(path), options, providers=wanted)
        got = self.session.get_providers()[0]
        if got != (cuda[0] if place.type == "cuda" else wanted[0]):
            raise UsageError(
                f"engine onnx: this ONNX Runtime computes with {got}, not on {place}; install onnxruntime-gpu and"
                " the CUDA libraries that it names, or give device cpu"
            )
        self.names = [one.name for one in self.session.get_inputs()]

    def __call__(self, *args: Any) -> Tensor:
        """What the core would answer."""
        import numpy as np
        import torch
        from torch.utils.dlpack import from_dlpack

        from s5cli.nn.core import packed

        binding, where = self.session.io_binding(), (self.place.type, self.index)
        tensors = [tensor.float().contiguous() for tensor in packed(args)]
        for name, tensor in zip(self.names, tensors, strict=True):
            binding.bind_input(name, *where, np.float32, tuple(tensor.shape), tensor.data_ptr())
        binding.bind_output("out", *where)
        if self.place.type == "cuda":
            torch.cuda.current_stream(self.place).synchronize()  # ONNX Runtime computes in a stream of its own
        self.session.run_with_iobinding(binding)
        found: Tensor = from_dlpack(binding.get_outputs()[0])
        return found
