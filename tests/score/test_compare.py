"""`s5 compare` on real files: differences are those of the scores, paired clip by clip, of the same clips."""

import json
from pathlib import Path

import pytest

from s5cli.cli import exit_code
from s5cli.errors import InputError, UsageError
from s5cli.score.bootstrap import Bootstrap
from s5cli.score.compare import Comparison, compare, differences
from s5cli.score.evaluate import evaluate
from tests.score.scored import scored_clips, write_dataset, write_run

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK = Bootstrap(300)
TRUTH = {
    "clip_0": ["Cough", "Speech", "Speech"],
    "clip_1": ["Cough"],
    "clip_2": [],
    "clip_3": ["Pour", "Typing"],
    "clip_4": ["Pour"],
}
ANSWER_A = {
    "clip_0": [("Cough", 0, 0.5), ("Speech", 2, 0.5)],
    "clip_1": [("Cough", 0, 0.5)],
    "clip_2": [],
    "clip_3": [("Pour", 0, 0.2), ("Typing", 1, 0.2)],
    "clip_4": [("Pour", 0, 0.7)],
}
ANSWER_B = {
    "clip_0": [("Cough", 0, 0.5), ("Speech", 2, 0.5), ("Speech", 1, 0.5)],
    "clip_1": [("Cough", 0, 0.1)],
    "clip_2": [("Typing", None, 0.5)],
    "clip_3": [("Pour", 0, 0.2), ("Dishes", 1, 0.2)],
    "clip_4": [("Pour", 0, 0.7)],
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    write_dataset(folder, TRUTH)
    write_run(tmp_path / "a", folder, ANSWER_A)
    write_run(tmp_path / "b", folder, ANSWER_B)
    return folder


@pytest.fixture
def found(data: Path) -> Comparison:
    return compare(data.parent / "a", data.parent / "b", data, bootstrap=QUICK)


def test_differences_are_those_of_the_scores(data: Path, found: Comparison) -> None:
    a, b = (evaluate(data.parent / run, data) for run in "ab")
    for row in found.differences:
        if row.key == "over_trivial_db":
            values = (a.over_trivial_db, b.over_trivial_db)
        else:
            values = (vars(a.overall)[row.key], vars(b.overall)[row.key])
        assert (row.a, row.b) == pytest.approx(values)
        if None not in values:
            assert row.difference == pytest.approx(values[1] - values[0])
        else:
            assert row.difference is None
    assert {row.key for row in found.differences} >= {"capi_sdri_db", "casa_sdri_db", "accuracy_mixture_percent"}


def test_clips_are_counted_as_better_worse_and_equal(found: Comparison) -> None:
    """Clip 0 gains a stem, clip 1 is cleaner, clip 3 has a wrong label, clip 4 is the same; clip 2 was silent in A."""
    rows = {row.key: row for row in found.differences}
    counts = [rows["capi_sdri_db"], rows["casa_sdri_db"], rows["accuracy_mixture_percent"]]
    assert [(row.n_better, row.n_worse, row.n_equal, row.n_unpaired) for row in counts] == [
        (2, 1, 1, 1),
        (2, 1, 1, 1),
        (1, 2, 2, 0),
    ]
    alarms, level = rows["false_alarm_percent"], rows["level_db"]
    assert (alarms.n_better, alarms.n_worse, alarms.n_paired) == (0, 1, 1)
    assert (level.n_better, level.n_worse) == (None, None)
    for row in counts:
        assert row.n_better + row.n_worse + row.n_equal == row.n_paired


def test_the_clips_that_moved_most_come_first_with_the_labels_of_both_runs(found: Comparison) -> None:
    moved = found.moved(10)
    sizes = [abs(clip.difference_db) for clip in moved]
    assert sizes == sorted(sizes, reverse=True)
    assert sorted(clip.soundscape for clip in moved) == ["clip_0", "clip_1", "clip_3"]
    assert [clip.soundscape for clip in found.moved(1)] == [moved[0].soundscape]
    one = next(clip for clip in moved if clip.soundscape == "clip_3")
    assert (one.ref_labels, one.labels_a, one.labels_b) == (("Pour", "Typing"), ("Pour", "Typing"), ("Pour", "Dishes"))
    assert one.difference_db == pytest.approx(one.capi_sdri_b_db - one.capi_sdri_a_db)
    assert one.difference_db < 0


def test_a_run_does_not_differ_from_itself(data: Path) -> None:
    same = compare(data.parent / "a", data.parent / "a", data, bootstrap=QUICK)
    assert same.moved(10) == ()
    for row in same.differences:
        assert row.n_equal == row.n_paired
        assert row.n_unpaired == 0
        assert row.difference in (0, None)
        assert row.interval is None or (row.interval.low, row.interval.high) == (0, 0)


def test_the_other_way_round_everything_has_the_other_sign() -> None:
    a, b = scored_clips(120, 1, 0.7), scored_clips(120, 1, 0.9)
    for one, other in zip(differences(a, b, QUICK), differences(b, a, QUICK), strict=True):
        assert one.difference == pytest.approx(-other.difference)
        assert (one.n_better, one.n_worse) == (other.n_worse, other.n_better)
        assert (one.n_equal, one.n_paired, one.n_unpaired) == (other.n_equal, other.n_paired, other.n_unpaired)
        assert [one.interval.low, one.interval.high] == pytest.approx([-other.interval.high, -other.interval.low])
        assert one.interval.low < one.difference < one.interval.high


def test_a_small_common_gain_is_seen_through_the_differences_between_clips(tmp_path: Path) -> None:
    truth = {f"clip_{index:02d}": ["Cough"] * (1 + index % 3) for index in range(12)}
    write_dataset(tmp_path / "data", truth, 2000)
    for run, more in (("a", 1.0), ("b", 0.9)):
        stems = {
            name: [("Cough", slot, more * (0.2 + 0.1 * index)) for slot in range(len(labels))]
            for index, (name, labels) in enumerate(truth.items())
        }
        write_run(tmp_path / run, tmp_path / "data", stems)
    row = compare(tmp_path / "a", tmp_path / "b", tmp_path / "data").differences[0]
    assert row.interval.low > 0.5
    assert row.interval.high < 1.5
    apart = [evaluate(tmp_path / run, tmp_path / "data").overall.intervals["capi_sdri_db"] for run in "ab"]
    assert apart[1].low < apart[0].high, "each run's own interval does not show it"


# ------------------------------------------------------------------------------------------------------------ coverage
def test_runs_of_different_clips_are_not_compared_unless_told_to(data: Path) -> None:
    a, b = data.parent / "a", data.parent / "b"
    for path in [*a.glob("clip_1*"), *b.glob("clip_3*"), *b.glob("clip_4*")]:
        path.unlink()
    with pytest.raises(InputError, match=r"2 only in the first, 1 only in the second, 2 in both.*--common") as caught:
        compare(a, b, data, bootstrap=QUICK)
    assert "\n" not in str(caught.value)
    found = compare(a, b, data, common=True, bootstrap=QUICK)
    assert [clip.soundscape for clip in found.clips] == ["clip_0", "clip_2"]
    assert (found.n_only_a, found.n_only_b) == (2, 1)


def test_a_folder_of_stems_alone_answers_every_clip(data: Path) -> None:
    for path in (data.parent / "a").glob("*.json"):
        path.unlink()
    assert len(compare(data.parent / "a", data.parent / "b", data, bootstrap=QUICK).clips) == 5


def test_runs_without_a_clip_in_common(data: Path) -> None:
    a, b = data.parent / "a", data.parent / "b"
    for path in [*a.glob("clip_[0-2]*"), *b.glob("clip_[34]*")]:
        path.unlink()
    with pytest.raises(InputError, match="no clip in common"):
        compare(a, b, data, common=True, bootstrap=QUICK)


def test_wrong_folders(data: Path) -> None:
    with pytest.raises(UsageError, match="nowhere: no such folder"):
        compare(data.parent / "a", data.parent / "nowhere", data)
    with pytest.raises(UsageError, match="nowhere: no such folder"):
        compare(data.parent / "a", data.parent / "b", data.parent / "nowhere")


# -------------------------------------------------------------------------------------------------------- command line
def test_tables_and_json(data: Path, found: Comparison, capsys) -> None:
    args = ["compare", str(data.parent / "a"), str(data.parent / "b"), "--reference", str(data), "--resamples", "300"]
    assert exit_code([*args, "--top", "2"]) == 0
    shown = capsys.readouterr().out.splitlines()
    row = found.differences[0]
    assert max(map(len, shown[2:])) <= 80
    line = next(line for line in shown if line.startswith(" CAPI-SDRi"))
    assert f"{row.difference:.2f} [{row.interval.low:.2f}, {row.interval.high:.2f}]" in line
    assert line.split()[-3:] == ["50", "25", "25"]
    assert "Clips that moved most, CAPI-SDRi in dB (2 of 3)" in shown
    assert shown[-1].startswith("    true ")
    assert exit_code([*args, "--json", "--top", "2"]) == 0
    content = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert content == json.loads(json.dumps(found.to_json(2)))
    assert (content["n_clips"], len(content["moved"]), len(content["clips"])) == (5, 2, 5)
    assert content["differences"]["capi_sdri_db"]["interval"]["low"] == row.interval.low


def test_no_resamples_no_intervals(data: Path, capsys) -> None:
    args = ["compare", str(data.parent / "a"), str(data.parent / "b"), "--reference", str(data), "--resamples", "0"]
    assert exit_code(args) == 0
    assert "[" not in capsys.readouterr().out


def test_different_clips_are_one_line_and_exit_1(data: Path, capsys) -> None:
    (data.parent / "a" / "clip_2.json").unlink()
    assert exit_code(["compare", str(data.parent / "a"), str(data.parent / "b"), "--reference", str(data)]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1


def test_a_real_run_against_the_references_themselves(examples_run: Path, capsys) -> None:
    """Examples through the embedded system; perfect stems are better where there are targets."""
    runs = [str(examples_run), str(EXAMPLES / "oracle_target")]
    assert exit_code(["compare", *runs, "--reference", str(EXAMPLES), "--json"]) == 0
    content = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    row = content["differences"]["capi_sdri_db"]
    assert (content["n_clips"], row["n_better"], row["n_worse"]) == (4, 3, 0)
    assert row["b"] > 40 > row["a"]
