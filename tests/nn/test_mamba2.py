"""Mamba-2: chunked scans against the recurrence, at ordinary and at extreme decays."""

import pytest
import torch

from benchmarks.plain import recurrence
from s5cli.nn.mamba2 import BiMamba, Mamba2, Mamba2Config, chunked_scan, initial_dt_bias


def inputs(length, strongest=1.6, heads=4, seed=0):
    """`strongest`: most decay Δ a of one position."""
    g = torch.Generator().manual_seed(seed)
    x, b, c = (torch.randn(2, length, *shape, generator=g) for shape in ((heads, 8), (6,), (6,)))
    dt = torch.rand(2, length, heads, generator=g) * 0.1 + 1e-3
    a = -torch.linspace(1.0, strongest / 0.101, heads)
    return x, dt, a, b, c


@pytest.mark.parametrize("chunk", [4, 16, 64])
@pytest.mark.parametrize("length", [1, 15, 16, 200])
def test_the_chunked_scan_is_the_recurrence(length, chunk):
    given = inputs(length)
    torch.testing.assert_close(chunked_scan(*given, chunk), recurrence(*given), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("strongest", [8.0, 50.0, 400.0])
def test_it_stands_strong_decay(strongest):
    """From where factors of a chunk would leave float32."""
    given = inputs(100, strongest)
    found = chunked_scan(*given, 16)
    assert found.isfinite().all()
    torch.testing.assert_close(found, recurrence(*given), rtol=1e-5, atol=1e-5)


def test_a_long_input_stays_exact():
    given = inputs(6000, heads=2)
    found, exact = chunked_scan(*given, 16), recurrence(*(part.double() for part in given))
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_the_recurrence():
    found = []
    for scan in (lambda *g: chunked_scan(*g, 16), recurrence):
        given = [part.clone().requires_grad_() for part in inputs(50)]
        scan(*given).square().mean().backward()
        found.append([part.grad for part in given])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_mixer_looks_back_only():
    torch.manual_seed(0)
    mixer, u = Mamba2(Mamba2Config(width=8, head_width=8)), torch.randn(1, 40, 8)
    changed = u.clone()
    changed[:, 25:] = 0
    torch.testing.assert_close(mixer(u)[:, :25], mixer(changed)[:, :25])
    both = BiMamba(Mamba2Config(width=8, head_width=8))
    assert (both(u)[:, :25] - both(changed)[:, :25]).abs().max() > 1e-4


def test_both_directions_are_alike():
    """With the weights of the one in the other, a reversed input gives the reversed halves, exchanged."""
    torch.manual_seed(0)
    both, u = BiMamba(Mamba2Config(width=8, head_width=8)), torch.randn(1, 30, 8)
    both.backward_blocks.load_state_dict(both.forward_blocks.state_dict())
    with torch.no_grad():
        both.FC.weight.copy_(torch.eye(16))
        both.FC.bias.zero_()
    ahead, back = both(u).chunk(2, dim=-1)
    again_ahead, again_back = both(u.flip(1)).flip(1).chunk(2, dim=-1)
    torch.testing.assert_close(again_back, ahead)
    torch.testing.assert_close(again_ahead, back)


def test_published_sizes():
    mixer = Mamba2(Mamba2Config())
    assert sum(p.numel() for p in mixer.parameters()) == 53_968
    shapes = {name: tuple(p.shape) for name, p in mixer.named_parameters()}
    assert shapes["in_proj.weight"] == (560, 64)
    assert shapes["conv1d.weight"] == (288, 1, 4)


def test_time_steps_begin_within_their_range():
    torch.manual_seed(0)
    steps = torch.nn.functional.softplus(initial_dt_bias(1000))
    assert 0.9e-3 < steps.min() < 2e-3
    assert 0.05 < steps.max() < 0.1001


def test_the_kernel_is_only_there_on_cuda():
    with pytest.raises(RuntimeError, match="needs the package mamba_ssm and a CUDA device"):
        Mamba2(Mamba2Config(width=8, head_width=8, backend="mamba_ssm"))(torch.zeros(1, 4, 8))
