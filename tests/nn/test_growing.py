"""A recording that comes in portions has the spectrum of the whole, and comes back."""

import pytest
import torch

from s5cli.nn.growing import GrowingSpectrum, Overlapped
from s5cli.nn.transform import Transform


def portions(audio, seed):
    generator = torch.Generator().manual_seed(seed)
    while audio.shape[1]:
        n = int(torch.randint(0, 1500, (), generator=generator))
        yield audio[:, :n]
        audio = audio[:, n:]


@pytest.mark.parametrize("hop_samples", [256, 512])
@pytest.mark.parametrize("n_samples", [513, 700, 1024, 5120, 5121, 9999])
def test_frames_are_those_of_the_whole(hop_samples, n_samples):
    torch.manual_seed(0)
    audio, transform = torch.randn(4, n_samples), Transform("centred", 1024, hop_samples)
    growing = GrowingSpectrum(transform)
    before = 0
    for portion in portions(audio, seed=n_samples):
        growing.add(portion)
        assert growing.last >= before
        before = growing.last
    growing.end()
    assert growing.last == transform.n_frames(n_samples)
    torch.testing.assert_close(growing.frames, transform(audio), atol=1e-4, rtol=1e-4)


def test_what_is_let_go_is_not_held():
    growing = GrowingSpectrum(Transform("centred", 1024, 512))
    growing.add(torch.randn(4, 20_000))
    whole, last = growing.frames, growing.last
    growing.let_go(10)
    assert (growing.first, growing.last) == (10, last)
    assert torch.equal(growing.frames, whole[:, 10:])
    growing.add(torch.randn(4, 20_000))
    assert growing.last == 78


def test_half_a_window_has_no_frames():
    growing = GrowingSpectrum(Transform("centred", 1024, 512))
    growing.add(torch.randn(4, 512))
    growing.end()
    assert growing.last == 0


@pytest.mark.parametrize("hop_samples", [256, 512])
def test_stretches_overlap_to_the_whole(hop_samples):
    torch.manual_seed(0)
    transform = Transform("centred", 1024, hop_samples)
    audio = torch.randn(8000)
    spectrum = transform(audio)
    stem, envelope, found = Overlapped(transform), Overlapped(transform), []
    for stretch in spectrum.split(3):
        weight = envelope.add(transform.window.square().expand(len(stretch), -1))
        found.append(stem.sounded(stretch) / weight.clamp_min(1e-11))
    found.append(stem.tail / envelope.tail.clamp_min(1e-11))
    torch.testing.assert_close(torch.cat(found)[512:][:8000], audio, atol=1e-4, rtol=1e-4)
