"""`S5_GOLDEN_DIR` with other names, seeds, lengths, batches and salt: the same tests pass on it, and fail."""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import reduce
from pathlib import Path

import numpy as np
import pytest

from tests.golden import test_capi_sdri, test_scoring, test_slot_order
from tests.golden.golden import Model, load_json, load_npz, models_and_cases
from tests.golden.remade import SEPARATOR_CASES, TAGGER_CASES, write_all

ROOT = Path(__file__).parents[2]
ONE_CASE = ("test_detectors", "test_af_whisper")  # in their files, without a name
LEFT_OUT = ["m2dat_1c_d3840", "m2dat_4c_d3840", "m2dat_4c_d768"]  # made and tested in the same way, and large


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Everything but three of the taggers, and of both networks a case with a wrong number; not to be changed."""
    folder = tmp_path_factory.mktemp("golden") / "other"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("S5_GOLDEN_DIR", raising=False)
        write_all(folder, ["m2dat_1c_d768", "resunetk"])
    for model, key, by in (("m2dat_1c_d768", "odd/logits", 3e-4), ("resunetk", "thinned/waveform", 3e-5)):
        add_wrong(folder / model, key, by)
    return folder


def add_wrong(model: Path, key: str, by: float) -> None:
    """A case `wrong` like another, but for one of its numbers."""
    content, arrays = load_json(model.with_suffix(".golden.json")), load_npz(model.with_suffix(".golden.npz"))
    case, quantity = key.split("/")
    content["cases"]["wrong"] = content["cases"][case]
    arrays |= {f"wrong/{name.partition('/')[2]}": arrays[name].copy() for name in list(arrays) if name.startswith(case)}
    arrays[f"wrong/{quantity}"].flat[0] += by
    model.with_suffix(".golden.json").write_text(json.dumps(content))
    np.savez(model.with_suffix(".golden.npz"), **arrays)


def run(folder: Path, *selected: str) -> dict[str, str]:
    """What became of each test, by its name: passed, or why not."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "tests/golden", "-n", "0", "-p", "no:cacheprovider", "-rA", "--tb=no"]
    command += [f"--ignore=tests/golden/{name}.py" for name in ("test_other_folder", *ONE_CASE)]
    command += selected
    done = subprocess.run(
        command, cwd=ROOT, env=environment | {"S5_GOLDEN_DIR": str(folder), "COLUMNS": "500"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = re.findall(r"^(PASSED|FAILED|ERROR) tests/golden/\w+\.py::(\S+)(?: - (.*))?$", done.stdout, re.MULTILINE)
    assert lines, done.stdout + done.stderr
    return {name: "passed" if outcome == "PASSED" else reason for outcome, name, reason in lines}


def test_right_cases_pass_wrong_ones_and_missing_data_fail(folder):
    found = run(folder, "-k", "not loading or resunetk or 4c")
    failed = {name: outcome for name, outcome in found.items() if outcome != "passed"}
    for model in LEFT_OUT:
        expected = f"golden data missing: {folder}/{model}.golden.json"
        assert expected in failed.pop(f"test_golden[{model}-no-case]")
        assert expected in failed.pop(f"test_nparams[{model}]")
    assert "m2dat_4c_d768" in failed.pop("test_a_published_checkpoint_gives_the_golden_numbers[m2dat-4c]")
    for model in ("m2dat_1c_d768", "resunetk"):
        assert failed.pop(f"test_golden[{model}-wrong]").startswith("AssertionError")
    assert failed.pop("test_golden_in_inference_form[resunetk-wrong]").startswith("AssertionError")
    assert failed == {}
    passed = {name for name, outcome in found.items() if outcome == "passed" and name.startswith("test_golden[")}
    assert passed == {
        *(f"test_golden[m2dat_1c_d768-{case}]" for case in TAGGER_CASES),
        *(f"test_golden[resunetk-{case}]" for case in SEPARATOR_CASES),
        *(f"test_golden[{case}]" for case in ("long", "short")),  # of SR-CorrNet
    }


@pytest.mark.parametrize(
    ("name", "place", "check"),
    [
        (
            "capi_sdri.golden.json",
            ("cases", 0, "expected", "capi_sdri"),
            lambda scratch: test_capi_sdri.test_every_case_and_the_aggregate(),
        ),
        (
            "s5_order.golden.json",
            ("cases", 2, "tagger_order", "probabilities", 0),
            lambda scratch: test_slot_order.test_tagger_order_before_sorting(test_slot_order.stored_cases()),
        ),
        (
            "mini_e2e/dev_from_wav_results.json",
            ("CAPI-SDRi", "mean"),
            test_scoring.test_sixteen_bit_stems_on_disk_score_as_the_baseline_says,
        ),
    ],
    ids=["metric", "slot order", "scoring"],
)
def test_a_wrong_number_fails(folder, tmp_path, monkeypatch, name, place, check):
    spoilt = Path(shutil.copytree(folder, tmp_path / "spoilt"))
    monkeypatch.setenv("S5_GOLDEN_DIR", str(spoilt))
    check(tmp_path / "before")
    content = load_json(spoilt / name)
    *steps, last = place
    reduce(lambda at, step: at[step], steps, content)[last] += 0.01
    (spoilt / name).write_text(json.dumps(content))
    with pytest.raises(AssertionError):
        check(tmp_path / "after")


def test_a_case_that_only_one_of_the_two_files_names_is_missing(folder, tmp_path, monkeypatch):
    spoilt = Path(shutil.copytree(folder, tmp_path / "spoilt"))
    content = load_json(spoilt / "resunetk.golden.json")
    content["cases"]["without_numbers"] = content["cases"].pop("thinned")
    (spoilt / "resunetk.golden.json").write_text(json.dumps(content))
    monkeypatch.setenv("S5_GOLDEN_DIR", str(spoilt))
    cases = [case for _, case in models_and_cases("resunetk")]
    assert cases == ["three_lists", "wrong", "without_numbers", "thinned"]
    golden = Model("resunetk")
    with pytest.raises(pytest.fail.Exception, match=r"json does not name thinned, .*npz does"):
        golden.case("thinned")
    with pytest.raises(pytest.fail.Exception, match="without_numbers/waveform"):
        golden.case("without_numbers")["waveform"]
    (spoilt / "resunetk.golden.json").write_text('{"cases": {}}')
    with pytest.raises(pytest.fail.Exception, match=r"resunetk\.golden\.json has no cases"):
        Model("resunetk").case("three_lists")
