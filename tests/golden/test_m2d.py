"""Every golden case of the official taggers, at the stated tolerances (logits and log-mel 1e-4 absolute)."""

from functools import lru_cache

import pytest
import torch

from s5cli.nn.m2d import M2DConfig, M2DTagger1ch, M2DTagger4ch
from tests.golden.golden import Model, models, models_and_cases


def network_of(manifest, state):
    """A tagger whose entries begin with `m2d.` hears four channels."""
    four = any(key.startswith("m2d.") for key in manifest)
    network_class = M2DTagger4ch if four else M2DTagger1ch
    return network_class(network_class.config_from_state(state, M2DConfig()))


@pytest.fixture(scope="module")
def built():
    """A model's golden data and its network, by name; the last one is kept for its other cases."""

    @lru_cache(maxsize=1)
    def build(name):
        golden = Model(name)
        state = {key: torch.from_numpy(value) for key, value in golden.weights.items()}
        network = network_of(golden.manifest, state)
        network.load_state_dict(state, strict=True)
        return golden, network.eval()

    return build


def quantities(network, waveform):
    """What the golden data hold of one forward pass, by name, and the shape of the sequence given to the head."""
    encoder = network if hasattr(network, "backbone") else network.m2d
    watched = {
        "patch": encoder.backbone.patch_embed,
        "block0": encoder.backbone.blocks[0],
        "block11": encoder.backbone.blocks[11],
        "trunk": network.head.linear,
    }
    seen = {}

    def keep(key, value):  # the first chunk's
        seen.setdefault(key, value)

    handles = [
        module.register_forward_hook(lambda m, a, out, key=key: keep(key, out)) for key, module in watched.items()
    ]
    handles.append(network.head.register_forward_hook(lambda m, a, out: keep("sequence", a[0])))
    with torch.inference_mode():
        logits = network(waveform)
        mel = encoder.mel(waveform)
    for handle in handles:
        handle.remove()
    probability, class_index = logits.softmax(dim=-1).max(dim=-1)
    found = {
        "mel_first8": mel[..., :8],
        "mel_last8": mel[..., -8:],
        "mel_every50": mel[..., ::50],
        "patch_slice": seen["patch"].flatten(2).transpose(1, 2)[:, :6, :32],
        "block0_slice": seen["block0"][:, :6, :32],
        "block11_slice": seen["block11"][:, :6, :32],
        "encoder_slice": seen["sequence"][:, :4, :64],
        "pooled": seen["sequence"].mean(dim=1),
        "trunk_slice": seen["trunk"][:, ::16],
        "logits": logits,
        "class_index": class_index,
        "probability": probability,
    }
    return found, list(seen["sequence"].shape)


@pytest.mark.parametrize(("model", "case_name"), models_and_cases("m2dat"))
def test_golden(built, model, case_name):
    golden, network = built(model)
    case = golden.case(case_name)
    found, sequence_shape = quantities(network, torch.from_numpy(case.clips[:, : network.channels]))
    assert sequence_shape == case.about.get("sequence_shape", sequence_shape)
    for key, value in found.items():
        case.check(key, value, tolerance=0 if key == "class_index" else 1e-4)


@pytest.mark.parametrize("model", models("m2dat"))
def test_nparams(model):
    golden = Model(model)
    with torch.device("meta"):
        state = {key: torch.empty(entry["shape"]) for key, entry in golden.manifest.items()}
        assert network_of(golden.manifest, state).nparams == golden.nparams


@pytest.mark.parametrize("n_samples", [320_320, 321_000, 322_559, 322_560])
def test_short_last_chunk_is_padded_to_a_patch(n_samples):
    """The official code fails from 320,320 to 322,559 samples; here the last chunk has one patch column."""
    torch.manual_seed(n_samples)
    network = M2DTagger1ch(M2DConfig(width=48, depth=1, heads=3)).eval()
    with torch.inference_mode():
        chunks = network.chunks(torch.randn(1, n_samples))
        logits = network(torch.randn(1, 1, n_samples))
    assert [chunk.shape[-1] for chunk in chunks] == [1001, 16] if n_samples < 322_560 else [1001, 23]
    assert logits.shape == (1, 3, 19)
    assert torch.isfinite(logits).all()
