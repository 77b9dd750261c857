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
from tests.pictures import Panel, brightness, read
from tests.score.scored import scored_clips, write_dataset, write_run

NAMES = ["classes", "confusion", "targets"]


@pytest.fixture(scope="module")
def result() -> Evaluation:
    return evaluation(scored_clips(120), Bootstrap(200))


@pytest.fixture(scope="module")
def pictures(result: Evaluation, tmp_path_factory) -> list[Path]:
    return plots.draw(result, tmp_path_factory.mktemp("plots") / "new" / "folder")


NEAR = {"abs": 0.01}  # of a dB or a percent: what a place on the paper is good for


def whiskers(panel: Panel, colour: str, along: int) -> list[tuple[float, float]]:
    """Low and high end of each whisker of a colour, as values on the x (0) or the y axis (1)."""
    axis = (panel.x, panel.y)[along]
    values = [[axis.value(end[along]) for end in stroke] for stroke in panel.strokes[colour]]
    return [(min(ends), max(ends)) for ends in values]


# -------------------------------------------------------------------------------------------------------------- files
def test_three_pictures_with_something_on_them(pictures: list[Path]) -> None:
    assert [path.name for path in pictures] == [f"{name}.png" for name in NAMES]
    plots.prepare(pictures[0].parent)  # for the next ones, which may replace these
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
    for folder in (tmp_path, tmp_path / "first"):
        plots.prepare(folder)  # what s5 drew it may replace


def test_no_window_and_no_global_state(tmp_path: Path) -> None:
    code = """
import pathlib, sys
import matplotlib
from s5cli.score import plots
from s5cli.score.evaluate import evaluation
from tests.pictures import Panel, brightness, read
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
    picture = read(plots.classes(result.classes, result.bootstrap))
    left, right = picture.panels
    ordered = sorted(result.classes, key=lambda found: found.capi_sdri_db)
    assert left.y.words == [f"{found.label}  {found.n_ref} | {found.n_est}" for found in ordered]
    heights = [place for place, _ in left.y.ticks]
    assert heights == sorted(heights, reverse=True), "the best on top"
    assert any(f"whiskers: {result.bootstrap.level_percent:g} % confidence" in words for words in picture.words)
    for panel, key, name in (
        (left, "capi_sdri_db", "CAPI-SDRi: with 0 dB for missed and surplus"),
        (left, "sdri_db", "SDRi of its pairs by label"),
        (right, "recall_percent", "recall"),
        (right, "precision_percent", "precision"),
    ):
        points = panel.points[picture.legend[name]]
        assert [left.y.nearest(y) for _, y in points] == [*range(len(ordered))]
        assert [panel.x.value(x) for x, _ in points] == pytest.approx([vars(found)[key] for found in ordered], **NEAR)
        ends = [(found.intervals[key].low, found.intervals[key].high) for found in ordered]
        assert np.ravel(whiskers(panel, picture.legend[name], 0)) == pytest.approx(np.ravel(ends), **NEAR)


def test_confusion_shows_every_count(result: Evaluation) -> None:
    figure = plots.confusion(result.confusion)
    (panel,) = read(figure).panels
    assert panel.x.words == [*result.confusion.labels, "missed"]
    assert panel.y.words == [*result.confusion.labels, "surplus"]
    cells = [(int(text), place) for text, place in panel.texts if text.isdigit()]
    where = [(panel.y.nearest(y), panel.x.nearest(x)) for _, (x, y) in cells]
    counts = result.confusion.counts
    shown = {cell: number for cell, (number, _) in zip(where, cells, strict=True)}
    assert shown == {(row, column): counts[row, column] for row, column in np.argwhere(counts)}
    shares = np.array([counts[cell] / counts[cell[0]].sum() for cell in where])
    ground = brightness(figure, [(x, y - 3) for _, (x, y) in cells])[np.argsort(shares)]
    assert np.diff(ground).max() < 0.02, "darker where more of a row"
    assert np.ptp(ground) > 0.3


def test_scores_by_number_of_targets_without_and_with_same_class_sources(result: Evaluation) -> None:
    picture = read(plots.targets(result))
    kinds = {"no class twice": False, "a class twice or more": True}
    for panel, key in zip(picture.panels, ("capi_sdri_db", "casa_sdri_db", "accuracy_mixture_percent"), strict=True):
        assert [lines[0] for _, lines in panel.x.ticks] == ["0", "1", "2", "3"]
        for name, repeats in kinds.items():
            clips = [clip for clip in result.clips if clip.repeats_a_class == repeats]
            numbers = sorted({len(clip.ref_labels) for clip in clips})
            groups = [summary([c for c in clips if len(c.ref_labels) == n], result.bootstrap) for n in numbers]
            points = panel.points[picture.legend[name]]
            assert [round(panel.x.value(x)) for x, _ in points] == numbers
            assert [panel.y.value(y) for _, y in points] == pytest.approx([vars(one)[key] for one in groups], **NEAR)
            last = groups[-1].intervals[key]
            assert whiskers(panel, picture.legend[name], 1)[-1] == pytest.approx((last.low, last.high), **NEAR)
    first = picture.panels[0]
    dashes = first.strokes[picture.legend["best answer without separation, same labels"]]
    best_db = max(first.y.value(y) for _, y in first.points[picture.legend["no class twice"]])
    assert dashes
    assert all(first.y.value(start[1]) < best_db for start, _ in dashes)
    counts = [sum(len(clip.ref_labels) == n for clip in result.clips) for n in range(4)]
    assert [sum(map(int, lines[1].strip("()").split(", "))) for _, lines in first.x.ticks] == counts


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
