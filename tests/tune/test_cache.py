"""Steps of any kind are cached: options as fields; waveforms, activities, flags and classes as inputs, in any order."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from s5cli.errors import InputError
from s5cli.knobs import Knob, Option, setting
from s5cli.labels import CLASSES
from s5cli.scene import EMPTY, Bools, Floats, Stems, Tags, Waveforms, places
from s5cli.steps.step import steps_of, waveforms
from s5cli.trace import ClipTrace, Drop, QueryTrace
from s5cli.tune.cache import BudgetSpentError, arrays_of, assembled, query_list, step_fingerprint
from s5cli.tune.clips import open_devset
from s5cli.tune.trials import Trials
from tests.systems.tones import N_SAMPLES, Tone, frequency_hz, tones_of
from tests.tune.test_replay import in_process
from tests.tune.world import knowing, trials_of, write_clip

FRAME = 800


@dataclass(frozen=True)
class Heard:
    tags: Tags
    mixture: Waveforms  # [b, 1]
    nothing: Floats | None = None


@dataclass(frozen=True)
class Sound:
    waveforms: Waveforms  # [b, s]


@dataclass(frozen=True)
class Listen:
    gives: ClassVar[type] = Heard
    ear: "Ear"

    def __call__(self, scenes):
        self.ear.heard += len(scenes)
        audio = torch.stack([scene.audio[0] for scene in scenes])
        level = tones_of(audio)[:, :, 0].abs().numpy()
        frames = audio.unfold(1, FRAME, FRAME).square().mean(dim=2).numpy()[:, :, None] * (level > 0.1)[:, None]
        return Heard(Tags(level[:, None], frames), waveforms(audio[:, None], 1))


@dataclass(frozen=True)
class Extract:
    gives: ClassVar[type] = Sound
    ear: "Ear"
    gain: float

    def __call__(self, scenes, activity, classes, enrolments, flags):
        """The tone of each class out of the enrolment, while the class is active and its flag is set."""
        self.ear.extracted += len(scenes)
        found = []
        for scene, active, row, (enrolment,), flag in zip(scenes, activity, classes, enrolments, flags, strict=True):
            t = 2j * torch.pi * torch.arange(scene.audio.shape[-1], dtype=torch.float64) / 32_000
            stems = torch.zeros(len(row), len(enrolment))
            for slot, k in enumerate(row.tolist()):
                if k != EMPTY and flag[slot]:
                    tone = self.gain * (tones_of(enrolment[None])[0, k, 0] * torch.exp(frequency_hz(k, 0) * t)).real
                    mask = torch.from_numpy(active[:, k] > 0).repeat_interleave(FRAME)
                    stems[slot] = tone * mask[: len(tone)]
            found.append(stems)
        return Sound(waveforms(found, classes.shape[1]))


class Ear:
    nparams = 0

    def __init__(self):
        self.heard = self.extracted = 0


@dataclass(frozen=True)
class Decision:
    asked: Stems
    kept: Bools

    def stems(self):
        return self.asked.only(self.kept)

    def trace(self):
        return [self._clip(row) for row in range(len(self.kept))]

    def _clip(self, row):
        found, n = [], 0
        for slot in np.flatnonzero(self.asked.active[row]).tolist():
            kept, label = bool(self.kept[row, slot]), CLASSES[self.asked.classes[row, slot]]
            end = {"reported": n} if kept else {"dropped_by": "faint", "reason": "it is faint"}
            found.append(QueryTrace(label, 0.5, slot, **end))
            n += kept
        return ClipTrace(tuple(found))


class Toy:
    knobs: ClassVar[Mapping[str, Knob]] = {
        "least": Knob(-np.inf, -np.inf, np.inf, axis="logit", stage="asking", span=(-6, 6)),
        "faint": Knob(0.2, 0, 1, per_class=True, stage="reporting"),
    }
    options: ClassVar[Mapping[str, Option]] = {"gain": Option(1.0, "of all stems")}
    drops: ClassVar[Mapping[str, Drop]] = {"faint": Drop("too faint")}

    def __init__(self, ear, chosen=None):
        self.setting, self.ear, self.nparams = setting(self.knobs, None, self.options, chosen), ear, 0
        self.listen, self.extract = Listen(ear), Extract(ear, self.setting.options["gain"])

    def __call__(self, scenes):
        heard = self.listen(scenes)
        level = heard.tags.probabilities[:, 0]
        order = np.argsort(-level, axis=1, kind="stable")[:, :3]
        best = np.take_along_axis(level, order, axis=1)
        logit = np.log(best + 1e-9) - np.log(1 - np.minimum(best, 1 - 1e-9))
        classes = np.where((logit >= self.setting.scalar("least")) & (best > 0.02), order, EMPTY)
        found = self.extract(scenes, heard.tags.frames, classes, heard.mixture, best > 0.05)
        return Decision(
            Stems(classes, best, places(classes), found.waveforms), best >= self.setting.of("faint", classes)
        )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Clips of three lengths, so of three numbers of frames; two of them have equal content."""
    folder, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for number in range(12):
        labels = random.choice(CLASSES, 3, replace=False)
        tones = [Tone(label, level) for label, level in zip(labels, random.uniform(0.03, 0.9, 3), strict=True)]
        write_clip(folder, f"clip{number:02d}", tones, number % 4, N_SAMPLES * (1 + number % 3))
    write_clip(folder, "clip12", tones, 3, 3 * N_SAMPLES)
    return open_devset(folder)


