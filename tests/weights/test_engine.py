"""Networks compute the same with fewer bits, nearly, and in another engine; what cannot be had is refused."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch._dynamo.backends.debugging import aot_eager

from s5cli.adapters.slots import SlotSeparator
from s5cli.adapters.tracks import TrackTagger
from s5cli.errors import UsageError
from s5cli.nn.af_whisper import AFWhisper, AFWhisperConfig
from s5cli.nn.body_tagger import BodyTagger, BodyTaggerConfig
from s5cli.nn.core import compile_core, core_of, lower, replace
from s5cli.nn.deft import DeftConfig, TargetExtractor, UniversalSeparator
from s5cli.nn.m2d import M2DConfig, M2DTagger1ch, M2DTagger4ch
from s5cli.nn.resunet import ResUNetK
from s5cli.nn.stem_classifier import M2DStemClassifier, M2DStemConfig, StemHead, StemHeadConfig
from s5cli.nn.unet import ResUNetConfig
from s5cli.scene import Queries, Scene
from s5cli.weights import engine, onnx

WIDTHS = (4, 6, 8, 8, 10, 10)
M2D = M2DConfig(width=16, depth=2, heads=2, track_width=8, hidden=8)
NETWORKS = {
    "official separator": lambda: ResUNetK(ResUNetConfig(widths=WIDTHS, condition_width=16)),
    "compact separator": lambda: ResUNetK(
        ResUNetConfig(WIDTHS, 16, hop_samples=320, patch_frames=2, patch_bins=2, features="spatial", mask="share")
    ),
    "separator with ears": lambda: ResUNetK(
        ResUNetConfig(
            WIDTHS,
            16,
            hop_samples=320,
            patch_frames=2,
            patch_bins=2,
            features="spatial",
            mask="share",
            ears=0.4,
            refined=True,
        )
    ),
    "M2D, 1 channel": lambda: M2DTagger1ch(M2D),
    "M2D, 4 channels": lambda: M2DTagger4ch(M2D),
    "compact tagger": lambda: BodyTagger(BodyTaggerConfig(channels=4)),
}
DEFT = DeftConfig(width=8, blocks=1, heads=2, head_width=4, ffn_width=16, expand=2, mamba_head_width=4, states=4,
                  n_fft=128, hop_samples=64, patch_frames=2, patch_bins=5, frame_features=12)  # fmt: skip
SELF_GUIDED = {
    "universal separator": lambda: (UniversalSeparator(DEFT), [noise(3000, 1)[None]]),
    "target extractor": lambda: (
        TargetExtractor(DEFT),
        [noise(3000, 1)[None], noise(3000, 2)[None, :3], torch.eye(54)[:1], torch.randn(1, 3, 9, 12)],
    ),
    "stem classifier": lambda: (
        M2DStemClassifier(M2DStemConfig(width=16, depth=2, heads=2, stacked=False)),
        [noise(20_000, 1)],
    ),
    "AF-Whisper": lambda: (AFWhisper(AFWhisperConfig(width=16, depth=2, heads=2, ffn_width=32)), [noise(20_000, 1)]),
}
CPU = torch.device("cpu")


def network_of(name):
    network = NETWORKS[name]().eval()
    if isinstance(network, ResUNetK):
        network.prepare()
    return network


def adapter_of(network):
    if isinstance(network, ResUNetK):
        return SlotSeparator(network)
    return TrackTagger(network, channels=network.channels)


def answers(adapter, n_samples):
    """Of two clips at once, as one array."""
    scenes = [Scene(str(seed), noise(n_samples, seed)) for seed in (1, 2)]
    if isinstance(adapter, TrackTagger):
        return adapter(scenes).probabilities
    return np.stack(adapter(scenes, Queries(np.array([[1, 1, 4], [3, -1, 7]]), np.ones((2, 3)))))


def noise(n_samples, seed):
    return torch.randn(4, n_samples, generator=torch.Generator().manual_seed(seed)) / 10


@pytest.mark.parametrize("name", NETWORKS)
def test_fewer_bits_change_little(name):
    network = network_of(name)
    expected = answers(adapter_of(network), 20_000)
    lower(core_of(network), torch.bfloat16)
    found = answers(adapter_of(network), 20_000)
    assert found.dtype == expected.dtype
    assert np.sum((found - expected) ** 2) < 1e-2 * np.sum(expected**2)  # 20 dB
    assert torch.bfloat16 in {parameter.dtype for parameter in core_of(network).parameters()}


def self_guided(name):
    """A network of these systems whose clues count, and what it is called with."""
    torch.manual_seed(0)
    network, given = SELF_GUIDED[name]()
    for film in network.clues.film if name == "target extractor" else ():
        torch.nn.init.normal_(film.weight, std=0.5)
    return network.eval(), given


def heard(network, given):
    with torch.inference_mode():
        found = network(*given)
    return getattr(found, "waveforms", found)


@pytest.mark.parametrize("name", SELF_GUIDED)
def test_fewer_bits_change_little_in_self_guided_systems(name):
    network, given = self_guided(name)
    expected = heard(network, given)
    lower(core_of(network), torch.bfloat16)
    found = heard(network, given)
    assert found.dtype == expected.dtype
    assert (found - expected).square().sum() < 1e-2 * expected.square().sum()
    assert torch.bfloat16 in {parameter.dtype for parameter in core_of(network).parameters()}


@pytest.fixture
def compiled():
    """Compiles cores to what a compiler is handed, run by PyTorch's own kernels; and the graphs that it was handed."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return aot_eager(graph, inputs)

    return partial(compile_core, backend=backend), graphs


