"""Apple's GPUs, as far as a machine without one can tell: they are chosen, refused, and never asked for float64.

Networks run here on the CPU, watched for what an Apple GPU lacks. Nothing ran on a real one.
"""

from collections.abc import Callable

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from s5cli.errors import UsageError
from s5cli.nn import body_tagger
from s5cli.nn.body_tagger import BodyTagger, BodyTaggerConfig
from s5cli.nn.m2d import M2DConfig, M2DTagger4ch
from s5cli.nn.resunet import ResUNetK
from s5cli.nn.unet import ResUNetConfig
from s5cli.steps.step import wide
from s5cli.weights.device import resolve_device

WIDE = (torch.float64, torch.complex128)
SMALL = {"widths": (8, 8, 8, 8, 8, 8), "condition_width": 16}
COMPACT = {"hop_samples": 512, "patch_frames": 2, "patch_bins": 4, "features": "spatial", "mask": "share"}


class Apples(TorchDispatchMode):
    """Refuses what Apple's GPUs do not have: float64, and pooling to a size that does not divide."""

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        if "adaptive_avg_pool" in str(op):
            sizes = zip(args[0].shape[-len(args[1]) :], args[1], strict=True)
            assert not any(old % new for old, new in sizes), f"{op}: pools to divisors only"
        found = op(*args, **(kwargs or {}))
        for one in found if isinstance(found, tuple | list) else [found]:
            assert not (isinstance(one, torch.Tensor) and one.dtype in WIDE), f"{op}: has no {one.dtype}"
        return found


class Apple(torch.Tensor):
    """A tensor that says it lies there. It can be fetched, and nothing else."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "Apple":
        made = torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype, device="mps")
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, op, types, args=(), kwargs=None):
        if "_to_copy" in str(op) and (kwargs or {}).get("device") == torch.device("cpu"):
            return args[0].inner
        raise TypeError(f"{op} on a device that is not there")


NETWORKS: dict[str, Callable[[], torch.nn.Module]] = {
    "separator": lambda: ResUNetK(ResUNetConfig(**SMALL)),
    "compact separator": lambda: ResUNetK(ResUNetConfig(**SMALL, **COMPACT)),
    "compact tagger": lambda: BodyTagger(BodyTaggerConfig(channels=4)),
    "tagger": lambda: M2DTagger4ch(M2DConfig(width=24, depth=1, heads=2, track_width=16, hidden=8)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_stay_within_what_there_is(name, monkeypatch):
    monkeypatch.setattr(body_tagger, "_pooled", lambda x, size: x[..., torch.arange(size) * x.shape[-1] // size])
    network = NETWORKS[name]().eval()
    query = [torch.zeros(1, 54)] if name.endswith("separator") else []
    with Apples(), torch.inference_mode():
        found = network(torch.full((1, 4, 70_000), 0.1), *query)
    assert found.dtype == torch.float32


def test_what_is_measured_in_float64_is_measured_on_the_cpu():
    there = Apple(torch.ones(3))
    assert there.device.type == "mps"
    with pytest.raises(TypeError, match="not there"):
        there.double()
    found = wide(there)
    assert (found.device.type, found.dtype, found.tolist()) == ("cpu", torch.float64, [1, 1, 1])
    assert wide(torch.ones(3)).dtype == torch.float64


def test_auto_takes_the_best_there_is(monkeypatch):
    for cuda, mps, expected in ((True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=cuda: there)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda there=mps: there)
        assert resolve_device("auto").type == expected


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="says what happens where there is none")
def test_asked_for_where_there_is_none():
    with pytest.raises(UsageError, match=r"^device 'mps': this torch \(.*\) finds no Apple GPU; give device auto or"):
        resolve_device("mps")
