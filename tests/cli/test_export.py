"""`s5 export`, and `s5 separate` with another engine or precision."""

import hashlib
import json

import pytest

from tests.conftest import EXAMPLES


def test_networks_become_files(s5, tmp_path):
    onnx = pytest.importorskip("onnx")
    done = s5("export", "baseline-compact", "-o", str(tmp_path / "out"), "--json")
    assert done.code == 0, done.err
    about = json.loads((tmp_path / "out" / "system.json").read_text())
    assert json.loads(done.out) == about
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"tagger.onnx", "separator.onnx", "system.json"}
    for part in about["parts"].values():
        path = tmp_path / "out" / part["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == part["sha256"]
        graph = onnx.load(path).graph
        assert {graph.input[0].type.tensor_type.shape.dim[0].dim_param, graph.output[0].name} == {"b", "out"}


def test_what_has_no_core_leaves_nothing(s5, tmp_path):
    done = s5("export", "label-queried-corrnet-compact", "-o", tmp_path / "out")
    assert (done.code, "part 'sr-corrnet-compact' cannot be exported" in done.error) == (2, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("option", "value"), [("engine", "onnx"), ("precision", "bf16")])
def test_another_engine_or_precision_is_told_and_not_mixed(s5, tmp_path, short_clips, option, value):
    pytest.importorskip("onnx")
    clip, out = str(short_clips / "soundscape" / "cut0.wav"), str(tmp_path / "out")
    plain = ["separate", clip, "-o", out, "--labels", "Speech", "--device", "cpu"]
    assert s5(*plain, f"--{option}", value).code == 0
    about = json.loads((tmp_path / "out" / "run.json").read_text())
    assert about["fingerprint"][option] == value
    again = s5(*plain)
    assert again.code == 2
    assert f"{option} {value!r}, not" in again.err


def test_what_cannot_be_had_is_refused_before_anything_is_read(s5, tmp_path):
    clip = str(EXAMPLES / "no_target.flac")
    done = s5("separate", clip, "-o", str(tmp_path / "out"), "--device", "cpu", "--precision", "tf32")
    assert done.code == 2
    assert done.err == "error: precision tf32 needs a CUDA GPU, and the device is cpu; give fp32 or bf16\n"
    assert not (tmp_path / "out").exists()
