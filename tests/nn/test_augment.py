"""What the augmentations of maps may change, and what they leave."""

import torch

from s5cli.nn.augment import filtered, masked


def maps(b: int = 6, channels: int = 2) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(b, channels, 32, 50)


def test_masks_are_one_band_and_one_stretch_of_each_clip():
    torch.manual_seed(1)
    before = maps()
    after = masked(before, most_bands=8, most_frames=20)
    gone = (after == 0) & (before != 0)
    assert torch.equal(after[~gone], before[~gone])
    assert gone.any()
    for clip in gone:
        assert torch.equal(clip[0], clip[1])
        bands, frames = clip[0].all(dim=1), clip[0].all(dim=0)
        assert bands.sum() <= 9
        assert frames.sum() <= 21
        for line in (bands, frames):
            assert (line.int().diff() == 1).sum() + line[0] <= 1
        assert torch.equal(clip[0], bands[:, None] | frames)


def test_no_width_masks_nothing():
    assert torch.equal(masked(maps(), 0, 0), maps())


def test_a_filter_is_the_same_at_all_times_and_in_all_channels_of_a_clip():
    torch.manual_seed(2)
    added = filtered(maps(), 0.5) - maps()
    torch.testing.assert_close(added, added[:, :1, :, :1].expand_as(added), atol=1e-5, rtol=0)
    response = added[:, 0, :, 0]
    assert (response.std(dim=0) > 0).all()  # clips differ
    corners = response.diff(n=2, dim=1).abs() > 1e-4  # of straight lines
    assert (corners.sum(dim=1) <= 2 * 4).all()


def test_a_filter_of_no_deviation_is_none():
    assert torch.equal(filtered(maps(), 0.0), maps())
