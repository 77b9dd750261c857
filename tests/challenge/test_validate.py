"""A good submission has no findings; every rule finds its own kind of damage, in folders and in zips alike."""

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from s5cli import official
from s5cli.challenge.files import write_zip
from s5cli.challenge.validate import Report, validate
from s5cli.errors import InputError, UsageError
from s5cli.labels import CLASSES
from tests import result_files
from tests.challenge.made import EXAMPLES, ROOT, edited
from tests.conftest import copied

NAME = "Doe_LAB_task4_1"
CLIP = "dishes_keyboard"


def check(path: Path, dev: Path | None = EXAMPLES) -> Report:
    return validate(path, EXAMPLES, dev)


def found(report: Report) -> set[tuple[str, str]]:
    return {(finding.severity, finding.rule) for finding in report.findings}


@pytest.fixture
def output(submission, tmp_path) -> Path:
    """A copy of the folder of stems, to be spoilt."""
    return copied(submission / NAME, tmp_path / "spoilt" / NAME)


@pytest.fixture
def package(submission, tmp_path) -> Path:
    """A copy of the package, to be spoilt."""
    return copied(submission / "task4", tmp_path / "spoilt" / "task4")


# --- no damage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [NAME, f"{NAME}_out.zip", "task4", "task4.zip", f"task4/{NAME}", "."])
def test_a_good_submission_has_no_findings(submission, path):
    report = check(submission / path)
    assert report.findings == ()
    n_parts = 4 if path == "." else 1
    assert len(report.checked) == n_parts
    assert (report.unchecked == ()) == (path == ".")


def test_what_could_not_be_looked_at_is_told(submission):
    assert "--dev-soundscapes" in check(submission, None).unchecked[0]
    assert check(submission, None).findings == ()
    assert "stems" in check(submission / "task4.zip").unchecked[0]
    assert "meta file" in check(submission / NAME).unchecked[0]


def test_results_of_the_official_program_pass_the_rules_for_scores(output):
    """The golden development results are its own; that they are of other soundscapes is all there is to find."""
    golden = ROOT / "tests" / "golden" / "data" / "mini_e2e" / "dev_set_test_results.json"
    shutil.copy(golden, output / "dev_set_test_results.json")
    assert found(check(output, None)) == {("error", "agree")}  # nparams of another system
    assert found(check(output)) == {("error", "agree"), ("error", "covered")}


# --- stems and results ------------------------------------------------------------------------------------------------


def wav(output: Path, clip: str = CLIP, slot: int = 0) -> Path:
    return next((output / "eval_out").glob(f"{clip}_{slot}_*.wav"))


def rewritten(path: Path, change: Callable[[np.ndarray], np.ndarray], rate_hz: int = 32000, **form: str) -> None:
    audio, _ = soundfile.read(path, dtype="float32")
    buffer = io.BytesIO()
    soundfile.write(buffer, change(audio), rate_hz, **{"format": "WAV", "subtype": "PCM_16", **form})
    path.write_bytes(buffer.getvalue())


def same(audio: np.ndarray) -> np.ndarray:
    return audio


def clips(output: Path, edit: Callable[[list], object]) -> None:
    edited(output / "eval_results.json", lambda content: edit(content["probabilities"]))


def entry(output: Path, edit: Callable[[dict], object], clip: int = 1, stem: int = 0) -> None:
    clips(output, lambda entries: edit(entries[clip]["estimate"][stem]))


def dev(output: Path, edit: Callable[[dict], object]) -> None:
    edited(output / "dev_set_test_results.json", edit)


def renamed(output: Path, old: str, new: str) -> None:
    """A stem under another name, in the JSON too."""
    (output / "eval_out" / old).rename(output / "eval_out" / new)
    path = output / "eval_results.json"
    path.write_text(path.read_text().replace(old, new))


def to_slot(output: Path, slot: int) -> None:
    name = wav(output, slot=1).name
    renamed(output, name, name.replace("_1_", f"_{slot}_"))


def one_more(output: Path, slot: int, label: str = "Speech") -> None:
    """Another stem of the clip, listed too."""
    name = official.stem_file_name(CLIP, slot, label)
    shutil.copy(wav(output), output / "eval_out" / name)
    clips(
        output,
        lambda entries: entries[1]["estimate"].append({"filename": name, "label": label, "probability": 0.5}),
    )


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def linked(path: Path) -> None:
    other = path.parents[2] / "elsewhere.wav"
    path.rename(other)
    path.symlink_to(other)


