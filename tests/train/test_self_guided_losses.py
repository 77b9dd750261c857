"""Losses of the self-guided systems against their formulas, written out."""

import math
from itertools import permutations

import pytest
import torch

from s5cli.train.losses import best_order
from s5cli.train.self_guided_losses import (
    arcface_loss,
    energy_loss,
    errors,
    masked_snr_loss,
    ordered,
    sa_sdr_loss,
    si_snr_loss,
    silence_loss,
    uniform_loss,
)


def sources(b=2, s=3, t=500):
    torch.manual_seed(0)
    targets = torch.randn(b, s, t)
    return targets + 0.3 * torch.randn(b, s, t), targets, torch.randn(b, t)


def test_the_best_order_is_that_of_least_error():
    estimates, targets, reference = sources()
    mixed = targets[:, [2, 0, 1]]
    order = best_order(errors(estimates, mixed))
    assert order.tolist() == [[1, 2, 0]] * 2
    torch.testing.assert_close(ordered(mixed, order), targets)
    every = [sa_sdr_loss(estimates, mixed[:, list(p)], reference) for p in permutations(range(3))]
    torch.testing.assert_close(sa_sdr_loss(estimates, ordered(mixed, order), reference), torch.stack(every).amin(dim=0))


def test_sa_sdr_is_of_all_sources_together():
    estimates, targets, reference = sources()
    targets[0, 1] = 0  # an absent source is a zero reference
    ratio = targets.square().sum(dim=(1, 2)) / (targets - estimates).square().sum(dim=(1, 2))
    torch.testing.assert_close(sa_sdr_loss(estimates, targets, reference), -10 * torch.log10(ratio))


def test_where_nothing_is_to_be_separated_silence_is_best():
    estimates, _, reference = sources()
    nothing = torch.zeros_like(estimates)
    of_mixture = reference.square().sum(dim=1)
    expected = 10 * torch.log10((estimates.square().sum(dim=(1, 2)) + 1e-3 * of_mixture) / of_mixture)
    torch.testing.assert_close(sa_sdr_loss(estimates, nothing, reference), expected)
    torch.testing.assert_close(sa_sdr_loss(nothing, nothing, reference), torch.full((2,), -30.0))


def test_si_snr_does_not_know_the_scale():
    estimate, target = sources()[0][:, 0], sources()[1][:, 0]
    scale = (estimate * target).sum(dim=1, keepdim=True) / target.square().sum(dim=1, keepdim=True)
    ratio = (scale * target).square().sum(dim=1) / (estimate - scale * target).square().sum(dim=1)
    torch.testing.assert_close(si_snr_loss(estimate, target), -10 * torch.log10(ratio))
    torch.testing.assert_close(
        si_snr_loss(5 * estimate, 0.1 * target), si_snr_loss(estimate, target), rtol=1e-4, atol=0
    )
    assert not si_snr_loss(estimate, torch.zeros_like(target)).any(), "skipped where there is no noise"


def test_masked_snr_is_of_active_slots():
    estimates, targets, _ = sources()
    active = torch.tensor([[True, False, True], [False, False, False]])
    snr = 10 * torch.log10(targets.square().sum(dim=2) / (targets - estimates).square().sum(dim=2))
    found = masked_snr_loss(estimates, targets, active)
    torch.testing.assert_close(found, torch.stack([-(snr[0, 0] + snr[0, 2]) / 2, torch.tensor(0.0)]))


def test_arcface_is_cross_entropy_with_a_margin():
    torch.manual_seed(0)
    cosine, classes = torch.rand(4, 18) * 1.6 - 0.8, torch.tensor([3, -1, 7, -1])
    expected = 0.0
    for row in (0, 2):
        own = int(classes[row])
        moved = 32 * torch.cos(torch.acos(cosine[row, own]) + 0.5)
        others = torch.cat([cosine[row, :own], cosine[row, own + 1 :]])
        expected -= float(torch.log(moved.exp() / (moved.exp() + (32 * others).exp().sum()))) / 2
    assert float(arcface_loss(32 * cosine, classes)) == pytest.approx(expected, rel=1e-4)
    assert float(arcface_loss(32 * cosine, torch.full((4,), -1))) == 0


def test_divergence_from_any_class_alike():
    torch.manual_seed(0)
    logits = torch.randn(5, 18)
    p = logits.softmax(dim=1)
    torch.testing.assert_close(uniform_loss(logits), (p * torch.log(18 * p)).sum(dim=1).mean())
    torch.testing.assert_close(uniform_loss(logits, "to"), (-torch.log(18 * p) / 18).sum(dim=1).mean())
    assert float(uniform_loss(torch.zeros(2, 18))) == pytest.approx(0, abs=1e-6)
    assert float(uniform_loss(logits[:0])) == 0


def test_silence_is_a_binary_cross_entropy():
    active, classes = torch.tensor([2.0, -1.0]), torch.tensor([4, -1])
    expected = -(math.log(1 / (1 + math.exp(-2))) + math.log(1 - 1 / (1 + math.exp(1)))) / 2
    assert float(silence_loss(active, classes)) == pytest.approx(expected, rel=1e-5)


def test_energies_are_pushed_beyond_their_margins():
    def of(energy):
        return torch.cat([torch.tensor([-energy]), torch.full((17,), -100.0)])

    logits = torch.stack([of(-4.0), of(-9.0), of(-3.0), of(0.0)])  # energies −4, −9, −3, 0
    classes = torch.tensor([1, 2, -1, -1])
    assert float(energy_loss(logits, classes)) == pytest.approx((2**2 + 0) / 2 + (2**2 + 0) / 2)
    assert float(energy_loss(logits[:2], classes[:2])) == pytest.approx(2)
