"""The compact separator's head: bins are shared out, slots are equal, classes are what they are asked by."""

from itertools import permutations

import pytest
import torch
import torch.nn.functional as F

from s5cli.nn.resunet import ResUNetK
from s5cli.nn.share import ShareHead, repetitions
from s5cli.nn.unet import ResUNetConfig

CONFIG = ResUNetConfig(
    widths=(8, 8, 8, 8, 8, 8), condition_width=16, hop_samples=512, patch_frames=2, patch_bins=4,
    features="spatial", mask="share",
)  # fmt: skip


def query_of(*classes: int) -> torch.Tensor:
    """[1, s, k]; negative: an unused slot."""
    given = torch.tensor([classes])
    return F.one_hot(given.clamp_min(0), 18) * (given >= 0)[..., None].float()


@pytest.fixture(scope="module")
def network() -> ResUNetK:
    torch.manual_seed(0)
    network = ResUNetK(CONFIG).eval()
    with torch.no_grad():  # a beam that leans, in every class its own way
        network.head.bias.normal_()
    return network


def test_shares_of_a_bin_sum_to_one_with_the_rest() -> None:
    torch.manual_seed(1)
    head, maps = ShareHead(width=6, bins=8, slots=3, classes=18), torch.randn(1, 6, 5, 7)
    for classes in ((2, 2, 9), (4, -1, -1), (-1, 3, -1)):
        shares = head(maps, query_of(*classes))
        used = torch.tensor(classes) >= 0
        assert shares.mask.shape == (1, 3, 8, 5, 7)
        assert shares.lean.shape == (1, 3, 3, 5, 7)
        assert not shares.mask[0, ~used].any()
        total = shares.mask.sum(dim=1)
        assert total.min() > 0
        assert total.max() < 1
        assert shares.lean.abs().max() <= 1


def test_slots_of_different_classes_may_come_in_any_order(network: ResUNetK) -> None:
    mixture = 0.1 * torch.randn(1, 4, 20_000, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        first = network(mixture, query_of(3, 15, 7).flatten(1))
        for order in permutations(range(3)):
            classes = [(3, 15, 7)[i] for i in order]
            other = network(mixture, query_of(*classes).flatten(1))
            torch.testing.assert_close(other, first[:, list(order)], rtol=1e-4, atol=1e-6)


def test_two_slots_of_one_class_get_different_shares(network: ResUNetK) -> None:
    mixture = 0.1 * torch.randn(1, 4, 20_000, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        one, other, _ = network(mixture, query_of(15, 15, -1).flatten(1))[0]
    assert (one - other).square().mean() > 1e-3 * one.square().mean()


def test_repetitions_are_counted_per_clip_and_class() -> None:
    asked = repetitions(query_of(15, 7, 15)).view(1, 3, 3, 18)
    assert asked.nonzero().tolist() == [[0, 0, 0, 15], [0, 1, 0, 7], [0, 2, 1, 15]]


def test_patches_fit_together_again(network: ResUNetK) -> None:
    maps = torch.randn(2, 3, 41, 513)
    again = network.unpatched(network.patches(maps), 41)
    torch.testing.assert_close(again[..., :-1], maps[..., :-1])
    assert not again[..., -1].any()  # the last bin goes, as in the published network


def test_a_stem_is_the_mixture_times_its_share_where_no_beam_leans() -> None:
    """With equal logits and no lean each of n slots and the rest gets 1 / (n + 1) of channel 0."""
    network = ResUNetK(CONFIG).eval()
    with torch.no_grad():
        for parameter in (network.head.readout, network.head.rest.weight, network.head.rest.bias):
            parameter.zero_()
    mixture = torch.randn(1, 4, 32_000)
    with torch.inference_mode():
        stems = network(mixture, query_of(1, 4, -1).flatten(1))[0]
    torch.testing.assert_close(stems[0], stems[1])
    error = stems[0] - mixture[0, 0] / 3
    assert 10 * torch.log10(error.square().mean() / (mixture[0, 0] / 3).square().mean()) < -25  # the last bin
