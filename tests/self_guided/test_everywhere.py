"""Both self-guided systems, tiny, go wherever a system goes."""

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
from s5cli.labels import CLASSES
from s5cli.scene import Queries, Scene
from s5cli.weights.build import build
from tests.cli.conftest import Finished, machine, s5, start  # noqa: F401  # fixtures
from tests.self_guided.machine import SYSTEMS, registry
from tests.systems.tones import RATE_HZ, Tone, scene_of
from tests.tune.world import coarsen

N_SAMPLES = 8_000
CLIPS = {
    "one": [Tone("Speech", 0.5)],
    "two": [Tone("Speech", 0.4), Tone("Dishes", 0.3)],
    "three": [Tone("Buzzer", 0.5), Tone("Cough", 0.2), Tone("Typing", 0.3)],
    "none": [],
}
EITHER = pytest.mark.parametrize("name", ["small-2025", "small-2026"])


@pytest.fixture
def tiny(machine, s5):  # noqa: F811
    """The command line of a machine that has the systems."""
    machine.write_text(registry(machine.parent))
    return s5


def ok(done: Finished) -> str:
    assert done.code == 0, done.err
    return done.out


def noisy(name: str, n_samples: int = N_SAMPLES) -> np.ndarray:
    noise = 1e-3 * np.random.default_rng(0).standard_normal((4, n_samples))
    return scene_of(name, *CLIPS[name], n_samples=n_samples).audio.numpy() + noise


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("guided") / "data"
    for inner in ("soundscape", "oracle_target"):
        (folder / inner).mkdir(parents=True)
    for name, tones in CLIPS.items():
        soundfile.write(folder / "soundscape" / f"{name}.wav", noisy(name).T, RATE_HZ, subtype="PCM_24")
        for number, tone in enumerate(tones):
            path = folder / "oracle_target" / f"{name}_{number}_{tone.label}.wav"
            soundfile.write(path, scene_of(name, tone, n_samples=N_SAMPLES).audio[0].numpy(), RATE_HZ)
    return folder


def stems_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.wav"))}


def always(year: str) -> str:
    """Thresholds under which no slot is silent."""
    knob, value = ("energy", "inf") if year == "2025" else ("silence", "-inf")
    return "[knobs]\n" + "".join(f"{knob}_{stage} = {value}\n" for stage in (1, 2, 3))


@pytest.mark.parametrize("name", SYSTEMS)
def test_separate_explain_and_every_stage(tiny, data, tmp_path, name):
    thresholds, year = tmp_path / "always.toml", SYSTEMS[name][0]
    thresholds.write_text(always(year))
    line = ("separate", data, "--system", name, "--thresholds", thresholds, "--explain", "-o")
    explained = ok(tiny(*line, tmp_path / "all", "--option", "stages=all"))
    value = "logit energy" if year == "2025" else "logit"
    assert explained.count(f"stage 3: {value}") == 12, "three slots of each of four clips"
    plain = ok(tiny(*line, tmp_path / "plain"))
    assert (
        stems_in(tmp_path / "plain") == stems_in(tmp_path / "all") == stems_in(tmp_path / "all" / "stages" / "stage-3")
    )
    assert plain.count("stage 1") == explained.count("stage 1")
    stages = [stems_in(tmp_path / "all" / "stages" / f"stage-{stage}") for stage in (1, 2, 3)]
    assert len({json.dumps(sorted(map(hash, stems.values()))) for stems in stages}) == 3, "every stage differs"
    ok(tiny("evaluate", tmp_path / "all" / "stages" / "stage-1", "--reference", data, "--json"))
    clip = json.loads((tmp_path / "all" / "two.json").read_text())
    assert {file.split("/")[1] for file in clip["staged"]} == {"stage-1", "stage-2", "stage-3"}
    notes = [stage["note"] for query in clip["queries"] for stage in query["stages"]]
    assert set(notes) <= set(CLASSES)
    if year == "2026":
        assert len(clip["stems"]) == 3
    again = tiny(*line, tmp_path / "all", "--option", "stages=all")
    assert "4 of 4 clips are done already" in again.err
    (tmp_path / "all" / clip["staged"][0]).unlink()
    assert "3 of 4 clips are done already" in tiny(*line, tmp_path / "all", "--option", "stages=all").err
    assert (tmp_path / "all" / clip["staged"][0]).exists()


