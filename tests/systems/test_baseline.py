"""Laws of the official baseline: no rule but the order of slots."""

import numpy as np
import torch

from s5cli.adapters.slots import SlotSeparator
from s5cli.adapters.tracks import TrackTagger
from s5cli.knobs import setting
from s5cli.labels import CLASSES
from s5cli.rules.slots import official_slots
from s5cli.scene import EMPTY, Queries, Scene
from s5cli.systems.baseline import Baseline
from tests.systems.tones import N_SAMPLES, Tone, Watched, parts, scene_of


class BySign(torch.nn.Module):
    """Tracks that depend on the clip: silence, Speech, Speech where channel 0 is positive, else three classes."""

    nparams = 5

    def forward(self, waveform):
        logits = torch.zeros(waveform.shape[0], 3, 19)
        for clip, positive in zip(logits, waveform[:, 0].mean(dim=-1) > 0, strict=True):
            for track, index in enumerate((18, 15, 15) if positive else (0, 18, 3)):
                clip[track, index] = 1 + track
        return logits


class Copy(torch.nn.Module):
    """Slot i: channel 0 times i + 1, plus a bias where asked, so that silence is answered with something."""

    nparams = 70

    def forward(self, waveform, label_vector):
        active = label_vector.unflatten(1, (3, 18)).any(dim=2)[:, :, None]
        return active * (0.5 + waveform[:, :1] * torch.arange(1.0, 4.0)[:, None])


def system():
    return Baseline(
        tagger=TrackTagger(BySign(), channels=1), separator=SlotSeparator(Copy()), setting=setting(Baseline.knobs)
    )


POSITIVE, NEGATIVE = Scene("positive", torch.ones(4, 160)), Scene("negative", -torch.ones(4, 240))


def test_silent_tracks_go_last_and_equal_labels_stay_apart():
    tap = Watched()
    positive, negative = system()([POSITIVE, NEGATIVE], tap)
    assert [(stem.label, stem.slot) for stem in positive] == [("Speech", 0), ("Speech", 1)]
    assert [(stem.label, stem.slot) for stem in negative] == [("AlarmClock", 0), ("Buzzer", 1)]
    softmax = [np.exp(1 + track) / (np.exp(1 + track) + 18) for track in range(3)]
    np.testing.assert_allclose([stem.confidence for stem in positive], softmax[1:])
    np.testing.assert_allclose([stem.confidence for stem in negative], [softmax[0], softmax[2]])
    assert [float(stem.audio[0]) for stem in positive] == [1.5, 2.5]
    assert [stem.audio.shape for stem in negative] == [(240,), (240,)]
    assert all(stem.support is None and stem.energy_db is None for stem in positive + negative)
    assert tap.steps == ["tags", "queries", "separated"]
    np.testing.assert_allclose(tap.results["queries"].probability[0], [softmax[1], softmax[2], softmax[0]])


def test_no_threshold_however_unsure():
    """A track whose best class is barely ahead is reported."""
    p = parts()
    baseline = Baseline(tagger=p.tagger_4ch, separator=p.separator_a, setting=setting({}))
    assert [s.label for s in baseline([scene_of("clip", Tone("Pour", p_4ch=0.51))])[0]] == ["Pour"]
    assert baseline([scene_of("clip", Tone("Pour", p_4ch=0.49))])[0] == []


def test_digital_silence_is_a_clip_like_any_other():
    [stems] = system()([Scene("silence", torch.zeros(4, N_SAMPLES))])
    assert [stem.label for stem in stems] == ["AlarmClock", "Buzzer"]
    assert (stems[0].audio == 0.5).all()


def test_named_queries_replace_the_tagger():
    tap = Watched()
    classes = np.array([[CLASSES.index("Pour"), CLASSES.index("Pour"), EMPTY]])
    [stems] = system()([POSITIVE], tap, Queries(classes, np.array([[1.0, 1.0, 0.0]])))
    assert [(stem.label, stem.slot, stem.confidence) for stem in stems] == [("Pour", 0, 1.0), ("Pour", 1, 1.0)]
    assert tap.steps == ["queries", "separated"]


def test_batches_change_nothing():
    scenes = [POSITIVE, NEGATIVE, NEGATIVE, POSITIVE]
    together = system()(scenes)
    for scene, stems in zip(scenes, together, strict=True):
        [alone] = system()([scene])
        assert [(s.label, s.slot, s.confidence) for s in stems] == [(s.label, s.slot, s.confidence) for s in alone]
        for stem, other in zip(stems, alone, strict=True):
            torch.testing.assert_close(stem.audio, other.audio)
    assert system()([]) == []


def test_nparams_and_knobs():
    assert system().nparams == 75
    assert Baseline.knobs == {}


def test_probabilities_are_those_of_the_tagger():
    tagger = TrackTagger(BySign(), channels=1)
    tags = tagger([POSITIVE])
    [stems] = system()([POSITIVE])
    assert [stem.confidence for stem in stems] == official_slots(tags).probability[0, :2].tolist()
