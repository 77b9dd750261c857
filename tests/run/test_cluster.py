"""A run on a Ray cluster leaves what a single process leaves, whoever dies. One Ray with two workers for all of it."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import ray
import soundfile

from s5cli import api
from s5cli.api import LoadedSystem
from s5cli.cli import exit_code
from s5cli.errors import UsageError
from s5cli.run.cluster import Cluster, chosen
from s5cli.run.cluster.machine import WorkerSpec, prepared
from s5cli.run.cluster.session import allocated, check_reachable, joined
from s5cli.run.pipeline import separate_all
from s5cli.run.plan import Options, plan
from s5cli.run.record import Notice, RunResult
from s5cli.scene import RATE_HZ
from tests import toy
from tests.run import deadly
from tests.run.contents import contents
from tests.toy import write_tones

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
LOW_HZ, HIGH_HZ = 500, 5000


@pytest.fixture(scope="module", autouse=True)
def address(tmp_path_factory) -> Iterator[str]:
    """Of a Ray on this machine, of which this process is a driver; its workers know the toy systems."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CONFIG", "CACHE", "DATA"):
            patch.setenv(f"S5_{name}_DIR", str(tmp_path_factory.mktemp(name.lower())))
        (Path(os.environ["S5_CONFIG_DIR"]) / "weights.toml").write_text(toy.SECTION + deadly.SECTION)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_worker_niceness", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        ray.init("local", num_cpus=2, object_store_memory=100 * 2**20, include_dashboard=False, log_to_driver=False)
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()


@pytest.fixture
def clips(tmp_path) -> Path:
    """Short ones of two lengths, a long one, one that is not audio and one that the system refuses."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for index, name in enumerate("abcdefgh"):
        write_tones(folder / f"{name}.wav", LOW_HZ, HIGH_HZ, n_samples=6400 if index % 3 else 7000)
    write_tones(folder / "long.wav", LOW_HZ, HIGH_HZ, n_samples=13 * RATE_HZ)
    (folder / "notes.wav").write_text("not audio")
    write_tones(folder / "refused.wav", LOW_HZ)
    return folder


def alone(clips: Path, out: Path, system: LoadedSystem | None = None, **options) -> RunResult:
    return separate_all(plan([clips], out, Options(**{"batch_size": 2} | options)), system or api.load("toy", "cpu"))


def together(
    clips: Path, out: Path, system: LoadedSystem | None = None, watch=lambda outcome: None, n_workers=2, **options
) -> RunResult:
    job = plan([clips], out, Options(**{"batch_size": 2} | options))
    return Cluster(n_workers=n_workers).separate_all(job, [system or api.load("toy", "cpu")], watch)


@pytest.fixture
def expected(clips, tmp_path) -> dict[str, bytes]:
    alone(clips, tmp_path / "alone")
    return contents(tmp_path / "alone")


@pytest.fixture
def slow(tmp_path) -> Path:
    """Thresholds with which the toy takes a while for each clip."""
    path = tmp_path / "slow.toml"
    path.write_text("[knobs]\npause_s = 0.3\n")
    return path


# --- the same results ------------------------------------------------------------------------------------------------


def test_clips_failures_and_long_recordings_are_those_of_a_single_process(clips, out, tmp_path):
    single = alone(clips, tmp_path / "alone")
    told: list[object] = []
    assert together(clips, out, watch=told.append) == single
    assert contents(out) == contents(tmp_path / "alone")
    assert [failure.name for failure in single.failed] == ["notes", "refused"]
    assert json.loads((out / "b.json").read_text())["file"] == str(clips / "b.wav")
    assert len(json.loads((out / "long.json").read_text())["windows"]) == 2
    assert told[0] == Notice("Ray: 2 workers on a CPU each")
    assert sum(not isinstance(outcome, Notice) for outcome in told) == 11
    assert_same_run_json(out, tmp_path / "alone")
    assert_finished(clips, out)


def assert_same_run_json(out: Path, single: Path) -> None:
    runs = [json.loads((folder / "run.json").read_text()) for folder in (out, single)]
    assert [run.pop("device") for run in runs] == ["ray: 2 workers on a CPU each", "cpu"]
    for run in runs:
        del run["started"], run["finished"]
    assert runs[0] == runs[1]


def assert_finished(clips: Path, out: Path) -> None:
    """A second call has nothing to do, a single process can repair the run, and another fingerprint is refused."""
    before = contents(out)
    for name in ("notes.wav", "refused.wav"):
        (clips / name).unlink()
    told: list[object] = []
    assert len(together(clips, out, watch=told.append).done) == 9
    assert told == [Notice("9 of 9 clips are done already", 9)]
    (out / "c.json").unlink()
    assert len(alone(clips, out).done) == 9
    assert contents(out) == before
    with pytest.raises(UsageError, match="--restart"):
        together(clips, out, labels=("Speech",))


def test_examples_on_the_flagship(tmp_path):
    """Names, labels and decisions the same, waveforms within one 16-bit step; thresholds of a file arrive too."""
    (tmp_path / "own.toml").write_text("[knobs]\nenergy_db = -14.0\n")
    common = ["separate", EXAMPLES, "--batch-size", "2", "--thresholds", tmp_path / "own.toml", "--device", "cpu"]
    common += ["--system", "tagging-driven-compact"]
    cluster = ["--cluster", "ray", "--cluster-workers", "1"]
    for folder, more in (("alone", []), ("together", cluster)):
        assert exit_code([str(arg) for arg in (*common, "-o", tmp_path / folder, *more)]) == 0
    single, spread = contents(tmp_path / "alone"), contents(tmp_path / "together")
    assert spread.keys() == single.keys()
    n_stems = 0
    for name in single:
        if name.endswith(".json"):
            assert_same_decisions(json.loads(spread[name]), json.loads(single[name]))
        else:
            n_stems += 1
            found, expected = (soundfile.read(tmp_path / run / name, dtype="int16")[0] for run in ("together", "alone"))
            assert np.abs(found.astype(int) - expected).max() <= 1
    assert n_stems >= 2


def assert_same_decisions(found: object, expected: object) -> None:
    """Equal but for the last digits of numbers."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_same_decisions(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            assert_same_decisions(*pair)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-3)
    elif expected is None or not str(expected).endswith("energy_db"):
        assert expected == found or "below" in str(expected)  # reasons repeat the numbers


