"""The separator adapter: what the network is asked, order, batches, clips that ask for nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from s5cli.adapters.slots import SlotSeparator, label_vectors
from s5cli.scene import EMPTY, Queries, Scene


class ClassGain(nn.Module):
    """Slot of class k: channel 0 times k + 1. Remembers what it was asked."""

    nparams = 0

    def __init__(self):
        super().__init__()
        self.asked = []

    def forward(self, waveform, label_vector):
        self.asked.append((tuple(waveform.shape), label_vector))
        gains = label_vector.unflatten(1, (-1, 18)) @ torch.arange(1.0, 19.0)
        return gains[:, :, None] * waveform[:, :1]


def queries_of(*clips):
    classes = np.array([[*clip, *[EMPTY] * (3 - len(clip))] for clip in clips], dtype=np.int64).reshape(-1, 3)
    return Queries(classes, (classes != EMPTY).astype(float))


clips = st.lists(st.tuples(st.sampled_from([100, 150, 200]), st.lists(st.integers(0, 17), max_size=3)), max_size=6)


@settings(max_examples=50, deadline=None)
@given(clips)
def test_every_clip_gets_its_own_stems(clips):
    generator = torch.Generator().manual_seed(2)
    scenes = [Scene(f"clip{i}", torch.randn(4, n, generator=generator)) for i, (n, _) in enumerate(clips)]
    network = ClassGain()
    stems = SlotSeparator(network)(scenes, queries_of(*[classes for _, classes in clips]))
    assert len(stems) == len(clips)
    for scene, waveforms, (n, classes) in zip(scenes, stems, clips, strict=True):
        assert waveforms.shape == (3, n)
        for slot, k in enumerate(classes):
            torch.testing.assert_close(waveforms[slot], (k + 1) * scene.audio[0])
        assert not waveforms[len(classes) :].any()
    asking = [n for n, classes in clips if classes]
    assert len(network.asked) == len(set(asking))
    assert sum(shape[0] for shape, _ in network.asked) == len(asking)


def test_label_vector_is_three_one_hot_vectors_side_by_side():
    vector = label_vectors(np.array([[15, 7, EMPTY], [0, 0, 17]]))
    assert vector.shape == (2, 54)
    assert vector.dtype == torch.float32
    assert [row.nonzero()[:, 0].tolist() for row in vector] == [[15, 25], [0, 18, 53]]


def test_a_clip_that_asks_for_nothing_is_not_run():
    network = ClassGain()
    scenes = [Scene("a", torch.ones(4, 100)), Scene("b", torch.ones(4, 100))]
    stems = SlotSeparator(network)(scenes, queries_of([], [3]))
    assert [shape for shape, _ in network.asked] == [(1, 4, 100)]
    assert not stems[0].any()
    assert stems[0].shape == (3, 100)
    assert SlotSeparator(network)([], queries_of()) == []


def test_scenes_and_queries_must_be_of_one_batch():
    with pytest.raises(ValueError, match="1 scenes but queries for 2"):
        SlotSeparator(ClassGain())([Scene("a", torch.ones(4, 100))], queries_of([], []))
