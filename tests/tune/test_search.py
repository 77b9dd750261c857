"""The search finds what is there to be found, and spends no more than it may."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from s5cli.knobs import Knob
from s5cli.labels import CLASSES
from s5cli.tune.clips import open_devset
from s5cli.tune.crossval import NONE_DB, bootstrapped, cross_validate, folds, gained, joined
from s5cli.tune.score import Outcome
from s5cli.tune.search import HOPE_DB, Search, stages
from tests.systems.tones import Tone
from tests.tune.world import coarsen, runs_of, system_of, trials_of, write_clip, write_devset

EVERY_LIST = 10_000


@pytest.fixture
def coarse(monkeypatch):
    coarsen(monkeypatch, max_points=7)


def searching(system, data, cache, budget=EVERY_LIST, **options):
    trials = trials_of(system, data, cache, **options)
    search = Search(trials, system.knobs, np.ones(len(data.clips), bool))
    start = search.candidate(system.setting)
    trials.cache.start_counting()
    trials.cache.allow(budget)
    return search, start


def test_every_step_gains_or_stays_and_is_exact(tmp_path, coarse):
    data = write_devset(tmp_path / "data", 12, seed=3)
    system, _ = system_of()
    search, start = searching(system, data, tmp_path / "cache")
    scores = [start.score_db]
    for milestone in search.stages(start):
        best = milestone.best
        assert not best.outcome.unseen.any()
        fresh = trials_of(system, data, tmp_path / "elsewhere").exact(best.setting)
        np.testing.assert_allclose(fresh.mean_db(), best.score_db, atol=1e-6)
        scores.append(best.score_db)
    assert scores == sorted(scores)
    assert scores[-1] > scores[0] + 0.1
    table = search.by_class(best, 0.0)
    assert table.score_db >= best.score_db


def test_what_nobody_has_asked_is_asked(tmp_path, coarse):
    """A weak solo is a true source: at the default nobody ever listened for it, so only networks can tell its worth."""
    for number in range(4):
        write_clip(tmp_path / "data", f"clip{number}", [Tone("Speech", p_1ch=0.6, in_a=0.6)], 1)
    data = open_devset(tmp_path / "data")
    system, _ = system_of(two_separators=False)
    search, start = searching(system, data, tmp_path / "cache")
    *_, last = search.stages(start)
    assert start.score_db == 0
    assert last.best.outcome.tp.sum() == 4
    assert search.trials.effort.new_lists >= 4
    assert last.best.setting.scalar("solo_1ch") < 0.7


def test_a_planted_threshold_is_found(tmp_path, coarse):
    """False alarms of one class are confident but weakly supported; only verification can tell them from the others."""
    for number in range(4):
        real = [Tone("Speech", 0.6, 0.6, 0.5), Tone("Cough", 0.6, 0.6, 0.2)]
        write_clip(tmp_path / "data", f"clip{number}", real, 1)
    data = open_devset(tmp_path / "data")
    system, _ = system_of(two_separators=False)
    search, start = searching(system, data, tmp_path / "cache")
    *_, last = search.stages(start)
    assert start.outcome.fp.sum() == 4
    assert last.best.outcome.fp.sum() == last.best.outcome.fn.sum() == 0
    moved_knobs = [name for name, knob in system.knobs.items() if last.best.setting.scalar(name) != knob.default]
    assert moved_knobs == ["verify", "drop"]  # what does not matter stays


def test_a_grid_finds_the_best_of_all_its_settings(tmp_path, coarse):
    data = write_devset(tmp_path / "data", 12, seed=7)
    system, _ = system_of(two_separators=False)
    search, start = searching(system, data, tmp_path / "cache")
    grids = {name: system.knobs[name].grid(4) for name in ("solo_4ch", "confidence")}
    settings = [system.setting.moved(dict(zip(grids, one, strict=True))) for one in product(*grids.values())]
    found = search.best(start, settings)
    exact = [trials_of(system, data, tmp_path / "cache").exact(setting).mean_db() for setting in settings]
    assert found.score_db == pytest.approx(max([*exact, start.score_db]), abs=1e-9)


@pytest.mark.parametrize("budget", [0, 5])
def test_no_more_query_lists_than_allowed(tmp_path, coarse, budget):
    data = write_devset(tmp_path / "data", 16, seed=4)
    system, p = system_of()
    search, start = searching(system, data, tmp_path / "cache", budget)
    before, lists = runs_of(p), len(search.trials.cache.asked)
    *_, last = search.stages(start)
    effort = search.trials.effort
    assert effort.new_lists <= budget
    assert effort.unresolved > 0
    assert len(search.trials.cache.asked) - lists <= 2 * budget + 2 * len(data.clips)  # empty lists cost nothing
    if budget == 0:
        assert runs_of(p) == before
    assert not last.best.outcome.unseen.any()
    assert last.best.score_db >= start.score_db


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """A data set, and the cache of a search that asked much that the searches below may not."""
    folder = tmp_path_factory.mktemp("used")
    data = write_devset(folder / "data", 12, seed=5)
    with pytest.MonkeyPatch.context() as patch:
        coarsen(patch, max_points=7)
        search, start = searching(system_of()[0], data, folder / "cache")
        *_, best = search.stages(start)
        search.by_class(best.best, 0.0)
    assert search.trials.effort.new_lists > 24
    return data, folder / "cache"


@pytest.mark.parametrize("budget", [3, 24])
def test_what_earlier_searches_left_saves_networks_and_changes_nothing(used, tmp_path, coarse, budget):
    """On a used cache as on a fresh one: the same settings, scores and effort, but no network runs."""
    data, cache = used
    found = []
    for place in (cache, tmp_path / "fresh"):
        system, p = system_of()
        search, start = searching(system, data, place, budget)
        milestones = list(search.stages(start))
        by_class = search.by_class(milestones[-1].best, 0.0)
        candidates = [*(one.best for one in milestones), by_class]
        about = [(one.setting.key, one.score_db) for one in candidates]
        found.append((about, search.trials.effort, sum(runs_of(p).values())))
    assert found[0][:2] == found[1][:2]
    assert found[0][2] == 0 < found[1][2]


def test_a_threshold_may_switch_a_rule_off(tmp_path, coarse):
    """Weak true sources, so the best level to ask for is none at all: the infinite end is searched, for a class too."""
    knobs = {"energy_db": Knob(-3.0, -np.inf, np.inf, axis="db", per_class=True, stage="gates", span=(-6.0, 0.0))}
    for number in range(4):
        tones = [Tone("Speech", 0.2, 0.9, 0.1), Tone("Cough", 0.6)]  # the second one is loud and not proposed
        write_clip(tmp_path / "data", f"clip{number}", tones, 1)
    data = open_devset(tmp_path / "data")
    system, _ = system_of(two_separators=False)
    search, _ = searching(system, data, tmp_path / "cache")
    search = replace(search, knobs=knobs)
    start = search.candidate(system.setting.moved({"energy_db": -3.0, "verify": 0.0, "confidence": 0.0}))
    *_, last = search.stages(start)
    assert start.outcome.tp.sum() == 0
    assert last.best.outcome.tp.sum() == 4
    assert last.best.setting.scalar("energy_db") == -np.inf


def test_unseen_clips_may_score_as_much_as_the_best_clip(tmp_path, coarse):
    """Of a system whose clips score 40 dB, 10 dB would be no bound to what others may promise."""
    data = write_devset(tmp_path / "data", 4)
    search, start = searching(system_of()[0], data, tmp_path / "cache")
    scores = np.array([40.0, 12.0, np.nan, 1.0])
    before = replace(start.outcome, capi_sdri_db=scores)
    unseen = np.array([False, True, True, True])
    now = replace(before, capi_sdri_db=np.where(unseen, np.nan, scores), unseen=unseen)
    promise = search._promise(now, before)
    assert (promise.most_db, promise.likely_db, promise.n_unseen) == (40.0, pytest.approx(53 / 3), 3)
    modest = replace(search, clips=np.array([False, True, True, True]))  # the best clip is held out
    assert modest._promise(now, before).most_db == 12.0
    assert modest._promise(now, replace(before, capi_sdri_db=scores / 12)).most_db == HOPE_DB


def test_tables_only_where_they_gain_more_than_the_margin(tmp_path, coarse):
    """Weak true stems of one class, weak false ones of another: no one threshold serves both."""
    for number in range(6):
        write_clip(tmp_path / "data", f"true{number}", [Tone("Speech", 0.2, 0.2, 0.18)], 1)
        write_clip(tmp_path / "data", f"false{number}", [Tone("Cough", 0.2, 0.2, 0.18)], 0)
    data = open_devset(tmp_path / "data")
    system, _ = system_of(two_separators=False)
    search, start = searching(system, data, tmp_path / "cache")
    *_, last = search.stages(start)
    scalars = last.best
    tabled = search.by_class(scalars, 0.01)
    assert tabled.score_db > scalars.score_db + 0.01
    assert tabled.outcome.fp.sum() == tabled.outcome.fn.sum() == 0
    tables = [np.ravel(value) for value in tabled.setting.values.values() if np.size(value) > 1]
    assert any(table[CLASSES.index("Speech")] < table[CLASSES.index("Cough")] for table in tables)
    assert search.by_class(scalars, 100.0).setting == scalars.setting
    outside = [k for k, label in enumerate(CLASSES) if label not in ("Speech", "Cough")]
    assert all(len(set(table[outside])) == 1 for table in tables)  # classes that never occur stay alike


def test_cross_validation_never_looks_at_what_it_scores(tmp_path, coarse):
    """With the held-out clips' scores turned upside down, a fold's thresholds stay what they were."""
    data = write_devset(tmp_path / "data", 15, seed=6)
    fold = folds(data.references.count, 3)[0]
    found = []
    for lies in (False, True):
        system, _ = system_of(two_separators=False)
        search, start = searching(system, data, tmp_path / f"cache {lies}")
        if lies:
            start = replace(start, outcome=poisoned(start.outcome, fold))
            search = replace(search, trials=Poisoned(search.trials, fold))
        inner = replace(search, clips=~fold)
        *_, last = inner.stages(replace(start, score_db=start.outcome.mean_db(~fold)))
        assert last.best.score_db == pytest.approx(last.best.outcome.mean_db(~fold))
        found.append(last.best.setting.values)
    assert found[0] == found[1]


def poisoned(outcome, clips):
    return replace(outcome, capi_sdri_db=np.where(clips, -100 * outcome.capi_sdri_db, outcome.capi_sdri_db))


class Poisoned:
    """Trials that lie about some clips."""

    def __init__(self, trials, clips):
        self.trials, self.clips, self.progress, self.fill = trials, clips, trials.progress, trials.fill

    def outcomes(self, settings):
        return [poisoned(one, self.clips) for one in self.trials.outcomes(settings)]


def test_every_clip_is_scored_by_its_own_fold(tmp_path, coarse):
    data = write_devset(tmp_path / "data", 12, seed=2)
    system, _ = system_of(two_separators=False)
    search, start = searching(system, data, tmp_path / "cache")
    held_out = folds(data.references.count, 3)
    found = cross_validate(search, start, held_out, per_class=True, new_lists=EVERY_LIST)
    assert not found.tuned.unseen.any()
    assert sum(clips for clips, _, _ in found.folds) == 12
    for fold, (_, _, score) in zip(held_out, found.folds, strict=True):
        assert found.tuned.mean_db(fold) == pytest.approx(score, nan_ok=True)
    assert found.margin_db in found.by_margin_db
    assert NONE_DB in found.by_margin_db
    assert found.score.mean_db == pytest.approx(found.tuned.mean_db())
    assert found.gain.mean_db == pytest.approx(found.tuned.mean_db() - found.untuned.mean_db())


def test_held_out_labels_are_those_that_were_scored(tmp_path, coarse):
    """Against the references they give the counts that the replay counted, clip by clip."""
    data = write_devset(tmp_path / "data", 12, seed=2)
    system, _ = system_of(two_separators=False)
    search, start = searching(system, data, tmp_path / "cache")
    found = cross_validate(search, start, folds(data.references.count, 3), per_class=True, new_lists=EVERY_LIST)
    assert len(set(found.margins_db)) > 1 or any(found.tuned.tp != found.untuned.tp), "folds differ from the defaults"
    for row, (clip, labels) in enumerate(zip(data.clips, found.labels, strict=True)):
        truth = [CLASSES[index] for index in clip.classes]
        tp = sum(min(labels.count(label), truth.count(label)) for label in set(labels))
        counts = tuple(int(column[row]) for column in (found.tuned.tp, found.tuned.fp, found.tuned.fn))
        assert counts == (tp, len(labels) - tp, len(truth) - tp)


def test_joining_takes_each_clip_from_its_fold():
    one, other = (
        Outcome(np.full(4, value), *(np.full(4, value, np.int16),) * 3, np.zeros(4, bool)) for value in (1.0, 2.0)
    )
    mixed = joined([one, other], [np.array([True, False, True, False]), np.array([False, True, False, True])])
    assert mixed.capi_sdri_db.tolist() == [1, 2, 1, 2]
    assert mixed.tp.tolist() == [1, 2, 1, 2]


def test_a_paired_interval_is_narrower_than_the_scores():
    random = np.random.default_rng(0)
    theirs = random.normal(5, 10, 300)
    theirs[::7] = np.nan
    ours = theirs + random.normal(0.5, 0.5, 300)
    gain, whole = gained(bootstrapped(ours) - bootstrapped(theirs)), gained(bootstrapped(ours))
    assert gain.interval.low > 0.4
    assert gain.interval.high - gain.interval.low < 0.2 * (whole.interval.high - whole.interval.low)
    assert whole.mean_db == pytest.approx(np.nanmean(ours))


def test_stages_are_those_of_the_knobs():
    """Any stage names: the search reads nothing but what stands beside the flow."""
    knob = Knob(0.0, -10, 10, axis="logit", per_class=True, stage="silence of the last stage")
    assert stages({"silence_3": knob, "report": Knob(0.5, 0, 1, stage="report")}) == {
        "silence of the last stage": ["silence_3"],
        "report": ["report"],
    }