# --- whoever dies ----------------------------------------------------------------------------------------------------


def workers() -> list[int]:
    """Processes of Ray actors."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            title = (process / "cmdline").read_bytes()
        except OSError:  # it has just ended
            continue
        if title.startswith(b"ray::RemoteWorker"):
            found.append(int(process.name))
    return found


def test_a_killed_worker_loses_nothing(clips, out, slow, expected):
    killed: list[int] = []
    told: list[object] = []

    def kill_one(outcome: object) -> None:
        told.append(outcome)
        if len(told) == 3:
            killed.extend(workers()[:1])
            os.kill(killed[0], signal.SIGKILL)

    result = together(clips, out, api.load("toy", "cpu", slow), kill_one)
    assert (len(result.done), [failure.name for failure in result.failed]) == (9, ["notes", "refused"])
    assert len(killed) == 1
    assert contents(out) == expected
    clips_told = [outcome.name for outcome in told if not isinstance(outcome, Notice)]
    assert sorted(clips_told) == sorted(set(clips_told)), "nothing twice"


def test_only_the_clip_that_kills_its_worker_fails(tmp_path, out, capsys):
    folder = tmp_path / "some"
    folder.mkdir()
    for name in ("a", "b", "deadly", "e", "f"):
        write_tones(folder / f"{name}.wav", LOW_HZ, HIGH_HZ)
    told: list[object] = []
    result = together(folder, out, api.load("deadly", "cpu"), told.append, n_workers=1)
    assert [clip.name for clip in result.done] == ["a", "b", "e", "f"]
    assert [failure.name for failure in result.failed] == ["deadly"]
    assert "2 workers died" in result.failed[0].reason
    assert any("was started again" in outcome.message for outcome in told if isinstance(outcome, Notice))
    assert capsys.readouterr() == ("", ""), "Ray itself is quiet about dead workers"


def command(clips: Path, out: Path, *more: object) -> list[str]:
    words = ["separate", clips, "-o", out, "--system", "toy", "--batch-size", 2, "--cluster", "ray", *more]
    return [str(word) for word in words]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_run_that_lost_its_driver_goes_on(clips, out, slow, address, expected, number):
    words = command(clips, out, "--cluster-address", address, "--thresholds", slow)
    driver = subprocess.Popen(
        [sys.executable, "-m", "s5cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until(lambda: recorded(out) or driver.poll() is not None)
    driver.send_signal(number)
    _, err = driver.communicate(timeout=120)
    assert driver.returncode == (-number if number == signal.SIGKILL else 128 + number), err
    if number != signal.SIGKILL:
        note, *end = err.splitlines()
        assert note.startswith("note: Ray: 1 worker on ")
        assert re.fullmatch(r"error: interrupted; \d+ of 11 clips are done, and the same command goes on", end[-1])
        assert len(end) == 1
        assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []
    until(lambda: not workers())
    done = {path: path.stat().st_mtime_ns for path in recorded(out)}
    assert 0 < len(done) < 9
    once_more = partial(together, n_workers=1) if number == signal.SIGKILL else alone
    assert len(once_more(clips, out, api.load("toy", "cpu", slow)).done) == 9
    assert contents(out) == expected
    assert {path: path.stat().st_mtime_ns for path in done} == done


def recorded(out: Path) -> list[Path]:
    """The JSON files of the clips that are done by the manifest."""
    manifest = out / "manifest.jsonl"
    lines = manifest.read_text().split("\n")[:-1] if manifest.exists() else []
    return [out / f"{json.loads(line)['clip']}.json" for line in lines if line.startswith('{"clip"')]


def until(true, most_s: float = 120) -> None:
    end_s = time.monotonic() + most_s
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.05)


# --- the command -----------------------------------------------------------------------------------------------------


def test_without_a_cluster_one_starts_and_ends_with_the_run(clips, out):
    """Only data on stdout, and the exit code and list of any run with failures."""
    words = command(clips, out, "--cluster-address", "local", "--json", "--cluster-workers", 1)
    done = subprocess.run([sys.executable, "-m", "s5cli", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    printed = json.loads(done.stdout)
    assert [clip["name"] for clip in printed["clips"]] == [*"abcdefgh", "long"]
    assert [failure["name"] for failure in printed["failed"]] == ["notes", "refused"]
    note, head, *reasons = [line for line in done.stderr.splitlines() if " clips/s, " not in line]  # after 30 s
    assert note.startswith("note: Ray: 1 worker on ")
    assert (head, len(reasons)) == ("error: 2 of 11 clips failed:", 2)
    until(lambda: not workers())


DRIVER = """
import sys, time
import ray, psutil
from s5cli.run.cluster.session import joined

