"""Laws of the compact tagger: level, frames, tracks made of counts, directions, and what it begins as."""

import math
from itertools import product

import pytest
import torch

from s5cli.nn.body_tagger import (
    AUDIOSET_MEANS,
    AUDIOSET_ROWS,
    BodyTagger,
    BodyTaggerConfig,
    Directions,
    Spread,
    beams,
    tracks,
)
from s5cli.nn.efficientat import EfficientAT, EfficientATConfig, KaldiMel


def tagger(channels: int) -> BodyTagger:
    torch.manual_seed(0)
    return BodyTagger(BodyTaggerConfig(channels=channels, width=0.1)).eval()


def noise(channels: int, seconds: float = 1.0) -> torch.Tensor:
    torch.manual_seed(1)
    return 0.1 * torch.randn(2, channels, round(32_000 * seconds))


def from_azimuth(source: torch.Tensor, azimuth_deg: float) -> torch.Tensor:
    """A horizontal plane wave as W, Y, Z, X: [4, t]."""
    azimuth = math.radians(azimuth_deg)
    return torch.stack([source, math.sin(azimuth) * source, 0 * source, math.cos(azimuth) * source])


@pytest.mark.parametrize("channels", [1, 4])
def test_the_answer_does_not_depend_on_the_level(channels):
    network, waveform = tagger(channels), noise(channels)
    torch.testing.assert_close(network(waveform), network(0.01 * waveform), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize(("seconds", "n_frames"), [(10.0, 32), (1.0, 4), (0.1, 1)])
def test_a_frame_is_a_third_of_a_second(channels, seconds, n_frames):
    logits, frames = tagger(channels).heard(noise(channels, seconds))
    assert logits.shape == (2, 3, 19)
    assert frames.shape == (2, n_frames, 18)


@pytest.mark.parametrize("channels", [1, 4])
def test_silence_is_answered_with_numbers(channels):
    assert torch.isfinite(tagger(channels)(torch.zeros(1, channels, 32_000))).all()


def test_training_hears_other_sound_than_evaluation():
    network, waveform, heard = tagger(1), noise(1), []
    network.body.register_forward_pre_hook(lambda body, given: heard.append(given[0]))
    network.counted(waveform)
    network.counted(waveform)
    network.train().counted(waveform)
    network.counted(waveform)
    assert torch.equal(heard[0], heard[1])
    assert not torch.equal(heard[2], heard[0])
    assert not torch.equal(heard[3], heard[2])


# --- beams -----------------------------------------------------------------------------------------------------------


def of_beams() -> BodyTagger:
    torch.manual_seed(0)
    return BodyTagger(BodyTaggerConfig(channels=4, beams=4, width=0.1)).eval()


def test_what_is_there_is_the_mean_over_channel_0_and_beams():
    network, waveform = of_beams(), noise(4)
    alone = tagger(1)
    alone.load_state_dict({k: v for k, v in network.state_dict().items() if "more" not in k}, strict=False)
    each = [alone.counted(one[:, None]) for one in beams(waveform, 4).unbind(dim=1)]
    assert len(each) == 5
    counts, frames = network.counted(waveform)
    torch.testing.assert_close(counts[:, 0], torch.stack([found[0][:, 0] for found in each]).mean(dim=0))
    torch.testing.assert_close(frames, torch.stack([found[1] for found in each]).mean(dim=0))


def test_a_beam_hears_what_another_direction_drowns():
    """A cardioid has its zero opposite to where it points: of two sources it leaves one."""
    torch.manual_seed(3)
    front, back = torch.randn(2, 3200)
    heard = beams((from_azimuth(front, 0) + from_azimuth(back, 180))[None], 4)[0]
    torch.testing.assert_close(heard[0], front + back)
    torch.testing.assert_close(heard[1], front, atol=1e-5, rtol=0)
    torch.testing.assert_close(heard[3], back, atol=1e-5, rtol=0)


def test_a_quarter_turn_of_the_scene_changes_nothing():
    w, y, z, x = noise(4).unbind(dim=1)
    network = of_beams()
    here, turned = network(torch.stack([w, y, z, x], dim=1)), network(torch.stack([w, x, z, -y], dim=1))
    torch.testing.assert_close(here, turned, atol=1e-4, rtol=1e-4)


# --- tracks ----------------------------------------------------------------------------------------------------------


def test_tracks_are_the_most_probable_sources():
    torch.manual_seed(2)
    counts = 3 * torch.randn(5, 3, 4)
    said = tracks(counts).softmax(dim=-1)
    torch.testing.assert_close(said.sum(dim=-1), torch.ones(5, 3))
    for clip, found in zip(counts.sigmoid(), said, strict=True):
        at_least = {(j, k): float(clip[: j + 1, k].prod()) for j, k in product(range(3), range(4))}
        best = sorted(at_least.items(), key=lambda item: -item[1])[:3]
        for track, ((_, k), p) in zip(found, best, strict=True):
            assert float(track[k]) == pytest.approx(p, abs=1e-5)
            assert float(track[-1]) == pytest.approx(1 - p, abs=1e-5)


def test_a_second_of_a_kind_comes_with_a_first():
    counts = torch.full((1, 3, 18), -8.0)
    counts[0, :, 15] = torch.tensor([2.0, 3.0, -4.0])
    counts[0, 1:, 7] = 9.0  # would be two or three if there were one
    assert tracks(counts).argmax(dim=-1).tolist() == [[15, 15, 18]]


# --- directions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("azimuth_deg", "expected"), [(0.0, (0, 0, 1)), (90.0, (1, 0, 0)), (-90.0, (-1, 0, 0))])
def test_a_plane_wave_comes_from_its_direction(azimuth_deg, expected):
    wave = from_azimuth(noise(1)[0, 0], azimuth_deg)
    directions, energy = Directions(KaldiMel())(wave[None])
    assert directions.shape == (1, 3, 16, 13)
    assert energy.shape == (1, 1, 16, 13)
    torch.testing.assert_close(directions.mean(dim=(2, 3)), torch.tensor([expected]).float(), atol=1e-3, rtol=0)


def test_two_directions_of_a_class_show_at_their_distance():
    one, other = noise(2)[0]
    gap = torch.cat([one[:16_000], torch.zeros(16_000)]), torch.cat([torch.zeros(16_000), other[16_000:]])
    spread, to_directions, sounds = Spread(classes=2), Directions(KaldiMel()), torch.ones(1, 4, 2)
    found = {}
    for name, azimuths in {"same": (0, 0), "apart": (0, 90), "turned": (60, 150)}.items():
        scene = sum(from_azimuth(source, azimuth) for source, azimuth in zip(gap, azimuths, strict=True))
        found[name] = spread(*to_directions(scene[None]), sounds)[0]
        assert found[name].shape == (2, 7)
    assert found["apart"][0, 3] > 3 * found["same"][0, 3]  # lag 3 is 90°
    assert found["apart"][0, 0] < found["same"][0, 0]
    torch.testing.assert_close(found["turned"], found["apart"], atol=0.05, rtol=0.05)


def test_only_when_a_class_sounds_its_direction_counts():
    scene = torch.cat([from_azimuth(noise(1)[0, 0], 0), from_azimuth(noise(1)[1, 0], 180)], dim=1)
    sounds = torch.zeros(1, 6, 2)
    sounds[0, :3, 0] = 1  # the first class in the first half, the second throughout
    sounds[0, :, 1] = 1
    first, second = Spread(classes=2)(*Directions(KaldiMel())(scene[None]), sounds)[0]
    assert second[6] > 5 * first[6]


# --- beginnings ------------------------------------------------------------------------------------------------------


def audioset(width: float = 0.1) -> EfficientAT:
    torch.manual_seed(3)
    return EfficientAT(EfficientATConfig(width=width)).eval()


def test_every_class_has_rows_of_its_own():
    assert len(AUDIOSET_ROWS) == len(AUDIOSET_MEANS) == 18
    rows = [row for each in AUDIOSET_ROWS for row in each]
    assert len(set(rows)) == len(rows)
    assert max(rows) < 527


def test_it_begins_as_audiosets_network():
    """Presence is then a scaled mean of the rows' logits, in one context that spans the clip."""
    network = audioset()
    start = BodyTagger(BodyTaggerConfig(channels=1, width=0.1, context_frames=7)).eval()
    start.load_state_dict(BodyTagger.grown(network.state_dict(), start.config))
    waveform = noise(1, 0.3)  # one frame
    level = waveform.square().mean(dim=-1, keepdim=True).sqrt()
    logits = network(0.05 * waveform / level)
    expected = torch.stack([logits[:, list(rows)].mean(dim=1) for rows in AUDIOSET_ROWS], dim=1)
    counts, frames = start.counted(waveform)
    assert frames.shape[1] == 1
    torch.testing.assert_close(counts[:, 0], 0.5 * (expected - torch.tensor(AUDIOSET_MEANS) - 5.5), atol=1e-4, rtol=0)
    torch.testing.assert_close(frames[:, 0], counts[:, 0], atol=1e-4, rtol=0)


def test_other_channels_change_nothing_but_the_counts():
    one, four = tagger(1), tagger(4)
    four.load_state_dict(BodyTagger.grown(one.state_dict(), four.config))
    waveform = noise(4)
    with torch.inference_mode():
        (few, frames), (all_, same_frames) = one.counted(waveform[:, :1]), four.counted(waveform)
    torch.testing.assert_close(all_[:, 0], few[:, 0])
    torch.testing.assert_close(same_frames, frames)
    assert not torch.equal(all_[:, 1:], few[:, 1:])
    again = tagger(1)
    again.load_state_dict(BodyTagger.grown(four.state_dict(), again.config))
    torch.testing.assert_close(again.counted(waveform[:, :1])[0][:, 0], few[:, 0])