@EITHER
def test_silence_is_told(tiny, data, tmp_path, name):
    knob, sign = ("energy_3", "-") if name.endswith("2025") else ("silence_3", "")
    (tmp_path / "never.toml").write_text(f"[knobs]\n{knob} = {sign}inf\n")
    told = ok(tiny("separate", data, "--system", name, "--explain", "--thresholds", tmp_path / "never.toml", "-o",
                   tmp_path / "out"))  # fmt: skip
    assert not stems_in(tmp_path / "out")
    assert f"{'above' if sign else 'below'} {knob} {sign}inf" in told
    off = ok(tiny("separate", data, "--system", name, "--explain", "--thresholds", tmp_path / "never.toml",
                  "--option", "thresholds=off", "-o", tmp_path / "off"))  # fmt: skip
    assert f"{knob} {sign}inf" not in off


@pytest.mark.parametrize("name", SYSTEMS)
def test_named_classes(tiny, name):
    loaded = s5cli.load(name, device="cpu")
    audio = torch.from_numpy(noisy("two")).float()
    for labels in (["Pour"], ["Speech", "Pour"], ["Speech", "Speech", "Cough"]):
        assert [stem.label for stem in loaded(audio, labels)] == labels
    [trace] = loaded.decide([audio], ["Speech", "Pour"]).trace()
    assert [query.stages[0].name for query in trace.queries] == ["named", "named"]


@pytest.mark.parametrize("name", SYSTEMS)
def test_batches_and_company_change_nothing(tiny, name):
    system = build(name)
    system.setting = system.setting.moved(dict.fromkeys(system.knobs, np.inf if "2025" in name else -np.inf))
    scenes = [Scene(clip, torch.from_numpy(noisy(clip)).float()) for clip in CLIPS]
    together = system(scenes).stems()
    for row, scene in enumerate(scenes):
        alone = system([scene]).stems()
        assert alone.classes[0].tolist() == together.classes[row].tolist()
        for one, other in zip(alone.waveforms[0], together.waveforms[row], strict=True):
            torch.testing.assert_close(one, other)


def test_clues_count_and_can_be_switched_off(tiny):
    scene = Scene("two", torch.from_numpy(noisy("two")).float())
    always_on = {f"silence_{stage}": -np.inf for stage in (1, 2, 3)}
    switches = [{}, {"class_clue": "off"}, {"enrolments": "off"}, {"temporal_film": "off"}, {"af_whisper": "off"},
                {"dpc_paths": "object"}, {"dpc_paths": "semantic"}, {"stages": "2"}]  # fmt: skip
    sounds, logits = [], []
    for options in switches:
        decision = build("small-2026", options=options, thresholds=always_on)([scene])
        sounds.append(torch.stack([*decision.passes[-1].said.waveforms[0]]))
        logits.append(decision.passes[-1].said.silence)
    for number, options in enumerate(switches[1:], start=1):
        differs = (sounds[number] - sounds[0]).abs().max() > 1e-7
        assert differs or "dpc_paths" in options, options
        assert np.abs(logits[number] - logits[0]).max() > 1e-7, options


def test_slots_may_be_heard_again_or_not(tiny):
    scene = Scene("two", torch.from_numpy(noisy("two")).float())
    knobs = {"silence_1": np.inf, "silence_2": -np.inf, "silence_3": -np.inf}
    assert build("small-2026", thresholds=knobs)([scene]).stems().active.all()
    frozen = build("small-2026", thresholds=knobs, options={"revive": False})([scene])
    assert not frozen.stems().active.any()
    assert {query.reason for query in frozen.trace()[0].queries} == {"it was silent in an earlier stage"}


def test_a_class_is_there_once_in_2025(tiny):
    scene = Scene("two", torch.from_numpy(noisy("two")).float())
    system = build("small-2025", thresholds={f"energy_{stage}": np.inf for stage in (1, 2, 3)})
    system.hear = Alike()
    decision = system([scene])
    assert decision.stems().active.tolist() == [[False, True, False]]
    assert [query.dropped_by for query in decision.trace()[0].queries] == ["double", None, "double"]


