"""Looking up: what was filed is found exactly, and what was never asked is unseen."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s5cli.scene import Floats, Tags
from s5cli.tune.cache import digest_of
from s5cli.tune.evidence import CachedResult, result_key, waveform_name
from s5cli.tune.replay import Clips, NothingKnownError, Rows, Table

NO_SCORES = np.zeros((0, 0))


@pytest.mark.parametrize("n_rows", [1, 2, 100, 30_000])
def test_every_row_is_found_and_no_other(n_rows):
    random = np.random.default_rng(n_rows)
    rows = np.unique(random.integers([0, -1, -1, 0], [2000, 18, 18, 10**6], (2 * n_rows, 4)), axis=0)
    random.shuffle(rows)
    known, others = rows.T[:, :n_rows], rows.T[:, n_rows:]
    filed = Rows(np.ascontiguousarray(known))
    asked = random.integers(0, n_rows, 5000)
    found, there = filed.find(known[:, asked])
    np.testing.assert_array_equal(filed.order[found], asked)
    assert there.all()
    assert not filed.find(np.ascontiguousarray(others))[1].any()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.sampled_from([2, 1000, 2**40, 2**55]))
def test_columns_of_any_number_and_size(seed, n_columns, size):
    """More digits than one number holds, too."""
    random = np.random.default_rng(seed)
    values = np.unique(random.integers(-size, size, (60, n_columns)), axis=0).T
    filed = Rows(values[:, ::2])
    found, there = filed.find(values)
    np.testing.assert_array_equal(there, np.arange(values.shape[1]) % 2 == 0)
    np.testing.assert_array_equal(filed.order[found[::2]], np.arange(len(found[::2])))


def test_numbers_too_large_to_be_filed():
    with pytest.raises(ValueError, match="too far apart"):
        Rows(np.array([[0, 1], [-(2**62), 2**62]]))


def a_result(number, clip, inputs, **arrays):
    return CachedResult(result_key("step", clip, (number, *inputs)), "step", clip, inputs, arrays, NO_SCORES, NO_SCORES)


def a_table(results, gives=Tags):
    return Table(gives, results, {"a": 0, "b": 1, "c": 2}, {one.key: 3 * n for n, one in enumerate(results)})


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_found_is_what_was_filed(seed):
    random = np.random.default_rng(seed)
    asked = np.unique(random.integers([0, -1, -1, -1], 3, (12, 4)), axis=0)
    known = random.random(len(asked)) < 0.7
    known[0] = True
    values = random.random((len(asked), 2))
    filed = [
        a_result(
            int(row),
            "abc"[asked[row, 0]],
            (asked[row, 1:3].tolist(), asked[row, 3:].tolist()),
            probabilities=values[row],
        )
        for row in np.flatnonzero(known)
    ]
    clips = Clips(np.ascontiguousarray(asked[:, 0]))
    found = a_table(filed)(clips, asked[:, 1:3], asked[:, 3:])
    np.testing.assert_array_equal(clips.unseen, ~known)
    np.testing.assert_array_equal(found.probabilities[known], values[known])


def test_a_step_that_is_asked_nothing_answers_once_for_all():
    made = a_table(
        [a_result(0, "a", (), probabilities=np.array([1.0])), a_result(0, "c", (), probabilities=np.array([2.0]))]
    )
    content = np.array([2, 0, 1, 2])
    first, second = Clips(content), Clips(content)
    answer = made(first)
    assert made(second) is answer
    assert first.unseen.tolist() == second.unseen.tolist() == [False, False, True, False]
    assert answer.probabilities[[0, 1, 3], 0].tolist() == [2, 1, 2]


def test_nothing_known():
    with pytest.raises(NothingKnownError):
        a_table([])(Clips(np.zeros(2, np.int64)))


@dataclass(frozen=True)
class Level:
    level: Floats


def test_floats_flags_and_waveforms_in_any_order():
    """Activities [b, n, k] and flags [b, s] are found by all their numbers, waveforms by the results they are of."""
    random = np.random.default_rng(0)
    activity, flags = random.random((3, 5, 18)), random.random((3, 2)) < 0.5
    flags[1] = ~flags[0]
    of = [a_result(0, "abc"[row], ()) for row in range(3)]
    named = [[waveform_name(one.key, 1), waveform_name(one.key, 0)] for one in of]
    filed = [
        a_result(
            1, "abc"[row], (digest_of(activity[row]), named[row], digest_of(flags[row])), level=np.array(10.0 * row)
        )
        for row in range(3)
    ]
    first = {one.key: 3 * row for row, one in enumerate(of)} | {one.key: 0 for one in filed}
    table = Table(Level, filed, {"a": 0, "b": 1, "c": 2}, first)
    numbers = np.array([[1, 0], [4, 3], [7, 6]])
    clips = Clips(np.arange(3))
    assert table(clips, activity, numbers, flags).level.tolist() == [0, 10, 20]
    assert not clips.unseen.any()
    changes = [
        (activity + 1e-3 * (np.arange(3) == 1)[:, None, None], numbers, flags),
        (activity, numbers[:, ::-1], flags),
    ]
    changes.append((activity, numbers, flags ^ (np.arange(3) == 2)[:, None]))
    for changed, unseen in zip(changes, ([1], [0, 1, 2], [2]), strict=True):
        clips = Clips(np.arange(3))
        table(clips, *changed)
        assert np.flatnonzero(clips.unseen).tolist() == unseen


def test_one_step_asked_in_two_shapes():
    filed = [
        a_result(0, "a", ([3, -1, -1],), probabilities=np.ones((3, 19))),
        a_result(1, "a", ([3],), probabilities=np.full((1, 19), 2.0)),
    ]
    table, three, one, two = a_table(filed), *(Clips(np.zeros(1, np.int64)) for _ in range(3))
    assert table(three, np.array([[3, -1, -1]])).probabilities.shape == (1, 3, 19)
    assert table(one, np.array([[3]])).probabilities.tolist() == np.full((1, 1, 19), 2.0).tolist()
    assert not three.unseen[0]
    assert not one.unseen[0]
    with pytest.raises(NothingKnownError):
        table(two, np.array([[3, -1]]))
