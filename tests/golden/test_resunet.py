"""Every golden case of the official separator, at the stated tolerances (waveform 1e-5 absolute and 80 dB)."""

import copy
from functools import lru_cache

import numpy as np
import pytest
import torch

from s5cli.nn.resunet import ResUNetK
from s5cli.nn.unet import ResUNetConfig, shift_places
from tests.golden.golden import Model, label_vector, models, models_and_cases


@pytest.fixture(scope="module")
def built():
    """A model's golden data and its network, by name; the last one is kept for its other cases."""

    @lru_cache(maxsize=1)
    def build(name):
        golden = Model(name)
        network = ResUNetK(ResUNetConfig()).eval()
        network.load_state_dict({key: torch.from_numpy(value) for key, value in golden.weights.items()}, strict=True)
        return golden, network

    return build


def corner(maps):
    """First 8 channels, 4 frames, 8 bins, as the golden data hold them."""
    return maps[:, :8, :4, :8]


def quantities(network, mixture, query, stride):
    """What the golden data hold of one forward pass, by name."""
    seen, handles = {}, []
    watched = {
        "pre": network.base.pre_conv,
        "enc1": network.base.encoder_block1,
        "center": network.base.conv_block7a,
        "dec1": network.base.decoder_block1,
        "dec6": network.base.decoder_block6,
        "after": network.base.after_conv,
        "label_embedding": network.label_embedding,
    }
    for key, module in watched.items():
        handles.append(module.register_forward_hook(lambda m, a, out, key=key: seen.update({key: out})))
    with torch.inference_mode():
        waveform = network(mixture, query)
        spectrum = network.analyse(mixture)
        normalised = network.normalise(spectrum.magnitude)
        shifts = network.film(seen["label_embedding"])
    for handle in handles:
        handle.remove()

    inner = {
        "enc1pool": torch.nn.functional.avg_pool2d(seen["enc1"], 2),
        **{key: seen[key] for key in ("pre", "center", "dec1", "dec6", "after")},
    }
    return {
        "label_vector": query,
        "source_mask": query.reshape(len(query), 3, -1).sum(dim=-1),
        "mag_slice": spectrum.magnitude[:, :, ::25, :16],
        "cos_slice": spectrum.cos[:, :, ::25, :16],
        "sin_slice": spectrum.sin[:, :, ::25, :16],
        "bn0_slice": normalised[:, :, ::25, :16],
        "label_embedding": seen["label_embedding"],
        "film_enc1": shifts["encoder_block1->conv_block1->beta1"][..., 0, 0],
        "film_dec6": shifts["decoder_block6->beta1"][..., 0, 0],
        "film_dec6cb": shifts["decoder_block6->conv_block2->beta2"][..., 0, 0],
        **{f"{key}_slice": corner(maps) for key, maps in inner.items()},
        "waveform": waveform[:, :, None, ::stride],
        "rms": waveform.double().square().mean(dim=-1, keepdim=True).sqrt(),
    }


TOLERANCES = {"label_vector": 0, "source_mask": 0, "cos_slice": 1e-3, "sin_slice": 1e-3, "waveform": 1e-5}


@pytest.mark.parametrize(("model", "case_name"), models_and_cases("resunetk"))
def test_golden(built, model, case_name):
    golden, network = built(model)
    case = golden.case(case_name)
    query = torch.from_numpy(case.label_vector)
    found = quantities(network, torch.from_numpy(case.clips), query, case.stride)
    np.testing.assert_allclose(found.pop("rms"), case["rms"], rtol=1e-4)
    for key, value in found.items():
        case.check(key, value, TOLERANCES.get(key, 1e-4))
    expected, actual = case["waveform"], found["waveform"].numpy()
    assert np.sum((actual - expected) ** 2) <= 1e-8 * np.sum(expected**2), "80 dB"
    assert not actual[case["source_mask"] == 0].any()


@pytest.fixture(scope="module")
def prepared(built):
    """As `built`, in inference form."""

    @lru_cache(maxsize=1)
    def prepare(name):
        network = copy.deepcopy(built(name)[1])
        network.prepare()
        return network

    return prepare


@pytest.mark.parametrize(("model", "case_name"), models_and_cases("resunetk"))
def test_golden_in_inference_form(built, prepared, model, case_name):
    case = built(model)[0].case(case_name)
    with torch.inference_mode():
        waveform = prepared(model)(torch.from_numpy(case.clips), torch.from_numpy(case.label_vector))
    case.check("waveform", waveform[:, :, None, :: case.stride], 1e-5)


@pytest.mark.parametrize("model", models("resunetk"))
def test_nparams(model):
    with torch.device("meta"):
        assert ResUNetK(ResUNetConfig()).nparams == Model(model).nparams


@pytest.mark.parametrize("model", models("resunetk"))
def test_shift_places_match_the_checkpoint(model):
    stored = [
        name.removeprefix("film.").removesuffix(".weight")
        for name in Model(model).manifest
        if name.startswith("film.") and name.endswith(".weight")
    ]
    assert list(shift_places(ResUNetConfig().widths)) == stored


@pytest.mark.parametrize("n_samples", [3200, 50_001])
def test_compact_configuration(n_samples):
    """Level in, level out; an unused slot is exactly zero; the length is kept."""
    torch.manual_seed(0)
    config = ResUNetConfig(
        widths=(8, 8, 8, 8, 8, 8), condition_width=16, hop_samples=320, patch_frames=2, patch_bins=2,
        features="spatial", mask="share",
    )  # fmt: skip
    network = ResUNetK(config).eval()
    mixture = 0.1 * torch.randn(2, 4, n_samples)
    query = torch.from_numpy(label_vector([["Speech", "Speech", "silence"], ["Pour", "silence", "silence"]]))
    with torch.inference_mode():
        separated = network(mixture, query)
        louder = network(10 * mixture, query)
        silent = network(torch.zeros_like(mixture), query)
    assert separated.shape == (2, 3, n_samples)
    assert not separated[0, 2].any()
    assert not separated[1, 1:].any()
    assert separated[0, :2].abs().amax(dim=-1).min() > 0
    torch.testing.assert_close(louder, 10 * separated, rtol=1e-4, atol=1e-5)
    assert not silent.any()
