"""A small complete run of the official baseline: files in, labels, 16-bit stems and scores out.

Mixtures and oracle sources are written as 16-bit WAV and read back; mixtures are tagged and separated in pairs; stems
are written and scored.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from s5cli.adapters.slots import SlotSeparator
from s5cli.adapters.tracks import TrackTagger
from s5cli.audio import read_audio, read_scene, write_stem
from s5cli.knobs import setting
from s5cli.nn.m2d import M2DConfig, M2DTagger1ch
from s5cli.nn.resunet import ResUNetK
from s5cli.nn.unet import ResUNetConfig
from s5cli.official import DevClip, DevResults, EvalClip, EvalResults, EvalStem, read_sources, stem_file_name
from s5cli.scene import RATE_HZ, Scene, Stem
from s5cli.score.metric import ClipScore
from s5cli.systems.baseline import Baseline
from tests.golden.golden import filled, golden_file, load_json, load_npz, recipe, state_file
from tests.score.whole import capi_sdri, dataset_score

BATCH = 2  # as the official run
SILENCE = 18  # place of silence among the outputs of a track


@dataclass(frozen=True)
class Run:
    """What a clip gave."""

    scene: Scene
    stems: list[Stem]
    probabilities: list[float]  # of every slot, silent ones too

    def write(self, folder: Path) -> None:
        for number, stem in enumerate(self.stems):
            write_stem(folder / stem_file_name(self.scene.name, number, stem.label), stem.audio)


@pytest.fixture(scope="module")
def spec():
    """Its salt, the bias of silence, and the clips of the `dev` and the `eval` part."""
    path = golden_file("mini_e2e/spec.json")
    content = load_json(path)
    parts = {part: filled(content, part, path) for part in ("dev", "eval")}
    return {"salt": "", "silence_bias_added": 0.0} | content | parts


def network_of(network_class, config, name, salt, added_bias=0.0):
    weights = recipe.make_weights(recipe.load_manifest(state_file(f"{name}.state.json")), salt)
    for track in range(3 if added_bias else 0):
        weights[f"head.tracks.{track}.3.bias"][SILENCE] += np.float32(added_bias)
    network = network_class(config)
    network.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()}, strict=True)
    return network


@pytest.fixture(scope="module")
def baseline(spec):
    return baseline_of(spec)


def baseline_of(spec):
    tagger = network_of(M2DTagger1ch, M2DConfig(), "m2dat_1c_d768", spec["salt"], spec["silence_bias_added"])
    separator = network_of(ResUNetK, ResUNetConfig(), "resunetk", spec["salt"])
    return Baseline(
        tagger=TrackTagger(tagger, channels=1), separator=SlotSeparator(separator), setting=setting(Baseline.knobs)
    )


def run(baseline, clips, folder):
    """Writes the mixtures, reads them back, runs the system."""
    scenes = []
    for clip in sorted(clips, key=lambda clip: clip["soundscape"]):
        audio, path = recipe.make_clip(**clip["clip"]), folder / f"{clip['soundscape']}.wav"
        soundfile.write(path, audio.T, RATE_HZ, subtype="PCM_16")
        scenes.append(read_scene(path))
        np.testing.assert_array_equal(scenes[-1].audio, audio)
    found = []
    for start in range(0, len(scenes), BATCH):
        batch = scenes[start : start + BATCH]
        decision = baseline(batch)
        clips_of_batch = zip(batch, decision.stems().clips(), decision.slots.probability.tolist(), strict=True)
        found += [Run(*clip) for clip in clips_of_batch]
    return found


@pytest.fixture(scope="module")
def dev(baseline, spec, tmp_path_factory):
    return run(baseline, spec["dev"], tmp_path_factory.mktemp("dev"))


@pytest.fixture(scope="module")
def evaluation(baseline, spec, tmp_path_factory):
    return run(baseline, spec["eval"], tmp_path_factory.mktemp("eval"))


@pytest.fixture(scope="module")
def oracle(spec, tmp_path_factory):
    folder = tmp_path_factory.mktemp("oracle_target")
    write_oracles(spec["dev"], folder)
    return folder


def write_oracles(clips, folder):
    """The reference sources of each development soundscape, as 16-bit files."""
    for clip in clips:
        for source in clip.get("oracle", []):
            wave = recipe.mix_terms(source["terms"], clip["clip"]["n_samples"])
            steps = np.clip(np.round(wave.astype(np.float64) * 32768), -32768, 32767)
            soundfile.write(folder / source["filename"], steps.astype(np.int16), RATE_HZ, subtype="PCM_16")


def mono(paths, n_samples):
    return np.stack([read_audio(path)[0][0] for path in paths]) if paths else np.zeros((0, n_samples), np.float32)


def score(scene: Scene, est_labels: list[str], est: np.ndarray, references) -> ClipScore:
    ref = mono([reference.path for reference in references], scene.audio.shape[1])
    return capi_sdri(est_labels, est, [reference.label for reference in references], ref, scene.audio[0].numpy())


def results_of(runs, estimates, oracle, nparams=None):
    """The development results: `estimates` gives labels, waveforms and slot probabilities of each run."""
    sources = read_sources(oracle, [one.scene.name for one in runs])
    clips, scores = [], []
    for one in runs:
        labels, est, probabilities = estimates(one)
        references = sources[one.scene.name]
        found = score(one.scene, labels, est, references)
        scores.append(found)
        clips.append(
            DevClip(
                one.scene.name,
                tuple(reference.label for reference in references),
                tuple(labels),
                tuple(probabilities),
                found.capi_sdri_db,
                found.tp,
                found.fp,
                found.fn,
            )
        )
    total = dataset_score(scores)
    return DevResults(
        tuple(clips),
        total.capi_sdri_db,
        total.accuracy_mixture_percent,
        total.accuracy_source_percent,
        nparams,
    )


def evaluation_results(runs, nparams):
    return EvalResults(nparams, tuple(map(evaluation_clip, runs)))


def evaluation_clip(one):
    name = one.scene.name
    stems = enumerate(one.stems)
    return EvalClip(
        name,
        tuple(
            EvalStem(stem_file_name(name, number, stem.label), stem.label, stem.confidence) for number, stem in stems
        ),
    )


def development_results(runs, oracle, nparams):
    """Of the stems as they come."""

    def heard(one):
        est = [stem.audio.numpy() for stem in one.stems]
        shape = (len(est), one.scene.audio.shape[1])
        return [stem.label for stem in one.stems], np.reshape(est, shape), one.probabilities

    return results_of(runs, heard, oracle, nparams)


def stored_results(runs, oracle, folder):
    """Of the stems in a folder as 16-bit files, whose probabilities are not known."""
    stored = read_sources(folder, [one.scene.name for one in runs])

    def read(one):
        files = stored[one.scene.name]
        return [file.label for file in files], mono([file.path for file in files], one.scene.audio.shape[1]), [1.0] * 3

    return results_of(runs, read, oracle)


def assert_alike(actual, expected, where=""):
    """Equal structure, labels and counts; numbers within the tolerance of their kind."""
    assert type(actual) is type(expected) or {type(actual), type(expected)} <= {int, float}, where
    if isinstance(expected, dict):
        assert list(actual) == list(expected), where
        for key in expected:
            assert_alike(actual[key], expected[key], f"{where}/{key}")
    elif isinstance(expected, list):
        assert len(actual) == len(expected), where
        for index, value in enumerate(expected):
            assert_alike(actual[index], value, f"{where}/{index}")
    elif isinstance(expected, float):
        tolerance = 1e-4 if "prob" in where else 1e-3  # probabilities; dB and percent
        assert actual == pytest.approx(expected, abs=tolerance), where
    else:
        assert actual == expected, where


def without_config(document):
    return {key: value for key, value in document.items() if key != "config"}


def check(results, name):
    expected = load_json(golden_file(f"mini_e2e/{name}"))
    assert_alike(without_config(results.to_json()), without_config(expected))


def test_evaluation_results(baseline, evaluation):
    check(evaluation_results(evaluation, baseline.nparams), "eval_results.json")


def test_development_results(baseline, dev, oracle):
    check(development_results(dev, oracle, baseline.nparams), "dev_set_test_results.json")


def test_development_results_from_stored_stems(dev, oracle, tmp_path):
    for one in dev:
        one.write(tmp_path)
    check(stored_results(dev, oracle, tmp_path), "dev_from_wav_results.json")


@pytest.mark.parametrize(("part", "prefix"), [("dev", "dev_est"), ("evaluation", "eval_out")])
def test_stems_as_16_bit_files(part, prefix, request, tmp_path):
    """The same files; at most one step of difference, in at most 1 % of the samples."""
    for one in request.getfixturevalue(part):
        one.write(tmp_path)
    golden = load_npz(golden_file("mini_e2e/waveforms_int16.npz"))
    expected = {key.removeprefix(f"{prefix}/"): wave for key, wave in golden.items() if key.startswith(f"{prefix}/")}
    assert {path.name for path in tmp_path.iterdir()} == set(expected)
    for name, wave in expected.items():
        actual, rate_hz = soundfile.read(tmp_path / name, dtype="int16")
        assert rate_hz == RATE_HZ
        assert soundfile.info(tmp_path / name).subtype == "PCM_16"
        off = np.abs(actual.astype(int) - wave.astype(int))
        assert off.max() <= 1, name
        assert np.count_nonzero(off) <= 0.01 * wave.size, name