def random_setting(system, random):
    table = random.uniform(0, 1, 18)
    return system.setting.moved({"least": random.choice([-np.inf, -2.0, 0.0, 1.5, np.inf]), "faint": table})


def test_any_setting_scores_as_in_process(data, tmp_path):
    system = Toy(Ear())
    trials, random = trials_of(system, data, tmp_path), np.random.default_rng(1)
    for one in [system.setting, *(random_setting(system, random) for _ in range(6))]:
        outcome, (scores, labels) = trials.exact(one), in_process(system, one, data)
        assert not outcome.unseen.any()
        expected = [np.nan if score.capi_sdri_db is None else score.capi_sdri_db for score in scores]
        np.testing.assert_allclose(outcome.capi_sdri_db, expected, atol=1e-4)
        assert [list(found) for found in trials.labels(one)] == labels
    assert len(trials.replay.groups) == 3, "one for each number of frames"


def test_networks_run_once_and_another_option_is_another_step(data, tmp_path):
    ear = Ear()
    trials_of(Toy(ear), data, tmp_path).exact(Toy(ear).setting)
    assert (ear.heard, ear.extracted) == (13, 13)
    trials_of(Toy(ear), data, tmp_path).exact(Toy(ear).setting)
    assert (ear.heard, ear.extracted) == (13, 13)
    louder = Toy(ear, {"gain": "2"})
    found = trials_of(louder, data, tmp_path).exact(louder.setting)
    assert (ear.heard, ear.extracted) == (26, 26)
    scores, _ = in_process(louder, louder.setting, data)
    np.testing.assert_allclose(
        found.capi_sdri_db, [np.nan if s.capi_sdri_db is None else s.capi_sdri_db for s in scores], atol=1e-4
    )


def test_lists_are_counted_once_and_empty_ones_are_free(data, tmp_path):
    system = Toy(Ear())
    trials = trials_of(system, data, tmp_path)
    trials.exact(system.setting)
    trials.cache.start_counting()
    trials.cache.allow(0)
    assert trials.fill([system.setting.moved({"least": np.inf})]), "all lists are empty"
    assert not trials.fill([system.setting.moved({"least": 0.0})])
    trials.cache.allow(None)
    trials.fill([system.setting.moved({"least": 0.0})])
    assert 0 < trials.cache.new_lists <= 13


