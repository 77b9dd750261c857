"""How networks compute: the precision of their arithmetic, and the engine that does it.

`fp32` is the default on every device, and on CUDA exact (TF32 is switched off; `tf32` switches it on, for the whole
process). `bf16` and `fp16` do the arithmetic of each network's core (`s5cli.nn.core`) with fewer bits. The engine
`onnx` has ONNX Runtime compute the cores: CUDA where the system runs on CUDA, else the CPU; it never falls back from
one to the other. On the engine torch the cores can be compiled.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from s5cli.errors import UsageError
from s5cli.scene import Part

if TYPE_CHECKING:
    import torch
    from torch import nn

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
ENGINES = ("torch", "onnx")


def check(precision: str, engine: str, place: torch.device, compiled: bool = False) -> None:
    """Raises UsageError for a precision or engine that is unknown, or not to be had on that device.

    Where networks are to be compiled, something small is compiled to see whether that can be done at all.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}; it is one of {', '.join(PRECISIONS)}")
    if engine not in ENGINES:
        raise UsageError(f"unknown engine {engine!r}; it is one of {', '.join(ENGINES)}")
    if precision == "tf32" and place.type != "cuda":
        raise UsageError(f"precision tf32 needs a CUDA GPU, and the device is {place}; give fp32 or bf16")
    if precision == "fp16" and place.type == "cpu":
        raise UsageError("precision fp16 needs a GPU; give bf16 on a CPU that has bf16 instructions, else fp32")
    if engine == "onnx" or compiled:
        import_module("torch._meta_registrations")  # exporter and compiler rely on it, see `s5cli.cli.quick`
    if engine == "onnx":
        from s5cli.weights import onnx

        if precision not in ("fp32", "tf32"):
            raise UsageError(f"engine onnx computes in fp32 or tf32, not {precision}; give engine torch")
        onnx.check_installed(place)
    if compiled:
        if engine != "torch":
            raise UsageError(f"engine {engine} computes networks that PyTorch does not compile; leave compile out")
        _check_compiler(place)


def _check_compiler(place: torch.device) -> None:
    import torch

    try:
        torch.compile(lambda x: x.cos() + 1, fullgraph=True)(torch.ones(64, device=place))
    except Exception as error:  # PyTorch's compilers raise what they like
        lines = str(error).splitlines() or [type(error).__name__]
        reason = next((line for line in lines if "error: " in line), lines[0])
        raise UsageError(
            f"networks cannot be compiled here ({reason.strip()}); torch.compile needs a C++ compiler and Python's"
            " headers, or leave compile out"
        ) from error


def start(
    network: nn.Module,
    part: Part,
    weights: Path,
    name: str,
    precision: str,
    engine: str,
    place: torch.device,
    compiled: bool = False,
) -> None:
    """Makes the network of `part` compute so, which it does on its device already.

    Args:
        network: the part's.
        part: its adapter, which is exercised where the network has to be exported.
        weights: the checkpoint that it was made of.
        name: of the part, for messages.

    Raises:
        UsageError: the network names no core.
    """
    import torch

    from s5cli.nn.core import compile_core, core_of, lower, replace

    if place.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    is_plain = precision in ("fp32", "tf32")
    if is_plain and engine == "torch" and not compiled:
        return
    core, kind = core_of(network), type(network).__name__
    if core is None:
        if hasattr(network, "core"):
            return
        raise UsageError(f"part {name!r} runs in fp32 on the engine torch only, not compiled: {kind} names no core")
    if engine == "onnx":
        from s5cli.weights import onnx

        if not onnx.can_hold(core):
            raise UsageError(f"part {name!r} runs on the engine torch only: no ONNX file can hold what {kind} does")
        replace(core, onnx.session(core, part, weights, name, place, precision == "tf32"))
    elif not is_plain:
        lower(core, torch.bfloat16 if precision == "bf16" else torch.float16)
    if compiled:
        compile_core(core)