def with_name(output: Path) -> None:
    output.rename(output.parent / "Doe_LAB_task4_one")


DAMAGE: list[tuple[str, str, Callable[[Path], object]]] = [
    ("error", "layout", lambda out: shutil.rmtree(out / "eval_out")),
    ("error", "layout", lambda out: (out / "eval_results.json").unlink()),
    ("error", "layout", lambda out: (out / "dev_set_test_results.json").unlink()),
    ("warning", "layout", lambda out: (out / "notes.txt").touch()),
    ("warning", "layout", lambda out: (out / "eval_out" / "notes.txt").touch()),
    ("warning", "layout", lambda out: (out / "eval_out" / "more").mkdir()),
    ("error", "label", with_name),
    ("error", "name", lambda out: renamed(out, wav(out).name, f"{CLIP}_0_Dog.wav")),
    ("error", "name", lambda out: renamed(out, wav(out).name, f"{CLIP}_0_silence.wav")),
    ("error", "name", lambda out: renamed(out, wav(out).name, "somebody_0_Speech.wav")),
    ("error", "slots", lambda out: renamed(out, wav(out).name, wav(out).name.replace("_0_", "_"))),
    ("error", "slots", lambda out: renamed(out, wav(out).name, wav(out).name.replace("_0_", "_00_"))),
    ("error", "slots", lambda out: to_slot(out, 2)),
    ("error", "slots", lambda out: one_more(out, 1)),
    ("error", "slots", lambda out: clips(out, lambda entries: entries[1]["estimate"].reverse())),
    ("error", "count", lambda out: [one_more(out, 2), one_more(out, 3)]),
    ("error", "listed", lambda out: shutil.copy(wav(out), out / "eval_out" / f"{CLIP}_2_Pour.wav")),
    ("error", "listed", lambda out: wav(out, slot=1).unlink()),
    ("error", "listed", lambda out: clips(out, lambda e: e[1]["estimate"].append(e[1]["estimate"][1]))),
    ("error", "covered", lambda out: clips(out, lambda entries: entries.pop(2))),
    ("error", "covered", lambda out: clips(out, lambda entries: entries.insert(2, entries[2]))),
    ("error", "covered", lambda out: clips(out, lambda e: e.append({"soundscape": "z", "estimate": []}))),
    ("warning", "covered", lambda out: clips(out, lambda entries: entries.reverse())),
    ("error", "json", lambda out: (out / "eval_results.json").write_text("{")),
    ("error", "json", lambda out: (out / "eval_results.json").write_text("[]")),
    ("error", "json", lambda out: (out / "eval_results.json").write_text("[" * 100_000)),
    ("error", "json", lambda out: (out / "eval_results.json").write_bytes(b"\xff")),
    ("error", "json", lambda out: edited(out / "eval_results.json", lambda c: c.pop("probabilities"))),
    ("error", "json", lambda out: edited(out / "eval_results.json", lambda c: c.pop("config"))),
    ("error", "json", lambda out: clips(out, lambda entries: entries[0].pop("estimate"))),
    ("error", "json", lambda out: clips(out, lambda entries: entries.append("x"))),
    ("error", "json", lambda out: entry(out, lambda stem: stem.pop("probability"))),
    ("error", "json", lambda out: entry(out, lambda stem: stem.update(probability="0.5"))),
    ("error", "json", lambda out: entry(out, lambda stem: stem.update(label=["Speech"]))),
    ("error", "probability", lambda out: entry(out, lambda stem: stem.update(probability=1.01))),
    ("error", "probability", lambda out: entry(out, lambda stem: stem.update(probability=-0.01))),
    ("error", "probability", lambda out: entry(out, lambda stem: stem.update(probability=float("nan")))),
    ("error", "finite", lambda out: entry(out, lambda stem: stem.update(probability=float("nan")))),
    ("error", "agree", lambda out: entry(out, lambda stem: stem.update(label="Pour"))),
    ("error", "name", lambda out: entry(out, lambda stem: stem.update(label="Dog"))),
    ("error", "agree", lambda out: clips(out, lambda e: e[2]["estimate"].append(e[1]["estimate"].pop()))),
    ("error", "nparams", lambda out: edited(out / "eval_results.json", lambda c: c.pop("nparams"))),
    ("error", "nparams", lambda out: edited(out / "eval_results.json", lambda c: c.update(nparams=1.5))),
    ("error", "nparams", lambda out: dev(out, lambda c: c.pop("nparams"))),
    ("error", "agree", lambda out: dev(out, lambda c: c.update(nparams=7))),
    ("error", "audio", lambda out: wav(out).write_text("no audio")),
    ("error", "audio", lambda out: wav(out).write_bytes(b"")),
    ("error", "audio", lambda out: rewritten(wav(out), same, format="FLAC")),
    ("error", "audio", lambda out: wav(out).write_bytes(bytes(30 << 20))),
    ("error", "rate", lambda out: rewritten(wav(out), same, rate_hz=16000)),
    ("error", "channels", lambda out: rewritten(wav(out), lambda audio: np.stack([audio, audio], axis=1))),
    ("error", "subtype", lambda out: rewritten(wav(out), same, subtype="PCM_24")),
    ("error", "subtype", lambda out: rewritten(wav(out), same, subtype="FLOAT")),
    ("error", "finite", lambda out: rewritten(wav(out), lambda audio: audio * np.nan, subtype="FLOAT")),
    ("error", "length", lambda out: rewritten(wav(out), lambda audio: audio[:-1])),
    ("error", "length", lambda out: rewritten(wav(out), lambda audio: np.append(audio, 0))),
    ("error", "length", lambda out: truncated(wav(out))),
    ("warning", "clipping", lambda out: rewritten(wav(out), lambda audio: np.append(audio[1:], 1))),
    ("warning", "clipping", lambda out: rewritten(wav(out), lambda audio: np.append(audio[1:], -1))),
    ("warning", "silent", lambda out: rewritten(wav(out), lambda audio: audio * 0)),
    ("error", "json", lambda out: dev(out, lambda c: c["details"][0]["metrics"].reverse())),
    ("error", "json", lambda out: dev(out, lambda c: c["details"][0]["est_labels"].append("Dog"))),
    ("error", "json", lambda out: dev(out, lambda c: c.update({"CAPI-SDRi": 3}))),
    ("error", "json", lambda out: dev(out, lambda c: c.pop("label_metrics"))),
    ("error", "covered", lambda out: dev(out, lambda c: c["details"].pop())),
    ("error", "covered", lambda out: dev(out, lambda c: c["details"].append(c["details"][0]))),
    ("error", "probability", lambda out: dev(out, lambda c: c["details"][0]["probabilities"].pop())),
    ("error", "probability", lambda out: dev(out, lambda c: c["details"][0].update(probabilities=[2, 0, 0]))),
    ("error", "score", lambda out: dev(out, lambda c: c["CAPI-SDRi"].update(mean=9.9))),
    ("error", "score", lambda out: dev(out, lambda c: c["label_metrics"].update(accuracy_mix=99.0))),
    ("error", "score", lambda out: dev(out, lambda c: c["label_metrics"].update(accuracy_src=99.0))),
    ("error", "score", lambda out: dev(out, lambda c: c["details"][0]["metrics"][0].update(value=None))),
    ("error", "score", lambda out: dev(out, lambda c: c["details"][0]["ref_labels"].append("Pour"))),
]


