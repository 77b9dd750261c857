"""Laws of the label-queried separator: identity, level, order of slots, silence, fold, frames of labels."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from s5cli.nn.label_frames import held
from s5cli.nn.query_split import Asked, LabelSplit
from s5cli.nn.sr_corrnet import SRCorrNet, SRCorrNetConfig

TINY = SRCorrNetConfig(
    taps_frame=(1, 1), width=8, hidden=8, slot_hidden=8, heads=2, kernel=3, encoder_blocks=1, decoder_blocks=2, fold=16,
    hop_samples=512,
)  # fmt: skip
N_SAMPLES = 12_345


def tiny(config=TINY, spread=0.3):
    """A network whose labels matter, as they do not at the beginning of training."""
    network = SRCorrNet(config).eval()
    for parameter in network.spk_split.parameters():
        nn.init.normal_(parameter, std=spread)
    return network


def asked_of(network, classes, seed=0):
    classes = torch.tensor(classes)
    torch.manual_seed(seed)
    return classes, torch.rand(*classes.shape, network.n_frames(N_SAMPLES)).round()


def mixture(seed=1):
    torch.manual_seed(seed)
    return 0.1 * torch.randn(1, 4, N_SAMPLES)


@pytest.mark.parametrize("hop_samples", [256, 512])
def test_a_filter_of_one_gives_the_mixture_back(hop_samples):
    network = tiny(replace(TINY, hop_samples=hop_samples))
    net = network.filter_estim.mask.net
    with torch.no_grad():
        net.weight.zero_()
        net.bias.copy_(torch.tensor([-60.0, 0, 0]).repeat(len(net.bias) // 3))
        bias = net.bias.view(network.config.fold, 4, network.config.taps.number, 3)
        bias[:, 0, network.config.taps.number // 2] = torch.tensor([0.541325, 60.0, 0.0])  # softplus of it is 1
        audio = mixture()
        found = network(audio, *asked_of(network, [[3, -1, -1]]))
    torch.testing.assert_close(found[:, 0], audio[:, 0], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_louder_mixture_gives_louder_stems():
    network, audio = tiny(), mixture()
    query = asked_of(network, [[3, 5, -1]])
    torch.testing.assert_close(network(7 * audio, *query), 7 * network(audio, *query), atol=3e-5, rtol=1e-4)


@torch.inference_mode()
def test_the_order_of_queries_is_that_of_stems():
    network, audio = tiny(), mixture()
    classes, activity = asked_of(network, [[3, 5, 9]])
    order = [2, 0, 1]
    found = network(audio, classes[:, order], activity[:, order])
    torch.testing.assert_close(found, network(audio, classes, activity)[:, order], atol=1e-6, rtol=1e-4)


@torch.inference_mode()
def test_two_of_a_class_differ_by_which_they_are():
    network, audio = tiny(), mixture()
    query = torch.tensor([[3, 3, -1]]), torch.ones(1, 3, network.n_frames(N_SAMPLES))
    found = network(audio, *query)
    assert (found[0, 0] - found[0, 1]).abs().max() > 1e-3 * found.abs().max()
    network.spk_split.occurrence.zero_()
    found = network(audio, *query)
    torch.testing.assert_close(found[0, 0], found[0, 1])


@torch.inference_mode()
def test_clips_of_a_batch_and_silent_slots_change_nothing():
    network, audio = tiny(), torch.cat([mixture(1), mixture(2), mixture(3)])
    classes, activity = asked_of(network, [[3, -1, 5], [-1, -1, -1], [-1, 7, -1]])
    together = network(audio, classes, activity)
    for row in range(3):
        used = classes[row] >= 0
        assert not together[row, ~used].any()
        alone = network(audio[row : row + 1], classes[row : row + 1, used], activity[row : row + 1, used])
        torch.testing.assert_close(together[row, used], alone[0, : used.sum()], atol=1e-6, rtol=1e-4)


def test_every_slot_begins_as_the_mixture():
    split = LabelSplit(8, 18, 3)
    maps = torch.randn(1, 4, 5, 8)
    found = split(maps, Asked.of(torch.tensor([[2, 2, 4]]), torch.ones(1, 3, 4)))
    assert torch.equal(found, maps.expand(3, -1, -1, -1))


def test_a_fold_of_one_is_the_published_layout():
    """Beside the split, which labels replace, names and shapes are those of the blind network."""
    with torch.device("meta"):
        own = SRCorrNet(replace(TINY, fold=1)).state_dict()
        blind = SRCorrNet(replace(TINY, fold=1, split="blind")).state_dict()
    shapes = [{n: v.shape for n, v in state.items() if not n.startswith("spk_split.")} for state in (own, blind)]
    assert shapes[0] == shapes[1]


def test_a_folded_embedding_is_the_strided_convolution():
    network = tiny()
    features = torch.randn(1, 6, 513, 2 * 4 * network.config.taps.number)
    padded = nn.functional.pad(features, (0, 0, 0, network.encoder.missing)).permute(0, 3, 1, 2)
    torch.testing.assert_close(network.encoder.folded(features), network.encoder.embed[0](padded), atol=1e-4, rtol=1e-4)


def test_labels_hold_on_the_clips_own_time_axis():
    frames = held(torch.arange(250), 1251, hop_samples=256, label_samples=1280)
    assert frames[:11].tolist() == [0] * 5 + [1] * 5 + [2]
    assert frames[1250] == 249


def test_the_full_network_is_as_large_as_stated():
    with torch.device("meta"):
        assert round(SRCorrNet(SRCorrNetConfig()).nparams / 1e6, 1) == 15.2
