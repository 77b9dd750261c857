"""The fusion tagger: how its two streams are aligned, what a channel or a track is, what training begins with."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from s5cli.labels import SILENCE_INDEX
from s5cli.nn.fpasst import FPaSSTConfig, FPaSSTDetector
from s5cli.nn.fusion_tagger import FusionTagger, FusionTaggerConfig
from s5cli.nn.m2d import M2DConfig, M2DTagger1ch
from s5cli.train.data import Batch
from s5cli.train.label_queried import FrameTagger
from s5cli.train.loop import freeze
from s5cli.train.losses import frame_pit_cross_entropy
from s5cli.train.recipe import read_recipe

TINY = FusionTaggerConfig(width=12, depth=2, heads=2, fused=8, track_width=8, hidden=8)


@torch.inference_mode()
@pytest.mark.parametrize(("seconds", "n_frames"), [(10, 250), (1, 25), (4.3, 108)])
def test_a_frame_is_forty_milliseconds(seconds, n_frames):
    network = FusionTagger(TINY).eval()
    tracks, frames = network.heard(0.1 * torch.randn(2, 4, int(seconds * 32_000)))
    assert tracks.shape == (2, 3, 19)
    assert frames.shape == (2, 3, n_frames, 18)
    assert frames.isfinite().all()


@torch.inference_mode()
def test_frames_of_the_two_streams_are_aligned():
    """PaSST's frames 0–3 take M2D's column 0, 4–7 column 1, 244–249 column 61."""
    network = FusionTagger(TINY).eval()
    numbered = torch.arange(62.0)[None, :, None].expand(1, 62, TINY.fused)
    network.m2d_projection.forward = lambda _: numbered
    seen = []
    network.head.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    network(0.1 * torch.randn(1, 4, 320_000))
    columns = seen[0][0, :, 0].tolist()
    assert columns == [min(61, i // 4) for i in range(250)]
    assert columns[244:] == [61] * 6


@torch.inference_mode()
def test_the_frame_activity_is_class_against_silence():
    network = FusionTagger(TINY).eval()
    audio = 0.1 * torch.randn(1, 4, 32_000)
    p = network.tracked(audio)[1].softmax(dim=-1)
    expected = (p[..., :-1] / (p[..., :-1] + p[..., -1:])).transpose(1, 2)
    torch.testing.assert_close(torch.sigmoid(network.heard(audio)[1]), expected)


def test_stacked_columns_are_five_times_as_wide():
    with torch.device("meta"):
        assert FusionTagger(replace(TINY, columns="stack")).m2d_projection[0].in_features == 4 * 5 * 12
        assert FusionTagger(TINY).m2d_projection[0].in_features == 4 * 12


def test_training_begins_with_both_public_backbones():
    torch.manual_seed(0)
    m2d = M2DTagger1ch(M2DConfig(width=12, depth=2, heads=2, track_width=8, hidden=8))
    passt = FPaSSTDetector(FPaSSTConfig(width=12, depth=2, heads=2, outputs=3))
    given = {f"model.{name}": value for name, value in m2d.state_dict().items()} | passt.state_dict()
    network = FusionTagger(TINY)
    network.load_state_dict(FusionTagger.grown(given, TINY), strict=True)
    torch.testing.assert_close(network.m2d.backbone.state_dict(), m2d.backbone.state_dict())
    torch.testing.assert_close(network.passt.state_dict(), passt.model.state_dict())


def test_one_assignment_holds_for_clips_and_frames():
    torch.manual_seed(0)
    clip, frames = torch.randn(2, 3, 19), torch.randn(2, 5, 3, 19)
    classes, heard = torch.tensor([[3, 18, 7], [18, 18, 2]]), torch.rand(2, 3, 5) > 0.5
    expected = []
    for row in range(2):
        losses = []
        for order in ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]):
            loss = 0.0
            for track, target in enumerate(order):
                when = torch.where(heard[row, target], classes[row, target], SILENCE_INDEX)
                loss += cross_entropy(clip[row, track, None], classes[row, target, None]) / 3
                loss += cross_entropy(frames[row, :, track], when) / 3
            losses.append(loss)
        expected.append(min(losses))
    torch.testing.assert_close(frame_pit_cross_entropy(clip, frames, classes, heard), torch.stack(expected).mean())


@pytest.mark.parametrize(
    ("recipe", "learning"), [("label_queried_tagger_heads", set()), ("label_queried_tagger", {"10", "11"})]
)
def test_two_stages_learn_heads_then_the_last_blocks(recipe, learning):
    with torch.device("meta"):
        network = read_recipe(recipe).build()
        freeze(network, read_recipe(recipe).trainable)
    names = {name for name, p in network.named_parameters() if p.requires_grad}
    for backbone in ("m2d.backbone.blocks.", "passt.blocks."):
        assert {name.removeprefix(backbone).split(".")[0] for name in names if name.startswith(backbone)} == learning
    assert any(name.startswith("head.") for name in names)
    assert "m2d.backbone.norm_stats" not in names


def test_the_task_gives_every_head_a_gradient():
    torch.manual_seed(0)
    network = FusionTagger(TINY).train()
    targets = torch.zeros(2, 3, 32_000)
    targets[:, 0, 8000:] = 0.1
    batch = Batch(0.1 * torch.randn(2, 4, 32_000), targets, torch.tensor([[3, -1, -1], [5, -1, -1]]))
    loss = FrameTagger().loss(read_recipe("label_queried_tagger"), network, batch)
    loss.backward()
    assert all(p.grad is not None for name, p in network.head.named_parameters()), "clip and frames"