def test_query_lists():
    classes, other, names = np.array([3, -1]), np.array([5, -1]), np.array([[0.5]])
    assert query_list("step", "clip", ()) is None
    assert query_list("step", "clip", (np.array([-1, -1]), names)) is None
    assert query_list("one", "clip", (classes, names)) == query_list("two", "clip", (names, classes))
    assert query_list("one", "clip", (classes,)) != query_list("one", "other", (classes,))
    assert query_list("one", "clip", (classes, other)) != query_list("one", "clip", (classes,))
    assert query_list("one", "clip", (names,)) != query_list("two", "clip", (names,))


def test_a_charge_that_is_too_much_counts_nothing(data, tmp_path):
    cache = trials_of(Toy(Ear()), data, tmp_path).cache
    cache.allow(2)
    cache.charge([("a", "1"), None, ("a", "1")])
    with pytest.raises(BudgetSpentError):
        cache.charge([("a", "1"), ("a", "2"), ("a", "3")])
    assert (cache.new_lists, cache.exhausted) == (1, True)


def test_a_fingerprint_is_of_parts_and_fields():
    ear = Ear()
    step, parts = Extract(ear, 1.0), {id(ear): "weights"}
    prints = [
        step_fingerprint("extract", step, parts, {}),
        step_fingerprint("extract", step, {id(ear): "other weights"}, {}),
        step_fingerprint("extract", replace(step, gain=2.0), parts, {}),
        step_fingerprint("extract", step, {"ear": "weights"}, {}),  # not kept by the system, so it may be any part
        step_fingerprint("extract", step, {"ear": "other weights"}, {}),
        step_fingerprint("extract", step, {"ear": "weights"}, {"stages": 2}),  # and depend on any option
        step_fingerprint("listen", Listen(ear), parts, {}),
    ]
    assert len(set(prints)) == len(prints)
    assert prints[0] == step_fingerprint("elsewhere", Extract(ear, 1.0), parts, {})
    assert prints[0] == step_fingerprint("extract", step, parts, {"stages": 2}), "options of a step are its fields"
    assert steps_of(Toy(ear)).keys() == {"listen", "extract"}


@pytest.mark.parametrize("frames", [None, np.ones((2, 4, 18))])
def test_results_are_taken_apart_and_put_together(frames):
    found = Heard(Tags(np.zeros((2, 1, 19)), frames), np.empty((2, 1), dtype=object))
    arrays = dict(arrays_of(found))
    assert arrays.keys() == {"tags.probabilities", "mixture"} | ({"tags.frames"} if frames is not None else set())
    back = assembled(Heard, arrays)
    assert back.tags.frames is frames
    assert back.mixture is found.mixture
    assert back.nothing is None
    with pytest.raises(TypeError, match="tags is of type int"):
        list(arrays_of(Heard(3, found.mixture)))


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_clip_that_is_answered_with_nan_is_not_left_out_of_the_mean(data, tmp_path, wrong):
    """The run refuses such a clip, so no score may be made of the others alone."""
    system = Toy(Ear())
    system.extract = replace(system.extract, gain=wrong)
    with pytest.raises(InputError, match=r"clip\d+: the system answers with NaN or infinity"):
        trials_of(system, data, tmp_path).exact(system.setting)


def test_a_score_that_is_nan_in_the_cache_is_told_too(data, tmp_path):
    system = Toy(Ear())
    trials = trials_of(system, data, tmp_path)
    trials.exact(system.setting)
    for one in trials.cache.asked.values():
        one.sdri_db[:] = np.nan
    again = Trials(system, trials.cache, data)
    with pytest.raises(InputError, match=r"clip\d+: the system answers with NaN or infinity"):
        again.outcomes([system.setting])


def test_what_is_stored_is_known_only_when_asked(data, tmp_path):
    system = Toy(Ear())
    trials_of(system, data, tmp_path).exact(system.setting)
    again = trials_of(system, data, tmp_path)
    assert again.outcomes([system.setting])[0].unseen.all()
    assert not knowing(trials_of(system, data, tmp_path)).outcomes([system.setting])[0].unseen.any()
