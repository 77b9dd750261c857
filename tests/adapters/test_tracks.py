"""The tagger adapter: order, batches, channels, softmax."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from s5cli.adapters.tracks import TrackTagger, softmax
from s5cli.errors import InputError
from s5cli.scene import Scene


class MomentTagger(nn.Module):
    """Logits that tell every clip and channel apart: a random map of the first moments of each channel."""

    nparams = 0

    def __init__(self, channels):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3 * 19, 3 * channels, generator=generator))
        self.dropout = nn.Dropout(0.5)
        self.batches = []

    def forward(self, waveform):
        self.batches.append(tuple(waveform.shape))
        moments = torch.cat([(waveform**n).mean(dim=-1) for n in (1, 2, 3)], dim=1)
        return self.dropout(moments @ self.weight.T).unflatten(1, (3, 19))


def scenes_of(lengths, channels=4):
    generator = torch.Generator().manual_seed(1)
    return [Scene(f"clip{i}", torch.randn(channels, n, generator=generator)) for i, n in enumerate(lengths)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([100, 150, 200]), max_size=9), st.integers(1, 5))
def test_batches_change_nothing_but_their_number(lengths, max_batch):
    scenes, network = scenes_of(lengths), MomentTagger(4)
    tags = TrackTagger(network, max_batch=max_batch)(scenes)
    assert tags.probabilities.shape == (len(lengths), 3, 19)
    assert all(b <= max_batch for b, _, _ in network.batches)
    assert len(network.batches) == sum(-(-lengths.count(n) // max_batch) for n in set(lengths))
    for row, scene in enumerate(scenes):
        alone = TrackTagger(MomentTagger(4))([scene])
        np.testing.assert_allclose(tags.probabilities[row], alone.probabilities[0], atol=1e-5)


def test_long_clips_go_through_a_cpu_alone_and_short_ones_together():
    of_four, of_one = MomentTagger(4), MomentTagger(1)
    clips = scenes_of([320_000] * 2 + [32_000] * 3)
    TrackTagger(of_four)(clips)
    assert of_four.batches == [(1, 4, 320_000)] * 2 + [(3, 4, 32_000)]
    TrackTagger(of_one, channels=1)(scenes_of([320_000] * 6, channels=1))
    assert of_one.batches == [(4, 1, 320_000), (2, 1, 320_000)]


def test_probabilities_are_a_float64_softmax_of_the_logits():
    scenes, network = scenes_of([100, 100]), MomentTagger(4).eval()
    with torch.no_grad():
        expected = network(torch.stack([scene.audio for scene in scenes])).double().softmax(dim=-1)
    tags = TrackTagger(MomentTagger(4))(scenes)
    assert tags.probabilities.dtype == np.float64
    np.testing.assert_allclose(tags.probabilities, expected, rtol=1e-5)
    np.testing.assert_allclose(tags.probabilities.sum(axis=-1), 1, rtol=1e-12)


def test_softmax_survives_any_logits():
    assert softmax(np.array([[-1e30, 0.0, 1e30]])).tolist() == [[0, 0, 1]]


def test_one_channel_hears_channel_0_of_mixtures_and_stems():
    tagger, scenes = TrackTagger(MomentTagger(1), channels=1), scenes_of([100])
    stem = Scene("stem", scenes[0].audio[:1])
    other = Scene("other", torch.cat([scenes[0].audio[:1], torch.randn(3, 100)]))
    mixed = tagger([scenes[0], stem, other]).probabilities
    np.testing.assert_allclose(mixed[1:], mixed[:1].repeat(2, axis=0), atol=1e-7)
    assert tagger.network.batches == [(3, 1, 100)]


def test_too_few_channels_is_a_clear_error():
    with pytest.raises(InputError, match="stem: this tagger needs 4 channels, not 1"):
        TrackTagger(MomentTagger(4))([Scene("stem", torch.zeros(1, 100))])


def test_nothing_gives_nothing():
    network = MomentTagger(4)
    assert TrackTagger(network)([]).probabilities.shape == (0, 3, 19)
    assert network.batches == []
