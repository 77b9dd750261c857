"""Workers answer as the process that started them would, and do not outlive it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from s5cli.tune.trials import FEW, Workers
from tests.tune.world import random_setting, system_of, trials_of, write_devset

MOTHER = """
import time
from s5cli.tune.trials import Workers
pool = Workers(lambda setting: None, 2)._started()
pool.submit(abs, 1).result()
print(*pool._processes, flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def replay(tmp_path_factory):
    system, _ = system_of(two_separators=False)
    trials = trials_of(system, write_devset(tmp_path_factory.mktemp("data"), 6), tmp_path_factory.mktemp("cache"))
    trials.exact(system.setting)
    return trials.replay


@pytest.mark.parametrize("count", [1, FEW, FEW + 1, 75])
def test_the_same_in_the_same_order(replay, count):
    random = np.random.default_rng(count)
    settings = [random_setting(random) for _ in range(count)]
    workers = Workers(replay, 2)
    for _ in range(2):  # the second time by processes that are there already
        outcomes = list(workers.outcomes(settings))
        assert len(outcomes) == count
        for outcome, setting in zip(outcomes, settings, strict=True):
            for one, other in zip(outcome.arrays, replay(setting).arrays, strict=True):
                np.testing.assert_array_equal(one, other)
    workers.close()


@pytest.mark.skipif(sys.platform != "linux", reason="workers share memory by forking")
def test_killed_with_its_workers():
    root = Path(__file__).parents[2]
    started = subprocess.Popen([sys.executable, "-c", MOTHER], stdout=subprocess.PIPE, text=True, cwd=root)
    pids = [int(pid) for pid in started.stdout.readline().split()]
    assert len(pids) == 2
    assert all(map(alive, pids))
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    deadline = time.monotonic() + 20
    while any(map(alive, pids)):
        assert time.monotonic() < deadline, "workers live on"
        time.sleep(0.05)


def alive(pid):
    """Whether a process runs; one that has ended may still be listed (Z) until somebody asks for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
