"""Every golden case of the official taggers, at the stated tolerances (logits and log-mel 1e-4 absolute)."""

import numpy as np
import pytest
import torch

from s5cli.nn.m2d import M2DConfig, M2DTagger1ch, M2DTagger4ch
from tests.golden.golden import golden_file, load_json, load_npz, recipe, state_file

CASES = ["len10", "len7p3", "len1", "len12"]
MODELS = {
    "m2dat_1c_d768": (M2DTagger1ch, False),
    "m2dat_1c_d3840": (M2DTagger1ch, True),
    "m2dat_4c_d768": (M2DTagger4ch, False),
    "m2dat_4c_d3840": (M2DTagger4ch, True),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    name = request.param
    network_class, stacked = MODELS[name]
    document = load_json(golden_file(f"{name}.golden.json"))
    weights = recipe.make_weights(recipe.load_manifest(state_file(f"{name}.state.json")), document["salt"])
    assert recipe.weights_digest(weights) == document["pseudo_weights_crc32"]
    state = {key: torch.from_numpy(value) for key, value in weights.items()}
    config = network_class.config_from_state(state, M2DConfig())
    assert config.stacked == stacked
    network = network_class(config).eval()
    network.load_state_dict(state, strict=True)
    return name, network, document, load_npz(golden_file(f"{name}.golden.npz"))


class Captured:
    """The intermediate results of one forward pass, taken by hooks."""

    def __init__(self, network, waveform):
        encoder = network if hasattr(network, "backbone") else network.m2d
        self.blocks, self.patches, handles = {}, [], []
        for i in (0, 11):
            store = self.blocks.setdefault(i, [])
            handles.append(
                encoder.backbone.blocks[i].register_forward_hook(lambda m, a, out, store=store: store.append(out))
            )
        handles.append(encoder.backbone.patch_embed.register_forward_hook(lambda m, a, out: self.patches.append(out)))
        handles.append(network.head.register_forward_hook(lambda m, a, out: setattr(self, "sequence", a[0])))
        handles.append(network.head.linear.register_forward_hook(lambda m, a, out: setattr(self, "trunk", out)))
        with torch.inference_mode():
            self.logits = network(waveform)
            self.mel = encoder.mel(waveform)
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("case_name", CASES)
def test_golden(model, case_name):
    name, network, document, golden = model
    case = document["cases"][case_name]
    clips = np.stack([recipe.make_clip(**clip) for clip in case["clips"]])
    waveform = torch.from_numpy(clips if "_4c" in name else clips[:, :1])
    seen = Captured(network, waveform)

    def close(key, actual, tolerance=1e-4):
        np.testing.assert_allclose(actual.numpy(), golden[f"{case_name}/{key}"], rtol=0, atol=tolerance, err_msg=key)

    close("mel_first8", seen.mel[..., :8])
    close("mel_last8", seen.mel[..., -8:])
    close("mel_every50", seen.mel[..., ::50])
    close("patch_slice", seen.patches[0].flatten(2).transpose(1, 2)[:, :6, :32])
    close("block0_slice", seen.blocks[0][0][:, :6, :32])
    close("block11_slice", seen.blocks[11][0][:, :6, :32])
    assert list(seen.sequence.shape) == case["sequence_shape"]
    close("encoder_slice", seen.sequence[:, :4, :64])
    close("pooled", seen.sequence.mean(dim=1))
    close("trunk_slice", seen.trunk[:, ::16])
    close("logits", seen.logits)
    probability, class_index = seen.logits.softmax(dim=-1).max(dim=-1)
    close("class_index", class_index, tolerance=0)
    close("probability", probability)


def test_nparams(model):
    name, network, _, _ = model
    expected = {"m2dat_1c_d768": 89_468_219, "m2dat_1c_d3840": 98_905_403, "m2dat_4c_d768": 96_546_107}
    assert network.nparams == expected.get(name, 134_294_843)


@pytest.mark.parametrize("n_samples", [320_320, 321_000, 322_559, 322_560])
def test_short_last_chunk_is_padded_to_a_patch(n_samples):
    """The official code fails from 320,320 to 322,559 samples; here the last chunk has one patch column."""
    network = M2DTagger1ch(M2DConfig(width=48, depth=1, heads=3)).eval()
    with torch.inference_mode():
        chunks = network.chunks(torch.randn(1, n_samples))
        logits = network(torch.randn(1, 1, n_samples))
    assert [chunk.shape[-1] for chunk in chunks] == [1001, 16] if n_samples < 322_560 else [1001, 23]
    assert logits.shape == (1, 3, 19)
    assert torch.isfinite(logits).all()
