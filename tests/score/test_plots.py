"""Pictures of an evaluation: they show its numbers, and drawing them changes nothing else."""

import io
import json
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from s5cli.cli import exit_code
from s5cli.errors import OutputError, UsageError
from s5cli.score import plots
from s5cli.score.bootstrap import Bootstrap
from s5cli.score.evaluate import Evaluation, evaluation, summary
from tests.score.scored import scored_clips, write_dataset, write_run

NAMES = ["classes", "confusion", "targets"]


@pytest.fixture(scope="module")
def result() -> Evaluation:
    return evaluation(scored_clips(120), Bootstrap(200))


@pytest.fixture(scope="module")
def pictures(result: Evaluation, tmp_path_factory) -> list[Path]:
    return plots.draw(result, tmp_path_factory.mktemp("plots") / "new" / "folder")


def points(axes) -> dict[str, tuple[list[float], list[float], list[tuple[float, float]]]]:
    """Of each series by its name: x, y, and the whiskers' ends on the axis that they run along."""
    found = {}
    for series in axes.containers:
        line, _, (whiskers,) = series.lines
        along = 0 if series.has_xerr else 1
        ends = [tuple(segment[:, along]) for segment in whiskers.get_segments()]
        found[series.get_label()] = (list(line.get_xdata()), list(line.get_ydata()), ends)
    return found


# -------------------------------------------------------------------------------------------------------------- files
def test_three_pictures_with_something_on_them(pictures: list[Path]) -> None:
    assert [path.name for path in pictures] == [f"{name}.png" for name in NAMES]
    assert sorted(path.name for path in pictures[0].parent.iterdir()) == [f"{name}.png" for name in NAMES]
    for path in pictures:
        pixels = matplotlib.image.imread(path)[..., :3]
        assert min(pixels.shape[:2]) > 400
        assert pixels[0, 0].tolist() == [1, 1, 1]
        assert 0.02 < (pixels.min(-1) < 0.9).mean() < 0.6
        edge = np.concatenate([pixels[:2].ravel(), pixels[-2:].ravel(), pixels[:, :2].ravel(), pixels[:, -2:].ravel()])
        assert edge.min() == 1, "nothing is cut off"


def test_the_same_evaluation_gives_the_same_file(result, tmp_path) -> None:
    first, second = (
        [path.read_bytes() for path in plots.draw(result, tmp_path / name, "svg")] for name in ("first", "second")
    )
    assert all(content.startswith(b"<?xml") for content in first)
    assert first == second
    assert all(path.read_bytes().startswith(b"%PDF") for path in plots.draw(result, tmp_path, "pdf"))


def test_no_window_and_no_global_state(tmp_path: Path) -> None:
    code = """
import pathlib, sys
import matplotlib
from s5cli.score import plots
from s5cli.score.evaluate import evaluation
from tests.score.scored import scored_clips
def style():  # reading the backend would choose one
    return {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}

before = style()
plots.draw(evaluation(scored_clips(9)), pathlib.Path(sys.argv[1]))
assert style() == before
assert "matplotlib.pyplot" not in sys.modules and "torch" not in sys.modules
"""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "fresh")], check=True, cwd=root)


# ------------------------------------------------------------------------------------------------------------ contents
def test_classes_stand_in_the_order_of_their_scores_with_their_intervals(result: Evaluation) -> None:
    left, right = plots.classes(result.classes, result.bootstrap).axes
    ordered = sorted(result.classes, key=lambda found: found.capi_sdri_db)
    ticks = [text.get_text() for text in left.get_yticklabels()]
    assert ticks == [f"{found.label}  {found.n_ref} | {found.n_est}" for found in ordered]
    x, _, ends = points(left)["CAPI-SDRi: with 0 dB for missed and surplus"]
    assert x == [found.capi_sdri_db for found in ordered]
    intervals = [found.intervals["capi_sdri_db"] for found in ordered]
    assert np.ravel(ends) == pytest.approx([end for found in intervals for end in (found.low, found.high)])
    x, _, _ = points(right)["recall"]
    assert x == [found.recall_percent for found in ordered]


