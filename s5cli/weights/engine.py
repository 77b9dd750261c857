"""How networks compute: the precision of their arithmetic, and the engine that does it.

`fp32` is the default on every device, and on CUDA exact (TF32 is switched off; `tf32` switches it on, for the whole
process). `bf16` and `fp16` do the arithmetic of each network's core (`s5cli.nn.core`) with fewer bits. The engine
`onnx` has ONNX Runtime compute the cores: CUDA where the system runs on CUDA, else the CPU; it never falls back from
one to the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from s5cli.errors import UsageError
from s5cli.scene import Part

if TYPE_CHECKING:
    import torch
    from torch import nn

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
ENGINES = ("torch", "onnx")


def check(precision: str, engine: str, place: torch.device) -> None:
    """Raises UsageError for a precision or engine that is unknown, or not to be had on that device."""
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}; it is one of {', '.join(PRECISIONS)}")
    if engine not in ENGINES:
        raise UsageError(f"unknown engine {engine!r}; it is one of {', '.join(ENGINES)}")
    if precision == "tf32" and place.type != "cuda":
        raise UsageError(f"precision tf32 needs a CUDA GPU, and the device is {place}; give fp32 or bf16")
    if precision == "fp16" and place.type == "cpu":
        raise UsageError("precision fp16 needs a GPU; give bf16 on a CPU that has bf16 instructions, else fp32")
    if engine == "onnx":
        from s5cli.weights import onnx

        if precision not in ("fp32", "tf32"):
            raise UsageError(f"engine onnx computes in fp32 or tf32, not {precision}; give engine torch")
        onnx.check_installed(place)


def start(
    network: nn.Module, part: Part, weights: Path, name: str, precision: str, engine: str, place: torch.device
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

    from s5cli.nn.core import core_of, lower, replace

    if place.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    if precision in ("fp32", "tf32") and engine == "torch":
        return
    core = core_of(network)
    if core is None:
        raise UsageError(f"part {name!r} runs in fp32 on the engine torch only: {type(network).__name__} names no core")
    if engine == "onnx":
        from s5cli.weights import onnx

        replace(core, onnx.session(core, part, weights, name, place, precision == "tf32"))
    else:
        lower(core, torch.bfloat16 if precision == "bf16" else torch.float16)
