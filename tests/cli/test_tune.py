"""`s5 tune` from the command line: what it writes, what it refuses, and that it can be killed."""

import json
import signal
import subprocess
import time
import tomllib

import numpy as np
import pytest

from s5cli.tune.evidence import FILE, Store
from tests.tune.world import coarsen

SYSTEM = "tagging-driven-compact-1"


@pytest.fixture
def data(short_clips):
    return short_clips


@pytest.fixture
def coarse(monkeypatch):
    coarsen(monkeypatch)


def test_thresholds_for_separate(s5, data, tmp_path, coarse):
    out = tmp_path / "t.toml"
    how = ("--data", data, "--cache", tmp_path / "cache", "--device", "cpu", "--folds", 2, "--workers", 1)
    done = s5("tune", SYSTEM, *how, "-o", out)
    assert done.code == 0, done.err
    content = tomllib.loads(out.read_text())
    assert content["system"] == SYSTEM
    assert content["data"]["clips"] == 6
    assert content["held_out"]["folds"] == 2
    assert "defaults" in done.out
    assert "2 folds held out" in done.out

    again = tmp_path / "again.toml"  # all that the first search asked is cached
    assert s5("tune", SYSTEM, *how, "-o", again).code == 0
    assert without_date(again) == without_date(out)

    clip = data / "soundscape" / "cut0.wav"
    run = ("separate", clip, "--device", "cpu", "--thresholds", out)
    assert s5(*run, "-o", tmp_path / "run", "--system", SYSTEM).code == 0
    written = json.loads((tmp_path / "run" / "run.json").read_text())["knobs"]
    assert written == content["knobs"]
    other = s5(*run, "-o", tmp_path / "other", "--system", "tagging-driven-compact-0")
    assert other.code == 2
    assert f"made for system '{SYSTEM}'" in other.error
    out.write_text(out.read_text().replace(content["weights"]["tagger_1ch"], "0" * 64))
    stale = s5(*run, "-o", tmp_path / "stale", "--system", SYSTEM)
    assert stale.code == 2
    assert "made with other weights for tagger_1ch" in stale.error
    assert "--force-thresholds" in stale.error
    assert s5(*run, "-o", tmp_path / "forced", "--system", SYSTEM, "--force-thresholds").code == 0


def without_date(path):
    return [line for line in path.read_text().splitlines() if not line.startswith("date = ")]


def test_a_baseline_has_nothing_to_tune(s5, data, tmp_path):
    done = s5("tune", "baseline-compact", "--data", data, "--cache", tmp_path / "cache", "--device", "cpu", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["knobs"] == {}
    assert found["score"]["tuned"] == found["score"]["default"]
    told = s5("tune", "baseline-compact", "--data", data, "--cache", tmp_path / "cache", "--device", "cpu")
    assert "baseline-compact has no thresholds, so there is nothing to search" in told.out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"system": "tagging-drivn"}, "did you mean"),
        ({"--data": "nowhere"}, "nowhere: no such folder"),
        ({"--folds": 1}, "1 folds of 6 clips"),
        ({"--folds": 7}, "7 folds of 6 clips"),
        ({"--device": "gpu"}, "unknown device 'gpu'"),
        ({"--option": "stages=2"}, "unknown option 'stages'"),
        ({"--option": "stages"}, "write it as name=value"),
    ],
)
def test_mistakes_take_no_time(s5, data, tmp_path, changes, words):
    options = {"--data": data, "--cache": tmp_path / "cache", "--device": "cpu"} | changes
    system = options.pop("system", SYSTEM)
    done = s5("tune", system, *(arg for option in options.items() for arg in option))
    assert done.code == 2
    assert words in done.error


def test_no_place_for_the_result_is_said_before_the_search(s5, data, tmp_path):
    done = s5("tune", SYSTEM, "--data", data, "--cache", tmp_path / "cache", "-o", tmp_path / "none" / "t.toml")
    assert done.code in (1, 2)
    assert str(tmp_path / "none") in done.error
    assert not (tmp_path / "cache" / FILE).exists()


def test_killed_at_any_moment_what_was_known_is_kept(start, s5, data, tmp_path, coarse):
    cache = tmp_path / "cache"
    command = ("tune", SYSTEM, "--data", data, "--cache", cache, "--device", "cpu", "--batch-size", 1, "--folds", 0)
    process = start(*command)
    wait_for(lambda: (cache / FILE).exists() and len(Store(cache)) >= 3, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    before = {one.key: one for one in every_result(cache)}
    assert len(before) >= 3
    done = s5(*command, "--max-new-lists", 0, "--json")
    assert done.code == 0, done.err
    after = {one.key: one for one in every_result(cache)}
    assert before.keys() < after.keys()
    for key, one in before.items():
        np.testing.assert_array_equal(one.sdr_db, after[key].sdr_db)
    fresh = s5(*command[:5], tmp_path / "fresh", *command[6:], "--max-new-lists", 0, "--json")
    assert json.loads(fresh.out)["score"]["default"] == pytest.approx(json.loads(done.out)["score"]["default"])


def every_result(cache):
    import sqlite3

    with sqlite3.connect(cache / FILE) as database:
        about = database.execute("SELECT DISTINCT step, clip FROM results").fetchall()
    return Store(cache).results({step for step, _ in about}, {clip for _, clip in about})


def wait_for(condition, process, limit_s=120):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"ended by itself: {process.stderr.read()}")
