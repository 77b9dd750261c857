"""The filter after the masks: what it gets right, and what the separator makes of it."""

from dataclasses import replace

import pytest
import torch

from s5cli.nn.resunet import ResUNetK
from s5cli.nn.wiener import wiener
from tests.nn.test_apart import snr_db, stft, talkers
from tests.nn.test_share import CONFIG, query_of


def test_it_is_the_filter_of_least_squares_where_masks_are_right():
    pair = talkers(0, 100)
    spectrum = stft(sum(pair) + 1e-3 * torch.randn(4, 64_000))
    first, second = (stft(one[0]) for one in pair)
    found = wiener(spectrum, (first.abs() > second.abs()).float()[None])[0]
    x = spectrum.permute(2, 0, 1)  # [f, m, n]
    best = torch.linalg.solve(x @ x.mH, x @ first.T[..., None].conj())
    assert snr_db(found, (best.mH @ x)[:, 0].T) > 20
    assert snr_db(found, first) > snr_db(spectrum[0], first) + 10


def test_a_mask_of_everything_gives_channel_0_and_of_nothing_silence():
    spectrum = stft(sum(talkers(0, 100)) + 1e-2 * torch.randn(4, 64_000))
    every, none = wiener(spectrum, torch.stack([torch.ones(spectrum.shape[1:]), torch.zeros(spectrum.shape[1:])]))
    assert snr_db(every, spectrum[0]) > 40
    assert not none.any()
    assert wiener(torch.zeros(4, 9, 5, dtype=torch.complex64), torch.ones(2, 9, 5)).abs().max() == 0


def test_slots_do_not_depend_on_each_other():
    spectrum = stft(sum(talkers(0, 100)) + 1e-2 * torch.randn(4, 64_000))
    masks = torch.rand(3, *spectrum.shape[1:], generator=torch.Generator().manual_seed(0))
    together = wiener(spectrum, masks)
    for mask, found in zip(masks, together, strict=True):
        torch.testing.assert_close(wiener(spectrum, mask[None])[0], found, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("classes", [(3, 7, -1), (3, 3, 9)])
def test_the_separators_stems_are_means_with_the_filters(classes):
    torch.manual_seed(0)
    plain = ResUNetK(replace(CONFIG, apart=12.0)).eval()
    filtering = ResUNetK(replace(CONFIG, apart=12.0, wiener=True)).eval()
    filtering.load_state_dict(plain.state_dict())
    mixture, query = sum(talkers(0, 120))[None], query_of(*classes).flatten(1)
    with torch.inference_mode():
        before, after, louder = plain(mixture, query), filtering(mixture, query), filtering(10 * mixture, query)
    torch.testing.assert_close(louder, 10 * after, rtol=1e-3, atol=1e-4)
    used = torch.tensor(classes) >= 0
    assert not after[0, ~used].any()
    alone = 2 * after - before  # what the filters say
    assert (alone[0, used] - before[0, used]).abs().amax(dim=-1).min() > 1e-3
    torch.manual_seed(1)
    expected = plain.train()(mixture, query)
    torch.manual_seed(1)
    assert torch.equal(filtering.train()(mixture, query), expected), "it learns without them"
