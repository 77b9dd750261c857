"""`s5 package` and `s5 validate` as a person types them."""

import json

import pytest

from s5cli.cli import exit_code
from tests.challenge.made import EXAMPLES, edited
from tests.conftest import copied


@pytest.fixture
def s5(capfd):
    """One command line in this process: exit code, stdout, stderr."""

    def run(*args: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = exit_code([str(arg) for arg in args])
        return (code, *capfd.readouterr())

    return run


@pytest.fixture
def options(run, tmp_path):
    """For a run whose system the registry has forgotten, so that no networks are run to count multiply-adds."""
    mine = copied(run, tmp_path / "run")
    edited(mine / "run.json", lambda about: about.update(system="forgotten"))
    references = ("--dev-run", mine, "--dev-reference", EXAMPLES)
    return (mine, *references, "--author", "Doe", "--affiliation", "LAB", "-o", tmp_path / "out")


def test_package_then_validate(s5, options, tmp_path):
    code, out, err = s5("package", *options, "--index", 2)
    assert code == 0
    assert err.startswith("warning: multiply-adds were not counted: unknown system 'forgotten'")
    assert str(tmp_path / "out" / "Doe_LAB_task4_2_out.zip") in out
    assert "  submission.name\n" in out
    code, out, err = s5("validate", tmp_path / "out" / "task4.zip", "--soundscapes", EXAMPLES)
    assert code == 1
    assert "error [meta]" in out
    assert "left to fill in: TODO" in out
    assert "19 errors, 0 warnings" in out
    assert err.count("not checked: ") == 2
    code, _, err = s5("package", *options, "--index", 2)
    assert code == 2
    assert err.count("\n") == 1
    assert "--overwrite" in err


def test_package_as_json(s5, run, options, tmp_path):
    code, out, err = s5("package", run, *options[1:], "--dev-run", run, "--zip-name", "script", "--json")
    content = json.loads(out)
    assert (code, err) == (0, "")
    assert content["wav_zip"] == str(tmp_path / "out" / "Doe_LAB_task4_1.zip")
    assert (tmp_path / "out" / "Doe_LAB_task4_1.zip").is_file()
    assert content["n_clips"] == 4
    assert sum(content["macs"]["by_part"].values()) > 1e9
    assert "submission.name" in content["todo"]


@pytest.mark.parametrize(
    ("given", "said"), [(("--affiliation", "TOOLONGABBREV"), "13 characters"), (("--index", 5), "1 to 4")]
)
def test_labels_that_cannot_be(s5, options, given, said, tmp_path):
    code, out, err = s5("package", *options, *given)
    assert (code, out) == (2, "")
    assert said in err
    assert not (tmp_path / "out").exists()


def test_a_good_submission(s5, submission):
    code, out, err = s5("validate", submission, "--soundscapes", EXAMPLES, "--dev-soundscapes", EXAMPLES)
    assert (code, err) == (0, "")
    assert out.startswith("0 errors, 0 warnings in ")


def test_warnings_fail_only_where_they_are_to(s5, submission, tmp_path):
    folder = copied(submission / "Doe_LAB_task4_1", tmp_path / "Doe_LAB_task4_1")
    (folder / "notes.txt").touch()
    args = ("validate", folder, "--soundscapes", EXAMPLES, "--dev-soundscapes", EXAMPLES)
    assert s5(*args)[0] == 0
    code, out, _ = s5(*args, "--strict")
    assert code == 1
    assert out.splitlines()[0].startswith("warning [layout] ")
    assert out.splitlines()[1].startswith("0 errors, 1 warning in ")


def test_findings_as_json(s5, submission, tmp_path):
    folder = copied(submission / "Doe_LAB_task4_1", tmp_path / "Doe_LAB_task4_1")
    (folder / "eval_results.json").unlink()
    code, out, _ = s5("validate", folder, "--soundscapes", EXAMPLES, "--json")
    content = json.loads(out)
    assert code == 1
    assert content["errors"] == 1
    assert content["findings"][0]["rule"] == "layout"
    assert content["unchecked"]
