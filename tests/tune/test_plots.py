"""Pictures of a search: what they show is exact, and nothing is drawn that is not known."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from s5cli.knobs import Knob, setting
from s5cli.labels import CLASSES
from s5cli.trace import ClipTrace, Drop, QueryTrace
from s5cli.tune import plots
from s5cli.tune.clips import open_devset
from s5cli.tune.plots import Curve, Pictured, Queries, RuleCounts, counts_under, rule_counts
from s5cli.tune.tuner import Options, prepared, searchable, tune
from s5cli.weights.registry import registry
from tests.pictures import read
from tests.systems.tones import Tone
from tests.tune.world import coarsen, knowing, random_setting, system_of, trials_of, write_clip, write_devset

# --- rule counts ------------------------------------------------------------------------------------------------------


def query(label: str, dropped_by: str | None = None) -> QueryTrace:
    return QueryTrace(label, 0.5, dropped_by=dropped_by)


def test_a_true_query_is_one_that_a_reference_is_left_for() -> None:
    first = ClipTrace((query("Speech"), query("Speech", "last"), query("Cough", "third"), query("Pour", "first")))
    second = ClipTrace((query("Cough", "second"), query("Typing")))
    found = rule_counts([first, second], [["Speech", "Cough"], ["Cough"]], ("first", "second", "third", "last"))
    assert found.proposed == Queries(3, 3)
    assert found.removed == {
        "first": Queries(0, 1),
        "second": Queries(1, 0),
        "third": Queries(1, 0),
        "last": Queries(0, 1),  # the other stem has the only reference
    }
    assert list(found.removed) == ["first", "second", "third", "last"]
    assert found.reported == Queries(1, 1)


def test_counts_add_up_and_end_where_the_score_begins(tmp_path) -> None:
    data = write_devset(tmp_path / "data", 12)
    trials = trials_of(system_of()[0], data, tmp_path / "cache")
    random = np.random.default_rng(2)
    for _ in range(5):
        one = random_setting(random)
        outcome, found = trials.exact(one), counts_under(trials, one)
        assert found.reported == Queries(int(outcome.tp.sum()), int(outcome.fp.sum()))
        assert list(found.removed) == list(trials.system.drops)
        for which in ("n_true", "n_false"):
            removed = [getattr(counts, which) for counts in found.removed.values()]
            assert min(removed) >= 0
            assert getattr(found.proposed, which) - sum(removed) == getattr(found.reported, which)


def test_counts_need_no_sound(tmp_path) -> None:
    data = write_devset(tmp_path / "data", 3)
    system = system_of()[0]
    outcome = trials_of(system, data, tmp_path / "cache").exact(system.setting)
    for clip in data.clips:
        clip.mixture.unlink()
    again = trials_of(system, data, tmp_path / "cache")
    assert again.exact(system.setting).tp.tolist() == outcome.tp.tolist()
    assert counts_under(again, system.setting).reported.n_true == outcome.tp.sum()


# --- curves -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def searched(evidence, short_clips):
    """A short search of a real system, and the evidence that it left."""
    options = Options("cpu", folds=2, max_new_lists=6)
    with pytest.MonkeyPatch.context() as patch:
        coarsen(patch)
        return tune("tagging-driven-compact-3", short_clips, evidence, options), evidence, options


def pictured(searched) -> Pictured:
    result, cache, options = searched
    entry = registry().system(result.system)
    trials = knowing(prepared(entry, open_devset(Path(result.data)), cache, options))
    return Pictured(result, trials, searchable(trials.system, entry))


def test_every_point_of_a_curve_is_the_score_of_that_setting(searched, monkeypatch) -> None:
    coarsen(monkeypatch)
    shown = pictured(searched)
    result, start = shown.result, shown.alike
    for name, curve in zip(shown.knobs, shown.global_curves(), strict=True):
        assert curve.title == name
        assert curve.default == shown.knobs[name].default
        assert curve.default in curve.values
        for value, score_db in zip(curve.values, curve.scores_db, strict=True):
            assert score_db == shown.trials.exact(start.moved({name: float(value)})).mean_db()
    curves = shown.class_curves("confidence")
    assert [curve.title.split(" (")[0] for curve in curves] == list(CLASSES)
    for curve in curves:
        at_tuned = curve.scores_db[curve.values == round(curve.tuned, 6)]
        assert at_tuned.max() == pytest.approx(result.tuned.mean_db(), abs=1e-4)  # of other batches


def test_what_nobody_has_asked_is_a_gap(searched, monkeypatch, tmp_path) -> None:
    coarsen(monkeypatch)
    result = searched[0]
    data = write_devset(tmp_path / "data", 6)
    trials = trials_of(system_of()[0], data, tmp_path / "cache")
    trials.exact(trials.system.setting)
    trials.cache.start_counting()
    trials.cache.allow(0)
    stone = replace(result.milestones[0].best, setting=trials.system.setting)
    only = replace(result, setting=trials.system.setting, milestones=(replace(result.milestones[0], best=stone),))
    curves = Pictured(only, trials, trials.system.knobs).global_curves()
    scores = np.concatenate([curve.scores_db for curve in curves])
    assert np.isnan(scores).any()
    assert not np.isnan(scores).all()
    assert trials.cache.new_lists == 0
    figure = plots.thresholds(curves, "note")
    assert any("gaps: query lists that nobody has asked" in words for words in read(figure).words)


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_the_files(searched, tmp_path, monkeypatch) -> None:
    coarsen(monkeypatch)
    result, cache, options = searched
    paths = plots.draw(result, cache, tmp_path / "new" / "folder", options)
    names = ["stages", "rules", "thresholds", "classes_verify", "classes_drop", "classes_confidence"]
    assert [path.name for path in paths] == [f"{name}.png" for name in names]
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(path.name for path in paths)
    for path in paths:
        image = matplotlib.image.imread(path)
        assert min(image.shape[:2]) > 300
        assert len(np.unique(image[..., :3] @ np.array([1, 2**8, 2**16]))) > 50  # colours


def test_stages_show_gains_and_the_held_out_score(searched) -> None:
    result = searched[0]
    picture = read(plots.stages(result))
    (panel,) = picture.panels
    scores = [one.best.score_db for one in result.milestones]
    near = {"abs": 0.01}
    assert panel.x.words == ["defaults", *[one.stage for one in result.milestones[1:]], "held out"]
    gains = [f"{gain:+.3f}" for gain in np.diff(scores)]
    assert [text for text in panel.words() if text.startswith(("+", "-"))] == gains
    ends = [(panel.y.value(low[1]), panel.y.value(high[1])) for low, high in panel.bars[plots.BLUE.lower()]]
    heights = sorted(abs(high - low) for low, high in ends)
    assert heights == pytest.approx(sorted(np.diff(scores)), **near)
    held_out = next(colour for word, colour in picture.legend.items() if word.startswith("on clips not searched on"))
    heights = [panel.y.value(y) for _, y in panel.points[held_out]]
    assert heights == [pytest.approx(result.held_out.score.mean_db, **near)]


def drawn_at(picture, name: str) -> list[float]:
    """Where the vertical lines of that name stand in the first panel, as values."""
    panel = picture.panels[0]
    upright = [one for one, other in panel.strokes[picture.legend[name]] if one[0] == other[0]]
    return [panel.x.value(x) for x, _ in upright]


def test_default_and_tuned_are_dashed_in_two_colours() -> None:
    curve = Curve("some_knob", np.array([0.0, 0.5, 1.0]), np.array([1.0, 2.0, np.nan]), 0.1, 0.5, "dB")
    figure = plots.thresholds([curve], "note")
    picture = read(figure)
    assert drawn_at(picture, "default") == [pytest.approx(0.1, abs=0.01)]
    assert drawn_at(picture, "tuned") == [pytest.approx(0.5, abs=0.01)]
    assert picture.legend["default"] != picture.legend["tuned"]
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert all(lines[name].is_dashed() for name in ("default", "tuned"))
    np.testing.assert_array_equal(lines["score"].get_ydata(), curve.scores_db)
    assert {"some_knob", "dB"} <= set(picture.words)
    assert not any("infinite" in words for words in picture.words)


def test_infinite_thresholds_stand_beyond_a_marked_edge() -> None:
    knob = Knob(0.0, -np.inf, np.inf, "logit", span=(-4, 4))
    values = np.array(knob.grid(5))
    curve = Curve("silence_1", values, np.array([3.0, 1, 1, 2, 1, 1, 0]), np.inf, -np.inf, "logit")
    picture = read(plots.thresholds([curve], "note"))
    [default], [tuned] = drawn_at(picture, "default"), drawn_at(picture, "tuned")
    assert 4 < default < 6
    assert -6 < tuned < -4
    marks = sorted(picture.panels[0].x.value(x) for x, _ in picture.panels[0].points[picture.legend["score"]])
    assert marks == [pytest.approx(tuned, abs=0.05), pytest.approx(default, abs=0.05)]
    assert any("beyond the dotted lines: infinite" in words for words in picture.words)


def test_rules_show_their_counts_under_the_systems_own_titles() -> None:
    drops = {"first": Drop("too faint"), "second": Drop("of no class"), "third": Drop("late")}
    counts = {rule: Queries(number, 10 + number) for number, rule in enumerate(drops)}
    one = RuleCounts(Queries(6, 47), counts, Queries(0, 1))
    left, right = read(plots.rules(one, one, drops)).panels
    assert right.y.words == ["too faint", "of no class", "late"]
    assert left.y.words == ["proposed", "reported"]
    for panel, shown in ((right, [0, 10, 1, 11, 2, 12]), (left, [6, 47, 0, 1])):
        assert sorted(int(text) for text in panel.words() if text.isdigit()) == sorted(2 * shown)


def test_a_system_without_thresholds_has_no_pictures(tmp_path) -> None:
    write_clip(tmp_path / "data", "one", [Tone("Speech", 0.9, 0.9, 0.9, 0.9)], 1)
    options = Options("cpu", folds=0)
    result = tune("baseline-compact", tmp_path / "data", tmp_path / "cache", options)
    assert plots.draw(result, tmp_path / "cache", tmp_path / "plots", options) == []


# --- command line -----------------------------------------------------------------------------------------------------


def test_the_command_draws_beside_its_json(searched, short_clips, tmp_path, capsys, monkeypatch) -> None:
    from s5cli.cli import exit_code

    coarsen(monkeypatch)
    what = [
        "tune",
        "tagging-driven-compact-1",
        "--data",
        short_clips,
        "--cache",
        searched[1],
        "--folds",
        0,
        "--workers",
        1,
    ]
    how = ["--max-new-lists", 0, "--device", "cpu", "--plots", tmp_path / "plots", "--json"]
    assert exit_code([str(arg) for arg in [*what, *how]]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["system"] == "tagging-driven-compact-1"
    assert sorted(path.stem for path in (tmp_path / "plots").iterdir()) == ["rules", "stages", "thresholds"]
    assert shown.err.count("drawn: ") == 3


def test_without_matplotlib_the_extra_is_named_before_the_search(monkeypatch, tmp_path, capsys) -> None:
    from s5cli.cli import exit_code

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    args = ["tune", "baseline-compact", "--data", tmp_path, "--cache", tmp_path / "c", "--plots", tmp_path / "p"]
    assert exit_code([str(arg) for arg in args]) == 2
    assert "s5cli[plots]" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_the_setting_that_treats_all_classes_alike(searched) -> None:
    shown = pictured(searched)
    table = setting(shown.trials.system.knobs, {"drop": {"Speech": 0.25}})
    last = shown.result.milestones[-1]
    by_class = replace(last, best=replace(last.best, setting=table))
    result = replace(shown.result, setting=table, milestones=(*shown.result.milestones, by_class))
    assert not any(np.ndim(value) for value in replace(shown, result=result).alike.values.values())
