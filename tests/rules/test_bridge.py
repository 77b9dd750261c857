"""Laws of the bridge between tagger and separator."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from s5cli.knobs import setting
from s5cli.rules.bridge import bridge, named, smoothed
from s5cli.scene import EMPTY, Queries, Tracks
from s5cli.systems.label_queried import LabelQueried

FRAME_S = 0.04
UNIT = st.floats(0, 1, allow_subnormal=False)


def chosen(activity="predicted", **knobs):
    return setting(LabelQueried.knobs, knobs, LabelQueried.options, {"activity": activity})


@st.composite
def tracks(draw):
    b, n = draw(st.integers(1, 3)), draw(st.integers(1, 12))
    raw = draw(arrays(np.float64, (b, 3, 19), elements=UNIT)) + 1e-3
    return Tracks(raw / raw.sum(axis=-1, keepdims=True), draw(arrays(np.float64, (b, 3, n, 18), elements=UNIT)))


KNOBS = st.fixed_dictionaries(dict.fromkeys(LabelQueried.knobs, UNIT))


def labels_of(found):
    return [sorted(row[keep].tolist()) for row, keep in zip(found.queries.classes, found.reported, strict=True)]


@given(tracks(), KNOBS)
def test_every_report_was_asked_for(said, knobs):
    found = bridge(said, chosen(**knobs), FRAME_S)
    assert (found.queries.classes[found.reported] != EMPTY).all()
    assert (found.activity[found.reported].max(axis=-1, initial=0) == 1).all()


@given(tracks(), KNOBS, UNIT, UNIT)
def test_lower_thresholds_of_queries_change_no_label(said, knobs, weak, frame):
    before = bridge(said, chosen(**knobs), FRAME_S)
    lower = knobs | {"query_weak": weak * knobs["query_weak"], "query_frame": frame * knobs["query_frame"]}
    after = bridge(said, chosen(**lower), FRAME_S)
    assert labels_of(after) == labels_of(before)
    assert (after.queries.active.sum(axis=1) >= before.queries.active.sum(axis=1)).all()
    assert (after.queries.confidence[after.reported] == before.queries.confidence[before.reported]).all()


@given(tracks(), KNOBS)
def test_queries_come_most_confident_first_and_empty_slots_last(said, knobs):
    found = bridge(said, chosen(**knobs), FRAME_S)
    for classes, confidence in zip(found.queries.classes, found.queries.confidence, strict=True):
        used = classes != EMPTY
        assert not (~used[:-1] & used[1:]).any()
        pairs = [(-c, k) for c, k in zip(confidence[used], classes[used], strict=True)]
        assert pairs == sorted(pairs)
        assert (confidence[~used] == 0).all()


@given(tracks(), KNOBS, st.permutations(range(3)))
def test_the_order_of_tracks_does_not_matter(said, knobs, order):
    found = bridge(said, chosen(**knobs), FRAME_S)
    turned = bridge(Tracks(said.probabilities[:, order], said.activity[:, order]), chosen(**knobs), FRAME_S)
    assert np.array_equal(turned.queries.classes, found.queries.classes)
    assert labels_of(turned) == labels_of(found)


@given(tracks(), KNOBS)
def test_clips_do_not_influence_one_another(said, knobs):
    together = bridge(said, chosen(**knobs), FRAME_S)
    for row in range(len(said.activity)):
        alone = bridge(Tracks(said.probabilities[row, None], said.activity[row, None]), chosen(**knobs), FRAME_S)
        assert np.array_equal(alone.queries.classes[0], together.queries.classes[row])
        assert np.array_equal(alone.activity[0], together.activity[row])


def speech(activity):
    p = np.full((1, 3, 19), 1e-9)
    p[0, 0, 15], p[0, 0, 18], p[0, 1:, 18] = 0.6, 0.4, 1.0
    when = np.zeros((1, 3, len(activity), 18))
    when[0, 0, :, 15] = activity
    return Tracks(p, when)


def test_the_gate_and_the_two_kinds_of_reports_thresholds():
    found = bridge(speech([0.2] * 4 + [0.4] * 8), chosen(), FRAME_S)
    assert found.queries.classes.tolist() == [[15, EMPTY, EMPTY]]
    assert found.activity[0, 0].tolist() == [0] * 4 + [1] * 8
    assert not found.reported.any(), "no frame is sure enough"
    assert bridge(speech([0.2] * 4 + [0.6] * 8), chosen(), FRAME_S).reported[0, 0]
    unsure = bridge(speech([0.2] * 4 + [0.6] * 8), chosen(report_weak=0.7), FRAME_S)
    assert unsure.queries.active[0, 0]
    assert not unsure.reported.any()
    assert not bridge(speech([1.0] * 12), chosen(query_weak=0.65, report_weak=0.9), FRAME_S).queries.active.any()


def test_what_no_frame_says_is_asked_for_throughout():
    assert bridge(speech([0.1] * 12), chosen(), FRAME_S).activity[0, 0].tolist() == [1] * 12
    assert bridge(speech([0.4] * 12), chosen("none"), FRAME_S).activity[0, 0].tolist() == [1] * 12
    assert bridge(speech([0.4] * 12), chosen("soft"), FRAME_S).activity[0, 0].tolist() == [0.4] * 12


def test_what_is_named_is_asked_and_reported_in_its_order():
    queries = Queries(np.array([[15, 3, EMPTY]]), np.array([[1.0, 1.0, 0.0]]))
    found = named(queries, speech([0.1] * 6 + [0.9] * 6), chosen(), FRAME_S)
    assert found.queries is queries
    assert found.reported.tolist() == [[True, True, False]]
    assert found.activity[0, 0].tolist() == [0] * 6 + [1] * 6
    assert found.activity[0, 1].tolist() == [1] * 12, "nobody heard it"


@pytest.mark.parametrize(("frame_s", "changes"), [(0.04, False), (0.32, True)])
def test_short_changes_are_noise_where_frames_are_short(frame_s, changes):
    activity = np.zeros((1, 1, 12))
    activity[0, 0, 5:7] = 1
    assert smoothed(activity, frame_s).any() == changes
