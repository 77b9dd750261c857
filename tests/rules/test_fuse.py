"""Proposals, pairs and queries: the vectorised rules against a readable clip-by-clip reference, and laws."""

from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s5cli.knobs import Setting
from s5cli.rules.fuse import BothTags, GivenTags, Proposals, fuse, pair, propose, rank
from s5cli.scene import EMPTY, Queries, Tags
from tests.rules.reference import fuse_clip


def both(tags_4ch, tags_1ch):
    return BothTags(tags_4ch, tags_1ch, np.zeros(len(tags_4ch.probabilities), dtype=bool))


KNOBS = Setting({"w4": 0.6, "solo_4ch": 0.5, "solo_1ch": 0.7})


@st.composite
def batches(draw):
    """Tags of both taggers on a coarse grid of values and few classes, so that ties and equal classes abound."""
    b = draw(st.integers(0, 4))
    values = draw(st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=b * 24, max_size=b * 24))
    tags = np.zeros((2, b, 3, 19))
    tags[..., [3, 7, 15, 18]] = np.reshape(values, (2, b, 3, 4))
    return Tags(tags[0]), Tags(tags[1])


weights = st.sampled_from([0.0, 0.25, 0.5, 0.6, 1.0])


@settings(max_examples=300, deadline=None)
@given(batches(), weights, weights, weights)
def test_agrees_with_the_readable_reference(tags, w4, solo_4ch, solo_1ch):
    tags_4ch, tags_1ch = tags
    queries = fuse(both(tags_4ch, tags_1ch), Setting({"w4": w4, "solo_4ch": solo_4ch, "solo_1ch": solo_1ch})).queries
    assert queries.classes.shape == (len(tags_4ch.probabilities), 3)
    clips = zip(tags_4ch.probabilities.tolist(), tags_1ch.probabilities.tolist(), strict=True)
    for row, (of_4ch, of_1ch) in enumerate(clips):
        expected = fuse_clip(of_4ch, of_1ch, w4, solo_4ch, solo_1ch)
        n = len(expected)
        assert queries.classes[row].tolist() == [q.label for q in expected] + [EMPTY] * (3 - n)
        np.testing.assert_allclose(queries.confidence[row], [q.confidence for q in expected] + [0.0] * (3 - n))


@settings(max_examples=100, deadline=None)
@given(batches(), st.permutations(range(3)), st.permutations(range(3)))
def test_the_order_of_tracks_means_nothing(tags, order_4ch, order_1ch):
    """Queries are the same list of classes and confidences, whatever the taggers' tracks are called."""
    tags_4ch, tags_1ch = tags
    straight = fuse(both(tags_4ch, tags_1ch), KNOBS).queries
    turned_4ch, turned_1ch = Tags(tags_4ch.probabilities[:, order_4ch]), Tags(tags_1ch.probabilities[:, order_1ch])
    turned = fuse(both(turned_4ch, turned_1ch), KNOBS).queries
    np.testing.assert_array_equal(turned.classes, straight.classes)
    np.testing.assert_allclose(turned.confidence, straight.confidence, atol=1e-15)


@settings(max_examples=100, deadline=None)
@given(batches())
def test_a_clip_is_fused_alike_alone_and_in_a_batch(tags):
    tags_4ch, tags_1ch = tags
    together = fuse(both(tags_4ch, tags_1ch), KNOBS)
    for row in range(len(tags_4ch.probabilities)):
        one = both(Tags(tags_4ch.probabilities[row, None]), Tags(tags_1ch.probabilities[row, None]))
        alone = fuse(one, KNOBS)
        np.testing.assert_array_equal(alone.queries.classes[0], together.queries.classes[row])
        np.testing.assert_array_equal(alone.slot[0], together.slot[row])


@settings(max_examples=100, deadline=None)
@given(batches())
def test_every_proposal_is_in_one_candidate(tags):
    of_4ch, of_1ch = (propose(one) for one in tags)
    found = pair(of_4ch, of_1ch)
    assert (found.by_4ch.sum(axis=1) == 3).all()
    assert (found.by_1ch.sum(axis=1) == 3).all()
    for tagger, by, p in ((of_4ch, found.by_4ch, found.p_4ch), (of_1ch, found.by_1ch, found.p_1ch)):
        for row in range(len(found.classes)):
            said = sorted(zip(tagger.classes[row].tolist(), tagger.probability[row].tolist(), strict=True))
            kept = zip(found.classes[row][by[row]].tolist(), p[row][by[row]].tolist(), strict=True)
            assert sorted(kept) == said
    unused = ~(found.by_4ch | found.by_1ch)
    assert (found.classes[unused] == EMPTY).all()


