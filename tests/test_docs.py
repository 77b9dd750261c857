"""What README and docs tell a reader to type is there and works."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

from s5cli.cli import app, exit_code
from s5cli.train.recipe import names

ROOT = Path(__file__).parents[1]
TEXTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
COMMAND = typer.main.get_command(app)


def commands(text):
    """Every `s5 …` of code blocks and code spans, comments cut."""
    blocks = (
        re.findall(r"```[a-z]*\n(.*?)```", text, re.S)
        + re.findall(r"^    (s5 .*)$", text, re.M)
        + re.findall(r"`([^`\n]+)`", text)
    )
    lines = [line.split("#")[0] for block in blocks for line in re.split(r"\n|&&", block)]
    return [line.strip() for line in lines if line.strip().startswith("s5 ")]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_command_and_option_exists(path):
    for line in commands(path.read_text()):
        words = [word for word in shlex.split(line)[1:] if word not in {"…", "DIR"}]
        if not words or words[0].startswith("-"):
            continue
        command = COMMAND.commands.get(words[0])
        assert command, f"{path.name}: {line}"
        if hasattr(command, "commands") and len(words) > 1:
            command = command.commands[words[1]]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        asked = {word.split("=")[0] for word in words if word.startswith("-")} - {"--help"}
        assert asked <= known, f"{path.name}: {line}"
        if words[0] == "train" and len(words) > 1 and re.fullmatch(r"[a-z0-9_]+", words[1]):
            assert words[1] in {*names(), "list"}, f"{path.name}: {line}"


def test_readmes_first_line_separates_its_example(tmp_path, monkeypatch):
    first = next(
        line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("pip install -e . && ")
    )
    args = shlex.split(first.split("&& s5 ")[1])
    monkeypatch.chdir(ROOT)
    assert args[args.index("-o") + 1] == "stems"
    args[args.index("-o") + 1] = str(tmp_path / "stems")
    assert exit_code(args) == 0
    assert (tmp_path / "stems" / "run.json").exists()


def test_readmes_test_line_installs_an_extra_that_exists():
    line = next(
        line for line in (ROOT / "README.md").read_text().splitlines() if re.match(r"pip install .* && pytest", line)
    )
    extra = re.search(r"\[(\w+)\]", line)[1]
    assert extra in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_paths_that_the_readme_names_exist():
    text = (ROOT / "README.md").read_text()
    for path in re.findall(r"`((?:docs|examples|benchmarks|s5cli)/[\w./]*)`", text):
        assert (ROOT / path).exists(), path
