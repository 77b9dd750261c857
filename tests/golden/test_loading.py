"""The golden numbers through the real loader: a Lightning file with everything a published checkpoint carries."""

import pytest
import torch

from s5cli.weights.build import load_network
from s5cli.weights.registry import registry
from tests.golden.golden import Model

PARTS = {"m2dat-1c": "m2dat_1c_d768", "m2dat-4c": "m2dat_4c_d768", "resunetk": "resunetk"}


class Settings:
    """What a training wrapper leaves in a Lightning file: an object of its own, unknown to whoever loads it."""

    def __init__(self):
        self.learning_rate = 1e-4


@pytest.mark.parametrize("part_name", PARTS)
def test_a_published_checkpoint_gives_the_golden_numbers(part_name, tmp_path, monkeypatch):
    monkeypatch.setenv("S5_CACHE_DIR", str(tmp_path / "cache"))
    golden = Model(PARTS[part_name])
    case = golden.shortest_case()
    weights = {key: torch.from_numpy(value) for key, value in golden.weights.items()}
    constants = {key: torch.zeros(spec["shape"]) for key, spec in golden.manifest.items() if spec["constant"]}
    path = tmp_path / "published.ckpt"
    state = {f"model.{key}": value for key, value in (weights | constants).items()}
    torch.save({"state_dict": state, "epoch": 3, "hyper_parameters": {"settings": Settings()}}, path)
    part = next(
        part for system in registry().systems.values() for part in system.parts.values() if part.name == part_name
    )

    mixture = torch.from_numpy(case.clips)
    for _ in range(2):  # the second time from the local safetensors copy
        network = load_network(part, path)
        with torch.inference_mode():
            if part_name == "resunetk":
                found = network(mixture, torch.from_numpy(case.label_vector))
                case.check("waveform", found[:, :, None, :: case.stride], tolerance=1e-5)
            else:
                case.check("logits", network(mixture[:, : network.channels]))
    assert list((tmp_path / "cache").rglob("*.safetensors"))
