"""The challenge's grammar: what is written is read back, and what is wrong is named."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from s5cli import official
from s5cli.errors import InputError, UsageError
from s5cli.labels import CLASSES
from s5cli.official import DevClip, DevResults, EvalClip, EvalResults, EvalStem
from tests import result_files

names = st.text(st.characters(codec="utf-8", exclude_characters="/\0\n\r"), min_size=1, max_size=20)


def touch(folder: Path, *files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for file in files:
        (folder / file).touch()
    return folder


# ------------------------------------------------------------------------------------------------------------- names
@given(names, st.integers(0, 12), st.sampled_from(CLASSES))
def test_a_written_name_is_read_back_by_the_official_pattern(soundscape: str, slot: int, label: str) -> None:
    name = official.stem_file_name(soundscape, slot, label)
    assert official.parse_stem_file_name(name, soundscape) == label
    match = re.match(f"^{re.escape(soundscape)}(?:_(\\d+))?_(.+)\\.wav$", name)
    assert match is not None
    assert match.groups() == (str(slot), label)


@pytest.mark.parametrize("label", ["silence", "speech", "Dog", ""])
def test_only_the_18_classes_are_written(label: str) -> None:
    with pytest.raises(UsageError, match="18 classes"):
        official.stem_file_name("a", 0, label)


@pytest.mark.parametrize(
    "name",
    ["a_0_silence.wav", "a_0_Dog.wav", "a_x_Speech.wav", "a_Speech.flac", "aSpeech.wav", "b_0_Speech.wav", "a.wav"],
)
def test_names_that_are_no_source_of_a(name: str) -> None:
    assert official.parse_stem_file_name(name, "a") is None


def test_a_name_is_not_a_pattern() -> None:
    assert official.parse_stem_file_name("a+b_0_Speech.wav", "a+b") == "Speech"
    assert official.parse_stem_file_name("aab_0_Speech.wav", "a+b") is None


def test_soundscapes_come_in_name_order_and_other_files_do_not_count(tmp_path: Path) -> None:
    touch(tmp_path, "b.wav", "a_1.wav", "a.wav", "a-1.wav", "a.json", "c.flac")
    (tmp_path / "folder.wav").mkdir()
    assert list(official.soundscapes(tmp_path)) == ["a", "a-1", "a_1", "b"]
    assert list(official.soundscapes(tmp_path, (".wav", ".flac"))) == ["a", "a-1", "a_1", "b", "c"]
    touch(tmp_path, "c.wav")
    with pytest.raises(UsageError, match=r"c\.flac and c\.wav"):
        official.soundscapes(tmp_path, (".wav", ".flac"))
    with pytest.raises(UsageError, match="no such folder"):
        official.soundscapes(tmp_path / "missing")


def test_slots_are_in_string_order(tmp_path: Path) -> None:
    files = ["a_10_Speech.wav", "a_2_Cough.wav", "a_Pour.wav", "a_0_Dishes.wav"]
    touch(tmp_path, *files, "notes.txt")
    found = official.read_sources(tmp_path, ["a", "b"])
    assert [source.path.name for source in found["a"]] == sorted(files)
    assert [source.label for source in found["a"]] == ["Dishes", "Speech", "Cough", "Pour"]
    assert found["b"] == ()


def test_a_file_belongs_to_the_longest_name_that_fits(tmp_path: Path) -> None:
    files = [
        "a_Speech.wav",
        "a_0_Speech.wav",
        "a_1_Speech.wav",
        "a_1_0_Speech.wav",
        "a_1b_0_Pour.wav",
        "a_10_Cough.wav",
    ]
    touch(tmp_path, *files)
    found = official.read_sources(tmp_path, ["a", "a_1", "a_1b", "a_1_0_Speech"])
    owners = {source.path.name: name for name, sources in found.items() for source in sources}
    assert owners == dict(zip(files, ["a", "a", "a_1", "a_1", "a_1b", "a"], strict=True))


def test_where_all_files_have_numbers_a_number_is_no_part_of_a_name(tmp_path: Path) -> None:
    """`take.wav` and `take_1.wav` in one run: a stem of the one was scored as one of the other."""
    touch(tmp_path, "take_0_Speech.wav", "take_1_Cough.wav", "take_1_0_Pour.wav")
    found = official.read_sources(tmp_path, ["take", "take_1"])
    assert [source.label for source in found["take"]] == ["Speech", "Cough"]
    assert [source.label for source in found["take_1"]] == ["Pour"]
    (tmp_path / "take_1_0_Pour.wav").unlink()
    assert official.read_sources(tmp_path, ["take", "take_1"])["take_1"] == ()


def test_names_that_end_in_numbers_may_be_followed_by_the_label(tmp_path: Path) -> None:
    touch(tmp_path, "dev_0001_Speech.wav", "dev_0002_Cough.wav")
    found = official.read_sources(tmp_path, ["dev_0001", "dev_0002"])
    assert [len(sources) for sources in found.values()] == [1, 1]


@pytest.mark.parametrize("stranger", ["b_0_Speech.wav", "a_0_Dog.wav", "a_0_silence.wav", "a.wav", "ab_0_Speech.wav"])
def test_files_that_belong_to_no_soundscape_are_named(tmp_path: Path, stranger: str) -> None:
    touch(tmp_path, "a_0_Speech.wav", stranger)
    with pytest.raises(InputError, match=re.escape(stranger)):
        official.read_sources(tmp_path, ["a"])


def test_sixteen_bit_files_are_rounded_down_and_saturated(tmp_path: Path) -> None:
    """The rule of the module's docstring, asked of the library that writes the files."""
    x = np.concatenate([np.linspace(-1.2, 1.2, 4001), [-1e-9, 0.0, 1e-9, 0.5 / 32768, 1.0, -1.0]]).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", x, 32000, subtype="PCM_16")
    found, _ = soundfile.read(tmp_path / "x.wav", dtype="int16")
    expected = np.clip(np.floor(x.astype(np.float64) * 32768), -32768, 32767)
    assert found.tolist() == expected.astype(int).tolist()


