"""The embedded systems by their names on real recordings, nothing downloaded."""

import json
from pathlib import Path

import pytest
import soundfile

from s5cli.cli import exit_code

EXAMPLES = Path(__file__).parents[2] / "examples"
CLIPS = {path.stem for path in EXAMPLES.glob("*.flac")}


@pytest.mark.parametrize("name", ["self-guided-2025-compact", "self-guided-2026-compact"])
def test_the_embedded_systems_on_the_examples(name, tmp_path):
    """Something is named in every example with targets, stems sound, and each stage stands in its own folder."""
    out = tmp_path / "out"
    line = ["separate", EXAMPLES, "-o", out, "--system", name, "--option", "stages=all", "--device", "cpu"]
    assert exit_code([str(word) for word in line]) == 0
    told = {path.stem: json.loads(path.read_text()) for path in out.glob("*.json") if path.stem in CLIPS}
    assert told.keys() == CLIPS
    for clip, found in told.items():
        assert clip == "no_target" or found["stems"]
        for query in found["queries"]:
            assert [stage["stage"] for stage in query["stages"]] == ["stage 1", "stage 2", "stage 3"]
        for stem in found["stems"]:
            samples, rate_hz = soundfile.read(out / stem["file"])
            assert rate_hz == 32_000
            assert samples.any()
    assert {path.name for path in (out / "stages").iterdir()} == {"stage-1", "stage-2", "stage-3"}
    last = {path.name: path.read_bytes() for path in (out / "stages" / "stage-3").glob("*.wav")}
    assert last == {path.name: path.read_bytes() for path in out.glob("*.wav")}
