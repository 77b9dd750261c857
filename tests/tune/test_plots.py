"""Pictures of a search: what they show is exact, and nothing is drawn that is not known."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from s5cli.explain import ClipTrail, QueryLife
from s5cli.knobs import setting
from s5cli.labels import CLASSES
from s5cli.tune import plots
from s5cli.tune.fates import RULES, Queries, fate, fate_under, trails
from s5cli.tune.plots import Pictured
from s5cli.tune.search import moved
from s5cli.tune.tuner import Options, tune
from tests.tune import world
from tests.tune.world import random_setting, system_of, trials_of, write_clip, write_devset


def coarsen(patch: pytest.MonkeyPatch) -> None:
    world.coarsen(patch)
    patch.setattr(plots, "CLASS_POINTS", 3)


# --------------------------------------------------------------------------------------------------------------- fates
def life(label: str, dropped_by=None) -> QueryLife:
    return QueryLife(label, (), 0.5, dropped_by=dropped_by)


def test_a_true_query_is_one_that_a_reference_is_left_for() -> None:
    first = ClipTrail((life("Speech"), life("Speech", "gate"), life("Cough", "verify"), life("Pour", "solo")))
    second = ClipTrail((life("Cough", "rank"), life("Typing")))
    found = fate([first, second], [["Speech", "Cough"], ["Cough"]])
    assert found.proposed == Queries(3, 3)
    assert found.removed == {
        "solo": Queries(0, 1),
        "rank": Queries(1, 0),
        "verify": Queries(1, 0),
        "gate": Queries(0, 1),  # the other stem has the only reference
    }
    assert found.reported == Queries(1, 1)


def test_counts_add_up_and_end_where_the_score_begins(tmp_path) -> None:
    data = write_devset(tmp_path / "data", 12)
    trials = trials_of(system_of()[0], data, tmp_path / "cache")
    random = np.random.default_rng(2)
    for _ in range(5):
        one = random_setting(random)
        outcome, found = trials.exact(one), fate_under(trials, one)
        assert found.reported == Queries(int(outcome.tp.sum()), int(outcome.fp.sum()))
        for which in ("n_true", "n_false"):
            removed = [getattr(found.removed[rule], which) for rule in RULES]
            assert min(removed) >= 0
            assert getattr(found.proposed, which) - sum(removed) == getattr(found.reported, which)


def test_trails_need_no_sound(tmp_path) -> None:
    data = write_devset(tmp_path / "data", 3)
    trials = trials_of(system_of()[0], data, tmp_path / "cache")
    trials.exact(trials.system.setting)
    for clip in data.clips:
        clip.mixture.unlink()
    assert len(trails(trials, trials.system.setting)) == 3


# -------------------------------------------------------------------------------------------------------------- curves
@pytest.fixture(scope="module")
def searched(tmp_path_factory, short):
    """A short search of a real system, and the evidence that it left."""
    cache = tmp_path_factory.mktemp("cache")
    options = Options("cpu", folds=2, max_new_lists=6)
    with pytest.MonkeyPatch.context() as patch:
        coarsen(patch)
        return tune("tagging-driven-compact-3", short, cache, options), cache, options


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Path:
    """Six clips of a third of a second, cut from the examples."""
    import soundfile

    from s5cli.dataset import open_dataset

    folder = tmp_path_factory.mktemp("short")
    for inner in ("soundscape", "oracle_target"):
        (folder / inner).mkdir()
    examples = open_dataset(Path(__file__).parents[2] / "examples")
    for number in range(6):
        name, span = [*examples.mixtures][number % 4], slice(number * 32_000, number * 32_000 + 10_000)
        paths = {folder / "soundscape" / f"cut{number}.wav": examples.mixtures[name]}
        for place, source in enumerate(examples.references[name]):
            paths[folder / "oracle_target" / f"cut{number}_{place}_{source.label}.wav"] = source.path
        for path, whole in paths.items():
            soundfile.write(path, soundfile.read(whole, dtype="float32")[0][span], 32_000, subtype="FLOAT")
    return folder


def pictured(searched) -> Pictured:
    from s5cli.tune.clips import open_devset
    from s5cli.tune.tuner import prepared, searchable
    from s5cli.weights.registry import registry

    result, cache, options = searched
    entry = registry().system(result.system)
    trials = prepared(entry, open_devset(Path(result.data)), cache, options)
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
            assert score_db == shown.trials.exact(moved(start, {name: float(value)})).mean_db()
    curves = shown.class_curves("confidence")
    assert [curve.title.split(" (")[0] for curve in curves] == list(CLASSES)
    for curve in curves:
        at_tuned = curve.scores_db[curve.values == round(curve.tuned, 6)]
        assert at_tuned.max() == pytest.approx(result.tuned.mean_db(), abs=1e-9)


def test_what_nobody_has_asked_is_a_gap(searched, monkeypatch, tmp_path) -> None:
    coarsen(monkeypatch)
    result = searched[0]
    data = write_devset(tmp_path / "data", 6)
    trials = trials_of(system_of()[0], data, tmp_path / "cache")
    trials.exact(trials.system.setting)
    trials.memory.start_counting()
    trials.memory.allow(0)
    stone = replace(result.milestones[0].best, setting=trials.system.setting)
    only = replace(result, setting=trials.system.setting, milestones=(replace(result.milestones[0], best=stone),))
    curves = Pictured(only, trials, trials.system.knobs).global_curves()
    scores = np.concatenate([curve.scores_db for curve in curves])
    assert np.isnan(scores).any()
    assert not np.isnan(scores).all()
    assert trials.memory.new_lists == 0
    figure = plots.thresholds(curves, "note")
    assert "gaps: query lists that nobody has asked" in figure._suptitle.get_text()


# ------------------------------------------------------------------------------------------------------------ pictures
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
    figure = plots.stages(result)
    (axes,) = figure.axes
    scores = [one.best.score_db for one in result.milestones]
    bars = axes.patches
    assert [bar.get_height() for bar in bars] == pytest.approx(np.diff(scores).tolist())
    ticks = [text.get_text() for text in axes.get_xticklabels()]
    assert ticks == ["defaults", *[one.stage for one in result.milestones[1:]], "held out"]
    points = [line.get_ydata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert points == [result.held_out.score.mean_db]


def test_default_and_tuned_are_dashed_in_two_colours() -> None:
    curve = plots.Curve("verify", np.array([0.0, 0.5, 1.0]), np.array([1.0, 2.0, np.nan]), 0.1, 0.5)
    axes = plots.thresholds([curve], "note").axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["default"].get_xdata() == [0.1, 0.1]
    assert lines["tuned"].get_xdata() == [0.5, 0.5]
    assert lines["default"].get_color() != lines["tuned"].get_color()
    assert all(lines[name].is_dashed() for name in ("default", "tuned"))
    np.testing.assert_array_equal(lines["score"].get_ydata(), curve.scores_db)


def test_rules_show_their_counts() -> None:
    counts = {rule: Queries(number, 10 + number) for number, rule in enumerate(RULES)}
    one = plots.Fate(Queries(6, 47), counts, Queries(0, 1))
    _, right = plots.rules(one, one).axes
    widths = [bar.get_width() for bar in right.patches]
    assert widths == 2 * [0, -1, -2, -3, 10, 11, 12, 13]
    assert [text.get_text() for text in right.get_yticklabels()] == list(plots.RULE_NAMES.values())
    assert set(plots.RULE_NAMES) == set(RULES)


def test_a_system_without_thresholds_has_no_pictures(tmp_path) -> None:
    from tests.systems.tones import Tone

    write_clip(tmp_path / "data", "one", [Tone("Speech", 0.9, 0.9, 0.9, 0.9)], 1)
    options = Options("cpu", folds=0)
    result = tune("baseline-compact", tmp_path / "data", tmp_path / "cache", options)
    assert plots.draw(result, tmp_path / "cache", tmp_path / "plots", options) == []


# -------------------------------------------------------------------------------------------------------- command line
def test_the_command_draws_beside_its_json(searched, short, tmp_path, capsys, monkeypatch) -> None:
    from s5cli.cli import exit_code

    coarsen(monkeypatch)
    what = ["tune", "tagging-driven-compact-1", "--data", short, "--cache", searched[1], "--folds", 0, "--workers", 1]
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