@settings(max_examples=100, deadline=None)
@given(batches())
def test_slots_point_back_at_the_candidates(tags):
    fused = fuse(both(*tags), KNOBS)
    for row, slots in enumerate(fused.slot):
        n = int(fused.queries.active[row].sum())
        assert sorted(slots[slots != EMPTY].tolist()) == list(range(n))
        for candidate in np.flatnonzero(slots != EMPTY):
            assert fused.candidates.classes[row, candidate] == fused.queries.classes[row, slots[candidate]]
            assert fused.confidence[row, candidate] == fused.queries.confidence[row, slots[candidate]]


def clip(*tracks):
    """Tags of one clip: (class, probability) per track, the rest silence."""
    tags = np.zeros((1, 3, 19))
    tags[..., 18] = 1e-9
    for track, (label, p) in enumerate(tracks):
        tags[0, track, label] = p
    return Tags(tags)


def test_silence_is_never_proposed():
    tags = np.full((1, 3, 19), 0.01)
    tags[..., 18], tags[..., 4] = 0.8, 0.02
    assert propose(Tags(tags)).classes.tolist() == [[4, 4, 4]]


def test_pairs_need_no_threshold_and_solos_do():
    fused = fuse(both(clip((15, 0.01), (3, 0.5), (4, 0.49)), clip((15, 0.02), (7, 0.7), (8, 0.69))), KNOBS)
    assert fused.queries.classes.tolist() == [[7, 3, 15]]
    np.testing.assert_allclose(fused.queries.confidence, [[0.7, 0.5, 0.6 * 0.01 + 0.4 * 0.02]])


def test_a_class_said_twice_and_once_gives_a_pair_and_a_solo():
    fused = fuse(both(clip((15, 0.6), (15, 0.9), (1, 0.1)), clip((15, 0.8), (2, 0.1), (2, 0.1))), KNOBS)
    assert fused.queries.classes.tolist() == [[15, 15, EMPTY]]
    np.testing.assert_allclose(fused.queries.confidence, [[0.6 * 0.9 + 0.4 * 0.8, 0.6, 0]])


def test_ties_go_to_the_higher_4_channel_probability_then_to_the_lower_class():
    everyone = Setting({"w4": 0.5, "solo_4ch": 0.0, "solo_1ch": 0.0})
    fused = fuse(both(clip((9, 0.5), (2, 0.75), (5, 0.5)), clip((1, 0.5), (2, 0.25), (0, 0.5))), everyone)
    assert fused.queries.classes.tolist() == [[2, 5, 9]]


def test_classes_that_a_user_named_come_through():
    queries = Queries(np.array([[15, 15, EMPTY], [EMPTY] * 3]), np.array([[1.0, 1.0, 0.0], [0.0] * 3]))
    tags = GivenTags(queries)
    fused = fuse(tags, Setting({"w4": 1.0, "solo_4ch": 0.0, "solo_1ch": 0.0}))
    np.testing.assert_array_equal(fused.queries.classes, queries.classes)
    np.testing.assert_array_equal(fused.queries.confidence, queries.confidence)
    assert fused.slot.tolist() == [[0, 1, EMPTY], [EMPTY] * 3]
    assert not tags.silent.any()


def test_mismatched_batches_are_refused():
    one, two = Proposals(np.zeros((1, 3), int), np.zeros((1, 3))), Proposals(np.zeros((2, 3), int), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="different batches"):
        pair(one, two)
    with pytest.raises(ValueError, match="19"):
        propose(Tags(np.zeros((1, 3, 18))))


def test_ranking_is_array_code():
    """A tuner ranks 1512 clips per setting; the time may not grow like a Python loop over clips."""
    rng = np.random.default_rng(0)
    few, many = (pair(*(propose(Tags(rng.dirichlet(np.full(19, 0.1), (b, 3)))) for _ in range(2))) for b in (15, 1512))

    def seconds(candidates):
        def once():
            start = perf_counter()
            rank(candidates, KNOBS)
            return perf_counter() - start

        return min(once() for _ in range(30))

    assert seconds(many) < 40 * seconds(few)  # 100 times the clips
