"""Where a run begins: one file of weights, or several out of which a network grows."""

import tomllib

import torch
from safetensors.torch import save_file

from s5cli.nn.efficientat import EfficientAT, EfficientATConfig
from s5cli.nn.resunet import ResUNetK
from s5cli.nn.unet import ResUNetConfig
from s5cli.train.recipe import recipe_of
from s5cli.train.start import began_as, initial_network, initial_paths
from s5cli.weights.fetch import Access

CONFIG = {"widths": (8,) * 6, "condition_width": 16, "hop_samples": 512, "patch_frames": 2, "patch_bins": 4}
GROWN = f"""
task = "separator"
network = "s5cli.nn.resunet:ResUNetK"
grows = true
[config]
widths = {[8] * 6}
condition_width = 16
hop_samples = 512
patch_frames = 2
patch_bins = 4
features = "spatial"
mask = "share"
ears = 0.4
refined = true
[schedule]
steps = 1
batch_size = 1
"""


def test_a_network_grows_out_of_two_files(tmp_path) -> None:
    torch.manual_seed(0)
    old = ResUNetK(ResUNetConfig(**CONFIG, features="spatial", mask="share"))
    ears = EfficientAT(EfficientATConfig())
    save_file(old.state_dict(), tmp_path / "old.safetensors")
    torch.save(ears.state_dict(), tmp_path / "ears.pt")
    recipe, init = recipe_of("grown", tomllib.loads(GROWN)), f"{tmp_path}/old.safetensors,{tmp_path}/ears.pt"
    network = initial_network(recipe, init, Access())
    assert torch.equal(network.head.readout, old.head.readout)
    assert torch.equal(network.ears.body[0][0].weight, ears.features[0][0].weight)
    assert began_as(initial_paths(recipe, init, Access())) == ["old.safetensors", "ears.pt"]
    assert initial_paths(recipe, None, Access()) == []
