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
from tests.systems.tones import N_SAMPLES, Tone, clips_of, parts, scene_of


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


def stems_of(system, scene):
    return clips_of(system, [scene])[1][0]


POSITIVE, NEGATIVE = Scene("positive", torch.ones(4, 160)), Scene("negative", -torch.ones(4, 240))


def test_silent_tracks_go_last_and_equal_labels_stay_apart():
    decision, (positive, negative) = clips_of(system(), [POSITIVE, NEGATIVE])
    assert [(stem.label, stem.slot) for stem in positive] == [("Speech", 0), ("Speech", 1)]
    assert [(stem.label, stem.slot) for stem in negative] == [("AlarmClock", 0), ("Buzzer", 1)]
    softmax = [np.exp(1 + track) / (np.exp(1 + track) + 18) for track in range(3)]
    np.testing.assert_allclose([stem.confidence for stem in positive], softmax[1:])
    np.testing.assert_allclose([stem.confidence for stem in negative], [softmax[0], softmax[2]])
    assert [float(stem.audio[0]) for stem in positive] == [1.5, 2.5]
    assert [stem.audio.shape for stem in negative] == [(240,), (240,)]
    assert all(not stem.numbers for stem in positive + negative)
    np.testing.assert_allclose(decision.slots.probability[0], [softmax[1], softmax[2], softmax[0]])


def test_no_threshold_however_unsure():
    """A track whose best class is barely ahead is reported."""
    p = parts()
    baseline = Baseline(tagger=p.tagger_4ch, separator=p.separator_a, setting=setting({}))
    assert [s.label for s in stems_of(baseline, scene_of("clip", Tone("Pour", p_4ch=0.51)))] == ["Pour"]
    assert stems_of(baseline, scene_of("clip", Tone("Pour", p_4ch=0.49))) == []


def test_digital_silence_is_a_clip_like_any_other():
    stems = stems_of(system(), Scene("silence", torch.zeros(4, N_SAMPLES)))
    assert [stem.label for stem in stems] == ["AlarmClock", "Buzzer"]
    assert (stems[0].audio == 0.5).all()


def test_named_queries_replace_the_tagger():
    classes = np.array([[CLASSES.index("Pour"), CLASSES.index("Pour"), EMPTY]])
    named = system()
    named.tagger.network.forward = None  # nobody asks it
    decision, [stems] = clips_of(named, [POSITIVE], Queries(classes, np.array([[1.0, 1.0, 0.0]])))
    assert [(stem.label, stem.slot, stem.confidence) for stem in stems] == [("Pour", 0, 1.0), ("Pour", 1, 1.0)]
    assert [str(stage) for query in decision.trace()[0].queries for stage in query.stages] == ["named", "named"]


def test_batches_change_nothing():
    scenes = [POSITIVE, NEGATIVE, NEGATIVE, POSITIVE]
    _, together = clips_of(system(), scenes)
    for scene, stems in zip(scenes, together, strict=True):
        alone = stems_of(system(), scene)
        assert [(s.label, s.slot, s.confidence) for s in stems] == [(s.label, s.slot, s.confidence) for s in alone]
        for stem, other in zip(stems, alone, strict=True):
            torch.testing.assert_close(stem.audio, other.audio)
    assert clips_of(system(), [])[1] == []


def test_nparams_and_knobs():
    assert system().nparams == 75
    assert Baseline.knobs == {}


def test_probabilities_are_those_of_the_tagger():
    tagger = TrackTagger(BySign(), channels=1)
    tags = tagger([POSITIVE])
    stems = stems_of(system(), POSITIVE)
    assert [stem.confidence for stem in stems] == official_slots(tags).probability[0, :2].tolist()
