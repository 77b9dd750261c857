"""Every golden case of SR-CorrNet as published, at the stated tolerance: 5e-5 of each array's largest value.

A file `sr_corrnet.golden.npz` holds several cases; its `meta` gives each a letter, and `sr_corrnet.state.json` (of a)
or `sr_corrnet_<letter>.state.json` the configuration and the names.
"""

import json

import numpy as np
import pytest
import torch

from s5cli.nn.sr_corrnet import SRCorrNet, SRCorrNetConfig
from s5cli.nn.taps import compressed, correlations
from tests.golden.golden import golden_dir, golden_file, load_json, load_npz, recipe, state_file

NPZ = "sr_corrnet.golden.npz"
TOLERANCE = 5e-5


def cases() -> list[dict]:
    """Those of the file; without it one that fails once it is read."""
    path = golden_dir() / NPZ
    return json.loads(str(load_npz(path)["meta"]))["cases"] if path.is_file() else [{"tag": "no-case"}]


def state_of(case: dict) -> dict:
    letter = case["config"]
    return load_json(state_file("sr_corrnet.state.json" if letter == "a" else f"sr_corrnet_{letter}.state.json"))


def config_of(stated: dict) -> SRCorrNetConfig:
    """The files' words for it in ours."""
    return SRCorrNetConfig(
        channels=stated["M"], taps_frame=tuple(stated["taps_frame"]), taps_bin=tuple(stated["taps_freq"]),
        width=stated["d"], hidden=stated["h"], slot_hidden=stated["hs"], heads=stated["nh"], kernel=stated["k"],
        encoder_blocks=stated["ne"], decoder_blocks=stated["nd"], n_fft=stated["win"], hop_samples=stated["hop"],
        stft="reference", split="blind", outputs=stated["M"] if stated["MIMO"] else 1, reference=stated["ref"],
        slots=stated["N"],
    )  # fmt: skip


def network_of(case: dict) -> SRCorrNet:
    document = state_of(case)
    weights = recipe.make_weights(document["state"], case["salt"])
    assert recipe.weights_digest(weights) == case["weights_digest"], "the recipe gives other weights"
    network = SRCorrNet(config_of(document["config"]))
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, strict=True)
    return network.eval()


def quantities(network: SRCorrNet, waveform: torch.Tensor) -> dict[str, torch.Tensor]:
    """Everything that the files hold of one clip [m, t], in their order of axes and their steps."""
    c = network.config
    heard = network.hear(waveform[None])
    even = compressed(heard.spectrum)
    corr = correlations(even[:, c.reference], c.taps.of(even), heard.level)
    embedded = network.embed(heard)
    encoded = network.encode(embedded)
    split = network.spk_split(encoded)
    stages = network.decode(network.layernorm(split), (c.slots,))
    neighbours = network.neighbours(heard, torch.zeros(c.slots, dtype=torch.long))
    spectrum = network.filter_estim(stages[-1], neighbours)
    aux = [estimate(maps, neighbours) for estimate, maps in zip(network.filter_estim_aux, stages, strict=False)]
    filters = torch.complex(*network.filter_estim.filters(stages[-1]))[..., 0]  # [s, n, f, o, m w]
    return {
        "stft": heard.spectrum[0].transpose(1, 2)[..., :40],
        "corr": corr[0, :24],
        "freq_pe": network.encoder.places,
        "embed": embedded[0, ::4],
        "enc": encoded[0, ::4],
        "split": split[:, ::8],
        "dec": stages[-1][:, ::4],
        "filter": filters[:, ::16, ::2].unflatten(-1, (c.channels, -1)).permute(0, 3, 4, 5, 2, 1),
        "out_stft": spectrum.transpose(2, 3),
        "aux_stft": torch.stack(aux).transpose(3, 4)[..., ::4],
        "wave": network.transform.inverse(spectrum, waveform.shape[-1]).flatten(0, 1),
    }


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["tag"])
def test_golden(case):
    golden_file(NPZ)
    network = network_of(case)
    clip = torch.from_numpy(recipe.make_clip(case["seed"], case["n_samples"], n_channels=network.config.channels))
    golden = {
        key.split(".", 1)[1]: value for key, value in load_npz(golden_file(NPZ)).items() if key.startswith(case["tag"])
    }
    with torch.inference_mode():
        found = quantities(network, clip)
    assert golden.keys() == found.keys()
    for name, expected in golden.items():
        actual = found[name].resolve_conj().numpy()
        assert actual.shape == expected.shape, name
        largest = np.abs(expected).max()
        np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE * largest, err_msg=name)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["tag"])
def test_names_are_those_of_the_release(case):
    """With the blind split and a fold of 1; θ of the rotary positions is computed."""
    golden_file(NPZ)
    document = state_of(case)
    stored = {name: tuple(entry["shape"]) for name, entry in document["state"].items() if not entry.get("constant")}
    with torch.device("meta"):
        own = SRCorrNet(config_of(document["config"])).state_dict()
    assert {name: tuple(value.shape) for name, value in own.items()} == stored
