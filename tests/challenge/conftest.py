"""One run and one complete submission for all tests here; whoever changes them works on a copy."""

from pathlib import Path

import pytest

from s5cli.challenge import meta
from s5cli.challenge.package import Order, package
from tests.challenge.made import EXAMPLES, FACTS, LABEL, PDF, URL, answer


@pytest.fixture(scope="session")
def run(examples_run) -> Path:
    """The examples, separated by the compact tagging-driven system."""
    return examples_run


@pytest.fixture(scope="session")
def submission(run, tmp_path_factory) -> Path:
    """A folder with everything that can be submitted: nothing is left to fill in."""
    folder = tmp_path_factory.mktemp("submission")
    (folder / "report.pdf").write_bytes(PDF)
    (folder / "answers.yaml").write_text(meta.dumps(meta.composed(FACTS)))
    answer(folder / "answers.yaml")
    order = Order(run, run, LABEL, folder / "out", EXAMPLES, URL, folder / "report.pdf", folder / "answers.yaml")
    assert package(order).todo == ()
    return order.out_dir
