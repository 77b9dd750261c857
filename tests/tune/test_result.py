"""The thresholds file says all that is needed, can be read back, and warns."""

import json
import re
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s5cli.api import read_thresholds
from s5cli.knobs import Setting, setting
from s5cli.labels import CLASSES
from s5cli.systems.tagging_driven import TaggingDriven
from s5cli.tune.crossval import NONE_DB, HeldOut
from s5cli.tune.result import Result, check_place, lines, toml
from s5cli.tune.score import Outcome
from s5cli.tune.search import Candidate, Milestone
from s5cli.tune.trials import Effort


def outcome(values):
    counts = np.ones(len(values), np.int16)
    return Outcome(np.array(values, float), counts, 0 * counts, 0 * counts, np.zeros(len(values), bool))


def result(tuned, untuned, by_margin=None, values=None, options=None):
    random = np.random.default_rng(0)
    table = random.uniform(0, 1, 18)
    chosen = Setting({**setting(TaggingDriven.knobs).values, "drop": table, **(values or {})}, options or {})
    margins = by_margin or {NONE_DB: 1.0, 0.05: 1.5}
    by_fold = ((2, 1.0, 0.9), (2, 1.1, 0.8))
    held_out = HeldOut(outcome(tuned), outcome(untuned), (0.05, NONE_DB), margins, by_fold, (("Speech",),) * len(tuned))
    best = Candidate(chosen, outcome(tuned), float(np.mean(tuned)))
    return Result(
        system="tagging-driven-compact-3",
        setting=chosen,
        untuned=outcome(untuned),
        tuned=outcome(tuned),
        milestones=(Milestone("default", best), Milestone("fusion", best)),
        held_out=held_out,
        seed=0,
        data='/data/"odd"\\name\t',
        fingerprint="f" * 64,
        weights={"tagger_1ch": "a" * 64},
        effort=Effort(100, 3, 7),
        program="s5cli 0.1.0",
        date="2026-11-20T12:00:00+00:00",
    )


def test_the_file_is_a_thresholds_file(tmp_path):
    found = result([1.0, 2, 3, 4], [0.0, 1, 2, 3])
    (tmp_path / "t.toml").write_text(found.to_toml(), encoding="utf-8")
    check_place(tmp_path / "t.toml")  # the next search may replace it
    given = read_thresholds(tmp_path / "t.toml")
    assert given.system == found.system
    assert given.weights == found.weights
    back = setting(TaggingDriven.knobs, given.knobs)
    for name in TaggingDriven.knobs:
        np.testing.assert_array_equal(np.ravel(back.values[name]), np.ravel(found.setting.values[name]))


def test_infinite_thresholds_and_options_come_back(tmp_path):
    table = np.where(np.arange(18) == 3, np.inf, 0.5)
    found = result([1.0], [0.5], values={"energy_db": -np.inf, "drop": table}, options={"stages": 2, "preset": "fast"})
    (tmp_path / "t.toml").write_text(found.to_toml(), encoding="utf-8")
    given = read_thresholds(tmp_path / "t.toml")
    assert given.options == {"stages": 2, "preset": "fast"}
    knobs = {name: replace(knob, low=-np.inf, high=np.inf) for name, knob in TaggingDriven.knobs.items()}
    back = setting(knobs, given.knobs)
    assert back.scalar("energy_db") == -np.inf
    np.testing.assert_array_equal(back.values["drop"], table)
    json.dumps(found.to_json(), allow_nan=False)
    told = "\n".join(lines(found))
    assert re.search(r"^energy_db +-inf$", told, re.MULTILINE)
    assert re.search(r"^option preset +fast$", told, re.MULTILINE)
    assert f"{CLASSES[3]} inf" in told


def test_a_system_without_thresholds_is_told_so():
    found = replace(result([1.0, 2], [1.0, 2]), setting=Setting({}), held_out=None)
    told = list(lines(found))
    assert told[-1].endswith("has no thresholds, so there is nothing to search; this is its score as it is")
    assert not any("tuned" in line or "replayed" in line for line in told)


def test_the_file_says_all_of_it():
    found = result([1.0, 2, 3, 4], [0.0, 1, 2, 3])
    content, whole = tomllib.loads(found.to_toml()), found.to_json()
    assert content == without_none(whole)
    assert content["data"] == {"folder": found.data, "clips": 4, "fingerprint": "f" * 64}
    assert content["held_out"]["folds"] == 2
    assert content["held_out"]["margin_db"] == 0.05
    assert {"program", "date", "score", "weights", "search"} <= content.keys()


def without_none(value):
    if isinstance(value, dict):
        return {key: without_none(one) for key, one in value.items() if one is not None}
    return [without_none(one) for one in value] if isinstance(value, list) else value


plain = st.recursive(
    st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text('aZ "\\\n\t\x7fäß世😀'),
    lambda inner: st.lists(st.floats(0, 1), min_size=1, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from("xyz"), plain))
def test_toml_is_read_back_as_it_was(content):
    assert tomllib.loads("\n".join(toml(content))) == content


def test_tuning_that_does_not_transfer_is_said():
    [warning] = result([1.0, 2, 3, 4], [1.1, 2.1, 3, 4]).warnings
    assert warning.startswith("tuning does not transfer: clips that it has not seen change by -0.050 dB")
    assert any(line == f"warning: {warning}" for line in lines(result([1.0, 2, 3, 4], [1.1, 2.1, 3, 4])))


def test_tuning_that_may_not_transfer_is_said():
    random = np.random.default_rng(0)
    untuned = random.normal(0, 1, 60)
    [warning] = result(untuned + 0.02 + random.normal(0, 1, 60).clip(-1, 1), untuned).warnings
    assert warning.startswith("it is not certain that tuning transfers")


def test_tuning_that_transfers_needs_no_word():
    assert result([1.0, 2, 3, 4], [0.0, 1.1, 2, 3]).warnings == ()


def test_no_values_for_single_classes_is_said():
    found = result([1.0, 2, 3, 4], [0.0, 1.1, 2, 3], {NONE_DB: 1.5, 0.05: 1.5, 0.0: 1.2})
    assert [line.split(" gain")[0] for line in found.warnings] == ["values for single classes"]


def test_words():
    told = "\n".join(lines(result([1.0, 2, 3, 4], [0.0, 1.1, 2, 3])))
    assert "tuned, 2 folds held out" in told
    assert "100 settings replayed" in told
    assert "7 query lists" in told
    assert f"{CLASSES[0]} " in told


def test_without_folds():
    found = replace(result([1.0], [0.5]), held_out=None)
    assert found.warnings == ()
    assert tomllib.loads(found.to_toml()).get("held_out") == {}
    assert "held out" not in "\n".join(lines(found))


@pytest.mark.parametrize("value", [0.25, np.full(18, 0.25)])
def test_a_table_of_equal_values_is_one_value(value):
    assert result([1.0], [0.5], values={"verify": value}).to_json()["knobs"]["verify"] == 0.25
