"""Every golden case of fPaSST and of M2D by frames, at the stated tolerances, and their files read as published.

The waveform lies in `fpasst.golden.npz`; seed, length and salt are those of the files' `meta`.
"""

import json
from functools import lru_cache

import numpy as np
import pytest
import torch

from s5cli.nn.fpasst import FPaSSTConfig, FPaSSTDetector
from s5cli.nn.half_rate import HalfRate
from s5cli.nn.m2d_detector import M2DDetector
from s5cli.weights import checkpoint
from s5cli.weights.checkpoint import Checkpoint, build_network
from tests.golden.golden import golden_file, load_json, load_npz, recipe, state_file


class Golden:
    def __init__(self, name):
        self.state = load_json(state_file(f"{name}.state.json"))
        self.arrays = load_npz(golden_file(f"{name}.golden.npz"))
        self.meta = json.loads(str(self.arrays["meta"]))

    @property
    def weights(self):
        made = recipe.make_weights(self.state["state"], self.meta["salt"])
        assert recipe.weights_digest(made) == self.meta["weights_digest"], "the recipe gives other weights"
        gains = self.state.get("gains", {})
        made |= {name: value * np.float32(gains[name]) for name, value in made.items() if name in gains}
        stats = self.meta.get("norm_stats")
        made |= {name: np.float32(stats) for name in made if stats and name.endswith("norm_stats")}
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in made.items()}

    def network(self, kind, tmp_path):
        return build_network(kind, Checkpoint(tmp_path / "file.pt", self.weights, {}), {})

    def check(self, name, actual, tolerance):
        expected = self.arrays[name]
        assert tuple(actual.shape) == expected.shape, name
        np.testing.assert_allclose(actual.numpy(), expected, rtol=0, atol=tolerance, err_msg=name)


@lru_cache
def waveform():
    """The stored one, which the recipe gives too."""
    golden = Golden("fpasst")
    stored = torch.from_numpy(golden.arrays["wave16k"])[None]
    clip = recipe.make_clip(golden.meta["seed"], golden.meta["n_samples_32k"])
    torch.testing.assert_close(HalfRate()(torch.from_numpy(clip[:1])), stored, atol=1e-6, rtol=0)
    return stored


@torch.inference_mode()
def test_fpasst(tmp_path):
    golden = Golden("fpasst")
    network = golden.network(FPaSSTDetector, tmp_path)
    body, audio = network.model, waveform()
    mel = body.to_mel(audio)
    for name, value in {
        "mel_head": mel[0, :, :48], "mel_tail": mel[0, :, -48:], "mel_time_mean": mel[0].mean(dim=1),
        "mel_freq_mean": mel[0].mean(dim=0),
    }.items():  # fmt: skip
        golden.check(name, value, 1e-4)
    maps = torch.nn.functional.gelu(body.convolved(mel))
    tokens, features = body.tokens(mel), body(audio)
    strong, weak = network(audio)
    for name, value in {
        "conv3": body.convolved(mel)[0, ::8, ::4, ::10],
        "patch": body.patch_embed(maps.reshape(1, 16, 128, -1))[0, :250:5],
        "tokens": tokens[0, :, ::16], "block0": body.blocks[0](tokens)[0, :, ::16],
        "embed_rows": features[0, ::25], "embed_cols": features[0, :, ::16], "strong": strong[0, ::12], "weak": weak[0],
    }.items():  # fmt: skip
        golden.check(name, value, 2e-4)


@torch.inference_mode()
def test_m2d_by_frames(tmp_path):
    golden = Golden("m2d_sed")
    network = golden.network(M2DDetector, tmp_path)
    body, audio = network.model["m2d"], waveform()
    mel = body.mel(audio)
    seen = []
    first = body.backbone.blocks[0]
    first.register_forward_hook(lambda module, given, out: seen.append((given[0], out)))
    features = body(audio)
    strong, weak = network(audio)
    for name, value in {
        "mel_head": mel[0, :, :48], "mel_tail": mel[0, :, -48:], "mel_time_mean": mel[0].mean(dim=1),
        "mel_freq_mean": mel[0].mean(dim=0), "tokens": seen[0][0][0, :, ::24], "block0": seen[0][1][0, :, ::24],
        "embed_rows": features[0, ::10], "embed_cols": features[0, :, ::48],
        "frame_mean": features[0].unflatten(-1, (5, -1)).mean(dim=1)[:, ::16], "strong": strong[0, ::12],
        "weak": weak[0],
    }.items():  # fmt: skip
        golden.check(name, value, 1e-4)


@pytest.mark.parametrize(("kind", "inner"), [(FPaSSTDetector, ""), (M2DDetector, "m2d."), (M2DDetector, "")])
def test_published_files_load_strictly(kind, inner, tmp_path):
    """A torch file with the published names, of a small network; with one entry more it is refused."""
    config = FPaSSTConfig(width=12, depth=1, heads=2, outputs=3)
    torch.manual_seed(0)
    network = kind(config)
    state = {name.replace("model.m2d.", f"model.{inner}"): value for name, value in network.state_dict().items()}
    torch.save(state, tmp_path / "file.pt")
    given = {"width": 12, "depth": 1, "heads": 2, "outputs": 3}
    loaded = build_network(kind, checkpoint.read(tmp_path / "file.pt"), given)
    torch.testing.assert_close(loaded.state_dict(), network.state_dict())
    torch.save(state | {"model.more": torch.zeros(1)}, tmp_path / "more.pt")
    with pytest.raises(checkpoint.WeightsError, match="more is unexpected"):
        build_network(kind, checkpoint.read(tmp_path / "more.pt"), given)


@pytest.mark.parametrize("kind", [FPaSSTDetector, M2DDetector])
@pytest.mark.parametrize("n_samples", [1600, 16_000, 161_000, 170_000])
@torch.inference_mode()
def test_any_length(kind, n_samples):
    network = kind(FPaSSTConfig(width=12, depth=1, heads=2, outputs=3)).eval()
    strong, weak = network(0.1 * torch.randn(1, n_samples))
    assert strong.shape == (1, 3, 250)
    assert strong.isfinite().all()
    assert weak.isfinite().all()
