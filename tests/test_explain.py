"""The trail of a run tells what really happened to every query."""

import json
import subprocess
import sys

import pytest

from s5cli.explain import Proposal, Trail
from s5cli.knobs import setting
from s5cli.systems.baseline import Baseline
from s5cli.systems.tagging_driven import TaggingDriven
from tests.systems.test_tagging_driven import CLEAR, FALSE_ALARM, WEAK, named, system_of
from tests.systems.tones import Tone, parts, scene_of


def trail_of(scenes, queries=None, **kind):
    system, _ = system_of(**kind)
    trail = Trail(system.setting)
    return system(scenes, trail, queries), trail.clips


def told(clip):
    return [(query.label, query.dropped_by, query.reported) for query in clip.queries]


def test_a_life_from_proposal_to_file():
    [[stem]], [clip] = trail_of([scene_of("clip", Tone("Speech", p_1ch=0.9, p_4ch=0.8, in_a=0.45))])
    life = clip.reported[0]
    assert life.proposals == (
        Proposal("4ch", pytest.approx(0.8, abs=1e-3)),
        Proposal("1ch", pytest.approx(0.9, abs=1e-3)),
    )
    assert (life.label, life.slot, life.separator, life.reported) == ("Speech", 0, "a", 0)
    assert (life.confidence, life.support, life.energy_db) == (stem.confidence, stem.support, stem.energy_db)
    assert life.support_first == life.support
    assert life.support_second is None
    assert life.dropped_by is None
    assert life.story == (
        "Speech: proposed by 4ch 0.8 and 1ch 0.9 · confidence 0.84 · support 0.45 · -6.0 dB · separator a"
        " · reported as stem 0"
    )


def test_dropped_by_verification_and_heard_again():
    [stems], [clip] = trail_of([scene_of("clip", CLEAR, FALSE_ALARM, WEAK)], crowding=0.3, two_separators=True)
    assert told(clip)[:3] == [("Speech", None, 0), ("Dishes", None, 1), ("Cough", "verify", None)]
    cough = clip.queries[2]
    assert cough.reason == "support 0.008 is below verify 0.1 and confidence 0.34 below drop 0.5"
    assert cough.support == cough.support_first == pytest.approx(0.02 * 0.4, abs=1e-3)
    dishes = clip.queries[1]
    assert (dishes.separator, stems[1].separator) == ("b", "b")
    supports = (dishes.support_first, dishes.support_second, dishes.support)
    assert supports == pytest.approx((0.5 * 0.4, 0.5 * 0.7, 0.8 * 0.7), abs=1e-3)
    assert "support 0.2 → 0.35 → 0.56" in dishes.story
    assert cough.story.endswith(f"dropped: {cough.reason}")


def test_numbers_follow_the_files_after_a_gap():
    doubted, after = Tone("Cough", 0.45, 0.45, 0.01), Tone("Pour", 0.4, 0.4, 0.6)
    [stems], [clip] = trail_of([scene_of("clip", CLEAR, doubted, after)])
    assert told(clip)[:3] == [("Speech", None, 0), ("Cough", "verify", None), ("Pour", None, 1)]
    assert [query.slot for query in clip.reported] == [stem.slot for stem in stems] == [0, 2]
    assert [query.energy_db for query in clip.reported] == [stem.energy_db for stem in stems]


def test_proposals_that_were_never_asked():
    scene = scene_of("clip", Tone("Speech", p_1ch=0.69), Tone("Cough", p_4ch=0.49), hum=0.3)
    [[]], [clip] = trail_of([scene])
    assert {query.dropped_by for query in clip.queries} == {"solo"}
    reasons = {query.label: query.reason for query in clip.dropped}
    assert reasons["Speech"] == "only 1ch proposed it and 0.69 is below solo_1ch 0.7"
    assert reasons["Cough"] == "only 4ch proposed it and 0.49 is below solo_4ch 0.5"
    confidences = [query.confidence for query in clip.dropped]
    assert confidences == sorted(confidences, reverse=True)


