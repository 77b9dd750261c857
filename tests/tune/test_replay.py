"""Replay is the system itself: the same labels, the same score, and networks run for what is new and nothing else."""

import numpy as np
import pytest

from s5cli.labels import CLASSES
from s5cli.scene import EMPTY, Queries
from s5cli.tune.cache import caching, with_setting
from s5cli.tune.clips import held, open_devset
from s5cli.tune.replay import replay_of
from tests.score.whole import capi_sdri
from tests.systems.tones import Tone
from tests.tune.world import (
    cached_clips,
    knowing,
    random_setting,
    runs_of,
    system_of,
    trials_of,
    write_clip,
    write_devset,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_devset(tmp_path_factory.mktemp("data"), 12)


def in_process(system, setting, data):
    """Scores and labels of the plain system, clip by clip."""
    scores, labels = [], []
    for clip in data.clips:
        scene = held(clip)
        [stems] = with_setting(system, setting)([scene]).stems().clips()
        est = np.stack([stem.audio.numpy() for stem in stems]) if stems else np.zeros((0, scene.audio.shape[1]))
        labels.append([stem.label for stem in stems])
        refs = [CLASSES[index] for index in clip.classes]
        scores.append(capi_sdri(labels[-1], est, refs, scene.references, scene.audio[0].numpy()))
    return scores, labels


@pytest.mark.parametrize(
    ("two_separators", "kind"), [(False, {}), (True, {"crowding": 0.3}), (True, {"crowding": 0.1, "backwards": True})]
)
def test_any_setting_scores_as_in_process(data, tmp_path, two_separators, kind):
    system, _ = system_of(two_separators, **kind)
    trials = trials_of(system, data, tmp_path, batch_size=5)
    random = np.random.default_rng(5)
    for setting in [system.setting, *(random_setting(random) for _ in range(4))]:
        outcome = trials.exact(setting)
        scores, _ = in_process(system, setting, data)
        assert not outcome.unseen.any()
        expected = np.array([np.nan if s.capi_sdri_db is None else s.capi_sdri_db for s in scores])
        np.testing.assert_allclose(outcome.capi_sdri_db, expected, atol=1e-4)  # single clips against batches
        assert [(s.tp, s.fp, s.fn) for s in scores] == list(zip(outcome.tp, outcome.fp, outcome.fn, strict=True))


def test_the_same_tensors_score_the_same_to_a_millionth(data, tmp_path):
    system, _ = system_of(crowding=0.2)
    trials = trials_of(system, data, tmp_path)
    setting = random_setting(np.random.default_rng(8))
    clips = cached_clips(data)
    answer = caching(with_setting(system, setting), trials.cache)(clips).stems()
    outcome = trials.outcomes([setting])[0]
    for row, clip in enumerate(one.held for one in clips):
        slots = np.flatnonzero(answer.classes[row] != EMPTY)
        est = [answer.waveforms[row, slot].audio.numpy() for slot in slots]
        stems = np.stack(est) if est else np.zeros((0, clip.audio.shape[1]))
        labels = [CLASSES[answer.classes[row, slot]] for slot in slots]
        refs = [CLASSES[index] for index in data.clips[row].classes]
        score = capi_sdri(labels, stems, refs, clip.references, clip.audio[0].numpy()).capi_sdri_db
        np.testing.assert_allclose(outcome.capi_sdri_db[row], np.nan if score is None else score, atol=1e-6)


def test_networks_run_once_and_then_only_for_what_is_new(data, tmp_path):
    system, p = system_of(crowding=0.2)
    trials = trials_of(system, data, tmp_path)
    setting = system.setting
    trials.exact(setting)
    once = runs_of(p)
    assert once["tagger_4ch"] == len(data.clips)
    trials.exact(setting)
    again, others = system_of(crowding=0.2)
    trials_of(again, data, tmp_path).exact(setting)  # another search, another process for all it knows
    assert runs_of(p) == once
    assert runs_of(others) == dict.fromkeys(once, 0)


def test_a_setting_asks_only_of_the_clips_that_it_changes(tmp_path):
    clear = [Tone("Speech", 0.9, 0.9, 0.9, 0.9)]
    solo = [Tone("Cough", 0.9, 0.9, 0.9, 0.9), Tone("Dishes", 0.0, 0.4, 0.5, 0.5)]
    write_clip(tmp_path / "data", "clear", clear, 1)
    write_clip(tmp_path / "data", "solo", solo, 2)
    data = open_devset(tmp_path / "data")
    system, p = system_of()
    trials = trials_of(system, data, tmp_path / "cache")
    default = trials.exact(system.setting)
    before = runs_of(p)
    setting = with_solo(system.setting, 0.3)
    assert trials.outcomes([setting])[0].unseen.tolist() == [False, True]
    found = trials.exact(setting)
    assert found.tp.tolist() == [1, 2]
    assert default.tp.tolist() == [1, 1]
    ran = {role: n - before[role] for role, n in runs_of(p).items()}
    assert ran == {"tagger_1ch": 2 + 2, "tagger_4ch": 0, "separator_a": 1, "separator_b": 1}


def with_solo(setting, value):
    return type(setting)({**setting.values, "solo_4ch": value})


def test_systems_share_what_they_have_in_common(data, tmp_path):
    """The second separator is new, the taggers are not; of the first only the sound is needed again."""
    one, _ = system_of(two_separators=False)
    trials_of(one, data, tmp_path).exact(one.setting)
    two, p = system_of(two_separators=True)
    trials = trials_of(two, data, tmp_path)
    assert len(trials.cache.stored) > 0
    outcome = trials.exact(two.setting)
    assert runs_of(p)["tagger_4ch"] == 0
    scores, _ = in_process(two, two.setting, data)
    expected = np.array([np.nan if s.capi_sdri_db is None else s.capi_sdri_db for s in scores])
    np.testing.assert_allclose(outcome.capi_sdri_db, expected, atol=1e-4)


def test_what_separator_b_was_asked_with_stems_of_other_weights_is_not_looked_up(data, tmp_path):
    """Separator A was exchanged and B kept, whose results name waveforms that no result holds any more."""
    before, _ = system_of(crowding=0.3)
    trials_of(before, data, tmp_path).exact(before.setting)
    system, _ = system_of()
    known = knowing(trials_of(system, data, tmp_path, exchanged="separator_a"))
    assert known.outcomes([system.setting])[0].unseen.any()
    expected = trials_of(system, data, tmp_path / "empty").exact(system.setting)
    np.testing.assert_array_equal(known.exact(system.setting).capi_sdri_db, expected.capi_sdri_db)


def test_equal_files_are_one_content(tmp_path):
    for name in ("one", "two"):
        write_clip(tmp_path / "data", name, [Tone("Speech", 0.9, 0.9, 0.5)], 1)
    data = open_devset(tmp_path / "data")
    assert data.clips[0].key == data.clips[1].key
    system, p = system_of(two_separators=False)
    outcome = trials_of(system, data, tmp_path / "cache", batch_size=1).exact(system.setting)
    assert outcome.capi_sdri_db[0] == outcome.capi_sdri_db[1]
    assert runs_of(p)["separator_a"] == 1


def test_true_labels_can_be_replayed(data, tmp_path):
    """Named queries go through steps like any others."""
    system, _ = system_of()
    trials = trials_of(system, data, tmp_path)
    classes = np.full((len(data.clips), 3), EMPTY)
    for row, clip in zip(classes, data.clips, strict=True):
        row[: len(clip.classes)] = clip.classes
    queries = Queries(classes, (classes != EMPTY).astype(float))
    named = system.with_queries(queries)
    caching(named, trials.cache)(cached_clips(data))
    outcome = replay_of(named, trials.cache, data)(named.setting)
    assert outcome.accuracy_mixture_percent() == 100


def test_many_settings_in_several_processes(data, tmp_path):
    system, _ = system_of(two_separators=False)
    random = np.random.default_rng(2)
    settings = [random_setting(random) for _ in range(80)]
    alone = trials_of(system, data, tmp_path)
    alone.exact(system.setting)
    together = knowing(trials_of(system, data, tmp_path, n_workers=2))
    for one, other in zip(alone.outcomes(settings), together.outcomes(settings), strict=True):
        np.testing.assert_array_equal(one.capi_sdri_db, other.capi_sdri_db)
        np.testing.assert_array_equal(one.unseen, other.unseen)
