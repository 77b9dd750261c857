"""A real run of the embedded system on the examples, its report moved away from everything, and a browser."""

import json
import os
import shutil
from pathlib import Path

import pytest

from s5cli.report.collect import read_run
from s5cli.report.write import Report, write_report
from tests.conftest import copied

EXAMPLES = Path(__file__).parents[2] / "examples"
ORACLE = EXAMPLES / "oracle_target"
REQUIRED = "S5_REQUIRE_BROWSER"


@pytest.fixture(scope="session")
def made(examples_run, tmp_path_factory) -> Path:
    """What `s5 separate` makes of the examples, but nothing found where there is no target, and a query that the gate
    dropped; not to be changed.
    """
    run = copied(examples_run, tmp_path_factory.mktemp("made") / "run")
    empty(run, "no_target")
    gate(run, "clapping_two_speakers")
    return run


def empty(run: Path, clip: str) -> None:
    """Makes the run one that proposed nothing for this clip, whatever the taggers think."""
    record = json.loads((run / f"{clip}.json").read_text())
    for stem in record["stems"]:
        (run / stem["file"]).unlink()
    (run / f"{clip}.json").write_text(json.dumps(record | {"stems": [], "queries": []}))


def gate(run: Path, clip: str) -> None:
    """Makes it one whose last dropped query was dropped by the gate, whatever the taggers think."""
    path = run / f"{clip}.json"
    record = json.loads(path.read_text())
    query = [query for query in record["queries"] if query["dropped_by"]][-1]
    query |= {"dropped_by": "gate", "reason": "confidence 0.2 is below the gate's 0.3"}
    path.write_text(json.dumps(record))


@pytest.fixture
def run(made, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / "run"))


@pytest.fixture(scope="session")
def reported(made, tmp_path_factory) -> Report:
    """A report of the examples; not to be changed."""
    return write_report(read_run(made, ORACLE), tmp_path_factory.mktemp("reported") / "report")


@pytest.fixture(scope="session")
def moved(made, tmp_path_factory) -> Path:
    """A report that was moved to a folder with an awkward name, after its run had been deleted."""
    folder = tmp_path_factory.mktemp("moved")
    run = Path(shutil.copytree(made, folder / "run"))
    write_report(read_run(run, ORACLE), folder / "report")
    shutil.rmtree(run)
    away = folder / "käse & co #1 100%?"
    away.mkdir()
    return Path(shutil.move(folder / "report", away / "report"))


@pytest.fixture(scope="session")
def chromium():
    """Headless Chromium. Without one these tests are skipped, or fail if the environment says that there is one."""
    binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        missing = "no Chromium here (Debian: apt-get install chromium chromium-driver)"
        if os.environ.get(REQUIRED):
            pytest.fail(f"{missing}, and {REQUIRED} is set")
        pytest.skip(missing)
    browser = _started(binary, driver)
    yield browser
    browser.quit()


def _started(binary: str, driver: str):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio"):
        options.add_argument(argument)
    options.add_argument("--window-size=1400,1000")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(driver))


@pytest.fixture
def browser(chromium):
    """It, with nothing remembered, and silent on its console in the end."""
    chromium.get("about:blank")
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    for log in ("browser", "performance"):
        chromium.get_log(log)
    yield chromium
    assert chromium.get_log("browser") == []
    chromium.execute_script("try { localStorage.clear(); sessionStorage.clear(); } catch {}")
