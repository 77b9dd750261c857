"""Golden data of other names, seeds, lengths, batches and salt, made by our own networks.

They say nothing about the published baseline; they show that the tests ask the files and nothing else.
`python -m tests.golden.remade <folder>` makes all of them.
"""

import json
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import soundfile
import torch

from s5cli import official
from s5cli.adapters.slots import label_vectors
from s5cli.adapters.tracks import softmax
from s5cli.labels import CLASSES, SILENCE
from s5cli.nn.resunet import ResUNetK
from s5cli.nn.unet import ResUNetConfig
from s5cli.rules.slots import official_slots
from s5cli.scene import EMPTY, Tags
from tests.golden import test_capi_sdri, test_efficientat, test_m2d, test_mini_e2e, test_resunet, test_sr_corrnet
from tests.golden.golden import OWN, label_vector, recipe
from tests.score.whole import dataset_score

SALT = "another"
MODELS = ["m2dat_1c_d3840", "m2dat_1c_d768", "m2dat_4c_d3840", "m2dat_4c_d768", "resunetk"]
TAGGER_CASES = {
    "three_of_half_a_second": [{"seed": 901 + number, "n_samples": 16_000} for number in range(3)],
    "odd": [{"seed": 907, "n_samples": 20_011, "zero_head": 500, "n_events": 2}],
}
SEPARATOR_CASES: dict[str, tuple[list[dict[str, int]], list[list[str]], int]] = {
    "three_lists": (
        [{"seed": 911 + number, "n_samples": 9000} for number in range(3)],
        [["Cough", "silence", "Pour"], ["silence"] * 3, ["Blender", "Blender", "Blender"]],
        1,
    ),
    "thinned": ([{"seed": 917, "n_samples": 12_345}], [["Doorbell", "Typing", "silence"]], 3),
}
FRONT_END_CASES = {"three": [{"seed": 951 + number, "n_samples": 40_001} for number in range(3)]}
SPEC = {
    "salt": SALT,
    "silence_bias_added": 0.5,
    "dev": [
        {
            "soundscape": name,
            "clip": {"seed": 921 + number, "n_samples": 11_000 + 500 * number},
            "oracle": [
                {"filename": f"{name}_{slot}_{label}.wav", "terms": [["event", 930 + slot, 0.7]]}
                for slot, label in enumerate(labels)
            ],
        }
        for number, (name, labels) in enumerate({"yard": ["Speech"], "attic": [], "hall": ["Pour", "Pour"]}.items())
    ],
    "eval": [{"soundscape": "cellar", "clip": {"seed": 941, "n_samples": 9600, "level_dbfs": -40.0}}],
}  # fmt: skip


