"""The separator's inference form says what its training form says."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from s5cli.nn import prepared
from s5cli.nn.resunet import ResUNetK
from s5cli.nn.unet import ResUNetConfig

WIDTHS = (4, 6, 8, 8, 10, 10)
POLAR = ResUNetConfig(widths=WIDTHS, condition_width=16)
SHARE = ResUNetConfig(
    widths=WIDTHS, condition_width=16, hop_samples=320, patch_frames=2, patch_bins=2, features="spatial", mask="share"
)

EARS = replace(SHARE, ears=0.4, refined=True)


def lived_in(config: ResUNetConfig) -> ResUNetK:
    """With batch norms that are far from doing nothing."""
    network = ResUNetK(config).eval()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.3, 3)
            nn.init.uniform_(norm.weight, -2, 2)
            nn.init.normal_(norm.bias)
    return network


def query(*clips: tuple[int, ...]) -> torch.Tensor:
    """[b, 54]; negative: an unused slot."""
    wanted = torch.tensor(clips)[:, :, None] == torch.arange(18)
    return wanted.float().flatten(1)


@pytest.mark.parametrize("config", [POLAR, SHARE, EARS], ids=["official", "compact", "with ears"])
@pytest.mark.parametrize("strip_bytes", [1, 4 << 20], ids=["strips", "whole"])
@pytest.mark.parametrize("clips", [[(3, 15, 7)], [(3, 3, -1), (-1, -1, -1), (-1, 4, 9)]], ids=["one clip", "three"])
def test_equal_to_the_training_form(config, strip_bytes, clips, monkeypatch):
    monkeypatch.setattr(prepared, "_STRIP_BYTES", strip_bytes)
    network = lived_in(config)
    ready = copy.deepcopy(network)
    ready.prepare()
    mixture = 0.1 * torch.randn(len(clips), 4, 30_001)
    with torch.inference_mode():
        expected, found = network(mixture, query(*clips)), ready(mixture, query(*clips))
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
    assert not found[query(*clips).view(-1, 3, 18).sum(dim=-1) == 0].any()
    assert ready.nparams == network.nparams


def test_no_batch_norm_is_left():
    network = ResUNetK(POLAR)
    network.prepare()
    assert not [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert not network.base.training