# ------------------------------------------------------------------------------------------------------ result files
STEMS = (EvalStem("e_0_0_Speech.wav", "Speech", 0.91), EvalStem("e_0_1_Speech.wav", "Speech", 0.64))
EVAL = EvalResults(119356966, (EvalClip("e_0", STEMS), EvalClip("e_1", ())), {"system": "x"})
DEV_CLIPS = (
    DevClip("d_0", ("Speech", "Speech"), ("Speech",), (0.93, 0.71, 0.88), 4.1, 1, 0, 1),
    DevClip("d_1", (), (), (1.0, 1.0, 1.0), None, 0, 0, 0),
)
DEV = DevResults(DEV_CLIPS, 4.1, 50.0, 50.0, 119356966)


def test_eval_results_have_the_official_fields_and_come_back(tmp_path: Path) -> None:
    path = tmp_path / "eval_results.json"
    path.write_text(official.dumps(EVAL))
    assert result_files.read_eval_results(path) == EVAL
    assert json.loads(path.read_text()) == {
        "nparams": 119356966,
        "probabilities": [
            {
                "soundscape": "e_0",
                "estimate": [
                    {"filename": "e_0_0_Speech.wav", "label": "Speech", "probability": 0.91},
                    {"filename": "e_0_1_Speech.wav", "label": "Speech", "probability": 0.64},
                ],
            },
            {"soundscape": "e_1", "estimate": []},
        ],
        "config": {"system": "x"},
    }
    assert path.read_text().startswith('{\n    "nparams": 119356966,\n    "probabilities": [\n        {\n')


