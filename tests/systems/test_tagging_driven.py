"""Laws of the tagging-driven system, on networks whose answers are written into the recording (see `tones`)."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s5cli.adapters.slots import SlotSeparator
from s5cli.adapters.tracks import TrackTagger
from s5cli.knobs import setting
from s5cli.labels import CLASSES
from s5cli.nn.m2d import M2DConfig, M2DTagger1ch, M2DTagger4ch
from s5cli.nn.resunet import ResUNetK
from s5cli.nn.unet import ResUNetConfig
from s5cli.scene import EMPTY, Queries, Scene
from s5cli.systems.tagging_driven import TaggingDriven
from tests.systems.tones import N_SAMPLES, Tone, clips_of, frequency_hz, numbers_of, parts, scene_of, summary, tones_of

CLEAR = Tone("Speech", p_1ch=0.9, p_4ch=0.8, in_a=0.9, in_b=0.5)
FALSE_ALARM = Tone("Cough", p_1ch=0.4, p_4ch=0.3, in_a=0.02, in_b=0.02)
WEAK = Tone("Dishes", p_1ch=0.6, p_4ch=0.7, in_a=0.5, in_b=0.8)


def system_of(two_separators=False, knobs=None, **kind):
    """The system and its parts; networks remember the batches that they were given."""
    p = parts(**kind)
    system = TaggingDriven(
        tagger_1ch=p.tagger_1ch,
        tagger_4ch=p.tagger_4ch,
        separator_a=p.separator_a,
        separator_b=p.separator_b if two_separators else None,
        setting=setting(TaggingDriven.knobs, knobs),
    )
    return system, p


def named(*labels, clips=1):
    classes = np.full((clips, 3), EMPTY)
    classes[:, : len(labels)] = [CLASSES.index(label) for label in labels]
    return Queries(classes, (classes != EMPTY).astype(float))


def level_of(stem, label, source=0):
    return float(tones_of(stem.audio[None])[0, CLASSES.index(label), source].abs())


def test_knobs_are_those_of_the_paper():
    defaults = {
        "w4": 0.6,
        "solo_4ch": 0.5,
        "solo_1ch": 0.7,
        "verify": 0.1,
        "drop": 0.5,
        "energy_db": -30,
        "confidence": 0.3,
    }
    assert {name: knob.default for name, knob in TaggingDriven.knobs.items()} == defaults
    assert {name for name, knob in TaggingDriven.knobs.items() if knob.per_class} == {"verify", "drop", "confidence"}
    energy = TaggingDriven.knobs["energy_db"]
    assert (energy.low, energy.high, energy.axis) == (-60, 0, "db")


def test_confirmed_queries_are_reported_after_one_pass():
    system, p = system_of()
    _, [stems] = clips_of(system, [scene_of("clip", CLEAR, WEAK)])
    assert summary(stems) == [("Speech", 0, 0.84), ("Dishes", 1, 0.66)]
    assert numbers_of(stems, "support") == pytest.approx([0.9, 0.5], abs=1e-3)
    mixture_power = (0.9**2 + 0.6**2) / 2
    assert stems[1].numbers["energy_db"] == pytest.approx(10 * np.log10(0.5**2 / 2 / mixture_power), abs=1e-3)
    assert [level_of(stem, stem.label) for stem in stems] == pytest.approx([0.9, 0.5], abs=1e-3)
    assert p.separator_a.network.batches == [1]


def test_all_stems_of_all_clips_are_retagged_in_one_call():
    system, p = system_of()
    system([scene_of("one", CLEAR, WEAK), scene_of("two", CLEAR)])
    assert p.tagger_1ch.network.batches == [2, 3]  # mixtures, stems


def test_only_a_clip_that_lost_a_query_is_separated_again():
    """What remains is asked for without it, hence better separated, and heard again."""
    system, p = system_of(crowding=0.3)
    scenes = [scene_of("kept", CLEAR, WEAK), scene_of("lost", CLEAR, FALSE_ALARM, WEAK)]
    decision, (kept, lost) = clips_of(system, scenes)
    assert p.separator_a.network.batches == [2, 1]
    assert p.tagger_1ch.network.batches == [2, 5, 2]
    assert summary(lost) == [("Speech", 0, 0.84), ("Dishes", 1, 0.66)]
    first, refined = decision.first, decision.refined
    assert decision.kept.tolist() == [[True, True, False], [True, True, False]]
    assert first.numbers["support"][1, 0] == pytest.approx(0.9 * 0.4, abs=1e-3)
    assert refined.numbers["support"][1, 0] == lost[0].numbers["support"] == pytest.approx(0.9 * 0.7, abs=1e-3)
    assert level_of(lost[1], "Dishes") == pytest.approx(0.5 * 0.7, abs=1e-3)
    assert all(refined.waveforms[0, slot] is first.waveforms[0, slot] for slot in range(3))
    assert numbers_of(kept, "support") == pytest.approx([0.63, 0.35], abs=1e-3)


def test_a_query_keeps_its_own_number_when_one_before_it_is_dropped():
    doubted = Tone("Cough", p_1ch=0.45, p_4ch=0.45, in_a=0.01)
    after = Tone("Pour", p_1ch=0.4, p_4ch=0.4, in_a=0.6)
    system, _ = system_of()
    _, [stems] = clips_of(system, [scene_of("clip", CLEAR, doubted, after)])
    assert [(stem.label, stem.slot) for stem in stems] == [("Speech", 0), ("Pour", 2)]
    assert level_of(stems[1], "Pour") == pytest.approx(0.6, abs=1e-3)


def test_a_confident_query_survives_a_deaf_retagger():
    system, p = system_of(knobs={"energy_db": -60})
    _, [stems] = clips_of(system, [scene_of("clip", Tone("Speech", p_1ch=0.9, p_4ch=0.9, in_a=0.01))])
    assert numbers_of(stems, "support") == pytest.approx([0.01], abs=1e-3)
    assert p.separator_a.network.batches == [1]


def test_all_queries_dropped_is_a_clip_without_targets():
    system, p = system_of(two_separators=True)
    assert clips_of(system, [scene_of("clip", FALSE_ALARM)])[1] == [[]]
    assert p.separator_a.network.batches == [1]
    assert p.separator_b.network.batches == []


def test_nothing_proposed_runs_no_separator():
    system, p = system_of(two_separators=True)
    scene = scene_of("clip", Tone("Speech", p_1ch=0.69), Tone("Cough", p_4ch=0.49), hum=0.3)
    assert clips_of(system, [scene])[1] == [[]]
    assert p.separator_a.network.batches == p.separator_b.network.batches == []
    assert p.tagger_1ch.network.batches == [1]


def test_no_scenes_give_no_clips():
    system, p = system_of(two_separators=True)
    decision, clips = clips_of(system, [])
    assert clips == decision.trace() == []
    assert p.tagger_1ch.network.batches == []


class Talker(torch.nn.Module):
    """A network that answers silence with something, as the official one does."""

    nparams = 0

    def forward(self, waveform, label_vector):
        active = label_vector.unflatten(1, (3, 18)).any(dim=2)
        return 0.1 * active[:, :, None] * torch.ones(waveform.shape[0], 3, waveform.shape[-1])


class Certain(torch.nn.Module):
    """A tagger that hears speech everywhere."""

    nparams = 0

    def forward(self, waveform):
        logits = torch.zeros(waveform.shape[0], 3, 19)
        logits[..., 15] = 10
        return logits


def test_digital_silence_has_no_targets_unless_they_are_named():
    tagger, separator = TrackTagger(Certain(), channels=1), SlotSeparator(Talker())
    system = TaggingDriven(
        tagger_1ch=tagger, tagger_4ch=tagger, separator_a=separator, setting=setting(TaggingDriven.knobs)
    )
    silence, faint = Scene("silence", torch.zeros(4, N_SAMPLES)), Scene("faint", torch.full((4, N_SAMPLES), 1e-3))
    assert [len(stems) for stems in clips_of(system, [silence, faint])[1]] == [0, 3]
    _, [stems] = clips_of(system, [silence], named("Speech"))
    assert [stem.label for stem in stems] == ["Speech"]
    assert np.isfinite(stems[0].numbers["energy_db"])


def test_a_stem_too_quiet_for_its_mixture_is_gated():
    quiet = Tone("Speech", p_1ch=0.9, p_4ch=0.9, in_a=0.2)
    system, _ = system_of()
    assert len(clips_of(system, [scene_of("audible", quiet)])[1][0]) == 1
    decision, clips = clips_of(system, [scene_of("buried", quiet, hum=20.0)])
    assert clips == [[]]
    assert decision.gates.quiet.tolist() == [[True, False, False]]


def test_an_unsure_query_is_gated_although_its_stem_is_confirmed():
    unsure = Tone("Pour", p_1ch=0.25, p_4ch=0.25, in_a=0.8)
    system, _ = system_of()
    assert clips_of(system, [scene_of("clip", unsure)])[1] == [[]]
    lenient, _ = system_of(knobs={"confidence": {"Pour": 0.2}})
    assert [stem.label for stem in clips_of(lenient, [scene_of("clip", unsure)])[1][0]] == ["Pour"]


def test_each_slot_takes_the_better_heard_separator_and_a_on_ties():
    tie = Tone("Cough", p_1ch=0.5, p_4ch=0.5, in_a=0.4, in_b=0.4)
    system, p = system_of(two_separators=True)
    decision, [stems] = clips_of(system, [scene_of("clip", CLEAR, WEAK, tie)])
    assert [stem.label for stem in stems] == ["Speech", "Dishes", "Cough"]
    assert decision.from_b.tolist() == [[False, True, False]]
    assert numbers_of(stems, "support") == pytest.approx([0.9, 0.8, 0.4], abs=1e-3)
    assert [level_of(stem, stem.label) for stem in stems] == pytest.approx([0.9, 0.8, 0.4], abs=1e-3)
    mixture_power = (0.9**2 + 0.6**2 + 0.5**2) / 2
    assert stems[1].numbers["energy_db"] == pytest.approx(10 * np.log10(0.8**2 / 2 / mixture_power), abs=1e-3)
    assert p.separator_a.network.batches == p.separator_b.network.batches == [1]


def test_separator_b_is_asked_the_cleaned_list():
    system, _ = system_of(two_separators=True, crowding=0.3)
    decision, [stems] = clips_of(system, [scene_of("clip", FALSE_ALARM, WEAK)])
    assert summary(stems) == [("Dishes", 0, 0.66)]
    assert decision.from_b.tolist() == [[True, False, False]]
    assert stems[0].numbers["support"] == pytest.approx(0.8, abs=1e-3)  # not × 0.7: asked alone


@pytest.mark.parametrize("backwards", [False, True])
def test_two_sources_of_one_class_are_never_the_same_twice(backwards):
    """B hears the first speaker better and the second worse, in whichever order it gives them."""
    one = Tone("Speech", p_1ch=0.9, p_4ch=0.9, in_a=0.5, in_b=0.8, source=0)
    other = Tone("Speech", p_1ch=0.8, p_4ch=0.8, in_a=0.6, in_b=0.3, source=1)
    system, _ = system_of(two_separators=True, backwards=backwards)
    decision, [stems] = clips_of(system, [scene_of("clip", one, other)])
    assert [stem.slot for stem in stems] == [0, 1]
    assert decision.from_b.tolist() == [[True, False, False]]
    assert numbers_of(stems, "support") == pytest.approx([0.8, 0.6], abs=1e-3)
    mixture_power = (0.9**2 + 0.8**2) / 2
    levels_db = [10 * np.log10(level**2 / 2 / mixture_power) for level in (0.8, 0.6)]
    assert numbers_of(stems, "energy_db") == pytest.approx(levels_db, abs=1e-2)
    assert [level_of(stem, "Speech", source) for source, stem in enumerate(stems)] == pytest.approx(
        [0.8, 0.6], abs=1e-3
    )
    assert [level_of(stem, "Speech", 1 - source) for source, stem in enumerate(stems)] == pytest.approx(
        [0, 0], abs=1e-3
    )


def test_named_queries_are_separated_and_none_is_dropped():
    """Neither verification nor a gate looks at them; the better separator is still chosen."""
    system, p = system_of(two_separators=True)
    scene = scene_of("clip", CLEAR, WEAK, hum=50.0)
    decision, [stems] = clips_of(system, [scene], named("Dishes", "Buzzer", "Speech"))
    assert [(stem.label, stem.slot, stem.confidence) for stem in stems] == [
        ("Dishes", 0, 1.0),
        ("Buzzer", 1, 1.0),
        ("Speech", 2, 1.0),
    ]
    assert decision.from_b.tolist() == [[True, False, False]]
    assert stems[1].numbers["support"] == pytest.approx(0, abs=1e-6)
    assert p.tagger_4ch.network.batches == []
    assert p.tagger_1ch.network.batches == [3, 3]  # stems of A, stems of B
    assert p.separator_a.network.batches == [1]


def test_reported_audio_is_the_users_own():
    """Ordinary tensors of one stem each: to change one changes nothing else."""
    system, _ = system_of()
    _, [[stem, other]] = clips_of(system, [scene_of("clip", CLEAR, WEAK)])
    assert stem.audio.dtype == torch.float32
    assert stem.audio.shape == (N_SAMPLES,)
    assert not stem.audio.is_inference()
    assert stem.audio.untyped_storage().nbytes() == 4 * N_SAMPLES
    before = other.audio.clone()
    stem.audio.zero_().requires_grad_()
    torch.testing.assert_close(other.audio, before)


tones = st.builds(
    Tone,
    label=st.sampled_from(["Speech", "Cough", "Pour", "Dishes"]),
    p_1ch=st.sampled_from([0.1, 0.33, 0.61, 0.93]),
    p_4ch=st.sampled_from([0.12, 0.37, 0.66, 0.91]),
    in_a=st.sampled_from([0.03, 0.22, 0.71]),
    in_b=st.sampled_from([0.02, 0.27, 0.69]),
    source=st.integers(0, 2),
)
clips = st.lists(
    st.tuples(st.lists(tones, max_size=3, unique_by=lambda t: (t.label, t.source)), st.booleans()), max_size=5
)


@settings(max_examples=40, deadline=None)
@given(clips, st.randoms(use_true_random=False))
def test_batch_size_and_order_change_nothing(clips, random):
    lengths = {True: N_SAMPLES, False: 2 * N_SAMPLES}
    scenes = [scene_of(f"clip{i}", *found, n_samples=lengths[short]) for i, (found, short) in enumerate(clips)]
    order = random.sample(range(len(scenes)), len(scenes))
    system, _ = system_of(two_separators=True, crowding=0.2)
    _, together = clips_of(system, scenes)
    _, shuffled = clips_of(system, [scenes[i] for i in order])
    for place, i in enumerate(order):
        _, [alone] = clips_of(system, [scenes[i]])
        for stems in (together[i], shuffled[place]):
            assert summary(stems) == summary(alone)
            for stem, other in zip(stems, alone, strict=True):
                torch.testing.assert_close(stem.audio, other.audio, rtol=0, atol=1e-5)
                assert stem.numbers["support"] == pytest.approx(other.numbers["support"], abs=1e-5)
                assert stem.numbers["energy_db"] == pytest.approx(other.numbers["energy_db"], abs=1e-3)


def test_nparams_adds_up():
    assert system_of()[0].nparams == 321
    assert system_of(two_separators=True)[0].nparams == 4321


def test_official_networks_give_the_published_totals():
    """215.9 M with one separator, 245.8 M with two; counted without memory for the weights."""
    with torch.device("meta"):
        taggers = M2DTagger1ch(M2DConfig()), M2DTagger4ch(M2DConfig())
        separators = [SlotSeparator(ResUNetK(ResUNetConfig()), device="meta") for _ in range(2)]
    one, four = TrackTagger(taggers[0], "meta", channels=1), TrackTagger(taggers[1], "meta")
    knobs = setting(TaggingDriven.knobs)
    single = TaggingDriven(tagger_1ch=one, tagger_4ch=four, separator_a=separators[0], setting=knobs)
    dual = TaggingDriven(
        tagger_1ch=one, tagger_4ch=four, separator_a=separators[0], separator_b=separators[1], setting=knobs
    )
    assert (single.nparams, dual.nparams) == (215_903_073, 245_791_820)


def test_tones_of_different_sources_are_apart():
    """The world that these tests live in: no two sources share a frequency, and none is the hum's."""
    used = [frequency_hz(k, i) for k in range(18) for i in range(3)]
    assert len(set(used)) == 54
    assert max(used) < 15_000
