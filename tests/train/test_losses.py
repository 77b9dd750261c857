"""Losses against plain definitions, written out over permutations."""

from itertools import permutations

import pytest
import torch
from torch.nn.functional import log_softmax

from s5cli.train.losses import (
    activity,
    class_aware_snr_loss,
    count_cross_entropy,
    frame_cross_entropy,
    pit_cross_entropy,
)


def test_pit_cross_entropy_is_the_best_assignment():
    torch.manual_seed(0)
    logits, classes = torch.randn(5, 3, 19), torch.randint(0, 19, (5, 3))
    per_clip = []
    for clip_logits, clip_classes in zip(logits, classes, strict=True):
        logp = log_softmax(clip_logits, dim=-1)
        per_clip.append(
            min(-sum(logp[i, clip_classes[j]] for i, j in enumerate(p)) / 3 for p in permutations(range(3)))
        )
    torch.testing.assert_close(pit_cross_entropy(logits, classes), torch.stack(per_clip).mean())


def test_pit_cross_entropy_ignores_the_order_of_targets():
    torch.manual_seed(1)
    logits, classes = torch.randn(4, 3, 19), torch.randint(0, 19, (4, 3))
    torch.testing.assert_close(pit_cross_entropy(logits, classes), pit_cross_entropy(logits, classes[:, [2, 0, 1]]))


def test_snr_loss_is_minus_the_snr():
    torch.manual_seed(2)
    target = torch.randn(1, 3, 1000)
    estimate = target + 0.3 * torch.randn(1, 3, 1000)
    snr = 10 * torch.log10(target.square().sum(-1) / (target - estimate).square().sum(-1))
    loss = class_aware_snr_loss(estimate, target, torch.tensor([[0, 1, 2]]))
    assert loss.item() == pytest.approx(-snr.mean().item(), abs=0.06)  # at 10 dB the clamp at 30 dB costs 0.04 dB


def test_slots_of_one_class_may_be_exchanged_and_others_not():
    torch.manual_seed(3)
    target = torch.randn(1, 3, 1000)
    swapped = target[:, [1, 0, 2]]
    same, different = torch.tensor([[5, 5, 9]]), torch.tensor([[5, 6, 9]])
    assert class_aware_snr_loss(swapped, target, same).item() == pytest.approx(-30, abs=0.01)
    assert class_aware_snr_loss(swapped, target, different).item() > -10


def test_unused_slots_carry_no_loss_and_no_gradient():
    torch.manual_seed(4)
    target = torch.randn(2, 3, 1000) * torch.tensor([[1.0, 1, 0], [1, 0, 0]])[..., None]
    estimate = torch.randn(2, 3, 1000, requires_grad=True)
    classes = torch.tensor([[3, 3, -1], [7, -1, -1]])
    loss = class_aware_snr_loss(estimate, target, classes)
    loss.backward()
    assert torch.isfinite(loss)
    assert not estimate.grad[0, 2].any()
    assert not estimate.grad[1, 1:].any()
    assert estimate.grad[0, :2].any()
    assert estimate.grad[1, 0].any()


def test_count_cross_entropy_is_the_likelihood_of_the_counts():
    torch.manual_seed(5)
    logits, classes = torch.randn(3, 3, 4), torch.tensor([[1, 1, -1], [-1, -1, -1], [0, 2, 0]])
    p = logits.sigmoid()
    expected = 0.0
    for clip, own in zip(p, classes, strict=True):
        for k in range(4):
            count = int((own == k).sum())
            likelihood = clip[:count, k].prod() * (1 - clip[count, k])
            expected -= float(likelihood.log())
    assert float(count_cross_entropy(logits, classes)) == pytest.approx(expected / 3, rel=1e-5)
    three = count_cross_entropy(logits[:1], torch.tensor([[3, 3, 3]]))  # the most there can be
    others = (1 - p[0, 0, :3]).log().sum()
    assert float(three) == pytest.approx(-float(p[0, :, 3].log().sum() + others), rel=1e-5)


def test_frame_cross_entropy_is_that_of_what_sounds_when():
    torch.manual_seed(4)
    logits, targets = torch.randn(2, 4, 5), torch.zeros(2, 3, 400)
    targets[0, 0, 100:200] = torch.randn(100)  # class 2 in the second frame
    targets[0, 1, 150:300] = torch.randn(150)  # class 4 in the second and third
    targets[1, 2, :] = torch.randn(400)  # class 2 throughout, 40 dB quieter in the last frame
    targets[1, 2, 300:] *= 0.01
    classes = torch.tensor([[2, 4, -1], [-1, -1, 2]])
    heard = torch.zeros(2, 4, 5)
    heard[0, 1, 2] = heard[0, 1, 4] = heard[0, 2, 4] = heard[1, 0, 2] = heard[1, 1, 2] = heard[1, 2, 2] = 1
    assert torch.equal(activity(targets, classes, 4, 5), heard)
    p = logits.sigmoid()
    plain = -(4 * heard * p.log() + (1 - heard) * (1 - p).log()).mean()
    torch.testing.assert_close(frame_cross_entropy(logits, targets, classes), plain)


def test_two_of_a_class_sound_when_either_does():
    targets = torch.zeros(1, 3, 200)
    targets[0, 0, :100] = 1
    targets[0, 1, 100:] = 0.001  # quiet, but as loud as it ever is
    assert activity(targets, torch.tensor([[3, 3, -1]]), 2, 4)[0, :, 3].tolist() == [1, 1]