def wait():
    print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
    time.sleep(600)

def starting(*args, start=ray.init, **options):
    start(*args, **options)
    wait()

if "starting" in sys.argv:
    ray.init = starting
with joined("local"):
    wait()
"""


@pytest.mark.parametrize("when", ["starting", "up"])
def test_nothing_is_left_of_a_ray_of_our_own_whose_driver_was_killed(address, when):
    """Its agents alone would stay for a minute. Another Ray of the same user, that of this module, is left alone."""
    import psutil  # Ray brings it along

    driver = subprocess.Popen([sys.executable, "-c", DRIVER, when], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert driver.stdout is not None
    processes = [psutil.Process(int(pid)) for pid in driver.stdout.readline().split()]
    assert {"ray::DashboardAgent", "ray::RuntimeEnvAgent"} <= {process.cmdline()[0] for process in processes}
    driver.kill()
    driver.wait()
    _, left = psutil.wait_procs(processes, timeout=10)
    assert left == []
    assert allocated(None, "cpu").n_workers == 1
    assert len(psutil.Process().children(recursive=True)) > 5


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:9", "no Ray cluster at '127.0.0.1:9' ([Errno 111] Connection refused); give another"),
        ("http://127.0.0.1:8265", "'http://127.0.0.1:8265' is no address of a Ray cluster; give its head's host:port"),
        ("head", "'head' is no address"),
    ],
)
def test_where_there_is_no_cluster(address, reason):
    with pytest.raises(UsageError) as caught:
        check_reachable(address)
    assert str(caught.value).startswith(reason)


def test_a_ray_that_does_not_start(monkeypatch):
    """As where a machine is so busy that it takes more than half a minute: Ray has no class for that."""

    def init(*args, **options):
        raise Exception("The current node timed out during startup.\nThis could happen because")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    told = r"^Ray does not start on this machine \(The current node timed out during startup\.\); call again"
    with pytest.raises(UsageError, match=told), joined("local"):
        pass
    monkeypatch.undo()
    assert ray.cluster_resources()["CPU"] == 2, "the Ray of this module lives on"


def test_options_that_do_not_go_together():
    assert chosen(None, None, None, "cuda:0,cuda:1") is None
    with pytest.raises(UsageError, match="--cluster ray"):
        chosen(None, "auto", None, "auto")
    with pytest.raises(UsageError, match="cuda:0"):
        chosen("ray", None, None, "cuda:0")


def test_a_missing_ray_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 's5cli\[cluster\]'"):
        chosen("ray", None, None, "auto")


def test_a_cluster_that_is_too_small():
    with pytest.raises(UsageError, match="2 CPUs in the cluster, not 3"):
        allocated(3, "cpu")
    with pytest.raises(UsageError, match="0 GPUs in the cluster"):
        allocated(None, "cuda")
    assert dataclasses.astuple(allocated(None, "auto")) == (1, 0, 2)


# --- machines that cannot take part ----------------------------------------------------------------------------------


@pytest.fixture
def spec(clips, tmp_path) -> WorkerSpec:
    stage = tmp_path / "out" / "stage"
    stage.mkdir(parents=True)
    return WorkerSpec.of(plan([clips], tmp_path / "out", Options()), api.load("toy", "cpu"), "cpu", stage)


def test_a_machine_that_is_like_this_one(spec):
    assert prepared(spec).loaded.name == "toy"


def test_a_machine_without_the_folders(spec, tmp_path):
    with pytest.raises(UsageError, match=r"does not see .*elsewhere; "):
        prepared(dataclasses.replace(spec, folders=(tmp_path / "elsewhere",)))


def test_a_machine_with_another_version(spec):
    with pytest.raises(UsageError, match=r"the run is by 9\.9"):
        prepared(dataclasses.replace(spec, version="9.9"))


def test_a_machine_with_other_weights(clips, out):
    """It says so in one line, and the run ends: its clips would not be those of the others."""
    ours = api.load("toy", "cpu")
    other = dataclasses.replace(ours, weights=[{"part": "a", "file": "x", "sha256": "0" * 64, "licence": "MIT"}])
    with pytest.raises(UsageError, match=r"^machine .*: would separate with weights\.a None, not 00000000…"):
        together(clips, out, other, n_workers=1)
    assert not list(out.glob("*.wav"))