@pytest.mark.parametrize(
    ("severity", "rule", "damage"), DAMAGE, ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_damage_is_found_in_folder_and_zip(output, tmp_path, severity, rule, damage):
    damage(output)
    folder = next(output.parent.iterdir())
    report = check(folder)
    assert (severity, rule) in found(report)
    assert all("\n" not in finding.line for finding in report.findings)
    write_zip(tmp_path / f"{folder.name}_out.zip", {folder.name: folder})
    zipped = check(tmp_path / f"{folder.name}_out.zip")
    assert [(f.severity, f.rule, f.what) for f in zipped.findings] == [
        (f.severity, f.rule, f.what) for f in report.findings
    ]


def test_a_link_is_found(output):
    linked(wav(output, slot=1))
    assert {("error", "layout"), ("error", "listed")} == found(check(output))


def test_everything_is_reported_at_once(output):
    """One finding for each of many independent damages."""
    rewritten(wav(output), same, rate_hz=16000)
    rewritten(wav(output, slot=1), lambda audio: audio[:-1])
    entry(output, lambda stem: stem.update(probability=7))
    clips(output, lambda entries: entries[0].pop("soundscape"))
    dev(output, lambda content: content["CAPI-SDRi"].update(mean=9.9))
    (output / "notes.txt").touch()
    rules = {"rate", "length", "probability", "json", "covered", "listed", "score", "layout"}
    assert {finding.rule for finding in check(output).findings} == rules


@pytest.mark.parametrize(
    ("severity", "rule", "damage"), DAMAGE, ids=lambda value: value if isinstance(value, str) else ""
)
def test_whatever_the_official_checks_find_is_found(output, severity, rule, damage):
    damage(output)
    folder = next(output.parent.iterdir())
    names = list(official.soundscapes(EXAMPLES, (".flac",)))
    wavs = [path.name for path in (folder / "eval_out").glob("*.wav")] if (folder / "eval_out").exists() else []
    try:
        problems = result_files.eval_problems(result_files.read_eval_results(folder / "eval_results.json"), wavs, names)
        problems += result_files.dev_problems(
            result_files.read_dev_results(folder / "dev_set_test_results.json"), names
        )
    except InputError as error:
        problems = [str(error)]
    if problems:
        assert check(folder).n_errors


def test_a_soundscape_whose_name_begins_anothers_is_an_error_for_its_stems(output, tmp_path):
    """The official program cannot tell them apart."""
    mixtures = copied(EXAMPLES, tmp_path / "soundscape")
    shutil.copy(mixtures / "no_target.flac", mixtures / "dishes.flac")
    report = validate(output, tmp_path)
    assert any("begins with the names of 2 soundscapes" in finding.what for finding in report.findings)


def test_long_clips_may_have_more_stems(output, tmp_path):
    folder = tmp_path / "soundscape"
    copied(EXAMPLES, folder)
    soundfile.write(folder / f"{CLIP}.flac", np.zeros((13 * 32000, 4)), 32000)
    for slot in range(2, 12):
        one_more(output, slot, CLASSES[slot])
    for path in (output / "eval_out").glob(f"{CLIP}_*.wav"):
        rewritten(path, lambda audio: np.pad(audio, (0, 3 * 32000)))
    assert validate(output, tmp_path).findings == ()


# --- package ----------------------------------------------------------------------------------------------------------


META = f"{NAME}/{NAME}.meta.yaml"


def meta(package: Path, edit: Callable[[dict], object]) -> None:
    content = yaml.safe_load((package / META).read_text())
    edit(content)
    (package / META).write_text(yaml.safe_dump(content))


def fifth(package: Path) -> None:
    for index in (2, 3, 4, 5):
        copied(package / NAME, package / f"Doe_LAB_task4_{index}")


def of_two_teams(package: Path) -> None:
    other = copied(package / NAME, package / "Roe_LAB_task4_2")
    (other / f"{NAME}.meta.yaml").rename(other / "Roe_LAB_task4_2.meta.yaml")


PACKAGE_DAMAGE: list[tuple[str, str, Callable[[Path], object]]] = [
    ("error", "layout", lambda p: shutil.rmtree(p / NAME)),
    ("error", "layout", lambda p: (p / META).unlink()),
    ("error", "layout", lambda p: (p / NAME / "eval_results.json").unlink()),
    ("error", "layout", fifth),
    ("warning", "layout", lambda p: (p / "draft.docx").touch()),
    ("warning", "layout", lambda p: (p / NAME / "draft.docx").touch()),
    ("error", "label", of_two_teams),
    ("error", "label", lambda p: (p / NAME).rename(p / "Doe_LAB_1")),
    ("error", "meta", lambda p: (p / META).write_text("a: [")),
    ("error", "meta", lambda p: (p / META).write_text("- a list")),
    ("error", "meta", lambda p: (p / META).write_bytes(b"a: " + b"x" * (1 << 20))),
    ("error", "meta", lambda p: meta(p, lambda c: c["submission"].update(name="TODO (a name)"))),
    ("error", "meta", lambda p: meta(p, lambda c: c["submission"].pop("name"))),
    ("warning", "meta", lambda p: meta(p, lambda c: c["submission"].update(nickname="x"))),
    ("error", "agree", lambda p: meta(p, lambda c: c["submission"].update(label="Doe_LAB_task4_2"))),
    ("error", "agree", lambda p: meta(p, lambda c: c["system"]["complexity"].update(total_parameters=7))),
    ("error", "agree", lambda p: meta(p, lambda c: c["results"]["development_dataset"].update(accuracy_src=99))),
    ("error", "agree", lambda p: meta(p, lambda c: c["results"]["development_dataset"].update({"CAPI-SDRi": 99}))),
    ("error", "url", lambda p: (p / "Doe_LAB_task4.audio_url.txt").unlink()),
    ("error", "url", lambda p: (p / "Doe_LAB_task4.audio_url.txt").write_text("")),
    ("error", "url", lambda p: (p / "Doe_LAB_task4.audio_url.txt").write_text("zenodo.org")),
    ("error", "url", lambda p: (p / "Doe_LAB_task4.audio_url.txt").write_text("TODO (address)")),
    ("error", "url", lambda p: (p / "Doe_LAB_task4.audio_url.txt").write_bytes(b"\xff\xfe")),
    ("error", "report", lambda p: (p / "Doe_LAB_task4.technical_report.pdf").unlink()),
    ("error", "report", lambda p: (p / "Doe_LAB_task4.technical_report.pdf").write_text("word")),
    ("error", "covered", lambda p: clips(p / NAME, lambda entries: entries.pop())),
    ("error", "name", lambda p: entry(p / NAME, lambda stem: stem.update(filename=f"{CLIP}_0_Dog.wav"))),
    ("error", "slots", lambda p: clips(p / NAME, lambda entries: entries[1]["estimate"].pop(0))),
    ("error", "score", lambda p: dev(p / NAME, lambda c: c["CAPI-SDRi"].update(mean=9.9))),
]


@pytest.mark.parametrize(
    ("severity", "rule", "damage"), PACKAGE_DAMAGE, ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_damage_is_found_in_the_package(package, tmp_path, severity, rule, damage):
    damage(package)
    report = check(package)
    assert (severity, rule) in found(report)
    write_zip(tmp_path / "task4.zip", {"task4": package})
    zipped = check(tmp_path / "task4.zip")
    assert [(f.severity, f.rule, f.what) for f in zipped.findings] == [
        (f.severity, f.rule, f.what) for f in report.findings
    ]


def test_parts_that_tell_different_things(submission, tmp_path):
    out = copied(submission, tmp_path / "out")
    meta(out / "task4", lambda content: content["submission"].update(name="Renamed"))
    report = check(out)
    assert [(finding.rule, finding.where) for finding in report.findings] == [("agree", str(out))]
    assert "Doe_LAB_task4_1.meta.yaml is not the same everywhere" in report.findings[0].what


def test_zips_are_called_as_their_folder_and_hold_nothing_else(output, tmp_path):
    write_zip(tmp_path / "stems.zip", {NAME: output, "extra": tmp_path / "spoilt" / NAME / "eval_out"})
    report = check(tmp_path / "stems.zip")
    assert found(report) == {("error", "label"), ("warning", "layout")}
    write_zip(tmp_path / f"{NAME}.zip", {NAME: output})
    assert check(tmp_path / f"{NAME}.zip").findings == ()


# --- nothing to validate ----------------------------------------------------------------------------------------------


def test_folders_and_zips_that_hold_no_submission(run, tmp_path):
    assert found(check(run)) == {("error", "layout")}
    write_zip(tmp_path / "t.zip", {"run": run})
    assert found(check(tmp_path / "t.zip")) == {("error", "layout")}


def test_paths_that_lead_nowhere(submission, tmp_path):
    with pytest.raises(UsageError, match="no such file or folder"):
        check(tmp_path / "missing")
    with pytest.raises(UsageError, match="no such folder"):
        validate(submission, tmp_path / "missing")
    with pytest.raises(InputError, match="holds no soundscapes"):
        validate(submission, submission)
    soundfile.write(tmp_path / "a.wav", np.zeros((100, 4)), 16000)
    with pytest.raises(InputError, match=re.escape("a.wav: 16000 Hz, not 32000 Hz")):
        validate(submission, tmp_path)


def test_a_hostile_zip_is_refused(submission, tmp_path):
    import zipfile

    path = shutil.copy(submission / f"{NAME}_out.zip", tmp_path / f"{NAME}_out.zip")
    with zipfile.ZipFile(path, "a") as zipped:
        zipped.writestr("../../stolen.txt", "x")
    with pytest.raises(InputError, match="leads out of it"):
        check(path)
    assert not (tmp_path.parent / "stolen.txt").exists()


def test_a_stem_that_is_damaged_in_the_zip_is_a_finding(submission, tmp_path):
    path = tmp_path / f"{NAME}_out.zip"
    raw = bytearray((submission / path.name).read_bytes())
    raw[raw.index(b"_MusicalKeyboard.wav") + 5000] ^= 1
    path.write_bytes(raw)
    report = check(path)
    assert found(report) == {("error", "audio")}
    assert "damaged in its zip" in report.findings[0].what


def test_json_of_a_report(output):
    wav(output).unlink()
    (output / "notes.txt").touch()
    content = json.loads(json.dumps(check(output).to_json()))
    assert (content["errors"], content["warnings"]) == (len(content["findings"]) - 1, 1)
    assert set(content["findings"][0]) == {"severity", "rule", "where", "what"}