def test_the_fourth_query_is_crowded_out():
    heard_by_one = [Tone(label, p_1ch=0.9, in_a=0.9) for label in ("Pour", "Cough", "Typing")]
    heard_by_other = Tone("Speech", p_4ch=0.8, in_a=0.9)
    [stems], [clip] = trail_of([scene_of("clip", *heard_by_one, heard_by_other)])
    assert len(stems) == 3
    speech = next(query for query in clip.queries if query.label == "Speech")
    assert (speech.dropped_by, speech.slot) == ("rank", None)
    assert speech.reason == "the 3 slots went to others"


def test_gates_say_which_and_by_how_much():
    both = Tone("Speech", p_1ch=0.25, p_4ch=0.25, in_a=0.2)
    [[]], [clip] = trail_of([scene_of("clip", both, hum=20.0)])
    life = clip.dropped[0]
    assert life.dropped_by == "gate"
    assert life.reason == "power -40.0 dB is below energy_db -30 and confidence 0.25 is below the gate's 0.3"


def test_named_queries_have_no_proposals():
    _, [clip] = trail_of([scene_of("clip", CLEAR)], named("Dishes", "Speech"))
    assert told(clip) == [("Dishes", None, 0), ("Speech", None, 1)]
    assert all(query.proposals == () and query.confidence == 1 for query in clip.queries)
    assert "named by the user" in clip.queries[0].story


def test_one_record_per_clip_over_several_batches():
    system, _ = system_of()
    trail, scenes = Trail(system.setting), [scene_of("a", CLEAR), scene_of("b"), scene_of("c", WEAK)]
    stems = system(scenes[:2], trail) + system([], trail) + system(scenes[2:], trail)
    assert [[query.label for query in clip.reported] for clip in trail.clips] == [["Speech"], [], ["Dishes"]]
    assert [len(clip.reported) for clip in trail.clips] == [len(clip) for clip in stems]


def test_baselines_have_a_trail_too():
    p = parts()
    baseline = Baseline(tagger=p.tagger_4ch, separator=p.separator_a, setting=setting({}))
    trail = Trail(baseline.setting)
    [stems] = baseline([scene_of("clip", CLEAR, WEAK)], trail)
    baseline([scene_of("clip", CLEAR)], trail, named("Pour"))
    proposed, asked = trail.clips
    assert [(q.label, q.slot, q.reported, q.confidence) for q in proposed.queries] == [
        (stem.label, stem.slot, number, stem.confidence) for number, stem in enumerate(stems)
    ]
    assert [proposal.tagger for q in proposed.queries for proposal in q.proposals] == ["tagger", "tagger"]
    assert told(asked) == [("Pour", None, 0)]
    assert asked.queries[0].proposals == ()


def test_json_is_plain_and_finite():
    _, [clip] = trail_of([scene_of("clip", CLEAR, FALSE_ALARM)])
    text = json.dumps(clip.to_json(), allow_nan=False)
    first = json.loads(text)["queries"][0]
    assert first["label"] == "Speech"
    assert set(first["proposals"]) == {"4ch", "1ch"}
    assert {"slot", "confidence", "support", "energy_db", "separator", "dropped_by", "reason", "reported"} <= set(first)


def test_importing_it_does_not_import_torch():
    code = "import sys, s5cli.explain; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_thresholds_in_reasons_are_the_classes_own():
    knobs = {"verify": {"Cough": 0.2}, "drop": {"Cough": 0.45}}
    _, [clip] = trail_of([scene_of("clip", Tone("Cough", 0.4, 0.3, 0.15))], knobs=knobs)
    assert clip.queries[0].reason == "support 0.15 is below verify 0.2 and confidence 0.34 below drop 0.45"
    assert TaggingDriven.knobs["verify"].default == 0.1