def test_confusion_shows_every_count(result: Evaluation) -> None:
    (axes,) = plots.confusion(result.confusion).axes
    shown = {(text.get_position()[1], text.get_position()[0]): int(text.get_text()) for text in axes.texts}
    counts = result.confusion.counts
    assert shown == {(row, column): counts[row, column] for row, column in np.argwhere(counts)}
    assert [text.get_text() for text in axes.get_xticklabels()] == [*result.confusion.labels, "missed"]
    assert [text.get_text() for text in axes.get_yticklabels()] == [*result.confusion.labels, "surplus"]
    assert axes.images[0].get_array().sum(1).max() == pytest.approx(1), "shares of a row"


def test_scores_by_number_of_targets_without_and_with_same_class_sources(result: Evaluation) -> None:
    panels = plots.targets(result).axes
    for panel, key in zip(panels, ("capi_sdri_db", "casa_sdri_db", "accuracy_mixture_percent"), strict=True):
        shown = points(panel)
        for repeats, name in ((False, "no class twice"), (True, "a class twice or more")):
            clips = [clip for clip in result.clips if clip.repeats_a_class == repeats]
            numbers = sorted({len(clip.ref_labels) for clip in clips})
            groups = [summary([c for c in clips if len(c.ref_labels) == n], result.bootstrap) for n in numbers]
            x, y, ends = shown[name]
            assert np.round(x).tolist() == numbers
            assert y == [vars(group)[key] for group in groups]
            assert ends[-1] == pytest.approx((groups[-1].intervals[key].low, groups[-1].intervals[key].high))
    (dashes,) = panels[0].collections[-1:]
    assert all(segment[0, 1] < max(points(panels[0])["no class twice"][1]) for segment in dashes.get_segments())
    ticks = [text.get_text() for text in panels[0].get_xticklabels()]
    counts = [sum(len(clip.ref_labels) == n for clip in result.clips) for n in range(4)]
    assert [sum(map(int, tick.split("\n")[1].strip("()").split(", "))) for tick in ticks] == counts


@pytest.mark.parametrize("n_clips", [0, 1])
def test_little_to_show_is_no_mistake(n_clips: int, tmp_path: Path) -> None:
    assert len(plots.draw(evaluation(scored_clips(n_clips), Bootstrap(0)), tmp_path)) == 3


# ------------------------------------------------------------------------------------------------------------ mistakes
def test_without_matplotlib_the_extra_is_named_before_anything_is_read(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"matplotlib: pip install 's5cli\[plots\]'"):
        plots.prepare(tmp_path / "plots")
    args = ["evaluate", str(tmp_path / "nowhere"), "--reference", str(tmp_path), "--plots", str(tmp_path / "plots")]
    assert exit_code(args) == 2
    assert "s5cli[plots]" in capsys.readouterr().err
    assert not (tmp_path / "plots").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        plots.prepare(tmp_path / "file")


def test_the_command_draws_beside_its_json(tmp_path: Path, capsys) -> None:
    write_dataset(tmp_path / "data", {"a": ["Cough"], "b": ["Pour", "Pour"]})
    write_run(tmp_path / "run", tmp_path / "data", {"a": [("Cough", 0, 0.3)], "b": [("Pour", 1, 0.3)]})
    args = ["evaluate", str(tmp_path / "run"), "--reference", str(tmp_path / "data"), "--json"]
    assert exit_code([*args, "--plots", str(tmp_path / "plots"), "--plots-as", "svg"]) == 0
    shown = capsys.readouterr()
    assert json.load(io.StringIO(shown.out))["overall"]["n_clips"] == 2
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == [f"{name}.svg" for name in NAMES]
    assert shown.err.count("drawn: ") == 3