class Alike:
    """In the place of the stem classifier: every stem is Speech, the second most of all."""

    def __call__(self, scenes, stems):
        logits = np.zeros((*stems.shape, 18))
        logits[..., 15] = [4.0, 9.0, 5.0]
        return type("Heard", (), {"logits": logits})


def test_a_long_recording_is_stitched(tiny, tmp_path):
    audio = noisy("two", 13 * RATE_HZ)
    soundfile.write(tmp_path / "long.wav", audio.T, RATE_HZ, subtype="PCM_24")
    (tmp_path / "always.toml").write_text(always("2026"))
    ok(tiny("separate", tmp_path / "long.wav", "-o", tmp_path / "out", "--system", "small-2026", "--thresholds",
            tmp_path / "always.toml"))  # fmt: skip
    clip = json.loads((tmp_path / "out" / "long.json").read_text())
    assert len(clip["windows"]) > 1
    assert soundfile.info(tmp_path / "out" / clip["stems"][0]["file"]).frames == 13 * RATE_HZ


@EITHER
def test_tune_and_study(tiny, data, tmp_path, monkeypatch, name):
    coarsen(monkeypatch)
    cache, found = tmp_path / "cache", tmp_path / "thresholds.toml"
    tune = ("tune", name, "--data", data, "--cache", cache, "--folds", 2, "--workers", 1, "-o", found)
    ok(tiny(*tune, "--option", "stages=1"))
    assert 'stages = "1"' in found.read_text()
    ok(tiny("separate", data, "-o", tmp_path / "out", "--system", name, "--thresholds", found))
    assert json.loads((tmp_path / "out" / "run.json").read_text())["options"]["stages"] == "1"
    rows = json.loads(ok(tiny("study", "ablation", data, "--system", name, "--json")))["rows"]
    titles = [row["title"] for row in rows]
    assert f"{name}, stage 1" in titles
    assert f"{name}, stage 2" in titles
    assert titles[-1] == "true labels"
    assert rows[-1]["accuracy_mixture_percent"] == 100


@EITHER
def test_report_package_and_validate(tiny, data, tmp_path, name):
    run = tmp_path / "run"
    (tmp_path / "always.toml").write_text(always(name[-4:]))
    ok(tiny("separate", data, "-o", run, "--system", name, "--thresholds", tmp_path / "always.toml", "--option",
            "stages=all"))  # fmt: skip
    ok(tiny("report", run, "--reference", data, "-o", tmp_path / "report"))
    assert "stage 2" in (tmp_path / "report" / "clips" / "two" / "index.html").read_text()
    names = ("--author", "Doe", "--affiliation", "LAB", "--index", "1")
    ok(tiny("package", run, "--dev-run", run, "--dev-reference", data, *names, "-o", tmp_path / "out"))
    label = "Doe_LAB_task4_1"
    assert name in json.dumps(json.loads((tmp_path / "out" / label / official.EVAL_RESULTS).read_text()))


def test_a_killed_run_goes_on(tiny, start, data, tmp_path):  # noqa: F811
    many = tmp_path / "many" / "soundscape"
    many.mkdir(parents=True)
    for number in range(16):
        shutil.copy(data / "soundscape" / f"{list(CLIPS)[number % 4]}.wav", many / f"clip{number:02d}.wav")
    line = ("separate", many, "--system", "small-2026", "--option", "stages=all", "--batch-size", 2, "-o")
    process = start(*line, tmp_path / "killed")
    while not (tmp_path / "killed" / "clip03.json").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(list((tmp_path / "killed").glob("clip*.json"))) < 16, "it was killed in the middle"
    ok(tiny(*line, tmp_path / "killed"))
    ok(tiny(*line, tmp_path / "whole"))
    for folder in (".", "stages/stage-1", "stages/stage-2", "stages/stage-3"):
        assert stems_in(tmp_path / "killed" / folder) == stems_in(tmp_path / "whole" / folder)


def test_queries_with_an_empty_slot_have_no_clue(tiny):
    system = build("small-2026")
    asked = system.with_queries(Queries(np.array([[15, -1, -1]]), np.array([[1.0, 0, 0]])))
    decision = asked([Scene("one", torch.from_numpy(noisy("one")).float())])
    assert decision.stems().classes.tolist() == [[15, -1, -1]]
    assert len(decision.trace()[0].queries) == 1
