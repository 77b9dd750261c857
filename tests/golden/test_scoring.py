"""The scoring half of `mini_e2e`: 16-bit stems, oracles and mixtures on disk to `dev_from_wav_results.json`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from s5cli import official
from s5cli.score.evaluate import evaluate, official_results
from tests import result_files
from tests.golden.golden import filled, golden_folder, load_json, load_npz, recipe

RATE_HZ = 32_000


def write(path: Path, samples: np.ndarray) -> None:
    """Samples as they are, [t] or [channels, t] int16."""
    soundfile.write(path, samples.T, RATE_HZ, subtype="PCM_16")


def sixteen_bit(samples: np.ndarray) -> np.ndarray:
    """The nearest k/32768, clipped, as k."""
    return np.clip(np.round(samples.astype(np.float64) * 32768), -32768, 32767).astype(np.int16)


def write_data_set(folder: Path, spec: list[dict[str, Any]]) -> None:
    for name in ("soundscape", "oracle_target"):
        (folder / name).mkdir(parents=True)
    for clip in spec:
        write(folder / "soundscape" / f"{clip['soundscape']}.wav", sixteen_bit(recipe.make_clip(**clip["clip"])))
        for source in clip.get("oracle", []):
            samples = recipe.mix_terms(source["terms"], clip["clip"]["n_samples"])
            write(folder / "oracle_target" / source["filename"], sixteen_bit(samples))


def write_estimates(folder: Path, golden: Path) -> None:
    folder.mkdir()
    for key, samples in load_npz(golden / "waveforms_int16.npz").items():
        kind, name = key.split("/")
        if kind == "dev_est":
            write(folder / name, samples)


def almost(found: Any, expected: Any, where: str = "") -> None:
    """The same structure, order of fields included; numbers within the stated 1e-3 dB."""
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key in expected:
            almost(found[key], expected[key], f"{where}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for index, value in enumerate(expected):
            almost(found[index], value, f"{where}/{index}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-3), where
    else:
        assert found == expected, where


def test_sixteen_bit_stems_on_disk_score_as_the_baseline_says(tmp_path: Path) -> None:
    golden = golden_folder("mini_e2e")
    write_data_set(tmp_path / "test", filled(load_json(golden / "spec.json"), "dev", golden / "spec.json"))
    write_estimates(tmp_path / "stems", golden)
    result = official_results(evaluate(tmp_path / "stems", tmp_path / "test"))
    almost(result.to_json(), load_json(golden / "dev_from_wav_results.json"))


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("dev_from_wav_results.json", result_files.read_dev_results),
        ("dev_set_test_results.json", result_files.read_dev_results),
        ("eval_results.json", result_files.read_eval_results),
    ],
)
def test_the_baseline_s_own_files_are_read_and_written_unchanged(name: str, read: Any) -> None:
    path = golden_folder("mini_e2e") / name
    assert official.dumps(read(path)) == path.read_text().rstrip("\n")


def test_the_baseline_s_own_output_passes_the_checks() -> None:
    golden = golden_folder("mini_e2e")
    spec = load_json(golden / "spec.json")
    names = {
        kind: [clip["soundscape"] for clip in filled(spec, kind, golden / "spec.json")] for kind in ("dev", "eval")
    }
    wavs = [key.split("/")[1] for key in load_npz(golden / "waveforms_int16.npz") if key.startswith("eval_out/")]
    assert (
        result_files.eval_problems(result_files.read_eval_results(golden / "eval_results.json"), wavs, names["eval"])
        == []
    )
    assert (
        result_files.dev_problems(result_files.read_dev_results(golden / "dev_set_test_results.json"), names["dev"])
        == []
    )
