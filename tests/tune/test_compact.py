"""Every system that s5cli carries, tuned and run for good: replay, in process, and from files, they agree."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from s5cli.cli import exit_code
from s5cli.knobs import Setting
from s5cli.labels import CLASSES
from s5cli.scene import EMPTY
from s5cli.score.evaluate import evaluate
from s5cli.tune.cache import caching, with_setting
from s5cli.tune.clips import open_devset
from s5cli.tune.result import plain, toml
from s5cli.tune.tuner import Options, prepared
from s5cli.weights.registry import registry
from tests.score.whole import capi_sdri
from tests.tune.world import cached_clips, knowing

EXAMPLES = Path(__file__).parents[2] / "examples"
COMPACT = ["baseline-compact", *(f"tagging-driven-compact-{rung}" for rung in range(4))]
OPTIONS = Options(device="cpu", batch_size=4)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One for all, as a user's."""
    return tmp_path_factory.mktemp("cache")


def random_setting(system, entry, random):
    """Knobs anywhere, low values more often, since these systems are seldom sure."""
    values = {}
    for name, knob in system.knobs.items():
        many = len(CLASSES) if knob.per_class and entry.per_class else None
        values[name] = knob.low + (knob.high - knob.low) * random.uniform(0, 1, many) ** 2
    return Setting(values)


@pytest.mark.parametrize("name", COMPACT)
def test_the_same_tensors_score_the_same(name, short_clips, cache):
    entry, data = registry().system(name), open_devset(short_clips)
    trials = prepared(entry, data, cache, OPTIONS)
    clips = cached_clips(data)
    random = np.random.default_rng(3)
    for _ in range(2):
        setting = random_setting(trials.system, entry, random)
        system = caching(with_setting(trials.system, setting), trials.cache)
        answers = [system(clips[start : start + 3]).stems() for start in (0, 3)]
        trials = knowing(prepared(entry, data, cache, OPTIONS))  # all it knows comes from the disk
        outcome = trials.outcomes([setting])[0]
        for row, clip in enumerate(one.held for one in clips):
            answer, place = answers[row // 3], row % 3
            slots = np.flatnonzero(answer.classes[place] != EMPTY)
            labels = [CLASSES[answer.classes[place, slot]] for slot in slots]
            est = [answer.waveforms[place, slot].audio.numpy() for slot in slots]
            stems = np.stack(est) if est else np.zeros((0, clip.audio.shape[1]))
            refs = [CLASSES[index] for index in data.clips[row].classes]
            score = capi_sdri(labels, stems, refs, clip.references, clip.audio[0].numpy())
            expected = np.nan if score.capi_sdri_db is None else score.capi_sdri_db
            np.testing.assert_allclose(outcome.capi_sdri_db[row], expected, atol=1e-6)
            assert (outcome.tp[row], outcome.fp[row], outcome.fn[row]) == (score.tp, score.fp, score.fn)


def check_fresh_run(name, folder, cache, out, seed):
    """`s5 separate` and `s5 evaluate` say what the replay says."""
    entry, data = registry().system(name), open_devset(folder)
    trials = prepared(entry, data, cache, OPTIONS)
    setting = random_setting(trials.system, entry, np.random.default_rng(seed))
    outcome = trials.exact(setting)
    out.mkdir()
    knobs = {"system": name, "knobs": {key: plain(value) for key, value in setting.values.items()}}
    (out / "t.toml").write_text("\n".join(toml(knobs)))
    run = ["separate", folder, "-o", out / "run", "--system", name, "--thresholds", out / "t.toml"]
    how = ["--subtype", "FLOAT", "--device", "cpu", "--batch-size", "4"]
    assert exit_code([str(arg) for arg in [*run, *how]]) == 0
    found = evaluate(out / "run", folder)
    for row, clip in enumerate(found.clips):
        score = clip.score
        expected = np.nan if score.capi_sdri_db is None else score.capi_sdri_db
        np.testing.assert_allclose(outcome.capi_sdri_db[row], expected, atol=1e-4)
        assert (outcome.tp[row], outcome.fp[row], outcome.fn[row]) == (score.tp, score.fp, score.fn)
    assert found.overall.accuracy_mixture_percent == pytest.approx(outcome.accuracy_mixture_percent())
    return [sorted(clip.est_labels) for clip in found.clips], [sorted(labels) for labels in trials.labels(setting)]


@pytest.mark.parametrize(("name", "seed"), [*((name, 5) for name in COMPACT), (COMPACT[-1], 6)])
def test_a_fresh_run_of_short_clips(name, seed, short_clips, evidence, tmp_path):
    from_files, replayed = check_fresh_run(name, short_clips, evidence, tmp_path / "out", seed)
    assert from_files == replayed


def test_a_fresh_run_of_the_examples(evidence, tmp_path):
    data = tmp_path / "data"
    (data / "soundscape").mkdir(parents=True)
    (data / "oracle_target").symlink_to(EXAMPLES / "oracle_target")
    for path in EXAMPLES.glob("*.flac"):
        (data / "soundscape" / path.name).symlink_to(path)
    from_files, replayed = check_fresh_run(COMPACT[-1], data, evidence, tmp_path / "out", 7)
    assert from_files == replayed


def test_a_baseline_has_nothing_to_tune_and_goes_the_same_way(short_clips, evidence):
    entry, data = registry().system("baseline-compact"), open_devset(short_clips)
    trials = prepared(entry, replace(data, clips=data.clips[:4]), evidence, OPTIONS)
    assert trials.exact(Setting({})).unseen.tolist() == [False] * 4