def write_all(folder: Path, models: Sequence[str] = MODELS) -> None:
    """A folder for `S5_GOLDEN_DIR`, without manifests."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in models:
        write_model(folder, name)
    write_front_end(folder)
    write_filters(folder)
    write_slot_order(folder / "s5_order.golden.json")
    write_metric(folder / "capi_sdri.golden.json")
    write_run(folder / "mini_e2e")


def write_model(folder: Path, name: str) -> None:
    manifest = recipe.load_manifest(OWN / f"{name}.state.json")
    weights = recipe.make_weights(manifest, SALT)
    state = {key: torch.from_numpy(value) for key, value in weights.items()}
    document: dict[str, Any] = {"salt": SALT, "pseudo_weights_crc32": recipe.weights_digest(weights), "cases": {}}
    numbers: dict[str, np.ndarray] = {}
    network = ResUNetK(ResUNetConfig()) if name == "resunetk" else test_m2d.network_of(manifest, state)
    network.load_state_dict(state, strict=True)
    network.eval()
    cases: dict[str, Any] = SEPARATOR_CASES if name == "resunetk" else TAGGER_CASES
    for case, content in cases.items():
        clips, *more = content if name == "resunetk" else (content,)
        x = np.stack([recipe.make_clip(**clip) for clip in clips])
        about = {"clips": clips, "input": {"crc32_float32": zlib.crc32(x.tobytes())}}
        if name == "resunetk":
            labels, stride = more
            found = test_resunet.quantities(
                network, torch.from_numpy(x), torch.from_numpy(label_vector(labels)), stride
            )
            about |= {"labels": labels, "waveform_stride": stride}
        else:
            found, shape = test_m2d.quantities(network, torch.from_numpy(x[:, : network.channels]))
            about["sequence_shape"] = shape
        document["cases"][case] = about
        numbers |= {f"{case}/{key}": value.numpy() for key, value in found.items()}
    write_json(folder / f"{name}.golden.json", document)
    np.savez(folder / f"{name}.golden.npz", **numbers)


def write_front_end(folder: Path) -> None:
    """Of EfficientAT the front end, which needs no weights; the rest only the published file can tell."""
    cases, numbers = {}, {}
    for case, clips in FRONT_END_CASES.items():
        waveform = torch.from_numpy(np.stack([recipe.make_clip(**clip)[0] for clip in clips]))
        shape, mel = test_efficientat.mel_slice(waveform)
        cases[case], numbers[f"{case}/mel_slice"] = {"clips": clips, "mel_shape": shape}, mel.numpy()
    write_json(folder / "efficientat_mn04.golden.json", {"cases": cases})
    np.savez(folder / "efficientat_mn04.golden.npz", **numbers)


def write_filters(folder: Path) -> None:
    """SR-CorrNet: cases of both configurations in one file."""
    found, cases = {}, [
        {"tag": "long", "config": "b", "seed": 971, "n_samples": 2500, "salt": SALT},
        {"tag": "short", "config": "a", "seed": 972, "n_samples": 3000, "salt": SALT},
    ]  # fmt: skip
    for case in cases:
        state = test_sr_corrnet.state_of(case)["state"]
        case["weights_digest"] = recipe.weights_digest(recipe.make_weights(state, SALT))
        network = test_sr_corrnet.network_of(case)
        clip = recipe.make_clip(case["seed"], case["n_samples"], n_channels=network.config.channels)
        with torch.inference_mode():
            numbers = test_sr_corrnet.quantities(network, torch.from_numpy(clip))
        found |= {f"{case['tag']}.{name}": value.resolve_conj().numpy() for name, value in numbers.items()}
    np.savez(folder / test_sr_corrnet.NPZ, meta=json.dumps({"cases": cases}), **found)


def write_slot_order(path: Path) -> None:
    cases = []
    for logits in np.random.default_rng(7).integers(-96, 96, (5, 3, 19)) / 32:
        p = softmax(logits)
        slots = official_slots(Tags(p[None]))
        expected = {
            "labels": [SILENCE if index == EMPTY else CLASSES[index] for index in slots.classes[0]],
            "probabilities": slots.probability[0].tolist(),
            "label_vector_ones": label_vectors(slots.classes)[0].nonzero()[:, 0].tolist(),
        }
        order = {
            "labels": [(*CLASSES, SILENCE)[index] for index in p.argmax(axis=-1)],
            "probabilities": p.max(axis=-1).tolist(),
        }
        cases.append({"logits": logits.tolist(), "tagger_order": order, "expected": expected})
    write_json(path, {"cases": cases})


def write_metric(path: Path) -> None:
    """Cases without a number or a kind."""
    cases = []
    for seed, (ref, est) in enumerate([(["Cough"], ["Cough"]), (["Pour", "Pour"], ["Pour"]), ([], []), ([], ["Pour"])]):
        sources = [{"label": label, "terms": [["event", 10 * seed + slot, 0.5]]} for slot, label in enumerate(ref)]
        noisy = [
            {"label": label, "terms": [["event", 10 * seed + slot, 0.4], ["noise", seed, 0.2]]}
            for slot, label in enumerate(est)
        ]
        mixture = [*(term for source in sources for term in source["terms"]), ["noise", 50 + seed, 0.3]]
        cases.append({"n_samples": 2000 + seed, "ref": sources, "est": noisy, "mixture": mixture})
    scores = [test_capi_sdri.score(case) for case in cases]
    for case, found in zip(cases, scores, strict=True):
        counts = {"acc": found.exact, "tp": found.tp, "fp": found.fp, "fn": found.fn}
        case["expected"] = {"capi_sdri": found.capi_sdri_db, "label": counts}
    total = dataset_score(scores)
    labels = {"accuracy_mix": total.accuracy_mixture_percent, "accuracy_src": total.accuracy_source_percent}
    write_json(
        path, {"aggregate": {"CAPI-SDRi": {"mean": total.capi_sdri_db}, "label_metrics": labels}, "cases": cases}
    )


def write_run(folder: Path) -> None:
    folder.mkdir()
    write_json(folder / "spec.json", SPEC)
    baseline = test_mini_e2e.baseline_of(SPEC)
    with TemporaryDirectory() as scratch:
        places = {name: Path(scratch, name) for name in ("dev", "eval", "oracle", "dev_est", "eval_out")}
        for place in places.values():
            place.mkdir()
        dev = test_mini_e2e.run(baseline, SPEC["dev"], places["dev"])
        evaluation = test_mini_e2e.run(baseline, SPEC["eval"], places["eval"])
        test_mini_e2e.write_oracles(SPEC["dev"], places["oracle"])
        waveforms = {}
        for runs, part in ((dev, "dev_est"), (evaluation, "eval_out")):
            for one in runs:
                one.write(places[part])
            written = sorted(places[part].iterdir())
            assert written, f"silence is all that the networks hear in {part}: lower `silence_bias_added`"
            waveforms |= {f"{part}/{path.name}": soundfile.read(path, dtype="int16")[0] for path in written}
        results = {
            "dev_set_test_results.json": test_mini_e2e.development_results(dev, places["oracle"], baseline.nparams),
            "dev_from_wav_results.json": test_mini_e2e.stored_results(dev, places["oracle"], places["dev_est"]),
            "eval_results.json": test_mini_e2e.evaluation_results(evaluation, baseline.nparams),
        }
    for name, content in results.items():
        (folder / name).write_text(official.dumps(content))
    np.savez(folder / "waveforms_int16.npz", **waveforms)


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
