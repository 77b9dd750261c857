"""The sixth system goes wherever the others go, without an edit in `s5cli`."""

import json
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

import s5cli
from s5cli import official
from s5cli.challenge import meta
from s5cli.errors import UsageError
from s5cli.scene import Scene
from s5cli.weights.build import build
from tests.cli.conftest import Finished, machine, s5, start  # noqa: F401  # fixtures
from tests.sixth.networks import Ear, EarConfig
from tests.systems.tones import RATE_HZ, Tone, scene_of
from tests.tune.world import coarsen

N_SAMPLES = RATE_HZ
ROLES = {"finder": "Finder", "tagger": "FrameTagger", "extractor": "Extractor"}
ADAPTERS = {"finder": "FindTones", "tagger": "TagFrames", "extractor": "ExtractTones"}


def registry(folder: Path) -> str:
    """The user's own registry: what somebody writes who brings a system."""
    text = "[system.sixth]\nflow = 'tests.sixth.system:Sixth'\nsummary = 'separate, name, separate again'\n"
    text += "source = 'the tests'\nper_class = true\n[system.sixth.parts]\n"
    text += "".join(f"{role} = 'tone-{role}'\n" for role in ROLES)
    text += "[system.sixth-short]\nflow = 'tests.sixth.system:Sixth'\nsummary = 'two stages'\nsource = 'the tests'\n"
    text += "options = { stages = 2 }\nbeside = ['sixth']\n[system.sixth-short.parts]\n"
    text += "".join(f"{role} = 'tone-{role}'\n" for role in ROLES)
    for role, network in ROLES.items():
        save_file(
            Ear(EarConfig()).state_dict(), folder / f"{role}.safetensors", {"config": json.dumps({"floor": 0.05})}
        )
        text += f"[part.tone-{role}]\nnetwork = 'tests.sixth.networks:{network}'\nfile = 'tone-{role}'\n"
        text += f"adapter = 'tests.sixth.system:{ADAPTERS[role]}'\n"
        text += f"[file.tone-{role}]\npath = '{folder / role}.safetensors'\nlicence = 'cc-by-4.0'\n"
    return text


@pytest.fixture
def six(machine, s5):  # noqa: F811
    """The command line of a machine that has the sixth system."""
    machine.write_text(registry(machine.parent))
    return s5


def ok(done: Finished) -> str:
    assert done.code == 0, done.err
    return done.out


CLIPS = {
    "one": [Tone("Speech", 0.5)],
    "two": [Tone("Speech", 0.4), Tone("Dishes", 0.3)],
    "faint": [Tone("Pour", 0.02), Tone("Cough", 0.6)],
    "three": [Tone("Buzzer", 0.5), Tone("Cough", 0.2), Tone("Typing", 0.3)],
    "none": [],
    "last": [Tone("Doorbell", 0.3), Tone("Speech", 0.07)],
}


