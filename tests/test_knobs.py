"""Knobs, options and settings: what a system declares, and every way to give a value."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s5cli.errors import UsageError
from s5cli.knobs import Knob, Option, Setting, per_stage, read_options, setting
from s5cli.labels import CLASSES

PLAIN = Knob(0.3, 0, 1)
OPEN = Knob(0.0, -math.inf, math.inf, "logit", per_class=True, span=(-4, 4))
HALF_OPEN = Knob(-30, -math.inf, 0, "db", span=(-60, 0))


@pytest.mark.parametrize("knob", [PLAIN, OPEN, HALF_OPEN])
@given(n_points=st.integers(2, 50), value=st.floats(-4, 0))
def test_a_grid_holds_default_ends_and_what_it_is_given(knob, n_points, value):
    grid = knob.grid(n_points, value)
    assert grid == sorted(set(grid))
    assert knob.default in grid
    assert {end for end in (knob.low, knob.high) if math.isinf(end)} == {one for one in grid if math.isinf(one)}
    digits = 2 if knob.axis in ("db", "logit") else 6
    assert round(value, digits) in grid
    assert min(one for one in grid if math.isfinite(one)) >= min(knob.searched[0], round(value, digits))


@pytest.mark.parametrize("knob", [PLAIN, OPEN, HALF_OPEN])
def test_the_neighbourhood_is_ten_times_as_fine(knob):
    low, high = knob.searched
    middle = (low + high) / 2
    near = np.array([one for one in knob.near(middle, 41) if abs(one - middle) < (high - low) / 41])
    assert np.diff(near).min() == pytest.approx((high - low) / 400, rel=0.1)
    assert knob.near(-math.inf, 41) == knob.grid(41)


def test_distances_count_the_searched_range_as_one():
    assert PLAIN.distance(0.8) == pytest.approx(0.5)
    assert OPEN.distance(np.array([0.0, -math.inf])) == pytest.approx(0.25)
    assert HALF_OPEN.distance(-math.inf) == pytest.approx(0.5)


def test_an_open_range_needs_a_span():
    with pytest.raises(ValueError, match="needs a span"):
        Knob(0, -math.inf, 0).grid(3)


def test_knobs_of_like_stages_are_searched_one_after_the_other():
    found = per_stage("silence", OPEN, 3)
    assert [(name, knob.stage) for name, knob in found.items()] == [
        ("silence_1", "stage 1"), ("silence_2", "stage 2"), ("silence_3", "stage 3"),
    ]  # fmt: skip


OPTIONS = {
    "stages": Option(3, "how many", low=1, high=5),
    "clue": Option(True, "whether"),
    "gain": Option(1.0, "by how much"),
    "window": Option("full", "which", choices=("full", "short")),
}


@pytest.mark.parametrize(
    ("name", "given_as", "value"),
    [
        ("stages", "2", 2), ("stages", 5, 5), ("clue", "off", False), ("clue", "YES", True), ("clue", False, False),
        ("gain", "2", 2.0), ("gain", 2, 2.0), ("gain", "1e-3", 1e-3), ("window", "short", "short"),
    ],
)  # fmt: skip
def test_options_are_read_as_their_type(name, given_as, value):
    found = OPTIONS[name].parsed(name, given_as)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "given_as", "said"),
    [
        ("stages", "two", "give a whole number from 1 to 5"),
        ("stages", "6", "give a whole number from 1 to 5"),
        ("stages", True, "give a whole number from 1 to 5"),
        ("stages", 2.5, "give a whole number from 1 to 5"),
        ("clue", "maybe", "give on or off"),
        ("clue", 1, "give on or off"),
        ("gain", "loud", "give a number"),
        ("gain", "nan", "give a number"),
        ("window", "shrt", "did you mean 'short'"),
        ("window", 3, "give full or short"),
    ],
)
def test_options_that_do_not_fit_say_what_does(name, given_as, said):
    with pytest.raises(UsageError, match=said):
        OPTIONS[name].parsed(name, given_as)


def test_a_setting_has_a_value_for_everything():
    found = setting({"drop": PLAIN}, {"drop": 0.5}, OPTIONS, {"stages": "1"})
    assert dict(found.values) == {"drop": 0.5}
    assert dict(found.options) == {"stages": 1, "clue": True, "gain": 1.0, "window": "full"}
    for wrong in ({"stage": 1}, {"drop": 1}):
        with pytest.raises(UsageError, match="unknown option"):
            setting({"drop": PLAIN}, {}, OPTIONS, wrong)


def test_moved_keeps_the_options_and_the_key_tells_settings_apart():
    one = setting({"a": PLAIN, "b": OPEN}, {}, OPTIONS)
    other = one.moved({"a": 0.4})
    assert other.options == one.options
    assert one.key != other.key == one.moved({"a": 0.4, "b": np.zeros(18)}).key
    assert one.key != setting({"a": PLAIN, "b": OPEN}, {}, OPTIONS, {"clue": False}).key


def test_infinity_survives_json():
    table = np.zeros(18)
    table[CLASSES.index("Pour")] = -math.inf
    plain = Setting({"b": table, "c": math.inf}).to_json()
    assert (plain["b"]["Pour"], plain["b"]["Speech"], plain["c"]) == ("-inf", 0.0, "inf")
    again = setting({"b": OPEN, "c": OPEN}, plain)
    np.testing.assert_array_equal(again.values["b"], table)
    assert again.values["c"] == math.inf


@pytest.mark.parametrize("value", ["0.5", "nan", math.nan, "infinite", None, True])
def test_what_is_no_number_is_no_threshold(value):
    with pytest.raises(UsageError):
        setting({"c": OPEN}, {"c": value})


def test_options_of_a_command_line():
    assert read_options(["a=b=c", "x="]) == {"a": "b=c", "x": ""}
    for wrong, said in ((["a"], "name=value"), (["=b"], "name=value"), (["a=1", "a=2"], "given twice")):
        with pytest.raises(UsageError, match=said):
            read_options(wrong)
