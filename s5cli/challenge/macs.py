"""How many multiply-adds a system's networks take for a clip."""

from collections.abc import Mapping
from dataclasses import dataclass

from s5cli.errors import WeightsError
from s5cli.scene import N_CHANNELS, RATE_HZ, Part, Scene
from s5cli.weights import build, fetch, registry
from s5cli.weights.registry import PartEntry

DURATION_S = 10


@dataclass(frozen=True)
class Macs:
    """Multiply-adds of one call of each network for one clip of 10 s, all slots asked of a separator."""

    by_part: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.by_part.values())

    @property
    def note(self) -> str:
        """How they were counted, for whoever reads the figure."""
        parts = ", ".join(f"{part} {count / 1e9:.3f} G" for part, count in self.by_part.items())
        return (
            f"macs: multiply-adds of one forward pass of each network for a clip of {DURATION_S} s at {RATE_HZ} Hz"
            f" ({parts}).\nCounted with PyTorch's FlopCounterMode: convolutions, matrix products and attention; not"
            " Fourier transforms, normalisation or element-wise functions.\nA network that the system asks again (of"
            " stems, or in a second pass) is counted once."
        )


def count(system: str) -> Macs:
    """Counts them by running every network of a system once, on noise, on the CPU.

    Raises:
        UsageError: the system is not in the registry any more.
        WeightsError: weights are not on this machine.
    """
    parts = {part.name: part for part in registry.registry().system(system).parts.values()}
    return Macs({name: multiply_adds(_built(part)) for name, part in parts.items()})


def _built(part: PartEntry) -> Part:
    path = fetch.locate(part.file)
    if path is None:
        raise WeightsError(f"weights {part.file.name!r} are not on this machine; fetch them and package again")
    adapter: Part = build.adapter_of(part)(build.load_network(part, path), device="cpu", **part.options)
    return adapter


def multiply_adds(part: Part) -> int:
    """Those of one forward pass of one clip. A product and a sum are one multiply-add, or two flops."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    noise = torch.randn(N_CHANNELS, DURATION_S * RATE_HZ, generator=torch.Generator().manual_seed(0)) / 10
    # the counter does not know the CPU's fused attention, but the products that it is made of
    with sdpa_kernel(SDPBackend.MATH):
        return counted(part, Scene("noise", noise))


def counted(part: Part, scene: Scene) -> int:
    """Multiply-adds of one forward pass of a clip."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        part.exercise(scene)
    return int(counter.get_total_flops()) // 2
