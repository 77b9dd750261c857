"""Sources of one class are told apart by direction: shares, symmetry, and what a separator makes of them."""

import math
from dataclasses import replace

import pytest
import soundfile
import torch

from s5cli.labels import CLASSES
from s5cli.nn.apart import apart, centres, guesses
from s5cli.nn.resunet import ResUNetK
from s5cli.train.given import Given
from tests.conftest import EXAMPLES
from tests.nn.test_share import CONFIG, query_of

N_FFT, HOP = 1024, 512


def plane_wave(signal: torch.Tensor, azimuth_deg: float) -> torch.Tensor:
    """W, Y, Z, X of a source in the horizontal plane, [4, t]."""
    angle = math.radians(azimuth_deg)
    return torch.stack([signal, math.sin(angle) * signal, torch.zeros_like(signal), math.cos(angle) * signal])


def talkers(*azimuths_deg: float, seed: int = 0) -> list[torch.Tensor]:
    """Noises from these azimuths that take turns, [4, t] each."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.arange(16).remainder(len(azimuths_deg))[torch.randperm(16, generator=generator)]
    noise = 0.1 * torch.randn(len(azimuths_deg), 64_000, generator=generator)
    sounding = (turn == torch.arange(len(azimuths_deg))[:, None]).repeat_interleave(4_000, dim=1)
    return [plane_wave(one, azimuth) for one, azimuth in zip(noise * sounding, azimuths_deg, strict=True)]


def stft(waveform: torch.Tensor) -> torch.Tensor:
    """[..., t] to [..., n, f]."""
    return torch.stft(waveform, N_FFT, HOP, window=torch.hann_window(N_FFT), return_complex=True).mT


def snr_db(estimate: torch.Tensor, reference: torch.Tensor) -> float:
    return float(10 * torch.log10(reference.abs().square().sum() / (estimate - reference).abs().square().sum()))


@pytest.mark.parametrize("azimuths", [(0, 90), (20, 200), (-170, 100), (-60, 60, 180)])
def test_each_share_is_a_source(azimuths):
    sources = talkers(*azimuths)
    spectrum = stft(sum(sources) + 1e-4 * torch.randn(4, 64_000))
    shares = apart(spectrum, torch.ones(spectrum.shape[1:]), len(azimuths), 12.0)
    torch.testing.assert_close(shares.sum(dim=0), torch.ones(spectrum.shape[1:]))
    references = [stft(source[0]) for source in sources]
    before = max(snr_db(spectrum[0], reference) for reference in references)
    taken = set()
    for share in shares:
        found = [snr_db(share * spectrum[0], reference) for reference in references]
        assert max(found) > 8 > before
        taken.add(found.index(max(found)))
    assert taken == set(range(len(azimuths))), "no source twice"


def test_turning_the_scene_or_its_level_changes_nothing():
    here = stft(sum(talkers(10, 130)))
    turned = stft(sum(talkers(100, 220)))
    together = torch.rand(here.shape[1:], generator=torch.Generator().manual_seed(1))
    first = apart(here, together, 2, 12.0)
    for other in (turned, 100 * here):
        again = apart(other, together, 2, 12.0)
        torch.testing.assert_close(again.sort(dim=0).values, first.sort(dim=0).values, atol=1e-3, rtol=0)


def test_only_what_they_hold_together_says_where_they_are():
    """A third sound, louder than both, is none of theirs."""
    *pair, third = talkers(0, 90, 200)
    spectrum = stft(sum(pair) + 5 * third)
    powers = [stft(source[0]).abs().square() for source in (*pair, third)]
    together = (powers[0] + powers[1] > powers[2]).float()
    shares = apart(spectrum, together, 2, 12.0)
    held = torch.stack([torch.stack([(share * power).sum() for power in powers[:2]]) for share in shares])
    held = held / held.sum(dim=0)  # of each of the two sources, by share
    assert held.max(dim=0).values.min() > 0.8
    assert held.max(dim=1).values.min() > 0.8


def test_silence_and_one_direction_are_shared_evenly():
    silent = torch.zeros(4, 6, 20, dtype=torch.complex64)
    torch.testing.assert_close(apart(silent, torch.ones(6, 20), 2, 12.0), torch.full((2, 6, 20), 0.5))
    heard = torch.zeros(72)
    heard[5] = 1.0
    towards = centres(heard, 2, 12.0)
    torch.testing.assert_close(towards[0], towards[1])


def test_first_guesses_are_apart():
    heard = torch.zeros(72)
    heard[[70, 71, 0, 1, 30]] = torch.tensor([5.0, 5, 5, 5, 1])
    first, second = guesses(heard, 2)
    assert min((first - second) % 72, (second - first) % 72) >= 12
    assert abs(second - 30) <= 3


# --- in the separator ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair() -> tuple[ResUNetK, ResUNetK]:
    """The same network without and with it."""
    torch.manual_seed(0)
    plain = ResUNetK(CONFIG).eval()
    telling = ResUNetK(replace(CONFIG, apart=12.0)).eval()
    telling.load_state_dict(plain.state_dict())
    return plain, telling


def test_slots_of_one_class_are_told_apart_and_others_left_alone(pair):
    _, telling = pair
    mixture = sum(talkers(0, 120))[None]
    with torch.inference_mode():
        before, after = (network(mixture, query_of(3, 7, 3).flatten(1))[0] for network in pair)
        assert torch.equal(after[1], before[1])
        assert abs(torch.corrcoef(after[[0, 2]])[0, 1]) < 0.5 < abs(torch.corrcoef(before[[0, 2]])[0, 1])
        for classes in ((3, 7, 9), (3, -1, -1), (-1, -1, -1)):
            assert torch.equal(*(network(mixture, query_of(*classes).flatten(1)) for network in pair))
        company = torch.cat([mixture.roll(5_000, dims=-1), mixture])
        queries = torch.cat([query_of(7, 7, -1), query_of(3, 7, 3)]).flatten(1)
        torch.testing.assert_close(telling(company, queries)[1], after, atol=1e-5, rtol=1e-4)


def test_while_it_learns_the_network_answers_alone(pair):
    plain, telling = pair
    mixture, query = sum(talkers(0, 120))[None], query_of(3, 7, 3).flatten(1)
    torch.manual_seed(0)
    expected = plain.train()(mixture, query)
    torch.manual_seed(0)
    assert torch.equal(telling.train()(mixture, query), expected)
    for network in pair:
        network.eval()


def test_the_embedded_separators_tell_two_speakers_apart():
    """On the example with two of them, where the network alone gives them stems that are nearly the same."""
    waveform = torch.from_numpy(soundfile.read(EXAMPLES / "clapping_two_speakers.flac", dtype="float32")[0].T)[None]
    query = query_of(CLASSES.index("Speech"), CLASSES.index("Speech"), -1).flatten(1)
    for name in ("separator-a", "separator-b"):
        network = Given(name).network
        with torch.inference_mode():
            found = network(waveform, query)[0, :2]
            network.config = replace(network.config, apart=0.0, wiener=False)
            alone = network(waveform, query)[0, :2]
        assert abs(torch.corrcoef(found)[0, 1]) < 0.3 < abs(torch.corrcoef(alone)[0, 1])
