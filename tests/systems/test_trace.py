"""The decision trace tells what really happened to every query."""

import json

import numpy as np
import pytest

from s5cli.knobs import setting
from s5cli.scene import Scene
from s5cli.systems.baseline import Baseline
from s5cli.systems.tagging_driven import TaggingDriven
from s5cli.trace import read_trace
from tests.systems.test_tagging_driven import CLEAR, FALSE_ALARM, WEAK, named, system_of
from tests.systems.tones import Tone, clips_of, parts, scene_of


def traced(scenes, queries=None, **kind):
    system, _ = system_of(**kind)
    decision, clips = clips_of(system, scenes, queries)
    return clips, decision.trace()


def told(clip):
    return [(query.label, query.dropped_by, query.reported) for query in clip.queries]


def stages_of(query):
    return {stage.name: stage.numbers for stage in query.stages}


def test_from_proposal_to_file():
    [[stem]], [clip] = traced([scene_of("clip", Tone("Speech", p_1ch=0.9, p_4ch=0.8, in_a=0.45))])
    [query, *_] = clip.reported
    assert (query.label, query.slot, query.reported, query.dropped_by) == ("Speech", 0, 0, None)
    assert query.confidence == stem.confidence
    stages = stages_of(query)
    assert list(stages) == ["proposed", "pass 1"]
    assert stages["proposed"] == pytest.approx({"p_4ch": 0.8, "p_1ch": 0.9}, abs=1e-3)
    assert stages["pass 1"] == stem.numbers
    assert str(query) == (
        "Speech: confidence 0.84 · proposed: p 4ch 0.8, p 1ch 0.9 · pass 1: support 0.45, energy -6.0 dB"
        " · reported as stem 0"
    )


def test_dropped_by_verification_and_heard_again():
    [stems], [clip] = traced([scene_of("clip", CLEAR, FALSE_ALARM, WEAK)], crowding=0.3, two_separators=True)
    assert told(clip)[:3] == [("Speech", None, 0), ("Dishes", None, 1), ("Cough", "verify", None)]
    cough = clip.queries[2]
    assert cough.reason == "support 0.008 is below verify 0.1 and confidence 0.34 below drop 0.5"
    assert stages_of(cough)["pass 1"]["support"] == pytest.approx(0.02 * 0.4, abs=1e-3)
    dishes = clip.queries[1]
    supports = [stage.numbers["support"] for stage in dishes.stages[1:]]
    assert [stage.name for stage in dishes.stages] == ["proposed", "pass 1", "pass 2", "separator B"]
    assert supports == pytest.approx([0.5 * 0.4, 0.5 * 0.7, 0.8 * 0.7], abs=1e-3)
    assert dishes.stages[-1].note == "B taken"
    assert stems[1].numbers["support"] == supports[-1]
    assert str(cough).endswith(f"dropped: {cough.reason}")


def test_numbers_follow_the_files_after_a_gap():
    doubted, after = Tone("Cough", 0.45, 0.45, 0.01), Tone("Pour", 0.4, 0.4, 0.6)
    [stems], [clip] = traced([scene_of("clip", CLEAR, doubted, after)])
    assert told(clip)[:3] == [("Speech", None, 0), ("Cough", "verify", None), ("Pour", None, 1)]
    assert [query.slot for query in clip.reported] == [stem.slot for stem in stems] == [0, 2]
    assert [query.stages[-1].numbers for query in clip.reported] == [stem.numbers for stem in stems]


def test_proposals_that_were_never_asked():
    scene = scene_of("clip", Tone("Speech", p_1ch=0.69), Tone("Cough", p_4ch=0.49), hum=0.3)
    [[]], [clip] = traced([scene])
    assert {query.dropped_by for query in clip.queries} == {"solo"}
    reasons = {query.label: query.reason for query in clip.dropped}
    assert reasons["Speech"] == "only the 1ch tagger proposed it and 0.69 is below solo_1ch 0.7"
    assert reasons["Cough"] == "only the 4ch tagger proposed it and 0.49 is below solo_4ch 0.5"
    confidences = [query.confidence for query in clip.dropped]
    assert confidences == sorted(confidences, reverse=True)


