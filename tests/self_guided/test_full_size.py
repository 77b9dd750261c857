"""The systems of the published sizes: built, loaded strictly from saved checkpoints, and run on 0.16 s.

DeFT-Mamba has its full width and depth. Of the pretrained bodies, which are not trained here, one layer of full width
stands for all.
"""

import json
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import save_file

from s5cli.errors import WeightsError
from s5cli.nn.af_whisper import AFWhisper, AFWhisperConfig
from s5cli.nn.deft import DeftConfig, TargetExtractor, UniversalSeparator
from s5cli.nn.m2d import M2DConfig, M2DTagger1ch
from s5cli.nn.stem_classifier import M2DStemClassifier, M2DStemConfig
from s5cli.scene import Scene
from s5cli.weights import registry
from s5cli.weights.build import build

FILES = {
    "self-guided-2025": {
        "deft-uss-2025": lambda: UniversalSeparator(DeftConfig(classifier="decoder")),
        "deft-tse-2025": lambda: TargetExtractor(DeftConfig()),
        "m2d-sc": lambda: M2DStemClassifier(M2DStemConfig(depth=1)),
    },
    "self-guided-2026": {
        "deft-uss-2026": lambda: UniversalSeparator(DeftConfig(classifier="dual")),
        "deft-tse-2026": lambda: TargetExtractor(DeftConfig(classifier="dual", frame_features=1280)),
        "m2dat-1c": lambda: M2DTagger1ch(M2DConfig(depth=1)),
        "af-whisper": lambda: AFWhisper(AFWhisperConfig(depth=1, ffn_width=64)),
    },
}


@pytest.mark.parametrize("name", FILES)
def test_it_runs(name, tmp_path, monkeypatch):
    for kind in ("CACHE", "DATA", "CONFIG"):
        monkeypatch.setenv(f"S5_{kind}_DIR", str(tmp_path / kind.lower()))
    text = ""
    for file, make in FILES[name].items():
        network, path = make(), tmp_path / f"{file}.safetensors"
        save_file(network.state_dict(), path, {"config": json.dumps(asdict(network.config))})
        text += f"[file.{file}]\npath = '{path}'\nlicence = 'own'\n"
    registry.user_path().parent.mkdir(parents=True)
    registry.user_path().write_text(f"{text}[licence.own]\ntitle = 'own'\nurl = ''\n")
    system = build(name)
    with torch.device("meta"):
        assert system.nparams == sum(make().nparams for make in FILES[name].values())
    scene = Scene("noise", torch.randn(4, 5_120) / 10)
    decision = system([scene])
    assert len(decision.passes) == 3
    assert all(wave.shape == (5_120,) and wave.isfinite().all() for wave in decision.passes[-1].said.waveforms[0])
    assert decision.trace()[0].is_finite
    torch.save({"up_conv.0.weight": torch.zeros(3)}, tmp_path / f"{next(iter(FILES[name]))}.safetensors")
    with pytest.raises(WeightsError):
        build(name)
