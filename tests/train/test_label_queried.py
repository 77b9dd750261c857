"""The label-queried separator learns by `s5 train`: excerpts, spoilt labels, losses, what is exported."""

import tomllib
from dataclasses import replace

import pytest
import torch

from s5cli.cli import exit_code
from s5cli.errors import UsageError
from s5cli.nn.sr_corrnet import SRCorrNet
from s5cli.scene import RATE_HZ
from s5cli.synth.settings import SceneSettings
from s5cli.train.data import Batch, ExampleSettings, Scenes
from s5cli.train.label_queried import Excerpts, LabelQueried, LabelSettings, spoilt, true_labels
from s5cli.train.loop import check
from s5cli.train.losses import auxiliary_loss, class_aware_si_sdr_loss
from s5cli.train.recipe import recipe_of
from s5cli.weights import checkpoint

RECIPE = """
task = "label_queried"
network = "s5cli.nn.sr_corrnet:SRCorrNet"
half = false
installs = "resunetk-b"
[config]
taps_frame = [1, 0]
taps_bin = [0, 0]
width = 8
hidden = 8
slot_hidden = 8
heads = 2
kernel = 3
encoder_blocks = 1
decoder_blocks = 2
fold = 16
hop_samples = 512
[options]
excerpt_s = 0.5
[scenes]
duration_s = 1.0
n_simulated_rooms = 1
[schedule]
steps = 2
batch_size = 2
warmup_steps = 1
validate_steps = 2
validation_scenes = 2
"""


@pytest.mark.parametrize("loss", ["snr", "si_sdr"])
def test_two_steps_make_a_file_that_loads_strictly(loss, material, tmp_path, monkeypatch, capsys):
    """And it goes where the registry looks for it."""
    (tmp_path / "mine.toml").write_text(RECIPE.replace("[options]", f"[options]\nloss = '{loss}'"))
    monkeypatch.setenv("S5_DATA_DIR", str(tmp_path / "data"))
    command = ["train", tmp_path / "mine.toml", "--sources", material, "--held-out", "train", "--accelerator", "cpu"]
    assert exit_code([*map(str, command), "--workers", "0", "-o", str(tmp_path / "run")]) == 0
    told = capsys.readouterr()
    assert "sdri_db" in told.err
    assert told.out.strip() == str(tmp_path / "data" / "trained" / "resunetk-b.safetensors")
    network = checkpoint.build_network(SRCorrNet, checkpoint.read(tmp_path / "run" / "mine.safetensors"), {})
    assert network.config.width == 8
    assert all(value.isfinite().all() for value in network.state_dict().values())


def recipe(**changed):
    return replace(recipe_of("tiny", tomllib.loads(RECIPE)), **changed)


def test_mistakes_of_a_recipe():
    made = recipe()
    with pytest.raises(UsageError, match="give snr or si_sdr"):
        check(replace(made, options={"loss": "mse"}), made.build())
    with pytest.raises(UsageError, match="excerpt_s must be above 0 and at most"):
        check(replace(made, options={"excerpt_s": 9.0}), made.build())
    with pytest.raises(UsageError, match=r"\[options\]: unknown key 'excerpts'"):
        check(replace(made, options={"excerpts": 9.0}), made.build())


def test_every_part_of_the_network_learns():
    """The auxiliary estimators too; the split begins with zeros, and still its last layers get a gradient."""
    made = recipe()
    network = made.build().train()
    torch.manual_seed(0)
    batch = Batch(
        0.1 * torch.randn(2, 4, 16_000), 0.1 * torch.randn(2, 3, 16_000), torch.tensor([[3, 3, 1], [5, 2, 4]])
    )
    LabelQueried().loss(made, network, batch).backward()
    asleep = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    assert {name.split(".")[1] for name in asleep} <= {"strong"}, asleep
    assert {name for name in asleep if "strong.2" in name} == set()


def test_an_excerpt_asks_for_what_sounds_in_it(library):
    scenes = Scenes(SceneSettings(duration_s=4.0, n_simulated_rooms=1), library, ExampleSettings(seed=3))
    excerpts = Excerpts(scenes, RATE_HZ)
    found = [excerpts[index] for index in range(6)]
    for mixture, targets, classes in found:
        assert mixture.shape == (4, RATE_HZ)
        assert torch.equal(targets.abs().amax(dim=1) > 0, classes >= 0)
    assert any((classes >= 0).any() for _, _, classes in found)
    again = Excerpts(scenes, RATE_HZ)[2]
    assert all(torch.equal(one, other) for one, other in zip(again, found[2], strict=True))


def test_labels_are_spoilt_as_the_options_say():
    torch.manual_seed(0)
    labels = torch.zeros(200, 3, 100, dtype=torch.bool)
    labels[:, :, 30:60] = True
    exact = LabelSettings(jitter_s=0, dropped=0, whole=0)
    assert torch.equal(spoilt(labels, exact, 1280), labels)
    assert spoilt(labels, replace(exact, whole=1), 1280).all()
    assert not spoilt(labels, replace(exact, dropped=1), 1280).any()
    found = spoilt(labels, replace(exact, jitter_s=0.2), 1280)  # at most five frames of 40 ms
    assert found[..., 35:55].all()
    assert not found[..., :25].any()
    assert not found[..., 65:].any()
    assert (found != labels).any()
    dropped = spoilt(labels, replace(exact, dropped=0.05), 1280).any(dim=-1)
    assert 0.02 < 1 - dropped.float().mean() < 0.09


def test_labels_of_a_class_are_those_of_all_its_sources():
    targets = torch.zeros(1, 3, 4 * 1280)
    targets[0, 0, :1280], targets[0, 1, 2560:3840] = 1.0, 1.0
    batch = Batch(torch.zeros(1, 4, 4 * 1280), targets, torch.tensor([[3, 3, -1]]))
    network = recipe().build()
    assert true_labels(network, batch)[0, :2].tolist() == [[True, False, False, False], [False, False, True, False]]
    network.config = replace(network.config, labels_of="class")
    assert true_labels(network, batch)[0, :2].tolist() == [[True, False, True, False]] * 2


def test_the_si_sdr_loss_does_not_see_the_level():
    torch.manual_seed(0)
    target = torch.randn(1, 3, 4000)
    estimate, classes = target + 0.3 * torch.randn(1, 3, 4000), torch.tensor([[3, 5, 7]])
    loss = class_aware_si_sdr_loss(estimate, target, classes)
    torch.testing.assert_close(
        class_aware_si_sdr_loss(0.01 * estimate + 3, target, classes), loss, atol=1e-3, rtol=1e-3
    )
    assert -11.5 < loss < -9.5
    swapped = class_aware_si_sdr_loss(estimate[:, [1, 0, 2]], target, torch.tensor([[3, 3, 7]]))
    torch.testing.assert_close(swapped, loss)


def test_the_auxiliary_loss_is_of_magnitudes_in_the_final_stems_order():
    torch.manual_seed(0)
    target, classes = torch.randn(1, 3, 4000), torch.tensor([[3, 3, -1]])
    final, stage = target[:, [1, 0, 2]], -0.1 * target[:, [1, 0, 2]]  # magnitudes know neither sign nor level
    assert auxiliary_loss([stage], final, target, classes).item() == pytest.approx(-30, abs=0.1)
    assert auxiliary_loss([stage], target, target, classes).item() > -10
