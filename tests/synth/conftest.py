from pathlib import Path

import pytest

from s5cli.synth.library import Library
from tests.synth.material import write_split_first


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_split_first(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="session")
def library(material: Path) -> Library:
    return Library.scan(material, "train")
