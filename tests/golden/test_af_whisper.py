"""AF-Whisper against `transformers` 5.24.0 (`AudioFlamingo3Encoder`, `WhisperFeatureExtractor`), a tiny tower.

The golden data are the output of the last layer before it is pooled, through the final norm, of a clip that the
reference pads to 30 s and masks; weights and clip are written out below.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from s5cli.nn.af_whisper import AFWhisper, AFWhisperConfig, halved_rate
from tests.golden.golden import golden_file

TINY = AFWhisperConfig(width=16, depth=2, heads=2, ffn_width=24, mels=16)


def weights(network: AFWhisper) -> dict[str, Tensor]:
    """Sines in the sorted order of the names; norms around 1."""
    state = network.state_dict()
    for number, name in enumerate(sorted(state)):
        place = torch.arange(state[name].numel(), dtype=torch.float64)
        wave = 0.25 * torch.sin(place * 0.7 + number) + name.endswith("norm.weight")
        state[name] = wave.reshape(state[name].shape).float()
    return state


def clip(rate_hz: int, n_samples: int) -> Tensor:
    t = torch.arange(n_samples, dtype=torch.float64) / rate_hz
    tones = torch.sin(2 * torch.pi * 440 * t) * torch.exp(-2 * t) + 0.1 * torch.sin(2 * torch.pi * 3000 * t)
    return tones.float()[None]


@pytest.fixture
def network() -> AFWhisper:
    made = AFWhisper(TINY).eval()
    made.load_state_dict(weights(made))
    return made


@torch.no_grad()
def test_frames_are_those_of_the_reference(network):
    golden = np.load(golden_file("af_whisper.golden.npz"))
    waveform = clip(16_000, 32_100)
    mel = network.mel(torch.nn.functional.pad(waveform, (0, 640)))
    np.testing.assert_allclose(mel[0, :, :201:20], golden["mel"], atol=1e-5)
    found = network.encoded(waveform)[0]
    assert len(found) == golden["n"]
    np.testing.assert_allclose(found[::7], golden["frames"], atol=1e-5)


@torch.no_grad()
def test_frames_are_20_ms_apart_and_in_place(network):
    """A click at 1.000 s stands out at frame 50 of the encoder, as at frame 50 of a spectrum of 20 ms hops."""
    waveform = torch.zeros(1, 64_000)
    waveform[0, 32_000] = 1
    found = network(waveform)
    assert found.shape == (1, 101, 16)
    mel = network.mel(torch.nn.functional.pad(halved_rate(waveform), (0, 640)))
    assert abs(int(mel.sum(dim=1).argmax()) - 100) <= 1
    front = torch.nn.functional.gelu(network.conv2(torch.nn.functional.gelu(network.conv1(mel))))[0]
    assert abs(int((front - front[:, 20:21]).abs().sum(dim=0)[10:90].argmax()) + 10 - 50) <= 1
    spectrum = torch.stft(waveform, 1280, 640, window=torch.hann_window(1280), return_complex=True)
    assert int(spectrum.abs().sum(dim=1).argmax()) == 50


@torch.no_grad()
def test_long_and_short_clips(network):
    assert network(torch.randn(1, 320)).shape == (1, 1, 16)
    long = torch.randn(1, 31 * 32_000)
    found = network(long)
    assert found.shape == (1, 1551, 16)
    assert found.isfinite().all()


def test_published_size_and_key_names():
    with torch.device("meta"):
        network = AFWhisper(AFWhisperConfig())
    assert 0.63e9 < network.nparams < 0.64e9
    names = set(network.state_dict())
    assert {"conv1.weight", "embed_positions.weight", "layers.31.self_attn.k_proj.weight", "layer_norm.bias"} <= names
    assert "layers.0.self_attn.k_proj.bias" not in names
