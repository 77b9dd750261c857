"""What a tuner remembers holds no rule, so that a rule which somebody edits is never answered from before."""

import ast
from pathlib import Path

import s5cli.steps

NO_RULES = {"energy_db", "BothTags", "Bridged"}  # a ratio in dB, and records of what taggers said and a rule made of it


def test_steps_use_nothing_of_the_rules_but_a_measure_and_a_record():
    files = sorted(Path(s5cli.steps.__file__).parent.glob("*.py"))
    imported = [
        (node.module or "", alias.name)
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert len(files) >= 3
    assert {name for module, name in imported if module.startswith("s5cli.rules")} <= NO_RULES
    assert not any(module == "s5cli" and name in ("rules", "systems") for module, name in imported)
