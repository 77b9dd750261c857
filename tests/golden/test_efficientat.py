"""EfficientAT: its parameter counts, its names, and the published checkpoint's numbers where that file is given."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from s5cli.nn.efficientat import EfficientAT, EfficientATConfig, body_sizes, kaldi_filterbank
from s5cli.weights import checkpoint
from tests.golden.golden import filled, golden_dir, golden_file, load_json, load_npz, models_and_cases, recipe

CASES = models_and_cases("efficientat")
NPARAMS = {0.4: 983_599, 0.5: 1_431_239, 1.0: 4_876_831, 2.0: 17_909_287, 3.0: 39_086_367, 4.0: 68_427_303}
FILE = "mn04_as_mAP_432.pt"


def published_file() -> Path:
    """The released checkpoint, which the project does not carry; skips where nobody gave it."""
    given = os.environ.get("S5_EFFICIENTAT_MN04")
    places = [Path(given)] if given else [golden_dir() / FILE, golden_dir().parent / "pretrained" / FILE]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        pytest.skip(f"{FILE} is not carried; put it beside the data of S5_GOLDEN_DIR or name it in S5_EFFICIENTAT_MN04")
    return path


@pytest.fixture(scope="module")
def published():
    path = published_file()
    return checkpoint.build_network(EfficientAT, checkpoint.read(path), {}), hashlib.sha256(
        path.read_bytes()
    ).hexdigest()


def clips_of(case) -> torch.Tensor:
    return torch.from_numpy(np.stack([recipe.make_clip(**clip)[0] for clip in case["clips"]]))


def read(model: str, case_name: str):
    """What the files say of a case, all of the model's, and its numbers."""
    document = load_json(golden_file(f"{model}.golden.json"))
    return (
        filled(document["cases"], case_name, golden_dir() / model),
        document,
        load_npz(golden_file(f"{model}.golden.npz")),
    )


def mel_slice(waveform: torch.Tensor) -> tuple[list[int], torch.Tensor]:
    """Shape of the front end's answer to [b, t], and the part of it that golden data hold."""
    mel = tiny().to_mel(waveform[:, None])
    return list(mel.shape), mel[:, :, ::8, ::20]


@pytest.mark.parametrize(("model", "case_name"), CASES)
def test_front_end(model, case_name):
    """Needs no weights, so it runs everywhere."""
    case, _, golden = read(model, case_name)
    shape, mel = mel_slice(clips_of(case))
    assert shape == case["mel_shape"]
    np.testing.assert_allclose(mel.numpy(), golden[f"{case_name}/mel_slice"], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("model", "case_name"), CASES)
def test_golden(published, model, case_name):
    network, sha256 = published
    case, document, golden = read(model, case_name)
    assert sha256 == document["checkpoint_sha256"]
    waveform = clips_of(case)
    with torch.inference_mode():
        embedding = network.maps(waveform).mean(dim=(2, 3))
        logits = network(waveform)
    np.testing.assert_allclose(embedding.numpy(), golden[f"{case_name}/embedding"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(logits.numpy(), golden[f"{case_name}/logits"], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("width", "expected"), NPARAMS.items())
def test_nparams(width, expected):
    with torch.device("meta"):
        network = EfficientAT(EfficientATConfig(width=width))
    assert network.nparams == expected


@pytest.mark.parametrize("width", NPARAMS)
def test_a_state_tells_the_width(width):
    with torch.device("meta"):
        state = EfficientAT(EfficientATConfig(width=width, classes=7)).state_dict()
    assert EfficientAT.config_from_state(state, EfficientATConfig()) == EfficientATConfig(width, 7)


def tiny() -> EfficientAT:
    torch.manual_seed(0)
    return EfficientAT(EfficientATConfig(width=0.1, classes=5)).eval()


def test_names_of_the_release():
    with torch.device("meta"):
        names = set(EfficientAT(EfficientATConfig()).state_dict())
    assert len(names) == 312
    for name in (
        "features.0.0.weight", "features.0.1.running_var", "features.1.block.0.0.weight", "features.1.block.1.1.bias",
        "features.4.block.2.conc_se_layers.0.fc1.weight", "features.15.block.3.1.weight", "features.16.0.weight",
        "classifier.2.weight", "classifier.5.bias",
    ):  # fmt: skip
        assert name in names
    assert not [name for name in names if "mel" in name]


@pytest.mark.parametrize(("n_samples", "n_frames"), [(32_000, 4), (77_777, 8), (320_000, 32)])
def test_a_frame_is_32_hops(n_samples, n_frames):
    network = tiny()
    waveform = 0.1 * torch.randn(2, 1, n_samples, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        frames, logits = network.frames(waveform), network(waveform)
    assert frames.shape == (2, n_frames, body_sizes(0.1)[0])
    torch.testing.assert_close(network.classifier[2:](frames.mean(dim=1)), logits, atol=1e-5, rtol=1e-5)


def test_filters_are_triangles_in_mel_and_leave_the_nyquist_bin_out():
    filters = kaldi_filterbank(128, 0.0, 15_000.0)
    assert filters.shape == (128, 513)
    assert not filters[:, 481:].any()  # above 15 kHz
    assert filters.max() <= 1
    inner = filters[:, 5:460].sum(dim=0)  # neighbours' flanks add up to one
    torch.testing.assert_close(inner, torch.ones_like(inner))
