"""Studies: every row is what the same system scores when it is run for good and evaluated."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from s5cli.cli import exit_code
from s5cli.errors import InputError
from s5cli.scene import RATE_HZ
from s5cli.score.bootstrap import Interval
from s5cli.score.evaluate import Evaluation, evaluate
from s5cli.score.metric import trivial_scores
from s5cli.study import studies
from s5cli.study.runs import results
from s5cli.study.table import Row, lines
from s5cli.tune.clips import open_devset
from s5cli.tune.result import plain, toml
from s5cli.tune.tuner import Options, tune
from tests.toy import Toy, toy
from tests.tune.world import coarsen

OPTIONS = Options("cpu", batch_size=4, folds=2, max_new_lists=6)
COMPACT = "tagging-driven-compact"


@pytest.fixture(scope="module")
def coarse():
    """A search of few settings."""
    with pytest.MonkeyPatch.context() as patch:
        coarsen(patch)
        yield


@pytest.fixture(scope="module")
def study(short_clips, evidence, coarse) -> studies.Study:
    """The whole ablation, tuned."""
    return studies.ablation(short_clips, COMPACT, evidence, None, OPTIONS, tune=True)


def separated(folder: Path, out: Path, system: str, *more: object) -> Evaluation:
    """The same from files."""
    how = ["--system", system, "--subtype", "FLOAT", "--device", "cpu", "--batch-size", "4", *more]
    assert exit_code([str(arg) for arg in ["separate", folder, "-o", out, *how]]) == 0
    return evaluate(out, folder)


def check_same(found: Evaluation, expected: Evaluation) -> None:
    assert [clip.est_labels for clip in found.clips] == [clip.est_labels for clip in expected.clips]
    assert found.overall.false_alarm_percent == expected.overall.false_alarm_percent
    for key in ("capi_sdri_db", "si_sdri_db", "level_db", "accuracy_mixture_percent", "accuracy_source_percent"):
        assert getattr(found.overall, key) == pytest.approx(getattr(expected.overall, key), abs=1e-4)
    assert found.own_trivial.best_db == pytest.approx(expected.own_trivial.best_db, abs=1e-4)


# ----------------------------------------------------------------------------------------------------------------- rows
def test_rows_that_give_the_same_stems_are_run_once(study) -> None:
    assert study.runs[f"{COMPACT}-1"] is study.runs[f"{COMPACT}-2"]
    assert len({id(found) for found in study.runs.values()}) == len(study.runs) - 1


@pytest.mark.parametrize("system", ["baseline-compact", f"{COMPACT}-0", f"{COMPACT}-3"])
def test_a_row_is_what_a_run_scores(system, study, short_clips, tmp_path) -> None:
    check_same(study.runs[system], separated(short_clips, tmp_path / "run", system))


def test_the_tagger_without_rules_is_a_baseline_of_its_parts(study, short_clips, tmp_path, monkeypatch) -> None:
    (tmp_path / "weights.toml").write_text(
        '[system.mine]\nflow = "s5cli.systems.baseline:Baseline"\nsummary = ""\nsource = ""\n'
        'parts = { tagger = "tagger-4ch-zero", separator = "separator-a" }\n'
    )
    monkeypatch.setenv("S5_CONFIG_DIR", str(tmp_path))
    check_same(study.runs["tagger-4ch-zero, no rules"], separated(short_clips, tmp_path / "run", "mine"))


def test_true_labels_are_those_that_a_user_would_name(study, short_clips, tmp_path) -> None:
    named = study.runs["true labels, A or B"]
    assert all(clip.est_labels == clip.ref_labels for clip in named.clips)
    for clip in named.clips:
        if clip.ref_labels:
            mixture = short_clips / "soundscape" / f"{clip.soundscape}.wav"
            how = ["--system", f"{COMPACT}-3", "--subtype", "FLOAT", "--device", "cpu"]
            args = ["separate", mixture, "-o", tmp_path / "run", "--labels", ",".join(clip.ref_labels), *how]
            assert exit_code([str(arg) for arg in args]) == 0
            (again,) = [
                one for one in evaluate(tmp_path / "run", short_clips).clips if one.soundscape == clip.soundscape
            ]
            assert again.score.capi_sdri_db == pytest.approx(clip.score.capi_sdri_db, abs=1e-4)
            break
    both = studies.oracle(short_clips, ["baseline-compact", f"{COMPACT}-3"], None, OPTIONS)
    check_same(both.runs["baseline-compact"], study.runs["true labels, separator A"])
    check_same(both.runs[f"{COMPACT}-3"], named)


def test_an_answer_that_is_no_sound_is_not_scored(short_clips):
    data, nan = open_devset(short_clips), toy().setting.moved({"gain": math.nan})
    with pytest.raises(InputError, match=r"cut\d\.wav: the system gave NaN or infinity as"):
        list(results(Toy(setting=nan), data.clips, 4))
    assert len(list(results(toy(), data.clips, 4))) == 6


def test_classes_that_nobody_recognises_are_missed(short_clips):
    """Naming some classes only changes nothing of the clips that have no others, and leaves the rest without a stem."""
    whole = studies.oracle(short_clips, ["baseline-compact"], None, OPTIONS).runs["baseline-compact"].clips
    some = studies.oracle(short_clips, ["baseline-compact"], None, OPTIONS, classes=["Speech", "Dishes"])
    assert some.rows[0].title == "baseline-compact, true labels of 2 classes"
    for found, before in zip(some.runs["baseline-compact"].clips, whole, strict=True):
        known = [label for label in before.ref_labels if label in ("Speech", "Dishes")]
        assert sorted(found.est_labels) == sorted(known)
        assert found.ref_labels == before.ref_labels
        if known == list(before.ref_labels) and known:
            assert found.score.capi_sdri_db == pytest.approx(before.score.capi_sdri_db, abs=1e-4)
    assert {bool(clip.est_labels) for clip in some.runs["baseline-compact"].clips} == {True, False}


@pytest.mark.parametrize(
    ("title", "how"),
    [
        ("bands", ["--system", "bands"]),
        ("bands, one band", ["--system", "bands", "--option", "bands=1"]),
        ("bands, strong bands", ["--system", "bands", "--thresholds", "strong.toml"]),
        ("half alone", ["--system", "bands-1"]),
    ],
)
def test_a_declared_row_is_what_its_options_and_knobs_score(title, how, short_clips, bands, monkeypatch) -> None:
    monkeypatch.chdir(bands)
    Path("strong.toml").write_text("[knobs]\nshare = 0.9\n")
    found = studies.ablation(short_clips, "bands", None, None, OPTIONS)
    check_same(found.runs[title], separated(short_clips, Path("run"), *how[1:]))
    scores = {title: one.overall.capi_sdri_db for title, one in found.runs.items()}
    assert len({*scores.values()}) == len(scores) - 1, scores  # one part alone is the system that has no other


def test_options_are_of_the_system_that_was_named(short_clips, bands, capsys) -> None:
    args = ["study", "ablation", short_clips, "--system", "bands", "--option", "bands=1", "--device", "cpu", "--json"]
    assert exit_code([str(arg) for arg in args]) == 0
    found = json.loads(capsys.readouterr().out)
    plain = studies.ablation(short_clips, "bands", None, None, OPTIONS)
    scores = {title: run["overall"]["capi_sdri_db"] for title, run in found["runs"].items()}
    assert found["options"] == {"bands": "1"}
    assert scores["bands"] == pytest.approx(plain.runs["bands, one band"].overall.capi_sdri_db)
    assert scores["bands-1"] == pytest.approx(plain.runs["bands-1"].overall.capi_sdri_db)
    one = studies.oracle(short_clips, ["bands"], None, replace(OPTIONS, system_options={"bands": 1}))
    assert next(one.lines()) == f"6 clips of {short_clips}, bands=1"
    check_same(one.runs["bands"], plain.runs["true labels"])  # what a user names is not limited


# ---------------------------------------------------------------------------------------------------------------- tuned
@pytest.mark.parametrize("number", [1, 3])
def test_tuned_rows_are_those_of_the_tuner(number, study, short_clips, evidence, tmp_path) -> None:
    name = f"{COMPACT}-{number}"
    found = study.tuned[name]
    place = [row.title for row in study.rows].index(name)
    default, same, held_out = study.rows[place : place + 3]
    assert default.capi_sdri_db == pytest.approx(found.held_out.untuned.mean_db(), abs=1e-4)
    assert default.false_alarm_percent == found.false_alarm_percent(found.held_out.untuned)
    assert same.capi_sdri_db == found.best.score_db
    assert same.gain_db == pytest.approx(same.capi_sdri_db - default.capi_sdri_db, abs=1e-4)
    assert held_out.capi_sdri_db == found.held_out.score.mean_db
    assert held_out.gain_interval == found.held_out.gain.interval
    clips = study.runs[name].clips
    exact = [sorted(ours) == sorted(clip.ref_labels) for ours, clip in zip(found.held_out.labels, clips, strict=True)]
    assert held_out.accuracy_mixture_percent == pytest.approx(100 * np.mean(exact))
    trivial = trivial_scores([clip.products for clip in clips], found.held_out.labels)
    assert held_out.trivial_db == trivial.best_db
    assert held_out.margin_db == held_out.capi_sdri_db - trivial.best_db
    again = tune(name, short_clips, evidence, OPTIONS)  # the same, whatever other searches have asked meanwhile
    assert again.tuned.mean_db() == pytest.approx(same.capi_sdri_db, abs=1e-4)

    knobs = {key: plain(value) for key, value in found.best.setting.values.items()}
    (tmp_path / "t.toml").write_text("\n".join(toml({"system": name, "knobs": knobs})))
    run = separated(short_clips, tmp_path / "run", name, "--thresholds", tmp_path / "t.toml")
    assert run.overall.capi_sdri_db == pytest.approx(same.capi_sdri_db, abs=1e-4)
    assert run.own_trivial.best_db == pytest.approx(same.trivial_db, abs=1e-4)
    assert run.overall.false_alarm_percent == same.false_alarm_percent
    assert run.overall.accuracy_source_percent == pytest.approx(same.accuracy_source_percent)


def test_only_where_its_section_allows_it_a_class_has_a_value_of_its_own(study) -> None:
    for number in (0, 1):
        values = study.tuned[f"{COMPACT}-{number}"].best.setting.values.values()
        assert not any(np.ndim(value) for value in values)
        assert study.tuned[f"{COMPACT}-{number}"].held_out.by_margin_db.keys() == {np.inf}
    assert len(study.tuned[f"{COMPACT}-2"].held_out.by_margin_db) > 1


# ----------------------------------------------------------------------------------------------------------------- form
def test_the_table() -> None:
    rows = [
        Row("a", 1.234, Interval(1.0, 1.5), 50.0, 40.0, None, trivial_db=1.0),
        Row("  tuned", 1.5, None, 50.0, 40.0, None, gain_db=0.266, gain_interval=Interval(-0.1, 0.6)),
    ]
    head, rule, first, second = lines(rows)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, first, second)]
    assert "false alarms %" not in cells[0]  # nothing to say
    assert dict(zip(*cells[:2], strict=True))["margin dB"] == "+0.23"
    assert cells[2][:5] == ["tuned", "1.50", "–", "+0.27", "-0.10 to +0.60"]
    assert len({len(line) for line in (head, rule, first, second)}) == 1


def test_json_holds_classes_and_clips(short_clips, capsys) -> None:
    args = ["study", "oracle", short_clips, "--system", "baseline-compact", "--clips", 2, "--device", "cpu"]
    assert exit_code([str(arg) for arg in [*args, "--json"]]) == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = found["rows"]
    run = found["runs"]["baseline-compact"]
    assert found["data"]["clips"] == len(run["clips"]) == 2
    assert row["capi_sdri_db"] == run["overall"]["capi_sdri_db"]
    assert row["margin_db"] == pytest.approx(run["over_trivial_db"])
    assert run["classes"]
    assert exit_code([str(arg) for arg in args]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"2 clips of {short_clips}\n")
    assert "| baseline-compact, true labels |" in out


def test_a_whole_study_as_json(study) -> None:
    found = json.loads(json.dumps(study.to_json()))
    assert [row["title"] for row in found["rows"]].count("tuned, 2 folds held out") == 4
    assert found["tuned"].keys() == {f"{COMPACT}-{number}" for number in range(4)}
    assert found["runs"].keys() == study.runs.keys()


# ------------------------------------------------------------------------------------------------------------- mistakes
def test_what_nobody_has_trained_is_left_out(short_clips, tmp_path, monkeypatch) -> None:
    """The second separator's file is taken away."""
    (tmp_path / "weights.toml").write_text(
        '[file.separator-b]\nsource = "trained-by:compact_separator_b"\nlicence = "cc-by-4.0"\n'
    )
    monkeypatch.setenv("S5_CONFIG_DIR", str(tmp_path))
    found = studies.ablation(short_clips, COMPACT, None, 1, OPTIONS)
    *_, no_rules, oracle = [row.title for row in found.rows]
    assert (no_rules, oracle) == ("tagger-4ch-zero, no rules", "true labels, separator A")
    assert f"{COMPACT}-3" not in found.runs
    assert list(found.lines())[-1].startswith(f"left out: system '{COMPACT}-3' needs training")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["ablation", "DATA", "--cache", "/dev/null/c"], "/dev/null/c: cannot be written to"),
        (["ablation", "DATA", "--system", "tagging-drivn"], "did you mean 'tagging-driven'"),
        (["ablation", "DATA", "--option", "stages"], "write it as name=value"),
        (["ablation", "DATA", "--option", "stages=2"], "unknown option 'stages'; this system has none"),
        (["oracle", "DATA", "--option", "stages=2"], "unknown option 'stages'; this system has none"),
        (["ablation", "nowhere"], "nowhere: no such folder"),
        (["oracle", "DATA", "--system", "baseline-compat"], "did you mean 'baseline-compact'"),
        (["oracle", "DATA", "--device", "gpu"], "unknown device 'gpu'"),
        (["oracle", "DATA", "--classes", "Speech, Coughs"], "did you mean 'Cough'"),
        (["oracle", "DATA", "--classes", ""], "no class is named"),
        (["ablation", "DATA", "--tuned", "--cache", "c", "--folds", "7", "--device", "cpu"], "7 folds of 6 clips"),
    ],
)
def test_mistakes(args, words, short_clips, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(["study", *(str(short_clips) if arg == "DATA" else arg for arg in args)]) == 2
    assert words in capsys.readouterr().err


def test_more_references_than_slots(tmp_path) -> None:
    for inner in ("soundscape", "oracle_target"):
        (tmp_path / inner).mkdir()
    noise = np.random.default_rng(0).standard_normal((4, 3200)).astype(np.float32) * 0.1
    soundfile.write(tmp_path / "soundscape" / "a.wav", noise.T, RATE_HZ, subtype="FLOAT")
    for number in range(4):
        soundfile.write(tmp_path / "oracle_target" / f"a_{number}_Speech.wav", noise[number], RATE_HZ, subtype="FLOAT")
    with pytest.raises(InputError, match=r"a\.wav: has 4 references; a system separates 3"):
        studies.oracle(tmp_path, ["baseline-compact"], None, OPTIONS)
