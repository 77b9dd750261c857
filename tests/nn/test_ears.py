"""Ears and the second look: clues lie where the sound is, directions are right, and what learns is what should."""

import pytest
import torch

from s5cli.nn.ears import Ears
from s5cli.nn.efficientat import EfficientAT, EfficientATConfig, mel_position
from s5cli.nn.resunet import ResUNetK
from s5cli.nn.share import Field, Refine, others
from s5cli.nn.unet import ResUNetConfig
from tests.nn.test_share import CONFIG, query_of

RATE_HZ = 32_000
GRID, PATCH_SAMPLES, BAND_HZ = (128, 128), 1024, 125.0
EARS = ResUNetConfig(**{**vars(CONFIG), "ears": 0.4, "refined": True})


@pytest.fixture(scope="module")
def ears() -> Ears:
    torch.manual_seed(0)
    return Ears(width=4, classes=18).eval()


@pytest.mark.parametrize("apart", [4, 8, 16])
def test_maps_are_placed_by_their_pitch_and_time(apart: int) -> None:
    """Maps that hold their own mel position and time give each patch its own."""
    mel = torch.arange(128 // apart)[:, None] * float(apart)
    time_s = torch.arange(128 * 1024 // 320 // apart + 1)[None] * (apart * 320 / RATE_HZ)
    maps = torch.stack(torch.broadcast_tensors(mel, time_s))[None]
    mel_there, time_there_s = Ears.placed(maps, apart, GRID, PATCH_SAMPLES, BAND_HZ)[0]
    band_hz = (torch.arange(128) + 0.5) * BAND_HZ
    inside = mel_position(band_hz) < 128 - apart
    torch.testing.assert_close(mel_there[50, inside], mel_position(band_hz)[inside])
    patch_s = (torch.arange(128) * 1024 + 256) / RATE_HZ  # two frames of 512 samples, the first centred at its start
    torch.testing.assert_close(time_there_s[5:-5, 9], patch_s[5:-5])


def test_clues_are_on_the_grid_and_do_not_depend_on_the_level(ears: Ears) -> None:
    waveform = torch.randn(1, GRID[0] * PATCH_SAMPLES, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        clues, louder = (ears(gain * waveform, GRID, PATCH_SAMPLES, BAND_HZ) for gain in (0.01, 1.0))
    assert clues.maps.shape == (1, 4, *GRID)
    assert clues.sounds.shape == (1, 18, GRID[0])
    assert clues.sounds.abs().max() <= 1
    torch.testing.assert_close(louder.maps, clues.maps, rtol=1e-3, atol=1e-3)


def test_only_what_is_read_from_the_body_learns_at_its_front(ears: Ears) -> None:
    ears.train()
    before = {name: value.clone() for name, value in ears.body.state_dict().items()}
    clues = ears(0.1 * torch.randn(2, 40_000), GRID, PATCH_SAMPLES, BAND_HZ)
    (clues.maps.sum() + clues.sounds.square().sum()).backward()
    learning = {name.split(".")[0] for name, p in ears.named_parameters() if p.grad is not None}
    assert learning == {"looks", "norms", "body", "trunk", "classes"}
    assert all(p.grad is None for p in ears.body[:-1].parameters())
    assert all(torch.equal(value, before[name]) for name, value in ears.body.state_dict().items())


def test_agreement_is_the_cosine_to_where_a_slot_s_share_comes_from() -> None:
    towards = torch.nn.functional.normalize(torch.randn(2, 3, generator=torch.Generator().manual_seed(2)), dim=1)
    intensity = torch.where(torch.arange(6)[None, :, None] < 3, towards[0, :, None, None], towards[1, :, None, None])
    field = Field(intensity[None], torch.ones(1, 1, 6, 1), torch.zeros(1, 18, 6))
    share = torch.zeros(1, 3, 6, 1)
    share[0, 0, :3], share[0, 1, 3:] = 1, 0.5
    agrees = Refine.agreement(share, field)[0, ..., 0]
    between = float(towards[0] @ towards[1])
    torch.testing.assert_close(agrees[0], torch.tensor([1.0] * 3 + [between] * 3))
    torch.testing.assert_close(agrees[1], torch.tensor([between] * 3 + [1.0] * 3))
    assert not agrees[2].any()
    assert torch.equal(others(torch.tensor([[1.0, 5.0, 3.0]])), torch.tensor([[5.0, 3.0, 5.0]]))


def test_a_separator_grows_ears_and_begins_with_the_shares_that_it_had() -> None:
    torch.manual_seed(3)
    old, given = ResUNetK(CONFIG).eval(), EfficientAT(EfficientATConfig())
    state = ResUNetK.grown({**old.state_dict(), **given.state_dict()}, EARS)
    new = ResUNetK(EARS).eval()
    new.load_state_dict(state)
    assert torch.equal(new.ears.body[16][0].weight, given.features[16][0].weight)
    for look in new.ears.looks.values():  # what is fresh is taken out
        torch.nn.init.zeros_(look.weight)
        torch.nn.init.zeros_(look.bias)
    mixture = 0.1 * torch.randn(1, 4, 20_000)
    with torch.inference_mode():
        answers = [network(mixture, query_of(3, 3, 7).flatten(1)) for network in (old, new)]
    torch.testing.assert_close(answers[1], answers[0], rtol=1e-4, atol=1e-6)


def test_two_slots_of_a_class_may_come_from_where_they_are() -> None:
    """A second look that only knows directions pulls two slots of one class apart."""
    torch.manual_seed(4)
    refine, n = Refine(bins=1), 20
    towards = torch.tensor([[1.0, 0, 0], [0, 0, 1.0]])
    at = torch.arange(n) % 2
    field = Field(towards[at].T[None, :, :, None], torch.ones(1, 1, n, 1), torch.zeros(1, 18, n))
    logits = (
        0.2 * torch.randn(1, 3, 1, n, 1) + torch.stack([0.3 * (at == i) for i in (0, 1, 2)])[None, :, None, :, None]
    )
    optimiser = torch.optim.Adam(refine.parameters(), 1e-2)
    for _ in range(60):
        mask = (logits + refine(logits, logits.softmax(dim=1), field, torch.zeros(1, 3, n))).softmax(dim=1)
        loss = -(mask[0, 0, 0, at == 0].mean() + mask[0, 1, 0, at == 1].mean())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert -loss / 2 > 0.9
    assert (logits.softmax(dim=1)[0, 0, 0, at == 0].mean()) < 0.6
