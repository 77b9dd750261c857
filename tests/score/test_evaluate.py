"""`s5 evaluate` on real files: the scores, the trivial answers beside them, and every kind of wrong folder."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from s5cli.errors import InputError, S5Error, UsageError
from s5cli.labels import CLASSES
from s5cli.score.evaluate import Evaluation, evaluate
from tests.score.whole import capi_sdri, dataset_score

RATE_HZ = 32_000
N_SAMPLES = 8_000
TRUTH = {
    "clip_0": ["Speech", "Speech", "CupboardOpenClose"],
    "clip_1": ["Cough"],
    "clip_2": [],
    "clip_3": [],
    "clip_4": ["Cough", "Pour"],
}
ANSWER = {
    "clip_0": ["Speech", "CupboardOpenClose", "Speech"],
    "clip_1": ["Cough"],
    "clip_2": ["Typing"],
    "clip_3": [],
    "clip_4": ["Cough", "Speech"],
}


def wave(*seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(N_SAMPLES) * 0.03


@dataclass(frozen=True)
class DataSet:
    """A small data set on disk and, beside it, stems that hold half of each reference and some noise."""

    folder: Path
    stems: Path

    @property
    def oracle(self) -> Path:
        return self.folder / "oracle_target"

    @property
    def soundscape(self) -> Path:
        return self.folder / "soundscape"


def write(path: Path, samples: np.ndarray, subtype: str = "FLOAT", rate_hz: int = RATE_HZ) -> None:
    soundfile.write(path, samples.T, rate_hz, subtype=subtype)


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    data = DataSet(tmp_path / "test", tmp_path / "stems")
    for folder in (data.soundscape, data.oracle, data.stems):
        folder.mkdir(parents=True)
    for index, (name, labels) in enumerate(TRUTH.items()):
        refs = [wave(index, slot) for slot in range(len(labels))]
        mixture = np.stack([sum(refs, wave(index, 10)), *(wave(index, 11 + channel) for channel in range(3))])
        write(data.soundscape / f"{name}.wav", mixture)
        for slot, label in enumerate(labels):
            write(data.oracle / f"{name}_{slot}_{label}.wav", refs[slot])
        of_class = {label: [refs[slot] for slot in range(len(labels)) if labels[slot] == label] for label in labels}
        for slot, label in enumerate(ANSWER[name]):
            held = of_class[label].pop() if of_class.get(label) else 0.0
            write(data.stems / f"{name}_{slot}_{label}.wav", 0.5 * held + 0.1 * wave(index, slot, 99))
    return data


@pytest.fixture
def result(data: DataSet) -> Evaluation:
    return evaluate(data.stems, data.folder)


def read(path: Path) -> np.ndarray:
    return soundfile.read(path)[0]


# ------------------------------------------------------------------------------------------------------------- scores
def test_scores_are_those_of_the_metric_on_the_same_audio(data: DataSet, result: Evaluation) -> None:
    scores = []
    for name in TRUTH:
        sides = []
        for folder, labels in ((data.stems, ANSWER[name]), (data.oracle, TRUTH[name])):
            audio = [read(folder / f"{name}_{slot}_{label}.wav") for slot, label in enumerate(labels)]
            sides += [labels, np.reshape(audio, (-1, N_SAMPLES))]
        scores.append(capi_sdri(*sides, read(data.soundscape / f"{name}.wav")[:, 0]))
    assert [clip.soundscape for clip in result.clips] == list(TRUTH)
    assert [clip.score.capi_sdri_db for clip in result.clips] == pytest.approx([s.capi_sdri_db for s in scores])
    assert result.overall.capi_sdri_db == pytest.approx(dataset_score(scores).capi_sdri_db)
    assert result.overall.accuracy_mixture_percent == 100 * 3 / 5
    assert result.overall.accuracy_source_percent == pytest.approx(100 * 5 / 8)


def test_stem_level_and_si_sdri_tell_what_the_stems_are(result: Evaluation) -> None:
    """Half of the reference and a tenth of noise; the mixture of clip_1 is the reference and as much noise (0 dB)."""
    assert result.overall.level_db == pytest.approx(20 * np.log10(0.5) + 10 * np.log10(1.04), abs=0.1)
    si_sdri = [q.si_sdri_db for clip in result.clips if clip.soundscape == "clip_1" for q in clip.qualities]
    assert si_sdri == pytest.approx([20 * np.log10(5) - 0.0], abs=0.6)
    assert (result.overall.n_pairs, result.overall.n_silent_pairs, result.overall.n_clips_without_stem) == (5, 0, 1)


def test_every_kind_of_clip_is_summed_up_on_its_own(result: Evaluation) -> None:
    by_n = result.by_n_targets
    assert {name: summary.n_clips for name, summary in by_n.items()} == {"0": 2, "1": 1, "2": 1, "3": 1}
    assert by_n["0"].capi_sdri_db == 0
    assert by_n["0"].accuracy_mixture_percent == 50
    assert by_n["2"].capi_sdri_db == result.clips[4].score.capi_sdri_db
    without, repeated = result.by_repeats.values()
    assert (without.n_clips, repeated.n_clips) == (2, 1)
    assert repeated.capi_sdri_db == result.clips[0].score.capi_sdri_db
    assert result.overall.false_alarm_percent == 50


def test_every_class_that_occurs_is_counted(result: Evaluation) -> None:
    counts = {c.label: (c.n_ref, c.n_est, c.n_matched) for c in result.classes}
    assert counts == {
        "Cough": (2, 2, 2),
        "CupboardOpenClose": (1, 1, 1),
        "Pour": (1, 0, 0),
        "Speech": (2, 3, 2),
        "Typing": (0, 1, 0),
    }
    by_label = {c.label: c for c in result.classes}
    assert by_label["Speech"].precision_percent == pytest.approx(100 * 2 / 3)
    assert by_label["Speech"].recall_percent == 100
    assert (by_label["Pour"].recall_percent, by_label["Pour"].precision_percent, by_label["Pour"].sdri_db) == (
        0,
        None,
        None,
    )
    assert by_label["Typing"].precision_percent == 0
    pairs = [pair for clip in result.clips for pair in clip.score.pairs if pair.label == "Speech"]
    assert by_label["Speech"].sdri_db == pytest.approx(np.mean([pair.sdri_db for pair in pairs]))


# ---------------------------------------------------------------------------------------------------- trivial answers
def rescored(data: DataSet, folder: Path, labels: dict[str, list[str]], gain: float) -> Evaluation:
    """Really write channel 0 times a gain for every label and evaluate it."""
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    for name, mixture_labels in labels.items():
        mixture = read(data.soundscape / f"{name}.wav")[:, 0]
        for slot, label in enumerate(mixture_labels):
            write(folder / f"{name}_{slot}_{label}.wav", gain * mixture)
    return evaluate(folder, data.folder)


@pytest.mark.parametrize("whose", ["own", "true"])
def test_trivial_answers_score_what_their_files_would_score(data: DataSet, result: Evaluation, whose: str) -> None:
    labels, trivial = (ANSWER, result.own_trivial) if whose == "own" else (TRUTH, result.true_trivial)
    assert trivial.mixture_gain_db is not None
    zeros = rescored(data, data.folder / "zeros", labels, 0.0)
    turned_down = rescored(data, data.folder / "gain", labels, 10 ** (trivial.mixture_gain_db / 20))
    nothing = rescored(data, data.folder / "nothing", {}, 0.0)
    assert trivial.zero_stems_db == pytest.approx(zeros.overall.capi_sdri_db, abs=1e-6)
    assert trivial.mixture_db == pytest.approx(turned_down.overall.capi_sdri_db, abs=1e-4)
    assert trivial.silent_db == nothing.overall.capi_sdri_db == 0
    assert trivial.zero_stems_db > 0.5, "the trap: silence gains"
    assert trivial.mixture_db > trivial.zero_stems_db
    assert zeros.overall.n_silent_pairs == zeros.overall.n_pairs > 0
    assert (zeros.overall.si_sdri_db, zeros.overall.level_db) == (None, None)
    assert turned_down.over_trivial_db == pytest.approx(0, abs=1e-4)
    assert turned_down.overall.si_sdri_db == pytest.approx(0, abs=1e-4)
    assert nothing.overall.n_clips_without_stem == 5


def test_half_the_reference_is_worth_more_than_any_trivial_answer(result: Evaluation) -> None:
    assert result.over_trivial_db == result.overall.capi_sdri_db - result.own_trivial.mixture_db > 0


def test_references_as_stems_are_perfect(data: DataSet) -> None:
    result = evaluate(data.oracle, data.folder)
    assert result.overall.accuracy_mixture_percent == 100
    assert result.overall.capi_sdri_db > 60
    assert result.overall.level_db == 0
    assert result.own_trivial == result.true_trivial
    assert result.overall.false_alarm_percent == 0


# ------------------------------------------------------------------------------------------------------------ folders
def test_every_way_to_name_the_folders_gives_the_same(data: DataSet, result: Evaluation) -> None:
    assert evaluate(data.stems, data.oracle).to_json() == result.to_json()
    moved = data.folder.parent / "mixtures"
    data.soundscape.rename(moved)
    assert evaluate(data.stems, data.oracle, moved).to_json() == result.to_json()
    data.stems.rename(data.folder.parent / "eval_out")
    (data.folder.parent / "run").mkdir()
    (data.folder.parent / "eval_out").rename(data.folder.parent / "run" / "eval_out")
    assert evaluate(data.folder.parent / "run", data.folder, moved).to_json() == result.to_json()


def test_mixtures_may_lie_beside_the_folder_of_references_as_flac(data: DataSet, result: Evaluation) -> None:
    for path in data.soundscape.iterdir():
        write(data.folder / f"{path.stem}.flac", read(path).T, "PCM_24")
    for path in data.oracle.iterdir():
        write(path.with_suffix(".flac"), read(path), "PCM_24")
        path.unlink()
    for path in data.soundscape.iterdir():
        path.unlink()
    data.soundscape.rmdir()
    found = evaluate(data.stems, data.folder)
    assert found.overall.capi_sdri_db == pytest.approx(result.overall.capi_sdri_db, abs=1e-3)


@pytest.mark.parametrize(("subtype", "tolerance_db"), [("PCM_16", 0.05), ("PCM_24", 1e-3), ("FLOAT", 1e-12)])
def test_stems_of_any_subtype_score_alike(data: DataSet, result: Evaluation, subtype: str, tolerance_db: float) -> None:
    for path in data.stems.iterdir():
        write(path, read(path), subtype)
    assert evaluate(data.stems, data.folder).overall.capi_sdri_db == pytest.approx(
        result.overall.capi_sdri_db, abs=tolerance_db
    )


def test_what_a_run_records_beside_its_stems_is_ignored(data: DataSet, result: Evaluation) -> None:
    for name in ("run.json", "clip_0.json", "notes.txt"):
        (data.stems / name).write_text("not even JSON")
    assert evaluate(data.stems, data.folder).to_json() == result.to_json()


def test_clips_are_read_one_by_one(data: DataSet) -> None:
    seen = []

    def watch(names):
        for name in names:
            seen.append(name)
            yield name
            (data.soundscape / f"{name}.wav").unlink()  # it is not needed any more

    evaluate(data.stems, data.folder, progress=watch)
    assert seen == list(TRUTH)


def bad(data: DataSet, kind: str) -> str:
    """Spoils one thing and returns what the message must name."""
    stem, oracle = data.stems / "clip_1_0_Cough.wav", data.oracle / "clip_1_0_Cough.wav"
    match kind:
        case "stem too short":
            write(stem, wave(0)[:-1])
        case "stem too long":
            write(stem, np.append(wave(0), 0))
        case "reference too short":
            write(oracle, wave(0)[:-1])
            return f"{oracle}: 7999 samples, but its mixture clip_1.wav has 8000"
        case "stem rate":
            write(stem, wave(0), rate_hz=16_000)
            return f"{stem}: 16000 Hz, not 32000 Hz"
        case "mixture rate":
            write(data.soundscape / "clip_1.wav", wave(0), rate_hz=48_000)
            return f"{data.soundscape / 'clip_1.wav'}: 48000 Hz"
        case "stem channels":
            write(stem, np.stack([wave(0)] * 2))
            return f"{stem}: 2 channels, not 1"
        case "stem of no soundscape":
            stem.rename(data.stems / "clip_9_0_Cough.wav")
            return "clip_9_0_Cough.wav"
        case "reference of no soundscape":
            oracle.rename(data.oracle / "clip_9_0_Cough.wav")
            return "clip_9_0_Cough.wav"
        case "stem of no class":
            stem.rename(data.stems / "clip_1_0_Dog.wav")
            return "clip_1_0_Dog.wav"
        case "not audio":
            stem.write_text("this is not a sound")
        case "not finite":
            write(stem, np.append(wave(0)[:-1], np.nan))
    return str(stem)


@pytest.mark.parametrize(
    "kind",
    [
        "stem too short",
        "stem too long",
        "reference too short",
        "stem rate",
        "mixture rate",
        "stem channels",
        "stem of no soundscape",
        "reference of no soundscape",
        "stem of no class",
        "not audio",
        "not finite",
    ],
)
def test_a_bad_file_is_named_in_one_line(data: DataSet, kind: str) -> None:
    named = bad(data, kind)
    with pytest.raises(InputError, match=re.escape(named)) as caught:
        evaluate(data.stems, data.folder)
    assert "\n" not in str(caught.value)


def test_wrong_folders_are_errors_and_not_scores_of_nothing(data: DataSet, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    wrong: list[tuple[tuple[Path, ...], type[S5Error], str]] = [
        ((tmp_path / "missing", data.folder), UsageError, "missing: no such folder"),
        ((data.stems, tmp_path / "missing"), UsageError, "missing: no such folder"),
        ((data.stems, data.folder, tmp_path / "missing"), UsageError, "missing: no such folder"),
        ((empty, data.folder), InputError, "neither stems nor the record of a run"),
        ((data.stems, empty), InputError, "neither references nor oracle_target/"),
        ((data.stems, data.folder, empty), InputError, "holds no mixtures"),
    ]
    for folders, error, message in wrong:
        with pytest.raises(error, match=message):
            evaluate(*folders)


# ------------------------------------------------------------------------------------------------------- command line
def test_json_holds_everything_and_is_all_of_stdout(data: DataSet, result: Evaluation, capsys) -> None:
    from s5cli.cli import exit_code

    assert exit_code(["evaluate", str(data.stems), "--reference", str(data.folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found == result.to_json()
    assert found["overall"]["n_clips"] == 5
    assert found["trivial"]["true_labels"]["silent_db"] == 0
    assert found["clips"][1]["pairs"][0].keys() >= {"label", "sdri_db", "si_sdri_db", "level_db"}


def test_the_tables_show_the_scores_beside_the_trivial_answers(data: DataSet, result: Evaluation, capsys) -> None:
    from s5cli.cli import exit_code

    assert exit_code(["evaluate", str(data.stems), "--reference", str(data.folder)]) == 0
    shown = capsys.readouterr().out
    rows = {line.strip().split("  ")[0]: line for line in shown.splitlines()}
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    assert f"{result.overall.capi_sdri_db:.2f}" in rows["all clips"]
    assert f"{result.own_trivial.zero_stems_db:.2f}" in rows["an all-zero stem per label"]
    assert f"{result.true_trivial.mixture_db:.2f}" in rows["mixture at its best gain"]
    assert {"0 targets", "1 target", "3 targets", "with same class", "Speech", "Typing"} <= rows.keys()
    first, second, *_ = shown.splitlines()
    assert first.startswith(f"CAPI-SDRi of {result.overall.n_clips} clips: {result.overall.capi_sdri_db:.2f} dB [")
    assert second.startswith("Above the best trivial answer")
    assert f"under the same labels: {result.over_trivial_db:.2f} dB" in second
    for key, name in (("casa_sdri_db", "CASA-SDRi, dB"), ("accuracy_slot_percent", "source acc. (2025), %")):
        ends, digits = result.overall.intervals[key], 2 if key.endswith("_db") else 1
        assert f"{vars(result.overall)[key]:.{digits}f}" in rows[name]
        assert f"[{ends.low:.{digits}f}, {ends.high:.{digits}f}]" in rows[name]
    ends = result.overall.intervals["capi_sdri_db"]
    assert f"{result.overall.capi_sdri_db:.2f} [{ends.low:.2f}, {ends.high:.2f}]" in rows["all clips"]
    assert "Most frequent wrong labels: Pour called Speech (1)" in shown


def test_intervals_are_in_the_json_and_the_seed_and_number_of_resamples_are_options(data: DataSet, capsys) -> None:
    from s5cli.cli import exit_code

    def intervals(*options: str) -> dict[str, dict[str, float]]:
        assert exit_code(["evaluate", str(data.stems), "--reference", str(data.folder), "--json", *options]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["bootstrap"]["method"] == "BCa bootstrap over clips"
        assert found["meaning"].keys() <= found["overall"].keys()
        return found["overall"]["intervals"]

    first = intervals()
    assert first == intervals("--resamples", "2000", "--seed", "0")
    assert first != intervals("--seed", "1")
    assert first.keys() == intervals("--resamples", "50").keys() >= {"capi_sdri_db", "accuracy_source_percent"}
    assert intervals("--resamples", "0") == {}
    assert exit_code(["evaluate", str(data.stems), "--reference", str(data.folder), "--resamples", "0"]) == 0
    assert "[" not in capsys.readouterr().out


def test_clips_that_an_unfinished_run_has_not_done_are_told(data: DataSet, capsys) -> None:
    from s5cli.cli import exit_code

    args = ["evaluate", str(data.stems), "--reference", str(data.folder), "--json"]
    assert exit_code(args) == 0
    assert capsys.readouterr().err == ""
    for name in [*TRUTH][:3]:
        (data.stems / f"{name}.json").write_text("{}")
    assert exit_code(args) == 0
    assert "has no record of 2 of 5 clips; they count as empty answers" in capsys.readouterr().err


def test_a_wrong_folder_is_one_line_on_stderr(data: DataSet, capsys) -> None:
    from s5cli.cli import exit_code

    assert exit_code(["evaluate", "nowhere", "--reference", str(data.folder)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "error: nowhere: no such folder\n"


# --------------------------------------------------------------------------------- files that are lost or once too many
def refused(data: DataSet) -> str:
    with pytest.raises(InputError) as caught:
        evaluate(data.stems, data.folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("lost", ["clip_0_1_Speech", "clip_4_0_Cough"])
def test_a_gap_in_the_numbers_of_references_is_an_error(data: DataSet, lost: str) -> None:
    (data.oracle / f"{lost}.wav").unlink()
    told = refused(data)
    assert f"references of {lost[:6]} are missing" in told
    assert f"no {lost[7]}" in told


def test_numbers_of_references_may_begin_at_one(data: DataSet, result: Evaluation) -> None:
    for path in sorted(data.oracle.iterdir(), reverse=True):
        name, number, label = path.stem.rsplit("_", 2)
        path.rename(path.with_name(f"{name}_{int(number) + 1}_{label}.wav"))
    assert evaluate(data.stems, data.folder).to_json() == result.to_json()


@pytest.mark.parametrize("form", ["of `s5 synth`", "another"])
def test_references_that_metadata_name_are_wanted(data: DataSet, result: Evaluation, form: str) -> None:
    """Also where the last one or all of a clip are lost, which no gap tells. Interference is no target."""
    (data.folder / "metadata").mkdir()
    for name, labels in TRUTH.items():
        events = [{"role": "foreground", "label": label} for label in labels]
        told = {"events": [*events, {"role": "interference", "label": "Dog"}]}
        other = {"sources": [[{"class": label}, {"file": f"{label}/1.wav"}] for label in [*labels, *labels, "Dog"]]}
        path = data.folder / "metadata" / f"{name}.json"
        path.write_text(json.dumps(other if form == "another" else told))
    (data.folder / "metadata" / "clip_3.json").write_text(json.dumps(CLASSES))
    assert evaluate(data.stems, data.folder).to_json() == result.to_json()
    for lost in ("clip_4_1_Pour", "clip_1_0_Cough"):
        content = (data.oracle / f"{lost}.wav").read_bytes()
        (data.oracle / f"{lost}.wav").unlink()
        told = refused(data)
        assert f"references of {lost[:6]} are missing" in told
        assert f"{lost[:6]}.json names {lost[9:]} too" in told
        (data.oracle / f"{lost}.wav").write_bytes(content)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("clip_1_0_Speech.wav", "have one number"),
        ("clip_1_00_Cough.wav", "have one number"),
        ("clip_1_0_Cough.flac", "have one number"),
        ("clip_1_5_Speech.wav", "its number is too high; a clip has 3 slots, counted from 0"),
        ("clip_0_3_Speech.wav", "its number is too high"),
        ("clip_0_Speech.wav", "one of 4 stems; a clip has 3 slots"),
    ],
)
def test_stems_of_a_slot_that_is_taken_or_not_there(data: DataSet, name: str, words: str) -> None:
    write(data.stems / name, wave(0), "PCM_16")
    told = refused(data)
    assert words in told
    assert name in told or "have one number" in words


def test_a_long_recording_may_have_more_stems(data: DataSet) -> None:
    long = np.zeros(13 * RATE_HZ)
    write(data.soundscape / "long.wav", np.tile(long, (4, 1)))
    for number in range(5):
        write(data.stems / f"long_{number}_Speech.wav", long)
    assert len(evaluate(data.stems, data.folder).clips[-1].est_labels) == 5


def test_suffixes_of_any_case_and_hidden_files(data: DataSet, result: Evaluation) -> None:
    """As `s5 separate` takes recordings. Hidden files are what some systems lay beside every file."""
    for folder in (data.stems, data.oracle, data.soundscape):
        for path in [*folder.iterdir()]:
            path.rename(path.with_suffix(".WAV"))
        (folder / "._clip_1_0_Cough.wav").write_bytes(b"resource fork")
    assert evaluate(data.stems, data.folder).to_json() == result.to_json()