def test_the_fourth_query_gets_no_slot():
    heard_by_one = [Tone(label, p_1ch=0.9, in_a=0.9) for label in ("Pour", "Cough", "Typing")]
    heard_by_other = Tone("Speech", p_4ch=0.8, in_a=0.9)
    [stems], [clip] = traced([scene_of("clip", *heard_by_one, heard_by_other)])
    assert len(stems) == 3
    speech = next(query for query in clip.queries if query.label == "Speech")
    assert (speech.dropped_by, speech.slot) == ("rank", None)
    assert speech.reason == "the 3 slots went to others"


def test_gates_say_which_and_by_how_much():
    both = Tone("Speech", p_1ch=0.25, p_4ch=0.25, in_a=0.2)
    [[]], [clip] = traced([scene_of("clip", both, hum=20.0)])
    query = clip.dropped[0]
    assert query.dropped_by == "gate"
    assert query.reason == "power -40.0 dB is below energy_db -30 and confidence 0.25 is below the gate's 0.3"


def test_named_queries_have_no_proposals():
    _, [clip] = traced([scene_of("clip", CLEAR)], named("Dishes", "Speech"))
    assert told(clip) == [("Dishes", None, 0), ("Speech", None, 1)]
    assert all(str(query.stages[0]) == "named" and query.confidence == 1 for query in clip.queries)


def test_one_trace_a_clip_in_the_order_of_the_scenes():
    clips, traces = traced([scene_of("a", CLEAR), scene_of("b"), scene_of("c", WEAK)])
    assert [[query.label for query in clip.reported] for clip in traces] == [["Speech"], [], ["Dishes"]]
    assert [len(clip.reported) for clip in traces] == [len(stems) for stems in clips]


def test_baselines_trace_too():
    p = parts()
    baseline = Baseline(tagger=p.tagger_4ch, separator=p.separator_a, setting=setting({}))
    decision, [stems] = clips_of(baseline, [scene_of("clip", CLEAR, WEAK)])
    [proposed] = decision.trace()
    [asked] = clips_of(baseline, [scene_of("clip", CLEAR)], named("Pour"))[0].trace()
    assert [(q.label, q.slot, q.reported, q.confidence) for q in proposed.queries] == [
        (stem.label, stem.slot, number, stem.confidence) for number, stem in enumerate(stems)
    ]
    assert [stages_of(query) for query in proposed.queries] == [{"proposed": {"p": s.confidence}} for s in stems]
    assert told(asked) == [("Pour", None, 0)]
    assert str(asked.queries[0].stages[0]) == "named"


def test_json_is_plain_and_can_be_read_again():
    _, [clip] = traced([scene_of("clip", CLEAR, FALSE_ALARM)], two_separators=True)
    assert clip.is_finite
    assert read_trace(json.loads(json.dumps(clip.to_json(), allow_nan=False))) == clip


def test_what_is_no_number_shows():
    system, _ = system_of()
    system.tagger_4ch.network.forward = lambda waveform: np.nan * waveform.new_ones(len(waveform), 3, 19)
    [clip] = system([scene_of("clip", CLEAR)]).trace()
    assert not clip.is_finite


@pytest.mark.parametrize("system", [Baseline, TaggingDriven])
def test_a_system_declares_every_rule_that_drops(system):
    assert all(drop.title for drop in system.drops.values())
    titles = [row.title for row in system.ablation]
    assert len(set(titles)) == len(titles)


def test_rules_that_drop_are_those_declared():
    scenes = [
        scene_of("doubted", CLEAR, FALSE_ALARM),
        scene_of("quiet", Tone("Speech", 0.25, 0.25, 0.2), hum=20.0),
        scene_of(
            "crowd", *(Tone(label, p_1ch=0.9) for label in ("Pour", "Cough", "Typing")), Tone("Speech", p_4ch=0.8)
        ),
        Scene("silence", scene_of("x").audio * 0),
    ]
    _, traces = traced(scenes)
    assert {query.dropped_by for clip in traces for query in clip.dropped} == set(TaggingDriven.drops)


def test_thresholds_in_reasons_are_the_classes_own():
    knobs = {"verify": {"Cough": 0.2}, "drop": {"Cough": 0.45}}
    _, [clip] = traced([scene_of("clip", Tone("Cough", 0.4, 0.3, 0.15))], knobs=knobs)
    assert clip.queries[0].reason == "support 0.15 is below verify 0.2 and confidence 0.34 below drop 0.45"
    assert TaggingDriven.knobs["verify"].default == 0.1
