"""Submissions made by the program itself, and what a person adds to them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from s5cli.challenge.label import Label
from s5cli.challenge.meta import Facts
from s5cli.cli import exit_code

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SYSTEM = "tagging-driven-compact"
LABEL = Label("Doe", "LAB", 1)
PDF = b"%PDF-1.4\n% a report\n"
URL = "https://example.org/Doe_LAB_task4_1_out.zip"

FACTS = Facts(str(LABEL), "Doe", "LAB", 119356966, 26_511_699_920, 8.25, 57.5, 66.0)

ANSWERS: Mapping[tuple[str, ...], Any] = {
    ("submission", "name"): "Small networks",
    ("submission", "abbreviation"): "Small",
    ("system", "description", "acoustic_features"): ["log-mel energies", "intensity vectors"],
    ("system", "description", "embeddings"): None,
    ("system", "description", "data_augmentation"): "mixing",
    ("system", "description", "machine_learning_method"): "CNN",
    ("system", "description", "ensemble_method_subsystem_count"): 2,
    ("system", "description", "decision_making"): None,
    ("system", "description", "external_data_usage"): None,
    ("system", "description", "pipeline"): "tagging, separation",
    ("system", "external_datasets"): [],
    ("system", "source_code"): "https://example.org/code",
}


def separate(out: Path, *options: str) -> Path:
    """A run on the examples."""
    assert exit_code(["separate", str(EXAMPLES), "-o", str(out), "--device", "cpu", *options]) == 0
    return out


def answer(meta_file: Path) -> None:
    """Fills in what only a person knows."""
    content = yaml.safe_load(meta_file.read_text())
    for (*tables, name), value in ANSWERS.items():
        table = content
        for step in tables:
            table = table[step]
        table[name] = value
    author = content["submission"]["authors"][0]
    author |= {"firstname": "Jane", "email": "jane@example.org"}
    author["affiliation"] |= {"institute": "Laboratory", "location": "Town, Country"}
    meta_file.write_text(yaml.safe_dump(content, sort_keys=False))


def edited(path: Path, edit: Callable[[Any], object]) -> None:
    """A JSON file changed in place."""
    import json

    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
