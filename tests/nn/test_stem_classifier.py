"""Classifiers of stems, and the networks whose features they take."""

import math

import pytest
import torch

from s5cli.nn.arcface import CosineHead, energy, with_margin
from s5cli.nn.body_frames import BodyFrames
from s5cli.nn.body_tagger import BodyTaggerConfig
from s5cli.nn.m2d import Encoder, M2DConfig, M2DTagger1ch
from s5cli.nn.stem_classifier import M2DFrames, M2DStemClassifier, M2DStemConfig, StemHead, StemHeadConfig


def test_logits_are_scaled_cosines():
    head, embedding = CosineHead(5, 4), torch.randn(3, 5)
    logits = head(embedding)
    cosine = torch.nn.functional.cosine_similarity(embedding[:, None], head.centres[None], dim=-1)
    torch.testing.assert_close(logits, 32 * cosine)
    torch.testing.assert_close(head(7 * embedding), logits)


@pytest.mark.parametrize("degrees", [1.0, 60.0, 120.0, 150.0, 151.5, 179.0])
def test_the_margin(degrees):
    angle = math.radians(degrees)
    logits = torch.tensor([[32 * math.cos(angle), 5.0]])
    found = with_margin(logits, torch.tensor([0]))
    inside = angle + 0.5 <= math.pi
    expected = math.cos(angle + 0.5) if inside else math.cos(angle) - 0.5 * math.sin(0.5)
    assert found[0, 0].item() == pytest.approx(32 * expected, abs=2e-3)
    assert found[0, 1] == 5


def test_energy_is_minus_the_log_of_the_sum():
    logits = 32 * torch.randn(6, 18).tanh()
    torch.testing.assert_close(energy(logits).double(), -logits.double().exp().sum(dim=-1).log(), check_dtype=False)
    assert energy(torch.full((1, 18), -32.0)) > -1
    assert energy(torch.tensor([[6.0] + [-32.0] * 17])) == pytest.approx(-6, abs=0.01)


def test_a_head_takes_mean_and_peak():
    head = StemHead(StemHeadConfig(features=3, embedding=4, peaks=True)).eval()
    found = head(torch.randn(2, 9, 3))
    assert found.shape == (2, 18)
    early, late = torch.zeros(1, 9, 3), torch.zeros(1, 9, 3)
    early[:, 0], late[:, 8] = 1, 1
    torch.testing.assert_close(head(early), head(late))


def test_m2d_of_a_tagger_becomes_a_stem_classifier():
    torch.manual_seed(0)
    config = M2DConfig(width=24, depth=3, heads=2)
    tagger = M2DTagger1ch(config)
    own = M2DStemConfig(width=24, depth=3, heads=2, embedding=8)
    network = M2DStemClassifier(own).eval()
    network.load_state_dict(M2DStemClassifier.grown(tagger.state_dict(), own))
    waveform = torch.randn(2, 64_000)
    assert network(waveform).shape == (2, 18)
    for name, tensor in tagger.backbone.state_dict().items():
        assert torch.equal(network.backbone.state_dict()[name], tensor)
    frames = M2DFrames(config).eval()
    frames.load_state_dict(tagger.state_dict())
    features = frames(waveform, waveform)
    assert features.shape == (2, 13, 5 * 24)  # 2 s in columns of 160 ms
    stacked = Encoder(M2DConfig(width=24, depth=3, heads=2, stacked=True)).eval()
    stacked.backbone.load_state_dict(tagger.backbone.state_dict())
    torch.testing.assert_close(features, stacked(waveform))


def test_published_stem_classifiers_size():
    with torch.device("meta"):
        network = M2DStemClassifier(M2DStemConfig())
    assert round(network.nparams / 1e6) == 86


def test_body_frames_know_the_level_beside_the_mixture():
    torch.manual_seed(0)
    network = BodyFrames(BodyTaggerConfig(channels=1, width=0.1)).eval()
    stem, mixture = torch.randn(2, 32_000), torch.randn(2, 32_000)
    plain, quiet = network(stem, mixture), network(0.1 * stem, mixture)
    assert plain.shape[2] == network.head.trunk.out_features + 1
    torch.testing.assert_close(plain[..., :-1], quiet[..., :-1], atol=1e-3, rtol=1e-2)
    torch.testing.assert_close(plain[..., -1] - quiet[..., -1], torch.ones(plain.shape[:2]), atol=1e-4, rtol=0)
    assert network(torch.zeros(1, 32_000), mixture[:1]).isfinite().all()
