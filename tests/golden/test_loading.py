"""The golden numbers through the real loader: a Lightning file with everything a published checkpoint carries."""

import numpy as np
import pytest
import torch

from s5cli.labels import CLASSES
from s5cli.weights.build import load_network
from s5cli.weights.registry import registry
from tests.golden.golden import golden_file, load_json, load_npz, recipe, state_file

CASES = {
    "m2dat-1c": ("m2dat_1c_d768", "len1"),
    "m2dat-4c": ("m2dat_4c_d768", "len1"),
    "resunetk": ("resunetk", "sep50001"),
}


class Settings:
    """What a training wrapper leaves in a Lightning file: an object of its own, unknown to whoever loads it."""

    def __init__(self):
        self.learning_rate = 1e-4


@pytest.mark.parametrize("part_name", CASES)
def test_a_published_checkpoint_gives_the_golden_numbers(part_name, tmp_path, monkeypatch):
    monkeypatch.setenv("S5_CACHE_DIR", str(tmp_path / "cache"))
    name, case_name = CASES[part_name]
    manifest = recipe.load_manifest(state_file(f"{name}.state.json"))
    weights = {key: torch.from_numpy(value) for key, value in recipe.make_weights(manifest).items()}
    constants = {key: torch.zeros(spec["shape"]) for key, spec in manifest.items() if spec["constant"]}
    path = tmp_path / "published.ckpt"
    state = {f"model.{key}": value for key, value in (weights | constants).items()}
    torch.save({"state_dict": state, "epoch": 3, "hyper_parameters": {"settings": Settings()}}, path)
    part = next(
        part for system in registry().systems.values() for part in system.parts.values() if part.name == part_name
    )

    case = load_json(golden_file(f"{name}.golden.json"))["cases"][case_name]
    golden = load_npz(golden_file(f"{name}.golden.npz"))
    mixture = torch.from_numpy(np.stack([recipe.make_clip(**clip) for clip in case["clips"]]))
    for _ in range(2):  # the second time from the local safetensors copy
        network = load_network(part, path)
        with torch.inference_mode():
            if name == "resunetk":
                query = torch.tensor(
                    [[[float(c == label) for c in CLASSES] for label in clip] for clip in case["labels"]]
                )
                found, key = network(mixture, query.flatten(1))[:, :, None], "waveform"
            else:
                found, key = network(mixture[:, : network.channels]), "logits"
        np.testing.assert_allclose(
            found.numpy(), golden[f"{case_name}/{key}"], rtol=0, atol=1e-4 if key == "logits" else 1e-5
        )
    assert list((tmp_path / "cache").rglob("*.safetensors"))
