"""Block streaming: what it must agree with, on the whole separator and on modules over time."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from s5cli.nn.blocks import PRESETS, Block, Window, in_blocks
from s5cli.nn.tf_block import WHOLE, AxisLayers, Place
from tests.nn.test_sr_corrnet import TINY, tiny

N_SAMPLES = 20_000  # 40 frames
HOP_S = 512 / 32_000
MODES = pytest.mark.parametrize("remembers", [True, False], ids=["kv", "recompute"])


def case(config=TINY, classes=((3, 5, 3), (-1, 7, -1))):
    network = tiny(config)
    torch.manual_seed(4)
    classes = torch.tensor(classes)
    activity = torch.rand(*classes.shape, network.n_frames(N_SAMPLES)).round()
    return network, 0.1 * torch.randn(len(classes), 4, N_SAMPLES), classes, activity


def window(past, present, future):
    """In frames."""
    return Window(past * HOP_S, present * HOP_S, future * HOP_S)


def test_blocks_are_where_they_should_be():
    assert window(4, 2, 3).block(5, 512) == Block(6, 10, 12, 15)
    assert list(window(4, 2, 3).blocks(512, 5)) == [Block(0, 0, 2, 5), Block(0, 2, 4, 5), Block(0, 4, 5, 5)]
    assert PRESETS["long"].block(1, 256) == Block(0, 250, 500, 1000)
    assert PRESETS["full"] is None


@MODES
@torch.inference_mode()
def test_one_block_over_the_clip_is_the_whole_bit_by_bit(remembers):
    network, *given = case()
    whole = network(*given)
    for past in (0, 7):
        assert torch.equal(in_blocks(network, *given, window(past, 40, 0), remembers), whole)


@MODES
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("present", [1, 7])
@torch.inference_mode()
def test_windows_that_reach_both_ends_are_the_whole(remembers, kernel, present):
    network, *given = case(replace(TINY, kernel=kernel))
    found = in_blocks(network, *given, window(40, present, 40), remembers)
    torch.testing.assert_close(found, network(*given), atol=1e-6, rtol=1e-4)


@MODES
@torch.inference_mode()
def test_a_first_block_that_looks_ahead_to_the_end_is_that_of_the_whole(remembers):
    network, *given = case()
    found = in_blocks(network, *given, window(0, 12, 28), remembers)
    n_samples = 10 * 512  # which the first twelve frames make
    torch.testing.assert_close(found[..., :n_samples], network(*given)[..., :n_samples], atol=1e-6, rtol=1e-4)
    assert (found - network(*given)).abs().max() > 1e-5, "later blocks lack their past"


@pytest.mark.parametrize(("depth", "future"), [(1, 0), (3, 0), (1, 5)])
@torch.inference_mode()
def test_a_memory_of_keys_and_values_is_a_mask(depth, future):
    """With a kernel of one: query in block i sees keys [i A − P, (i + 1) A + U), for more layers only without U."""
    torch.manual_seed(0)
    layers = [AxisLayers(8, 8, 2, 1, "time").eval() for _ in range(depth)]
    x, present, past = torch.randn(2, 24, 3, 8), 4, 6
    found, memories = [], [None] * depth
    for begin in range(0, 24, present):
        y = x[:, begin : begin + present + future]
        for i, layer in enumerate(layers):
            y, memories[i] = layer(y, Place(begin, present, past), memories[i])
        found.append(y[:, :present])
    query, key = torch.arange(24)[:, None] // present * present, torch.arange(24)
    mask = (key >= query - past) & (key < query + present + future)
    y = x
    for layer in layers:
        y = masked(layer, y, mask)
    torch.testing.assert_close(torch.cat(found, dim=1), y, atol=1e-5, rtol=1e-4)


def masked(layer, x, mask):
    """A layer over time with a mask, written out anew."""
    x = x + 0.5 * layer.ffn_1(x)
    sa = layer.sa
    b, n, f, c = x.shape
    q, k, v = sa.block.qkv(sa.layernorm(x)).view(b, n, f, 3, 2, c // 2).permute(3, 0, 2, 4, 1, 5)
    q, k = sa.block.rope(q, 0), sa.block.rope(k, 0)
    scores = (q @ k.transpose(-1, -2) / (c // 2) ** 0.5).masked_fill(~mask, -torch.inf)
    heard = (scores.softmax(dim=-1) @ v).permute(0, 3, 1, 2, 4).flatten(3)
    x = x + sa.block.aggregate_heads(heard)
    return x + 0.5 * layer.ffn_2(x)


@torch.inference_mode()
def test_only_differences_of_positions_matter():
    torch.manual_seed(0)
    layer = AxisLayers(8, 8, 2, 3, "time").eval()
    x = torch.randn(1, 10, 2, 8)
    plain, _ = layer(x, WHOLE, None)
    far, _ = layer(x, Place(first=100_000), None)
    torch.testing.assert_close(far, plain, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_both_modes_differ_from_the_whole_and_from_one_another_where_they_should():
    network, *given = case()
    whole = network(*given)
    found = [in_blocks(network, *given, window(6, 4, 2), remembers) for remembers in (True, False)]
    for one in found:
        assert one.isfinite().all()
        assert 1e-7 < (one - whole).abs().max() < 0.5 * whole.abs().max()
    assert not torch.equal(*found)


PEAK = """
import torch
from pathlib import Path
from s5cli.nn.blocks import PRESETS, in_blocks
from s5cli.nn.sr_corrnet import SRCorrNet, SRCorrNetConfig
torch.set_num_threads(1)
network = SRCorrNet(SRCorrNetConfig(taps_frame=(1, 0), taps_bin=(0, 0), width=16, hidden=64, slot_hidden=16, heads=2,
    kernel=3, encoder_blocks=1, decoder_blocks=1, fold=4, hop_samples=512)).eval()
def run(seconds):
    audio = 0.1 * torch.randn(1, 4, seconds * 32_000)
    classes = torch.tensor([[3, -1, -1]])
    activity = torch.ones(1, 3, network.n_frames(audio.shape[-1]))
    with torch.inference_mode():
        preset = PRESETS["%s"]
        in_blocks(network, audio, classes, activity, preset, True) if preset else network(audio, classes, activity)
    # not getrusage, which also counts the process that this one was forked from
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
run(1)  # whatever is loaded and kept at the first call
print(-run(2) + run(10))
"""


def growth_mb(preset: str) -> float:
    """From 2 to 10 s, of a process of its own."""
    return float(subprocess.run([sys.executable, "-c", PEAK % preset], capture_output=True, check=True).stdout)


def test_memory_grows_with_input_spectrum_and_output_only():
    """Input, spectrum (twice, as it is scaled), filters and output take 6 MB a second, the whole at once thrice."""
    blocks, whole = growth_mb("low_latency"), growth_mb("full")
    assert blocks < 8 * 6.0 + 8, "and what the allocator rounds up"
    assert whole > 2 * blocks
