"""Every golden case of the official separator, at the stated tolerances (waveform 1e-5 absolute and 80 dB)."""

import numpy as np
import pytest
import torch

from s5cli.labels import CLASSES, SILENCE
from s5cli.nn.resunet import ResUNetConfig, ResUNetK, shift_places
from tests.golden.golden import golden_file, load_json, load_npz, recipe, state_file

CASES = ["sep2s", "sep4p37s", "sep50001", "sep10s"]


@pytest.fixture(scope="module")
def model():
    document = load_json(golden_file("resunetk.golden.json"))
    weights = recipe.make_weights(recipe.load_manifest(state_file("resunetk.state.json")), document["salt"])
    assert recipe.weights_digest(weights) == document["pseudo_weights_crc32"]
    network = ResUNetK(ResUNetConfig()).eval()
    network.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()}, strict=True)
    return network, document, load_npz(golden_file("resunetk.golden.npz"))


def query_of(labels):
    rows = [
        [[float(name == label) for name in CLASSES] for label in clip if label in (*CLASSES, SILENCE)]
        for clip in labels
    ]
    return torch.tensor(rows).flatten(1)


def corner(maps):
    """First 8 channels, 4 frames, 8 bins, as the golden data hold them."""
    return maps[:, :8, :4, :8]


@pytest.mark.parametrize("case_name", CASES)
def test_golden(model, case_name):
    network, document, golden = model
    case = document["cases"][case_name]
    mixture = torch.from_numpy(np.stack([recipe.make_clip(**clip) for clip in case["clips"]]))
    query = query_of(case["labels"])
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

    def close(key, actual, tolerance=1e-4):
        np.testing.assert_allclose(actual.numpy(), golden[f"{case_name}/{key}"], rtol=0, atol=tolerance, err_msg=key)

    np.testing.assert_array_equal(query.numpy(), golden[f"{case_name}/label_vector"])
    for key, part, tolerance in (
        ("mag", spectrum.magnitude, 1e-4),
        ("cos", spectrum.cos, 1e-3),
        ("sin", spectrum.sin, 1e-3),
    ):
        close(f"{key}_slice", part[:, :, ::25, :16], tolerance)
    close("bn0_slice", normalised[:, :, ::25, :16])
    close("label_embedding", seen["label_embedding"])
    close("film_enc1", shifts["encoder_block1->conv_block1->beta1"][..., 0, 0])
    close("film_dec6", shifts["decoder_block6->beta1"][..., 0, 0])
    close("film_dec6cb", shifts["decoder_block6->conv_block2->beta2"][..., 0, 0])
    close("pre_slice", corner(seen["pre"]))
    close("enc1pool_slice", corner(torch.nn.functional.avg_pool2d(seen["enc1"], 2)))
    for key in ("center", "dec1", "dec6", "after"):
        close(f"{key}_slice", corner(seen[key]))

    expected = golden[f"{case_name}/waveform"]
    actual = waveform[:, :, None, :: case["waveform_stride"]].numpy()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)
    error_db = 10 * np.log10(np.sum((actual - expected) ** 2) / np.sum(expected**2))
    assert error_db < -80
    rms = waveform.double().square().mean(dim=-1, keepdim=True).sqrt().numpy()
    np.testing.assert_allclose(rms, golden[f"{case_name}/rms"], rtol=1e-4)
    source_mask = golden[f"{case_name}/source_mask"]
    assert not actual[source_mask == 0].any()


def test_nparams(model):
    assert model[0].nparams == 29_888_747


def test_shift_places_match_the_checkpoint(model):
    manifest = recipe.load_manifest(state_file("resunetk.state.json"))
    stored = [
        name.removeprefix("film.").removesuffix(".weight")
        for name in manifest
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
    query = query_of([["Speech", "Speech", "silence"], ["Pour", "silence", "silence"]])
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