def test_dev_results_have_the_official_fields_and_come_back(tmp_path: Path) -> None:
    path = tmp_path / "dev_set_test_results.json"
    path.write_text(official.dumps(DEV))
    assert result_files.read_dev_results(path) == DEV
    content = json.loads(path.read_text())
    assert list(content) == ["CAPI-SDRi", "label_metrics", "nparams", "details", "config"]
    assert content["CAPI-SDRi"] == {"mean": 4.1}
    assert content["label_metrics"] == {"accuracy_mix": 50.0, "accuracy_src": 50.0}
    assert content["details"][0] == {
        "soundscape": "d_0",
        "ref_labels": ["Speech", "Speech", "silence"],
        "est_labels": ["Speech", "silence", "silence"],
        "probabilities": [0.93, 0.71, 0.88],
        "metrics": [
            {"metric": "CAPI-SDRi", "value": 4.1},
            {"metric": "label_metrics", "value": {"acc": False, "tp": 1, "fp": 0, "fn": 1}},
        ],
    }
    assert content["details"][1]["metrics"][0]["value"] is None


def test_scored_waveforms_have_no_nparams_and_no_clips_no_mean() -> None:
    stored = replace(DEV, nparams=None)
    assert "nparams" not in stored.to_json()
    assert DevResults.from_json(stored.to_json()) == stored
    none = DevResults((), None, None, None)
    assert none.to_json()["CAPI-SDRi"] is None
    assert DevResults.from_json(none.to_json()) == none


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"nparams": 1, "probabilities": [{"soundscape": "a"}]}', "\x80"])
def test_damaged_result_files_are_one_clear_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(content.encode("latin-1"))
    for read in (result_files.read_eval_results, result_files.read_dev_results):
        with pytest.raises(InputError, match=r"results\.json") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_right_output_has_no_problems() -> None:
    assert result_files.eval_problems(EVAL, [stem.filename for stem in STEMS], ["e_0", "e_1"]) == []
    assert result_files.dev_problems(DEV, ["d_1", "d_0"]) == []


@pytest.mark.parametrize(
    ("wavs", "names", "problem"),
    [
        (["e_0_0_Speech.wav"], ["e_0"], "e_0_1_Speech.wav is in eval_results.json but not in eval_out"),
        (["e_0_0_Speech.wav", "e_0_1_Speech.wav", "e_0_2_Pour.wav"], ["e_0"], "e_0_2_Pour.wav is in eval_out but not"),
        (["e_0_0_Speech.wav", "e_0_1_Speech.wav"], ["e_0", "e_0"], "soundscape e_0 occurs 2 times"),
        (["e_0_0_Speech.wav", "e_0_1_Speech.wav"], ["e_0", "e"], "begins with the names of 2 soundscapes"),
        (["e_0_0_Speech.wav", "e_0_1_Speech.wav", "x_0_Pour.wav"], ["e_0"], "begins with the names of 0 soundscapes"),
        (["e_0_0_Speech.wav", "e_0_1_Speech.wav", "e_0_2_Dog.wav"], ["e_0"], "e_0_2_Dog.wav is not named"),
    ],
)
def test_every_official_check_of_an_evaluation_output(wavs: list[str], names: list[str], problem: str) -> None:
    assert any(problem in line for line in result_files.eval_problems(EVAL, wavs, names))


def test_a_stem_listed_twice_is_a_problem() -> None:
    twice = replace(EVAL, clips=(EvalClip("e_0", (STEMS[0], STEMS[0])),))
    assert result_files.eval_problems(twice, [STEMS[0].filename], ["e_0"]) == [
        "e_0_0_Speech.wav is listed 2 times in eval_results.json"
    ]


def test_every_official_check_of_development_results() -> None:
    assert result_files.dev_problems(replace(DEV, clips=(DEV_CLIPS[0],) * 2), ["d_0", "d_2"]) == [
        "d_0 is listed 2 times in dev_set_test_results.json",
        "soundscape d_2 is not in dev_set_test_results.json",
    ]
    assert result_files.dev_problems(DEV, ["d_0"]) == ["d_1 in dev_set_test_results.json is no development soundscape"]
