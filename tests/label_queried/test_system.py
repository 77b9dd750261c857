"""The label-queried system goes wherever the others go, block by block or whole."""

import json
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import s5cli
from s5cli import official
from s5cli.scene import RATE_HZ, Queries, Scene
from s5cli.weights.build import build
from tests.label_queried.conftest import CLIPS, write
from tests.systems.tones import Tone, scene_of
from tests.tune.world import coarsen


def ok(done):
    assert done.code == 0, done.err
    return done.out


def stems_in(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.wav"))}


def test_separate_explain_evaluate_and_report(lq, data, tmp_path):
    out = tmp_path / "out"
    explained = ok(lq("separate", data, "-o", out, "--system", "tiny", "--explain"))
    names = [name for name in stems_in(out) if name.startswith("three")]
    assert names == ["three_0_Buzzer.wav", "three_1_Typing.wav", "three_2_Cough.wav"]
    [pour] = [line for line in explained.splitlines() if "Pour" in line]
    assert "asked: sounding 1" in pour
    assert "dropped: p 0.445 is below report_weak 0.5" in pour
    run = json.loads((out / "run.json").read_text())
    assert run["options"] == {"stream": "full", "blocks": "kv", "activity": "predicted"}
    scores = json.loads(ok(lq("evaluate", out, "--reference", data, "--json")))
    assert scores["overall"]["accuracy_mixture_percent"] == 100
    ok(lq("report", out, "--reference", data, "-o", tmp_path / "report"))
    assert "report_weak" in (tmp_path / "report" / "clips" / "faint" / "index.html").read_text()


@pytest.mark.parametrize("preset", ["long", "matched", "low_latency"])
def test_windows_are_an_option(lq, data, tmp_path, preset):
    line = ("separate", data / "soundscape" / "two.wav", "--system", "tiny")
    ok(lq(*line, "-o", tmp_path / "whole"))
    ok(lq(*line, "-o", tmp_path / "kv", "--option", f"stream={preset}"))
    ok(lq(*line, "-o", tmp_path / "again", "--option", f"stream={preset}", "--option", "blocks=recompute"))
    whole, kv, again = (stems_in(tmp_path / name) for name in ("whole", "kv", "again"))
    assert whole.keys() == kv.keys() == again.keys()
    assert (whole == kv) == (preset != "low_latency"), "a second is one block of the longer windows"
    assert (kv == again) == (preset != "low_latency")
    refused = lq(*line, "-o", tmp_path / "kv", "--option", "stream=longer")
    assert "give" in refused.error
    assert "did you mean 'long'" in refused.error


def test_named_classes_are_asked_when_they_sound(lq, data, tmp_path):
    line = ("separate", data / "soundscape" / "faint.wav", "-o", tmp_path / "out", "--system", "tiny", "--explain")
    explained = ok(lq(*line, "--labels", "Speech,Pour"))
    assert list(stems_in(tmp_path / "out")) == ["faint_0_Speech.wav", "faint_1_Pour.wav"]
    assert explained.count("named · asked: sounding") == 2


def test_a_long_recording_is_stitched(lq, tmp_path):
    write(tmp_path / "long.wav", CLIPS["two"], n_samples=25 * RATE_HZ)
    ok(lq("separate", tmp_path / "long.wav", "-o", tmp_path / "out", "--system", "tiny"))
    clip = json.loads((tmp_path / "out" / "long.json").read_text())
    assert {stem["label"] for stem in clip["stems"]} == {"Speech", "Dishes"}
    assert len(clip["windows"]) == 3


def test_a_killed_run_goes_on(lq, start, data, tmp_path):
    many = tmp_path / "many" / "soundscape"
    many.mkdir(parents=True)
    for number in range(30):
        name = list(CLIPS)[number % len(CLIPS)]
        shutil.copy(data / "soundscape" / f"{name}.wav", many / f"clip{number:02d}.wav")
    line = ("separate", many.parent, "--system", "tiny", "--batch-size", 2, "-o")
    process = start(*line, tmp_path / "killed")
    while not (tmp_path / "killed" / "clip03.json").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(list((tmp_path / "killed").glob("clip*.json"))) < 30, "it was killed in the middle"
    assert "are done already" in lq(*line, tmp_path / "killed").err
    ok(lq(*line, tmp_path / "whole"))
    assert stems_in(tmp_path / "killed") == stems_in(tmp_path / "whole")


def test_tune_and_study(lq, data, tmp_path, monkeypatch):
    coarsen(monkeypatch)
    found = tmp_path / "thresholds.toml"
    tune = ("tune", "tiny", "--data", data, "--cache", tmp_path / "cache", "--folds", 2, "--workers", 1, "-o", found)
    told = ok(lq(*tune))
    assert "report_weak" in told
    ok(lq("separate", data, "-o", tmp_path / "out", "--system", "tiny", "--thresholds", found))
    rows = json.loads(ok(lq("study", "ablation", data, "--system", "tiny", "--json")))["rows"]
    scores = {row["title"]: row["accuracy_mixture_percent"] for row in rows}
    assert scores["tiny"] == scores["tiny, no activity"] == scores["true labels, no activity"] == 100
    assert "tiny, blocks: 1 s past, 0.25 s, 0.1 s ahead" in scores
    assert scores["true labels and activity"] == 100


def test_package_and_validate(lq, data, tmp_path):
    run = tmp_path / "run"
    ok(lq("separate", data, "-o", run, "--system", "tiny"))
    names = ("--author", "Doe", "--affiliation", "LAB", "--index", "1")
    ok(lq("package", run, "--dev-run", run, "--dev-reference", data, *names, "-o", tmp_path / "out"))
    assert (tmp_path / "out" / "Doe_LAB_task4_1" / official.EVAL_RESULTS).exists()
    checked = lq("validate", tmp_path / "out", "--soundscapes", data, "--dev-soundscapes", data)
    assert "TODO" in checked.out + checked.err, "only what a person has to fill in is left"


def test_batches_and_company_change_nothing(lq):
    system = build("tiny")
    scenes = [scene_of(name, *tones, n_samples=RATE_HZ) for name, tones in CLIPS.items()]
    together = system(scenes).stems().clips()
    for scene, stems in zip(scenes, together, strict=True):
        [alone] = system([Scene("alone", scene.audio)]).stems().clips()
        assert [(s.label, s.slot) for s in stems] == [(s.label, s.slot) for s in alone]
        for one, other in zip(stems, alone, strict=True):
            torch.testing.assert_close(one.audio, other.audio, atol=1e-6, rtol=1e-4)


def test_nothing_asked_runs_no_separator(lq, monkeypatch):
    system = build("tiny")
    monkeypatch.setattr(type(system.separator.network), "forward", lambda *_: pytest.fail("it ran"))
    decision = system([scene_of("none", n_samples=RATE_HZ)])
    assert decision.stems().clips() == [[]]
    assert len(decision.trace()[0].silence) == 3


def test_activity_reaches_the_separator(lq):
    """A sound that stops is asked for while it sounds; without activity throughout."""
    scene = scene_of("stops", Tone("Speech", 0.5), n_samples=RATE_HZ)
    scene.audio[:, RATE_HZ // 2 :] *= 0
    found = build("tiny")([scene])
    assert found.found.activity[0, 0].tolist() == [1] * 5 + [0] * 5
    always = build("tiny", options={"activity": "none"})([scene])
    assert always.found.activity[0, 0].tolist() == [1] * 10
    assert not torch.equal(found.stems().waveforms[0, 0], always.stems().waveforms[0, 0])
    soft = build("tiny", options={"activity": "soft"})([scene])
    assert ((soft.found.activity[0, 0] > 0) & (soft.found.activity[0, 0] < 1)).any()


def test_true_activity_is_a_clue_of_studies(lq):
    """The references' activity takes the place of the tagger's, in the tagger's frames."""
    system = build("tiny", options={"activity": "true"})
    scene = scene_of("both", Tone("Speech", 0.5), n_samples=RATE_HZ)
    sounding = np.zeros((1, 3, 25))
    sounding[0, 0, 12:] = 1
    queries = Queries(np.array([[15, -1, -1]]), np.array([[1.0, 0, 0]]), sounding=sounding)
    found = system.with_queries(queries)([scene])
    assert found.found.activity[0, 0].tolist() == [0] * 4 + [1] * 6
    unknown = system.with_queries(Queries(queries.classes, queries.confidence))([scene])
    assert unknown.found.activity[0, 0].tolist() == [1] * 10


def test_the_embedded_system_on_an_example(lq, tmp_path):
    """By its name, from its file; a block at a time as well, where what it finds is the same classes."""
    example = Path(__file__).parents[2] / "examples" / "dishes_keyboard.flac"
    named = {}
    for preset in ("full", "matched"):
        line = ("separate", example, "-o", tmp_path / preset, "--option", f"stream={preset}", "--device", "cpu")
        done = lq(*line, "--system", "label-queried-corrnet-compact")
        assert done.code == 0, done.err
        told = json.loads((tmp_path / preset / "dishes_keyboard.json").read_text())
        named[preset] = [stem["label"] for stem in told["stems"]]
        for stem in told["stems"]:
            samples, _ = soundfile.read(tmp_path / preset / stem["file"])
            assert samples.any()
    assert named["full"] == named["matched"]
    assert "Dishes" in named["full"] or "MusicalKeyboard" in named["full"]


def test_loaded_systems_stream(lq):
    loaded = s5cli.load("tiny", device="cpu")
    scene = scene_of("clip", Tone("Speech", 0.5), n_samples=2 * RATE_HZ)
    stems = [stem for ready in loaded.stream(scene.audio.split(RATE_HZ // 2, dim=1)) for stem in ready]
    assert {stem.label for stem in stems} == {"Speech"}
    assert sum(len(stem.audio) for stem in stems) == 2 * RATE_HZ
    asked = loaded.system.with_queries(Queries(np.array([[3, -1, -1]]), np.array([[1.0, 0, 0]])))
    assert {s.label for ready in asked.stream([scene.audio]) for s in ready.clips()[0]} == {"Buzzer"}
