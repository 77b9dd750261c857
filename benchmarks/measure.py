"""What the benchmarks share: interleaved rounds in one process, paired ratios, and how busy the machine was."""

import ctypes
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

NOISY = 1.3
"""Where a variant's slowest round took more than this times its fastest, or the load is above the number of threads, it
is marked noisy: quote no wall time of it."""


DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Of the precisions that change a core's numbers."""


def set_precision(precision: str) -> None:
    """TF32 or not, for matrix products and convolutions alike."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"


@dataclass(frozen=True)
class Round:
    wall_s: float
    cpu_s: float  # of this process


def timed(run: Callable[[], object], device: torch.device) -> Round:
    """One call. On CUDA the time between two events on the device stands for the wall time."""
    cpu = time.process_time()
    if device.type == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize(device)
        return Round(begin.elapsed_time(end) / 1000, time.process_time() - cpu)
    wall = time.perf_counter()
    run()
    return Round(time.perf_counter() - wall, time.process_time() - cpu)


def interleaved(
    variants: Mapping[str, Callable[[], object]], n_rounds: int, device: torch.device | str = "cpu"
) -> dict[str, list[Round]]:
    """Every variant once to warm up, then once a round, in reverse order on odd rounds."""
    place = torch.device(device)
    times: dict[str, list[Round]] = {name: [] for name in variants}
    for run in variants.values():
        timed(run, place)
    for number in range(n_rounds):
        for name in list(variants)[:: -1 if number % 2 else 1]:
            times[name].append(timed(variants[name], place))
    return times


def compared(times: Mapping[str, Sequence[Round]], by_cpu: bool = False) -> str:
    """A table: medians, and how many times faster than the first variant, paired within a round.

    `by_cpu`: ratios of processor time, which mean something on a busy machine, too.
    """
    lines = [f"{'':46}{'wall s':>9}{'cpu s':>9}{'faster':>9}{'min':>8}{'max':>8}"]
    first, busy = next(iter(times.values())), os.getloadavg()[0] > max(1.3, torch.get_num_threads() + 0.3)
    for name, rounds in times.items():
        walls = [one.wall_s for one in rounds]
        ratios = [
            a.cpu_s / b.cpu_s if by_cpu else a.wall_s / b.wall_s for a, b in zip(first, rounds, strict=True)
        ]  # fmt: skip
        noisy = "  noisy" if busy or max(walls) / min(walls) > NOISY else ""
        lines.append(
            f"{name:46}{statistics.median(walls):9.3f}{statistics.median(one.cpu_s for one in rounds):9.3f}"
            f"{statistics.median(ratios):9.2f}{min(ratios):8.2f}{max(ratios):8.2f}{noisy}"
        )
    return "\n".join(lines)


def machine(device: torch.device | str = "cpu") -> str:
    """What a figure stands beside: processor, versions, threads, TF32, load."""
    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123
            processor = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor()
    place = torch.device(device)
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else processor
    return (
        f"{name}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}, {torch.get_num_threads()} "
        f"threads; TF32: matmul {torch.backends.cuda.matmul.allow_tf32}, cuDNN {torch.backends.cudnn.allow_tf32}; "
        f"load {os.getloadavg()[0]:.1f}"
    )


def peak_gb() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


class _MallocInfo(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = tuple((name, ctypes.c_size_t) for name in names.split())


def live_bytes() -> int:
    """What arrays and tensors hold of this process's memory, without what was freed and is kept for later (glibc)."""
    ask = ctypes.CDLL(None).mallinfo2
    ask.restype = _MallocInfo
    found = ask()
    return int(found.uordblks + found.hblkhd)


def error(found: torch.Tensor, expected: torch.Tensor) -> str:
    """Largest difference and SNR."""
    difference = (found - expected).double()
    snr_db = 10 * torch.log10(expected.double().square().sum() / difference.square().sum().clamp_min(1e-30))
    return f"largest error {difference.abs().max():.1e} at peak {expected.abs().max():.2g}, SNR {snr_db:.0f} dB"
