"""The full system in its own size: built, saved, loaded strictly, and run on a short clip."""

import numpy as np
import torch
from safetensors.torch import save_file

from s5cli.nn.fusion_tagger import FusionTagger, FusionTaggerConfig
from s5cli.nn.sr_corrnet import SRCorrNet, SRCorrNetConfig
from s5cli.scene import Queries, Scene
from s5cli.weights.build import build


def save(network_class, config, path):
    """A checkpoint of that size with small numbers, in half precision."""
    with torch.device("meta"):
        state = network_class(config).state_dict()
    generator = torch.Generator().manual_seed(0)
    numbers = {
        name: torch.empty(value.shape).uniform_(-0.02, 0.02, generator=generator).half()
        if value.is_floating_point()
        else torch.zeros(value.shape, dtype=value.dtype)
        for name, value in state.items()
    }
    numbers = {name: value.abs() if name.endswith("running_var") else value for name, value in numbers.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(numbers, path)


def test_the_full_system_runs_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("S5_DATA_DIR", str(tmp_path))
    save(FusionTagger, FusionTaggerConfig(), tmp_path / "trained" / "fusion-tagger.safetensors")
    save(SRCorrNet, SRCorrNetConfig(), tmp_path / "trained" / "sr-corrnet.safetensors")
    system = build("label-queried-corrnet")
    assert system.setting.options["stream"] == "long"
    assert 15.1e6 < system.separator.nparams < 15.3e6
    scene = Scene("short", 0.1 * torch.randn(4, 3200))
    queries = Queries(np.array([[15, -1, -1]]), np.array([[1.0, 0, 0]]))
    [stems] = system.with_queries(queries)([scene]).stems().clips()
    assert [(stem.label, len(stem.audio)) for stem in stems] == [("Speech", 3200)]
    assert stems[0].audio.isfinite().all()
    assert stems[0].audio.any()
