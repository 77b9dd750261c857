"""The official order of slots."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from s5cli.rules.slots import official_slots
from s5cli.scene import EMPTY, Tags


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_active_tracks_keep_their_order_and_silent_ones_go_last(seed):
    tags = np.random.default_rng(seed).dirichlet(np.full(19, 0.05), (3, 3))
    tags[..., 18] += 0.3
    slots = official_slots(Tags(tags))
    for row in range(3):
        tracks = [(int(track.argmax()), float(track.max())) for track in tags[row]]
        ordered = [t for t in tracks if t[0] != 18] + [t for t in tracks if t[0] == 18]
        assert slots.classes[row].tolist() == [EMPTY if k == 18 else k for k, _ in ordered]
        assert slots.probability[row].tolist() == [p for _, p in ordered]


def test_ties_take_the_first_class_and_equal_labels_are_not_merged():
    tags = np.zeros((1, 3, 19))
    tags[0, :, [4, 9]] = 0.5
    assert official_slots(Tags(tags)).classes.tolist() == [[4, 4, 4]]


def test_a_silent_slot_keeps_its_probability_but_is_no_query():
    tags = np.zeros((1, 3, 19))
    tags[0, :, 18] = 0.7, 0.8, 0.9
    slots = official_slots(Tags(tags))
    assert slots.probability.tolist() == [[0.7, 0.8, 0.9]]
    assert slots.queries.confidence.tolist() == [[0, 0, 0]]
    assert not slots.queries.active.any()
