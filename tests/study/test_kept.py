"""A study that is stopped goes on, and a row that fails costs no other."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from s5cli.cli import exit_code
from s5cli.errors import WeightsError
from s5cli.score.clip import score_clip
from s5cli.score.evaluate import evaluation
from s5cli.study import studies
from s5cli.study.kept import read, text
from s5cli.tune.evidence import FILE
from s5cli.tune.tuner import Options
from tests.conftest import N_SHORT, copied
from tests.study.bands import HERE, Bands, write_registry

OPTIONS = Options("cpu", batch_size=2)
N_ROWS = 9  # of `bands` that differ in their stems
SLOW = f"""
[system.slow]
flow = "{HERE}:Bands"
summary = "bands, taking their time"
source = "the tests"
parts = {{ first = "half", second = "double" }}
knobs = {{ pause_s = 0.1 }}
"""


@pytest.fixture
def computed(monkeypatch) -> list[str]:
    """The clips that the system is run on in this process, one after the other."""
    clips: list[str] = []
    run = Bands.__call__

    def watched(self, scenes):
        clips.extend(scene.name for scene in scenes)
        return run(self, scenes)

    monkeypatch.setattr(Bands, "__call__", watched)
    return clips


def n_kept(cache: Path) -> int:
    if not (cache / FILE).exists():
        return 0
    database = sqlite3.connect(cache / FILE)
    try:
        return database.execute("SELECT count(*) FROM scores").fetchone()[0]
    except sqlite3.OperationalError:  # it is being made
        return 0
    finally:
        database.close()


def started(*args: object) -> subprocess.Popen[str]:
    """A real process."""
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "s5cli", *map(str, args)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )


# -------------------------------------------------------------------------------------------------------------- stopped
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_study_goes_on(number, short_clips, bands, tmp_path, capsys) -> None:
    write_registry(bands, SLOW)
    cache = tmp_path / "cache"
    line = ["study", "ablation", short_clips, "--system", "slow", "--device", "cpu", "--json", "--batch-size", 1]
    process = started(*line, "--cache", cache)
    while n_kept(cache) < N_SHORT + 2:  # in the second row
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    there = n_kept(cache)
    assert N_SHORT < there < 2 * N_SHORT + 2, "it was stopped between rows"
    assert not out
    if number == signal.SIGTERM:
        assert process.returncode == 143
        assert f"error: interrupted; finished clips are kept in {cache}, and the same command goes on" in err
    assert exit_code([*map(str, line), "--cache", str(cache)]) == 0
    ended = capsys.readouterr()
    [note] = [told for told in ended.err.splitlines() if told.startswith("note: ")]
    assert note.startswith(f"note: {there} of ")
    assert exit_code([*map(str, line), "--cache", str(tmp_path / "other")]) == 0
    whole = capsys.readouterr()
    assert "note: " not in whole.err
    assert json.loads(ended.out) == json.loads(whole.out)


def test_only_what_is_missing_is_computed(short_clips, bands, tmp_path, computed) -> None:
    cache, told = tmp_path / "cache", []
    few = studies.ablation(short_clips, "bands", cache, 2, OPTIONS)
    assert len(computed) > 2
    computed.clear()
    found = studies.ablation(short_clips, "bands", cache, None, OPTIONS, note=told.append)
    assert {*computed} == {f"cut{number}" for number in range(2, N_SHORT)}
    assert told == [f"{2 * N_ROWS} of {N_SHORT * N_ROWS} results ({N_ROWS} rows) are done already"]
    assert [asdict(clip.score) for clip in found.runs["bands"].clips[:2]] == [
        asdict(clip.score) for clip in few.runs["bands"].clips
    ]
    computed.clear()
    again = studies.ablation(short_clips, "bands", cache, None, OPTIONS)
    assert not computed
    assert json.dumps(again.to_json()) == json.dumps(found.to_json())
    assert json.dumps(found.to_json()) == json.dumps(
        studies.ablation(short_clips, "bands", None, None, OPTIONS).to_json()
    )
    computed.clear()
    studies.oracle(short_clips, ["bands"], None, OPTIONS, cache=cache)
    assert not computed, "it is the row with true labels"


def test_what_has_changed_is_computed_anew(short_clips, bands, tmp_path, computed) -> None:
    data, cache = copied(short_clips, tmp_path / "data"), tmp_path / "cache"

    def score(**options: object) -> tuple[float, list[str]]:
        computed.clear()
        found = studies.oracle(data, ["bands"], None, replace(OPTIONS, **options), cache=cache)
        return found.rows[0].capi_sdri_db, sorted(computed)

    before, first = score()
    assert first == [f"cut{number}" for number in range(N_SHORT)]
    assert score() == (before, [])
    (data / "soundscape" / "cut1.wav").write_bytes((data / "soundscape" / "cut2.wav").read_bytes())
    assert score()[1] == ["cut1"]
    save_file({"factor": torch.tensor([0.7])}, bands / "half.safetensors")
    other, all_of_them = score()
    assert (all_of_them, other != before) == (first, True)
    assert score(system_options={"bands": 1})[1] == first
    write_registry(bands, SLOW.replace("slow", "bands-2").replace("pause_s = 0.1", "gain = 2"))
    computed.clear()
    studies.oracle(data, ["bands-2"], None, OPTIONS, cache=cache)
    assert sorted(computed) == first


def test_the_users_own_folder_is_taken_unless_told(short_clips, bands, own_cache, capsys) -> None:
    line = ["study", "oracle", str(short_clips), "--system", "bands", "--device", "cpu", "--clips", "2"]
    assert exit_code(line) == 0
    assert n_kept(own_cache) == 2
    assert exit_code(line) == 0
    assert "note: 2 of 2 results (1 rows) are done already" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------------------- failed
def test_a_row_that_fails_costs_no_other(short_clips, bands, capsys, computed) -> None:
    line = ["study", "ablation", str(short_clips), "--system", "bands", "--device", "cpu"]
    good = (bands / "half.safetensors").read_bytes()
    save_file({"factor": torch.ones(2)}, bands / "half.safetensors")  # of another network
    assert exit_code(line) == 1
    told = capsys.readouterr()
    assert "| double alone " in told.out
    failed = [row for row in told.out.splitlines() if row.startswith("failed: ")]
    assert [row.split(": ")[1] for row in failed[:2]] == ["bands-1", "half alone"]
    assert "half.safetensors" in failed[0]
    assert told.err.splitlines()[-1].startswith("error: rows failed: 'bands-1', 'half alone', 'bands', ")
    (bands / "half.safetensors").write_bytes(good)
    computed.clear()
    assert exit_code([*line, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert not again["failed"]
    assert len(again["rows"]) == len(failed) + 1


def test_weights_that_go_away_between_rows(short_clips, bands) -> None:
    def take_away(line: str) -> None:
        if line == f"half alone: {N_SHORT} of {N_SHORT} clips" or line.startswith("bands-1: 6"):
            (bands / "double.safetensors").unlink(missing_ok=True)

    found = studies.ablation(short_clips, "bands", None, None, OPTIONS, take_away)
    assert [*found.failed] == [
        "double alone", "bands", "bands, one band", "bands, strong bands", "bands, double", "true labels",
    ]  # fmt: skip
    assert [row.title for row in found.rows] == ["bands-1", "half alone", "true labels, half"]
    assert all("double.safetensors" in reason for reason in found.failed.values())


def test_where_every_row_fails_the_first_error_is_told(short_clips, bands, capsys) -> None:
    for name in ("half", "double"):
        save_file({"factor": torch.ones(2)}, bands / f"{name}.safetensors")
    with pytest.raises(WeightsError, match=r"half\.safetensors"):
        studies.ablation(short_clips, "bands", None, None, OPTIONS)
    assert exit_code(["study", "oracle", str(short_clips), "--system", "bands", "--device", "cpu"]) == 2
    assert not capsys.readouterr().out


def test_a_clip_that_cannot_be_read_is_said_first(short_clips, bands, tmp_path, capsys, computed) -> None:
    data = copied(short_clips, tmp_path / "data")
    path = data / "soundscape" / "cut5.wav"
    path.write_bytes(path.read_bytes()[:-400])
    assert exit_code(["study", "ablation", str(data), "--system", "bands", "--device", "cpu"]) == 1
    assert "cut5.wav" in capsys.readouterr().err
    assert not computed


# ----------------------------------------------------------------------------------------------------------------- text
def test_a_result_is_read_as_it_was_written() -> None:
    random = np.random.default_rng(0)
    references = random.standard_normal((3, 4000)).astype(np.float32)
    stems = references + 0.3 * random.standard_normal((3, 4000)).astype(np.float32)
    stems[1] = 0  # digital silence has no level
    labels = ["Speech", "Dishes", "Speech"]
    results = [
        score_clip("twins", labels, stems, labels, references, references.sum(axis=0)),
        score_clip("missed", [], stems[:0], ["Cough"], references[:1], references.sum(axis=0)),
        score_clip("nothing", [], stems[:0], [], references[:0], references.sum(axis=0)),
    ]
    assert results[0].twins
    again = [read(text(one)) for one in results]
    for one, other in zip(results, again, strict=True):
        assert replace(one, products=None) == replace(other, products=None)
        for key in ("ref_energy", "ref_dot_mixture"):
            np.testing.assert_array_equal(getattr(one.products, key), getattr(other.products, key))
    assert json.dumps(evaluation(results).to_json()) == json.dumps(evaluation(again).to_json())
