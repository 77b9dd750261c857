"""Finished runs become a submission in the official layout; what cannot be submitted is refused, and why."""

import hashlib
import json
import re
import resource
import subprocess
import sys
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import soundfile
import yaml

import s5cli
from s5cli.audio import read_scene
from s5cli.challenge import macs
from s5cli.challenge.label import Label
from s5cli.challenge.package import Order, package
from s5cli.challenge.runs import dev_results, probabilities, read_run
from s5cli.errors import InputError, UsageError
from s5cli.labels import CLASSES
from s5cli.run.record import ClipReport, StemReport
from s5cli.score.evaluate import evaluate
from s5cli.trace import ClipTrace, QueryTrace
from tests import result_files
from tests.challenge.made import EXAMPLES, LABEL, PDF, ROOT, edited, separate
from tests.conftest import copied

CLIPS = ["clapping_two_speakers", "dishes_keyboard", "no_target", "speech_pour_percussion"]


def tree(folder: Path) -> dict[str, str]:
    """Hash of every file by its path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def mine(run, tmp_path) -> Path:
    """A copy of the run, to be spoilt."""
    return copied(run, tmp_path / "run")


@pytest.fixture
def order(mine, tmp_path) -> Order:
    return Order(mine, mine, LABEL, tmp_path / "out", EXAMPLES)


# --- layout -----------------------------------------------------------------------------------------------------------


def test_the_layout(run, submission):
    stems = sorted(path.name for path in run.glob("*.wav"))
    assert len(stems) >= 3
    results = ["eval_results.json", "dev_set_test_results.json"]
    expected = {f"Doe_LAB_task4_1/eval_out/{stem}" for stem in stems}
    expected |= {f"Doe_LAB_task4_1/{name}" for name in results}
    expected |= {f"task4/Doe_LAB_task4_1/{name}" for name in [*results, "Doe_LAB_task4_1.meta.yaml"]}
    expected |= {"task4/Doe_LAB_task4.audio_url.txt", "task4/Doe_LAB_task4.technical_report.pdf"}
    expected |= {"Doe_LAB_task4_1_out.zip", "task4.zip"}
    found = tree(submission)
    assert set(found) == expected
    for stem in stems:
        assert (submission / "Doe_LAB_task4_1/eval_out" / stem).read_bytes() == (run / stem).read_bytes()
    for name in results:
        assert found[f"Doe_LAB_task4_1/{name}"] == found[f"task4/Doe_LAB_task4_1/{name}"]
    assert not list(submission.glob(".*"))


@pytest.mark.parametrize(("zipped", "folder"), [("Doe_LAB_task4_1_out.zip", "Doe_LAB_task4_1"), ("task4.zip", "task4")])
def test_zips_hold_their_folder(submission, tmp_path, zipped, folder):
    zipfile.ZipFile(submission / zipped).extractall(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [folder]
    assert tree(tmp_path / folder) == tree(submission / folder)


def test_eval_results_tell_what_the_run_wrote(run, submission):
    results = result_files.read_eval_results(submission / "Doe_LAB_task4_1" / "eval_results.json")
    about = json.loads((run / "run.json").read_text())
    assert results.nparams == about["nparams"]
    assert results.config["system"] == about["system"]
    assert results.config["weights"] == about["weights"]
    assert [clip.soundscape for clip in results.clips] == CLIPS
    for clip in results.clips:
        report = json.loads((run / f"{clip.soundscape}.json").read_text())
        told = [(stem["file"], stem["label"], stem["confidence"]) for stem in report["stems"]]
        assert [(stem.filename, stem.label, stem.probability) for stem in clip.stems] == told
    wavs = [path.name for path in run.glob("*.wav")]
    assert result_files.eval_problems(results, wavs, CLIPS) == []


def test_dev_results_are_the_scores_of_the_dev_run(run, submission):
    results = result_files.read_dev_results(submission / "Doe_LAB_task4_1" / "dev_set_test_results.json")
    score = evaluate(run, EXAMPLES)
    assert results.capi_sdri_db == score.overall.capi_sdri_db
    assert results.accuracy_mixture_percent == score.overall.accuracy_mixture_percent
    assert results.accuracy_source_percent == score.overall.accuracy_source_percent
    assert results.nparams == json.loads((run / "run.json").read_text())["nparams"]
    assert result_files.dev_problems(results, CLIPS) == []
    for clip, scored in zip(results.clips, score.clips, strict=True):
        assert (clip.est_labels, clip.ref_labels) == (scored.est_labels, scored.ref_labels)
        report = json.loads((run / f"{clip.soundscape}.json").read_text())
        rejected = max((q["confidence"] for q in report["queries"] if q["reported"] is None), default=0)
        silent = [1 - rejected] * (3 - len(report["stems"]))
        assert list(clip.probabilities) == [*(stem["confidence"] for stem in report["stems"]), *silent]


def test_result_files_have_the_official_keys_in_the_official_order(submission):
    golden = ROOT / "tests" / "golden" / "data" / "mini_e2e"
    for name in ("eval_results.json", "dev_set_test_results.json"):
        ours = (submission / "Doe_LAB_task4_1" / name).read_text()
        theirs = json.loads((golden / name).read_text())
        assert keys(json.loads(ours)) == keys(theirs)
        assert ours == json.dumps(json.loads(ours), indent=4)


def keys(content: object) -> object:
    """The keys of an object and of the first entries of its lists; `config` is free."""
    if isinstance(content, dict):
        return {key: keys(value) for key, value in content.items() if key != "config"} | {"": list(content)}
    return [keys(content[0])] if isinstance(content, list) and content else None


def test_the_meta_file_knows_what_the_program_knows(submission):
    text = (submission / "task4/Doe_LAB_task4_1/Doe_LAB_task4_1.meta.yaml").read_text()
    content = yaml.safe_load(text)
    results = result_files.read_dev_results(submission / "Doe_LAB_task4_1" / "dev_set_test_results.json")
    assert content["submission"]["label"] == "Doe_LAB_task4_1"
    assert content["system"]["complexity"]["total_parameters"] == results.nparams
    assert content["results"]["development_dataset"]["CAPI-SDRi"] == results.capi_sdri_db
    note = next(line for line in text.splitlines() if line.startswith("# macs: "))
    parts = dict(re.findall(r"([\w-]+) ([\d.]+) G", note))
    assert list(parts) == ["tagger-1ch", "tagger-4ch-zero", "separator-a", "separator-b"]
    assert content["system"]["complexity"]["macs"] == pytest.approx(1e9 * sum(map(float, parts.values())), rel=1e-3)


def test_audio_url_file(submission):
    url = (submission / "task4" / "Doe_LAB_task4.audio_url.txt").read_text()
    assert url == "https://example.org/Doe_LAB_task4_1_out.zip\n"


# --- probabilities ----------------------------------------------------------------------------------------------------


def clip(stems: list[float], dropped: list[float], silence: list[float]) -> ClipReport:
    reports = [StemReport(f"a_{slot}_Speech.wav", "Speech", slot, p, -9.0) for slot, p in enumerate(stems)]
    queries = [QueryTrace("Speech", p, slot, reported=slot) for slot, p in enumerate(stems)]
    queries += [QueryTrace("Cough", p, dropped_by="x") for p in dropped]
    return ClipReport("a", 10.0, tuple(reports), ClipTrace(tuple(queries), tuple(silence)), (), 0)


@pytest.mark.parametrize(
    ("stems", "dropped", "silence", "expected"),
    [
        ([], [], [], [1, 1, 1]),
        ([0.75], [0.25, 0.5], [], [0.75, 0.5, 0.5]),
        ([0.75, 0.5], [], [0.875], [0.75, 0.5, 0.875]),
        ([0.75], [0.25], [0.875], [0.75, 0.75, 0.875]),
        ([], [], [0.5, 0.625, 0.75], [0.5, 0.625, 0.75]),
        ([0.5] * 4, [0.25], [0.75], [0.5] * 4),
    ],
    ids=["nothing", "dropped", "silent", "dropped and silent", "all silent", "long"],
)
def test_an_empty_slot_has_the_probability_of_silence(stems, dropped, silence, expected):
    assert list(probabilities(clip(stems, dropped, silence))) == expected


def test_the_baselines_empty_slots_have_the_taggers_softmax_of_silence(tmp_path):
    """As the official program has it; each track once, silent ones last, from the tagger itself."""
    run = separate(tmp_path / "run", "--system", "baseline-compact")
    tagger = s5cli.load("baseline-compact", "cpu").system.tagger
    found = {one.soundscape: one.probabilities for one in dev_results(read_run(run), EXAMPLES).clips}
    n_silent = 0
    for name in CLIPS:
        [tracks] = tagger([read_scene(EXAMPLES / f"{name}.flac")]).probabilities
        silent = tracks.argmax(axis=1) == len(CLASSES)
        n_silent += silent.sum()
        assert found[name] == pytest.approx([*tracks[~silent].max(axis=1), *tracks[silent, len(CLASSES)]], abs=1e-6)
    assert n_silent > 0


# --- multiply-adds ----------------------------------------------------------------------------------------------------


def test_multiply_adds_are_what_the_layers_say():
    """One convolution, one matrix product and one attention, counted by hand."""
    import torch
    from torch import nn

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(4, 6, 8, stride=320)  # 1000 frames of 10 s
            self.linear = nn.Linear(6, 16)

        def exercise(self, scene):
            x = self.linear(self.conv(scene.audio[None]).transpose(1, 2))  # [1, 1000, 16]
            nn.functional.scaled_dot_product_attention(x, x, x)

    by_hand = 1000 * 6 * 4 * 8 + 1000 * 6 * 16 + 2 * 1000 * 1000 * 16
    with torch.inference_mode():
        assert macs.multiply_adds(Small()) == by_hand


# --- once more --------------------------------------------------------------------------------------------------------


def test_the_same_runs_give_the_same_bytes(order, submission, tmp_path):
    answers = submission / "task4/Doe_LAB_task4_1/Doe_LAB_task4_1.meta.yaml"
    (tmp_path / "report.pdf").write_bytes(PDF)
    url = (submission / "task4" / "Doe_LAB_task4.audio_url.txt").read_text().strip()
    package(replace(order, answers=answers, audio_url=url, report_pdf=tmp_path / "report.pdf"))
    assert tree(order.out_dir) == tree(submission)


def test_a_zip_of_that_name_that_is_nobodys_package_here_stays(order):
    """Such as the official example, downloaded."""
    order.out_dir.mkdir()
    (order.out_dir / "task4.zip").write_bytes(b"an example")
    with pytest.raises(UsageError, match=r"task4\.zip is there already; --overwrite"):
        package(order)
    assert [(path.name, path.read_bytes()) for path in order.out_dir.iterdir()] == [("task4.zip", b"an example")]


def test_what_is_there_is_refused_and_replaced_on_demand(order, submission):
    copied(submission, order.out_dir)
    before = tree(order.out_dir)
    with pytest.raises(UsageError, match=r"Doe_LAB_task4_1 is there already; --overwrite"):
        package(order)
    assert tree(order.out_dir) == before
    done = package(replace(order, zip_name="script", overwrite=True, audio_url="https://example.org/new"))
    assert done.todo == ()
    after = tree(order.out_dir)
    assert after.pop("Doe_LAB_task4_1.zip") == before.pop("Doe_LAB_task4_1_out.zip")
    for name in ("task4.zip", "task4/Doe_LAB_task4.audio_url.txt"):
        assert after.pop(name) != before.pop(name)
    assert after == before  # answers and report stayed


def test_four_systems_of_a_team_make_one_package(order, submission):
    copied(submission, order.out_dir)
    answers = submission / "task4/Doe_LAB_task4_1/Doe_LAB_task4_1.meta.yaml"
    done = package(replace(order, label=Label("Doe", "LAB", 2), answers=answers))
    assert done.todo == ()
    members = set(zipfile.ZipFile(order.package_zip).namelist())
    assert {f"task4/Doe_LAB_task4_{i}/Doe_LAB_task4_{i}.meta.yaml" for i in (1, 2)} <= members
    with pytest.raises(UsageError, match="of another team"):
        package(replace(order, label=Label("Roe", "LAB", 3)))


def test_references_are_found_beside_the_mixtures(order, tmp_path):
    """Where the run says where its mixtures were: beside them, or beside their soundscape/."""
    for folder in (EXAMPLES, tmp_path / "set" / "soundscape"):
        if folder != EXAMPLES:
            copied(EXAMPLES / "oracle_target", tmp_path / "set" / "oracle_target")
            folder.mkdir()
            for clip in CLIPS:
                (folder / f"{clip}.flac").symlink_to(EXAMPLES / f"{clip}.flac")
        for clip in CLIPS:
            file = str(folder / f"{clip}.flac")
            edited(order.run / f"{clip}.json", partial(dict.update, file=file))
        assert [clip.soundscape for clip in dev_results(read_run(order.run)).clips] == CLIPS


def forget(run: Path) -> None:
    """The registry does not know the system of this run any more."""
    edited(run / "run.json", lambda about: about.update(system="forgotten"))


def test_what_is_left_to_fill_in_is_told(order):
    """Multiply-adds among it, where the system is gone."""
    forget(order.run)
    done = package(order)
    assert (done.n_clips, done.n_stems) == (4, len(list(order.run.glob("*.wav"))))
    assert done.macs is None
    assert "unknown system 'forgotten'" in done.warnings[0]
    assert {"submission.name", "system.complexity.macs"} <= set(done.todo)
    assert done.todo[-2:] == ("Doe_LAB_task4.audio_url.txt", "Doe_LAB_task4.technical_report.pdf")


# --- refused ----------------------------------------------------------------------------------------------------------


def refuses(order: Order, error: type[Exception], said: str) -> None:
    """Refused, with nothing left behind."""
    with pytest.raises(error, match=said) as caught:
        package(order)
    assert "\n" not in str(caught.value)
    assert not order.out_dir.exists()


def test_an_unfinished_run_is_refused(order):
    (order.run / "run.json").unlink()
    refuses(order, InputError, r"not finished, 4 clips are done.*continue it")


def test_failed_clips_are_counted(order):
    for path in order.run.glob("no_target*"):
        path.unlink()
    failed = [{"name": "no_target", "file": "x", "reason": "damaged"}]
    edited(order.run / "run.json", lambda about: about.update(failed=failed, clips={"done": 3, "failed": 1}))
    refuses(order, InputError, r"1 of 4 clips failed \(no_target\); continue it")


def test_a_clip_that_is_not_told_of_is_refused(order):
    (order.run / "no_target.json").unlink()
    refuses(order, InputError, "tells of 4 clips, but 3 are there")


def test_a_stem_that_is_gone_is_refused(order):
    next(order.run.glob("*.wav")).unlink()
    refuses(order, InputError, "missing, but")


@pytest.mark.parametrize("file", ["../../stolen.wav", "clapping_two_speakers_1_Speech.wav", "no_target_0_Speech.wav"])
def test_a_report_cannot_name_other_files(order, file):
    edited(order.run / "clapping_two_speakers.json", lambda report: report["stems"][0].update(file=file))
    refuses(order, InputError, "its stem 0 is .*; continue it")


def test_labels_named_by_a_user_are_refused(order):
    edited(order.run / "run.json", lambda about: about["fingerprint"].update(labels=["Speech"]))
    refuses(order, InputError, "--labels")


@pytest.mark.parametrize(
    ("key", "value"),
    [("system", "other"), ("knobs", {"verify": 0.75}), ("options", {"stages": 2}), ("weights", {}), ("window_s", 5.0)],
)
def test_runs_of_different_systems_are_refused(order, tmp_path, key, value):
    dev = copied(order.run, tmp_path / "dev")
    table = (lambda about: about) if key in ("system", "knobs", "options") else (lambda about: about["fingerprint"])
    edited(dev / "run.json", lambda about: table(about).update({key: value}))
    refuses(replace(order, dev_run=dev), InputError, f"differs from .* in {key}")


def test_other_sample_formats_are_refused(order):
    for path in order.run.glob("dishes*_0_*.wav"):
        audio, rate_hz = soundfile.read(path)
        soundfile.write(path, audio, rate_hz, subtype="FLOAT")
    refuses(order, InputError, r"dishes_keyboard_0_\w+\.wav: WAV, FLOAT, 1 channels, 32000 Hz; .*--subtype PCM_16")


def test_flac_is_refused(order):
    """A run of `--format flac` can be scored, but not be submitted."""
    path = next(order.run.glob("*.wav"))
    audio, rate_hz = soundfile.read(path, dtype="int16")
    soundfile.write(path, audio, rate_hz, format="FLAC", subtype="PCM_16")
    refuses(order, InputError, r"FLAC, PCM_16, 1 channels, 32000 Hz; .*--format wav --subtype PCM_16")


def test_a_dev_run_of_other_clips_is_refused(order, tmp_path):
    dev = copied(order.run, tmp_path / "dev")
    for path in dev.glob("no_target*"):
        path.unlink()
    edited(dev / "run.json", lambda about: about["clips"].update(done=3))
    refuses(replace(order, dev_run=dev), InputError, r"lacks 1 of 4 development clips .*no_target")


def test_references_that_are_not_found_are_asked_for(order):
    for path in order.run.glob("[!r]*.json"):
        edited(path, lambda report: report.update(file=""))
    refuses(replace(order, dev_reference=None), InputError, "--dev-reference")


def test_folders_that_hold_no_run(order, tmp_path):
    refuses(replace(order, run=tmp_path / "missing"), UsageError, "no such folder")
    (tmp_path / "empty").mkdir()
    refuses(replace(order, dev_run=tmp_path / "empty"), UsageError, "holds no run")


@pytest.mark.parametrize("text", ["{", "[]", '{"system": 3}'])
def test_a_damaged_run_json_is_refused(order, text):
    (order.run / "run.json").write_text(text)
    refuses(order, InputError, "run.json")


def test_a_damaged_report_is_refused(order):
    edited(order.run / "dishes_keyboard.json", lambda report: report["stems"][0].pop("label"))
    refuses(order, InputError, "dishes_keyboard.json is damaged: KeyError: 'label'; continue it")


def test_options_that_cannot_be(order, tmp_path):
    refuses(replace(order, audio_url="ftp://x"), UsageError, "https://")
    (tmp_path / "report.pdf").write_text("word")
    refuses(replace(order, report_pdf=tmp_path / "report.pdf"), UsageError, "not a PDF")
    refuses(replace(order, report_pdf=tmp_path / "missing.pdf"), UsageError, "cannot be read")
    refuses(replace(order, answers=tmp_path / "missing.yaml"), UsageError, "cannot be read")
    (tmp_path / "bad.yaml").write_text("a: [")
    refuses(replace(order, answers=tmp_path / "bad.yaml"), InputError, r"bad\.yaml: is not YAML")


def test_a_run_that_lies_where_the_submission_goes_is_not_replaced(order, tmp_path):
    run = copied(order.run, tmp_path / "place" / str(LABEL))
    with pytest.raises(UsageError, match="where the submission goes"):
        package(replace(order, run=run, dev_run=run, out_dir=tmp_path / "place", overwrite=True))
    assert tree(run) == tree(order.run)


def test_a_place_that_runs_full_leaves_what_was_there(order, submission):
    """No file may become larger than 100 kB, as on a disk that runs full in the middle of the first stem."""
    copied(submission, order.out_dir)
    forget(order.run)
    before = tree(order.out_dir)
    command = ["package", order.run, "--dev-run", order.run, "--dev-reference", EXAMPLES, "--overwrite"]
    options = ["--author", "Doe", "--affiliation", "LAB", "-o", order.out_dir]
    done = subprocess.run(
        [sys.executable, "-m", "s5cli", *map(str, [*command, *options])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "cannot be written to (File too large)" in done.stderr
    assert tree(order.out_dir) == before
    assert not list(order.out_dir.glob(".s5-*"))