@pytest.mark.parametrize("name", ["universal separator", "stem classifier"])
def test_compiled_networks_say_the_same(name, compiled):
    network, given = self_guided(name)
    expected, (compile_it, graphs) = heard(network, given), compiled
    compile_it(core_of(network))
    torch.testing.assert_close(heard(network, given), expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    assert graphs


def test_a_compiled_tagger_says_the_same_of_any_length(compiled):
    """With one code for all but the first length and batch."""
    network, (compile_it, graphs) = network_of("M2D, 1 channel"), compiled
    clips = [noise(n_samples, 1)[:, None][:n] for n_samples, n in ((20_000, 2), (40_000, 3), (70_001, 4))]
    with torch.inference_mode():
        expected = [network(clip) for clip in clips]
        compile_it(core_of(network))
        for clip, answer in zip(clips, expected, strict=True):
            torch.testing.assert_close(network(clip), answer, rtol=0, atol=1e-5)
    assert len(graphs) == 2


def test_a_compiled_separator_says_the_same(compiled):
    network, (compile_it, graphs) = network_of("compact separator"), compiled
    adapter = adapter_of(network)
    expected = answers(adapter, 20_000)
    compile_it(core_of(network))
    np.testing.assert_allclose(answers(adapter, 20_000), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert len(graphs) == 1


def test_without_a_compiler_nothing_is_compiled(monkeypatch, tmp_path):
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(config.cpp, "cxx", (None, str(tmp_path / "no-compiler")))
    with pytest.raises(UsageError, match=r"networks cannot be compiled here \(.*No working C\+\+ compiler found"):
        engine.check("fp32", "torch", CPU, compiled=True)
    with pytest.raises(UsageError, match="engine onnx computes networks that PyTorch does not compile"):
        engine.check("fp32", "onnx", CPU, compiled=True)


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_runtime_says_the_same(name, tmp_path):
    """Also of other lengths and batches than those that the core was exported with."""
    pytest.importorskip("onnx")
    network = network_of(name)
    adapter, other = adapter_of(network), copy.deepcopy(network)
    onnx.export(core_of(network), adapter, tmp_path / "core.onnx")
    in_onnx = adapter_of(other)
    replace(core_of(other), onnx.Session(tmp_path / "core.onnx", CPU))
    for n_samples in (20_000, 70_001):
        expected, found = answers(adapter, n_samples), answers(in_onnx, n_samples)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert [path.name for path in tmp_path.iterdir()] == ["core.onnx"]


def test_a_cached_file_that_is_damaged_is_made_again(tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.setenv("S5_CACHE_DIR", str(tmp_path))
    network, weights = network_of("M2D, 1 channel"), tmp_path / "weights"
    weights.write_bytes(b"as many as there are")
    path = onnx.cached(core_of(network), adapter_of(network), weights, "tagger")
    whole = path.read_bytes()
    half = len(whole) // 2  # within the weights, of which ONNX Runtime would take any
    for damaged in (b"", whole[:1000], b"not at all", whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :]):
        path.write_bytes(damaged)
        session = onnx.session(core_of(network), adapter_of(network), weights, "tagger", CPU, tf32=False)
        assert session.names == ["in0"]
        assert path.read_bytes() == whole


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_silent_fall_back_to_the_cpu(tmp_path):
    pytest.importorskip("onnx")
    network = network_of("M2D, 1 channel")
    onnx.export(core_of(network), adapter_of(network), tmp_path / "core.onnx")
    with pytest.raises(UsageError, match="CPUExecutionProvider, not on cuda"):
        onnx.Session(tmp_path / "core.onnx", torch.device("cuda"))


@pytest.mark.parametrize(
    ("precision", "name", "place", "said"),
    [
        ("fp8", "torch", "cpu", "unknown precision 'fp8'; it is one of fp32, tf32"),
        ("fp32", "jax", "cpu", "unknown engine 'jax'"),
        ("tf32", "torch", "cpu", "tf32 needs a CUDA GPU"),
        ("fp16", "torch", "cpu", "fp16 needs a GPU"),
        ("bf16", "onnx", "cpu", "engine onnx computes in fp32 or tf32"),
        ("fp32", "onnx", "mps", "runs on cpu and cuda"),
    ],
)
def test_what_cannot_be_had_is_refused(precision, name, place, said):
    with pytest.raises(UsageError, match=said):
        engine.check(precision, name, torch.device(place))


def test_two_wheels_of_onnx_runtime_are_refused(monkeypatch):
    monkeypatch.setattr(onnx, "_is_installed", lambda wheel: True)
    with pytest.raises(UsageError, match="both onnxruntime and onnxruntime-gpu"):
        engine.check("fp32", "onnx", CPU)


def test_a_network_without_a_core_runs_in_full_precision_only(tmp_path):
    network = torch.nn.Linear(2, 2)
    engine.start(network, None, tmp_path, "x", "fp32", "torch", CPU)
    for how in (("bf16", "torch", CPU), ("fp32", "torch", CPU, True)):
        with pytest.raises(UsageError, match=r"part 'x' runs in fp32 on the engine torch only.*: Linear names no core"):
            engine.start(network, None, tmp_path, "x", *how)
    engine.start(StemHead(StemHeadConfig(4, 4)), None, tmp_path, "x", "bf16", "torch", CPU)
    with pytest.raises(UsageError, match="no ONNX file can hold what UniversalSeparator does"):
        engine.start(UniversalSeparator(DEFT), None, tmp_path, "x", "fp32", "onnx", CPU)
