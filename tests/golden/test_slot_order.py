"""Logits to labels, probabilities and the separator's label vector, exactly as the official code orders them."""

import numpy as np
import pytest

from s5cli.adapters.slots import label_vectors
from s5cli.adapters.tracks import softmax
from s5cli.labels import CLASSES, SILENCE
from s5cli.rules.slots import official_slots
from s5cli.scene import EMPTY, Tags
from tests.golden.golden import filled, golden_file, load_json


@pytest.fixture(scope="module")
def cases():
    return stored_cases()


def stored_cases():
    path = golden_file("s5_order.golden.json")
    return filled(load_json(path), "cases", path)


def test_golden(cases):
    tags = Tags(softmax(np.array([case["logits"] for case in cases])))
    slots = official_slots(tags)
    vectors = label_vectors(slots.classes)
    for row, case in enumerate(cases):
        expected = case["expected"]
        labels = [SILENCE if index == EMPTY else CLASSES[index] for index in slots.classes[row]]
        assert labels == expected["labels"], row
        np.testing.assert_allclose(
            slots.probability[row], expected["probabilities"], rtol=0, atol=1e-6, err_msg=str(row)
        )
        assert vectors[row].nonzero()[:, 0].tolist() == expected["label_vector_ones"], row
        assert vectors[row].shape == (54,)


def test_tagger_order_before_sorting(cases):
    """The probabilities themselves, so that an error of the softmax shows apart from one of the order."""
    for row, case in enumerate(cases):
        p = softmax(np.array(case["logits"]))
        labels = [(*CLASSES, SILENCE)[index] for index in p.argmax(axis=-1)]
        assert labels == case["tagger_order"]["labels"], row
        np.testing.assert_allclose(p.max(axis=-1), case["tagger_order"]["probabilities"], rtol=0, atol=1e-6)