def write(path: Path, tones: list[Tone], n_samples: int = N_SAMPLES) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = 1e-4 * np.random.default_rng(0).standard_normal((4, n_samples))
    audio = scene_of(path.stem, *tones, n_samples=n_samples).audio.numpy() + noise
    soundfile.write(path, audio.T, RATE_HZ, subtype="PCM_24")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A data set in official layout. The faint source is no target: whoever reports it is wrong."""
    folder = tmp_path_factory.mktemp("sixth") / "data"
    (folder / "oracle_target").mkdir(parents=True)
    for name, tones in CLIPS.items():
        write(folder / "soundscape" / f"{name}.wav", tones)
        for number, tone in enumerate(tone for tone in tones if tone.p_1ch > 0.02):
            path = folder / "oracle_target" / f"{name}_{number}_{tone.label}.wav"
            soundfile.write(path, scene_of(name, tone, n_samples=N_SAMPLES).audio[0].numpy(), RATE_HZ)
    return folder


def stems_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.wav"))}


def test_separate_explain_evaluate_and_report(six, data, tmp_path):
    out = tmp_path / "out"
    explained = ok(six("separate", data, "-o", out, "--system", "sixth", "--explain"))
    assert [name for name in stems_in(out) if name.startswith("three")] == [
        "three_0_Buzzer.wav", "three_1_Typing.wav", "three_2_Cough.wav",
    ]  # fmt: skip
    [pour] = [line for line in explained.splitlines() if "Pour" in line]
    assert pour.startswith("  Pour: confidence 0.286 · stage 1: logit -0.91")
    assert pour.endswith(" · dropped: its logit -0.92 is below silence_1 0")
    assert "stage 3: logit" in explained
    run = json.loads((out / "run.json").read_text())
    assert run["options"] == {"stages": 3, "activity": True}
    assert run["drops"]["silent_2"] == {"title": "silent in stage 2", "flagged": True}
    scores = json.loads(ok(six("evaluate", out, "--reference", data, "--json")))
    assert scores["overall"]["accuracy_mixture_percent"] == 100
    assert scores["overall"]["capi_sdri_db"] > 15
    ok(six("report", out, "--reference", data, "-o", tmp_path / "report"))
    page = (tmp_path / "report" / "clips" / "faint" / "index.html").read_text()
    assert "stage 1" in page
    assert "silence_1" in page
    assert "silent in stage 1" not in (tmp_path / "report" / "index.html").read_text(), "it asks not to be flagged"


def test_options_decide_results_and_are_part_of_the_fingerprint(six, data, tmp_path):
    line = ("separate", data, "-o", tmp_path / "out", "--system", "sixth")
    explained = ok(six(*line, "--explain", "--option", "stages=1", "--option", "activity=off"))
    assert "stage 2" not in explained
    refused = six(*line)
    assert refused.code == 2
    assert "options.stages 1, not 3" in refused.error
    assert "give a whole number from 1 to 3" in six(*line, "--option", "stages=4").error
    assert "did you mean 'stages'" in six(*line, "--option", "stage=1").error
    assert "write it as name=value" in six(*line, "--option", "stages").error
    shown = ok(six("systems", "sixth"))
    assert "how often it is separated" in shown
    assert "silent in stage 3" in shown


def test_named_classes(six, data, tmp_path):
    ok(
        six(
            "separate",
            data / "soundscape" / "faint.wav",
            "-o",
            tmp_path / "out",
            "--system",
            "sixth",
            "--labels",
            "Pour",
        )
    )
    assert list(stems_in(tmp_path / "out")) == ["faint_0_Pour.wav"]


def test_a_long_recording_is_stitched(six, tmp_path):
    write(tmp_path / "long.wav", [Tone("Speech", 0.4), Tone("Dishes", 0.3)], n_samples=7 * RATE_HZ)
    ok(six("separate", tmp_path / "long.wav", "-o", tmp_path / "out", "--system", "sixth"))
    clip = json.loads((tmp_path / "out" / "long.json").read_text())
    assert [stem["label"] for stem in clip["stems"]] == ["Speech", "Dishes"]
    assert len(clip["windows"]) == 5
    stem = soundfile.read(tmp_path / "out" / "long_0_Speech.wav")[0]
    truth = scene_of("long", Tone("Speech", 0.4), n_samples=7 * RATE_HZ).audio[0].numpy()
    assert stem.shape == truth.shape
    assert np.abs(stem - truth).max() < 1e-3


def test_a_killed_run_goes_on(six, start, data, tmp_path):  # noqa: F811
    many = tmp_path / "many"
    for number in range(40):
        name = list(CLIPS)[number % len(CLIPS)]
        (many / "soundscape").mkdir(parents=True, exist_ok=True)
        shutil.copy(data / "soundscape" / f"{name}.wav", many / "soundscape" / f"clip{number:02d}.wav")
    line = ("separate", many, "--system", "sixth", "--batch-size", 2, "-o")
    process = start(*line, tmp_path / "killed")
    while not (tmp_path / "killed" / "clip03.json").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done_before = len(list((tmp_path / "killed").glob("clip*.json")))
    told = six(*line, tmp_path / "killed")
    assert done_before < 40, "it was killed in the middle"
    assert f"{done_before} of 40 clips are done already" in told.err or f"{done_before - 1} of 40" in told.err
    ok(six(*line, tmp_path / "whole"))
    assert stems_in(tmp_path / "killed") == stems_in(tmp_path / "whole")


def test_tune_and_study(six, data, tmp_path, monkeypatch):
    coarsen(monkeypatch)
    cache, found = tmp_path / "cache", tmp_path / "thresholds.toml"
    tune = ("tune", "sixth", "--data", data, "--cache", cache, "--folds", 2, "--workers", 1, "-o", found)
    told = ok(six(*tune, "--option", "stages=2", "--plots", tmp_path / "plots"))
    assert "stages = 2" in found.read_text()
    assert {"rules.png", "thresholds.png"} <= {path.name for path in (tmp_path / "plots").iterdir()}
    assert "silence_1" in told
    ok(six("separate", data, "-o", tmp_path / "out", "--system", "sixth", "--thresholds", found))
    assert json.loads((tmp_path / "out" / "run.json").read_text())["options"]["stages"] == 2
    rows = json.loads(ok(six("study", "ablation", data, "--system", "sixth", "--json")))["rows"]
    scores = {row["title"]: row for row in rows}
    assert list(scores) == [
        "sixth", "sixth, one stage", "sixth, tone-extractor without activity", "sixth, nothing silent", "true classes",
    ]  # fmt: skip
    assert scores["sixth"]["accuracy_mixture_percent"] == scores["true classes"]["accuracy_mixture_percent"] == 100
    assert scores["sixth, nothing silent"]["accuracy_mixture_percent"] < 100
    both = json.loads(ok(six("study", "ablation", data, "--system", "sixth-short", "--json")))["rows"]
    assert [row["title"] for row in both][:2] == ["sixth", "sixth-short"]


def test_package_and_validate(six, data, tmp_path):
    run = tmp_path / "run"
    ok(six("separate", data, "-o", run, "--system", "sixth"))
    names = ("--author", "Doe", "--affiliation", "LAB", "--index", "1")
    ok(six("package", run, "--dev-run", run, "--dev-reference", data, *names, "-o", tmp_path / "out"))
    label = "Doe_LAB_task4_1"
    results = json.loads((tmp_path / "out" / label / official.EVAL_RESULTS).read_text())
    assert "sixth" in json.dumps(results)
    content = meta.loads((tmp_path / "out" / "task4" / label / f"{label}.meta.yaml").read_bytes())
    assert "macs" in json.dumps(content)
    checked = six("validate", tmp_path / "out", "--soundscapes", data, "--dev-soundscapes", data)
    assert "TODO" in checked.out + checked.err, "only what a person has to fill in is left"
    problems = [line for line in (checked.out + checked.err).splitlines() if "error" in line and "TODO" not in line]
    assert not [line for line in problems if label in line and ".wav" in line]


def test_blocks_are_the_same_as_the_whole(six):
    loaded = s5cli.load("sixth", device="cpu")
    scene = scene_of("clip", Tone("Speech", 0.5), Tone("Dishes", 0.3), n_samples=4 * N_SAMPLES)
    blocks = scene.audio.split(N_SAMPLES, dim=1)
    streamed = list(loaded.stream(blocks))
    whole = loaded(scene.audio)
    for slot, stem in enumerate(whole):
        joined = torch.cat([stems[slot].audio for stems in streamed])
        torch.testing.assert_close(joined, stem.audio, atol=1e-5, rtol=0)
    with pytest.raises(UsageError, match="does not stream"):
        next(s5cli.load("tagging-driven-compact", device="cpu").stream(blocks))


def test_batches_and_company_change_nothing(six):
    system = build("sixth")
    scenes = [scene_of(name, *tones, n_samples=N_SAMPLES) for name, tones in CLIPS.items()]
    together = system(scenes).stems().clips()
    for scene, stems in zip(scenes, together, strict=True):
        [alone] = system([Scene("alone", scene.audio)]).stems().clips()
        assert [(s.label, s.slot) for s in stems] == [(s.label, s.slot) for s in alone]
