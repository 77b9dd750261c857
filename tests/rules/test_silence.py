"""Which class a stem is, and whether it is silent: laws of the rules."""

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from s5cli.rules.silence import assigned, doubled, energy, of_class, softmax
from s5cli.scene import EMPTY

SEEDS = st.integers(0, 10_000)


def drawn(seed, b=4, s=3, k=18):
    rng = np.random.default_rng(seed)
    return rng, 8 * rng.standard_normal((b, s, k))


@given(SEEDS)
def test_energy_and_softmax(seed):
    _, logits = drawn(seed)
    np.testing.assert_allclose(energy(logits), -np.log(np.exp(logits).sum(axis=2)), rtol=1e-12)
    np.testing.assert_allclose(softmax(logits).sum(axis=2), 1)
    np.testing.assert_allclose(energy(logits + 3), energy(logits) - 3)
    assert np.isfinite(energy(1e4 * logits)).all()


@given(SEEDS)
def test_the_assignment_is_the_best_of_all(seed):
    rng, logits = drawn(seed)
    wanted = rng.integers(-1, 18, (4, 3))
    order = assigned(logits, wanted)
    for clip, row, found in zip(logits, wanted, order, strict=True):

        def total(places, clip=clip, row=row):
            return sum(clip[place, k] for place, k in zip(places, row, strict=True) if k != EMPTY)

        assert sorted(found) == [0, 1, 2], "no stem answers twice"
        assert np.isclose(total(found), max(total(p) for p in permutations(range(3))))


@given(SEEDS)
def test_one_of_each_class_is_left(seed):
    rng, _ = drawn(seed)
    classes, active = rng.integers(0, 3, (6, 3)), rng.random((6, 3)) < 0.7
    values = rng.integers(-3, 0, (6, 3)).astype(float)  # with ties
    lost = doubled(classes, values, active)
    assert not (lost & ~active).any()
    for row in range(6):
        kept = [slot for slot in range(3) if active[row, slot] and not lost[row, slot]]
        assert {classes[row, slot] for slot in kept} == {classes[row, slot] for slot in np.flatnonzero(active[row])}
        assert len({classes[row, slot] for slot in kept}) == len(kept)
        for slot in np.flatnonzero(lost[row]):
            [other] = [place for place in kept if classes[row, place] == classes[row, slot]]
            assert values[row, other] <= values[row, slot]


def test_of_class_stands_empty_slots():
    _, logits = drawn(0, b=1)
    found = of_class(logits, np.array([[4, EMPTY, 17]]))
    assert found[0, [0, 2]].tolist() == [logits[0, 0, 4], logits[0, 2, 17]]
