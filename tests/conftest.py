"""What all tests share: one thread a process, the same random numbers for every test, and what is made only once.

`made_once` makes a folder for all workers of pytest-xdist: the first that asks makes it, the others wait. It is
read-only; who wants to change it works on a copy (`copied`).
"""

import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as many processes as cores; before torch or numpy is imported

EXAMPLES = Path(__file__).parents[1] / "examples"
N_SHORT, SHORT_SAMPLES = 6, 10_000


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Networks that a test builds, and whatever else asks for a random number, are the same in every run."""
    random.seed(0)
    for name in ("numpy", "torch"):  # where they are loaded
        if name in sys.modules:
            (sys.modules["numpy"].random.seed if name == "numpy" else sys.modules["torch"].manual_seed)(0)


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores, as tests on clusters and in browsers mostly wait."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests on a Ray cluster come first: they mostly wait, while the other processes get through the rest."""
    items.sort(key=lambda item: "test_cluster" not in item.nodeid)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where a run goes; not there yet."""
    return tmp_path / "out"


def shared_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """A folder of that name that all workers see."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared" / name
    place.mkdir(parents=True, exist_ok=True)
    return place


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder of that name, filled by `make` in this session's first process to ask for it."""
    place = shared_folder(tmp_path_factory, "once") / name
    with FileLock(place.with_suffix(".lock")):
        if not place.exists():
            scratch = place.with_suffix(".part")
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            make(scratch)
            for path in scratch.rglob("*"):
                if path.is_file():
                    path.chmod(0o444)
            scratch.rename(place)
    return place


def copied(source: Path, target: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(source, target, copy_function=shutil.copyfile))


@pytest.fixture(scope="session")
def short_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A development set of six clips of a third of a second, cut from the examples; read-only."""
    return made_once(tmp_path_factory, "short_clips", cut_examples)


def cut_examples(folder: Path) -> None:
    import soundfile

    from s5cli.dataset import open_dataset
    from s5cli.scene import RATE_HZ

    for inner in ("soundscape", "oracle_target"):
        (folder / inner).mkdir()
    examples = open_dataset(EXAMPLES)
    for number in range(N_SHORT):
        name = [*examples.mixtures][number % len(examples.mixtures)]
        span = slice(number * RATE_HZ, number * RATE_HZ + SHORT_SAMPLES)
        paths = {folder / "soundscape" / f"cut{number}.wav": examples.mixtures[name]}
        for place, source in enumerate(examples.references[name]):
            paths[folder / "oracle_target" / f"cut{number}_{place}_{source.label}.wav"] = source.path
        for path, whole in paths.items():
            soundfile.write(path, soundfile.read(whole, dtype="float32")[0][span], RATE_HZ, subtype="FLOAT")


@pytest.fixture(scope="session")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of `s5 tune` and `s5 study` for all tests that do not begin with an empty one; they all write to it."""
    return shared_folder(tmp_path_factory, "evidence")


@pytest.fixture(scope="session")
def examples_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `s5 separate` makes of the examples with the tagging-driven system on the CPU; read-only."""
    return made_once(tmp_path_factory, "examples_run", separate_examples) / "run"


def separate_examples(folder: Path) -> None:
    from s5cli.cli import exit_code

    line = [
        "separate",
        str(EXAMPLES),
        "-o",
        str(folder / "run"),
        "--device",
        "cpu",
        "--system",
        "tagging-driven-compact",
    ]
    assert exit_code(line) == 0
