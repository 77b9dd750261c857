"""The benchmarks run, and what they compare says the same."""

import ctypes
import importlib
import re
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import golden, gpu, memory, separator
from benchmarks.measure import Round, compared
from benchmarks.plain import PlainResUNetK
from s5cli.nn.unet import ResUNetConfig


@pytest.mark.parametrize("name", [path.stem for path in sorted(Path(separator.__file__).parent.glob("*.py"))])
def test_every_benchmark_tells_how_it_is_called(name):
    """What it imports is there; nothing is measured."""
    assert importlib.import_module(f"benchmarks.{name}").__doc__


def test_the_plain_form_says_the_same():
    network = separator.official(ResUNetConfig((4, 4, 6, 6, 8, 8), 16))
    mixture, query = separator.inputs(0.6, batch=2, slots=2)
    with torch.inference_mode():
        expected, found = network(mixture, query), PlainResUNetK(network)(mixture, query)
        ready = separator.prepared(network)(mixture, query)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
    assert (ready - found).abs().max() < 1e-5 * expected.abs().max()


def test_what_a_precision_costs_is_told():
    logits = torch.tensor([[[0.0, 1.0], [2.0, 0.0]]])
    said = golden.said("bf16", "tagger", [logits + torch.tensor([0.0, -1.5])], [logits])
    assert said == "tagger, bf16: 1 of 2 tracks with another class, logits change by 1.5e+00 at most"
    stems = torch.stack([torch.ones(1, 100), torch.zeros(1, 100)], dim=1)
    heard = golden.heard("bf16", "separator", [1.01 * stems], [stems])
    assert heard == "separator, bf16: SNR of 1 stems 40 dB or more, at 10 dB SDR 0.270 dB at most"


def test_ratios_are_paired_within_a_round():
    times = {"slow": [Round(4, 4), Round(8, 8), Round(4, 4)], "fast": [Round(2, 1), Round(4, 2), Round(1, 1)]}
    [_, slow, fast] = compared(times).splitlines()
    assert slow.split() == ["slow", "4.000", "4.000", "1.00", "1.00", "1.00", "noisy"]
    assert fast.split()[:6] == ["fast", "2.000", "1.000", "2.00", "2.00", "4.00"]
    assert compared(times, by_cpu=True).splitlines()[2].split()[3] == "4.00"


def test_the_gpu_benchmark_in_its_cpu_form(capsys, monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["gpu", "--tiny", "--device", "cpu", "--clips", "2", "--batch-size", "2", "--rounds", "1"]
    )
    gpu.main()
    out = capsys.readouterr().out
    assert re.search(r"matrix products, fp32: [\d.]+ TFLOP/s", out)
    assert len(re.findall(r"separator, inference form +(?:fp32|bf16) batch +[12]: +[\d.]+ ms", out)) == 4
    assert re.search(r"from files to files, fp32, second pass for 100%: 2 clips", out)
    assert re.search(r"universal separator +fp32: +[\d.]+ ms, largest error 0", out)
    assert re.search(r"universal separator +bf16: +[\d.]+ ms, largest error [\d.]+e-0[2-9]", out)
    assert re.search(r"label-queried separator +fp32: +[\d.]+ ms", out)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="only glibc says what is live")
def test_the_benchmark_of_memory(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["memory", "--minutes", "0.3", "--batch-size", "2"])
    monkeypatch.setattr(memory.windows, "answered", memory.windows.answered)  # it is put back
    memory.main()
    _, _, _, *batches, end = capsys.readouterr().out.splitlines()
    assert [len(line.split()) for line in batches] == [3]
    assert float(end.split()[-1]) >= float(batches[-1].split()[-1]) > 100


@pytest.fixture(autouse=True)
def same_flags():
    """TF32 flags as they were."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
