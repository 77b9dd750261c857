"""Levels and the two gates."""

import numpy as np
import pytest

from s5cli.knobs import Setting
from s5cli.labels import CLASSES
from s5cli.rules.gate import energy_db, gate
from s5cli.scene import EMPTY, Queries

KNOBS = Setting({"energy_db": -30.0, "confidence": 0.3})
AUDIBLE = np.array([False])


def one(confidence, label=15):
    return Queries(np.array([[label, EMPTY]]), np.array([[confidence, 0.0]]))


@pytest.mark.parametrize(
    ("level_db", "confidence", "stays"),
    [(-30.0, 0.3, True), (-30.1, 0.3, False), (-30.0, 0.29, False), (6.0, 1.0, True), (-99.0, 0.0, False)],
)
def test_both_gates_must_be_passed(level_db, confidence, stays):
    gates = gate(one(confidence), np.array([[level_db, 0.0]]), AUDIBLE, KNOBS)
    assert gates.keep.tolist() == [[stays, False]]
    assert gates.quiet[0, 0] == (level_db < -30)
    assert gates.unsure[0, 0] == (confidence < 0.3)
    assert not (gates.quiet | gates.unsure | gates.silent)[0, 1]


def test_digital_silence_has_no_targets():
    gates = gate(one(1.0), np.array([[200.0, 0.0]]), np.array([True]), KNOBS)
    assert not gates.keep.any()
    assert gates.silent.tolist() == [[True, False]]


def test_confidence_may_differ_by_class():
    floors = np.full(18, 0.3)
    floors[CLASSES.index("Pour")] = 0.1
    knobs = Setting({"energy_db": -30.0, "confidence": floors})
    assert gate(one(0.2, CLASSES.index("Pour")), np.zeros((1, 2)), AUDIBLE, knobs).keep[0, 0]
    assert not gate(one(0.2), np.zeros((1, 2)), AUDIBLE, knobs).keep[0, 0]


def test_level_is_relative_and_always_a_number():
    stems = np.array([[0.5, 0.0], [1e-6, 0.0]])
    found = energy_db(stems, np.array([0.5, 0.0]))
    assert found[0, 0] == pytest.approx(0)
    assert np.isfinite(found).all()
    assert found[0, 1] < -150
    assert energy_db(100 * stems[:1], np.array([50.0]))[0, 0] == pytest.approx(found[0, 0])
    assert energy_db(np.array([[0.02]]), np.array([2.0])) == pytest.approx(-20)
