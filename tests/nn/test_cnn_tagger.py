"""Laws of the compact tagger: level, frames, growth from one channel to four."""

import pytest
import torch

from s5cli.nn.cnn_tagger import CNNTagger, CNNTaggerConfig
from s5cli.train.start import grown


def tagger(channels: int) -> CNNTagger:
    torch.manual_seed(0)
    return CNNTagger(CNNTaggerConfig(channels=channels, widths=(4, 8, 8, 16))).eval()


def noise(channels: int, seconds: float = 1.0) -> torch.Tensor:
    torch.manual_seed(1)
    return 0.1 * torch.randn(2, channels, round(32_000 * seconds))


@pytest.mark.parametrize("channels", [1, 4])
def test_the_answer_does_not_depend_on_the_level(channels):
    network, waveform = tagger(channels), noise(channels)
    torch.testing.assert_close(network(waveform), network(0.01 * waveform), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("seconds", "n_frames"), [(10.0, 32), (1.0, 4), (0.1, 1)])
def test_sixteen_hops_make_a_frame(seconds, n_frames):
    tracks, frames = tagger(1).heard(noise(1, seconds))
    assert tracks.shape == (2, 3, 19)
    assert frames.shape == (2, n_frames, 18)


def test_a_frame_hears_what_sounds_around_it():
    """The fourth second played backwards changes the frames there and none that are far away."""
    network, waveform = tagger(1), noise(1, 10.0)
    other = waveform.clone()
    other[..., 96_000:128_000] = waveform[..., 96_000:128_000].flip(-1)  # the level stays
    changed = (network.heard(waveform)[1] - network.heard(other)[1]).abs().amax(dim=(0, 2))
    assert changed[10:12].min() > 100 * changed[18:].max()
    assert changed[10:12].min() > 100 * changed[:4].max()


def test_a_tagger_grown_to_four_channels_begins_with_its_answer_for_one():
    small, large = tagger(1), tagger(4)
    large.load_state_dict(grown(small.state_dict(), large.state_dict()))
    waveform = noise(4)
    torch.testing.assert_close(large(waveform), small(waveform[:, :1]), atol=1e-4, rtol=1e-4)


def test_training_hears_other_maps_than_evaluation():
    network, waveform = tagger(1).train(), noise(1)
    assert not torch.equal(network.augmented(network.maps(waveform)), network.maps(waveform))
