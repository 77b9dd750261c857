"""Support, verification, and the closing of gaps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from s5cli.knobs import Setting
from s5cli.labels import CLASSES
from s5cli.rules.verify import compact, compact_order, support, verify
from s5cli.scene import EMPTY, Queries

PLAIN = Setting({"verify": 0.1, "drop": 0.5})


@st.composite
def query_batches(draw):
    b = draw(st.integers(0, 5))
    n_active = draw(hnp.arrays(np.int64, b, elements=st.integers(0, 3)))
    active = np.arange(3) < n_active[:, None]
    classes = draw(hnp.arrays(np.int64, (b, 3), elements=st.integers(0, 17)))
    confidence = draw(hnp.arrays(np.float64, (b, 3), elements=st.floats(0, 1)))
    keep = draw(hnp.arrays(np.bool_, (b, 3)))
    return Queries(np.where(active, classes, EMPTY), np.where(active, confidence, 0.0)), keep & active


def test_support_is_the_best_tracks_word_for_the_query_class():
    probability = np.random.default_rng(0).uniform(size=(5, 3, 4))
    expected = [[max(tracks) for tracks in clip] for clip in probability.tolist()]
    np.testing.assert_array_equal(support(probability), expected)
    assert support(np.zeros((0, 3, 3))).shape == (0, 3)


@pytest.mark.parametrize(
    ("found", "confidence", "stays"),
    [(0.05, 0.45, False), (0.05, 0.5, True), (0.1, 0.45, True), (0.9, 0.9, True), (0.0, 0.0, False)],
)
def test_dropped_only_if_unconfirmed_and_unsure(found, confidence, stays):
    queries = Queries(np.array([[3, EMPTY]]), np.array([[confidence, 0.0]]))
    assert verify(queries, np.array([[found, 0.0]]), PLAIN).tolist() == [[stays, False]]


def test_thresholds_may_differ_by_class():
    verifies = np.full(18, 0.1)
    verifies[CLASSES.index("Pour")] = 0.01
    queries = Queries(np.array([[CLASSES.index("Pour"), CLASSES.index("Speech")]]), np.array([[0.2, 0.2]]))
    keep = verify(queries, np.array([[0.05, 0.05]]), Setting({"verify": verifies, "drop": 0.5}))
    assert keep.tolist() == [[True, False]]


@settings(max_examples=100, deadline=None)
@given(query_batches())
def test_compacting_keeps_what_is_kept_in_its_order(batch):
    queries, keep = batch
    cleaned, order = compact(queries, keep), compact_order(keep)
    for row in range(len(keep)):
        n = int(keep[row].sum())
        assert cleaned.classes[row].tolist() == [*queries.classes[row][keep[row]].tolist(), *[EMPTY] * (3 - n)]
        assert cleaned.confidence[row, :n].tolist() == queries.confidence[row][keep[row]].tolist()
        assert order[row].tolist() == [*np.flatnonzero(keep[row]).tolist(), *[EMPTY] * (3 - n)]
    np.testing.assert_array_equal(compact(cleaned, cleaned.active).classes, cleaned.classes)
