"""The meta file: what is known is filled in, what a person wrote stays, and everything else is reported."""

import copy
import dataclasses
import tomllib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from s5cli.challenge import meta
from s5cli.challenge.meta import Facts
from s5cli.errors import InputError
from tests.challenge.made import ANSWERS, FACTS, answer

KEYS = [meta.Key(**table) for table in tomllib.loads((Path(meta.__file__).parent / "schema.toml").read_text())["key"]]


@pytest.fixture
def complete(tmp_path):
    path = tmp_path / "a.meta.yaml"
    path.write_text(meta.dumps(meta.composed(FACTS)))
    answer(path)
    return meta.loads(path.read_bytes())


def changed(content, path, value):
    content = copy.deepcopy(content)
    *tables, name = path
    table = content
    for step in tables:
        table = table[step]
    table[name] = value
    return content


def told(content):
    return [(problem.path, problem.fatal) for problem in meta.problems(content)]


def test_the_schema_names_facts_that_there_are():
    known = {field.name for field in dataclasses.fields(Facts)}
    assert {key.fill or key.propose for key in KEYS if key.fill or key.propose} <= known
    assert len({key.path for key in KEYS}) == len(KEYS)


def test_what_nobody_told_is_marked_and_reported():
    """Exactly the keys that are required and not known; nothing else."""
    content = meta.composed(FACTS)
    asked = {key.path for key in KEYS if not (key.fill or key.propose or key.optional or key.least)}
    asked = {path.replace("authors[]", "authors[0]") for path in asked if "datasets[]" not in path}
    assert dict(told(content)) == dict.fromkeys(asked, True)
    assert all("left to fill in: TODO" in problem.what for problem in meta.problems(content))


def test_what_is_known_is_there():
    content = meta.composed(FACTS)
    assert content["submission"]["label"] == "Doe_LAB_task4_1"
    assert content["submission"]["authors"][0]["lastname"] == "Doe"
    assert content["system"]["description"]["input_sampling_rate"] == 32
    assert content["system"]["complexity"]["total_parameters"] == 119356966
    assert content["system"]["complexity"]["macs"] == 26_511_699_920
    assert content["results"]["development_dataset"] == {"CAPI-SDRi": 8.25, "accuracy_mix": 57.5, "accuracy_src": 66.0}
    assert meta.stated(content, "nparams") == [119356966]


def test_a_complete_file_has_no_problems(complete):
    assert told(complete) == []


def test_answers_stay_and_facts_are_written_anew(complete):
    complete["submission"]["authors"].append(copy.deepcopy(complete["submission"]["authors"][0]))
    complete["submission"]["authors"][1] |= {"lastname": "Roe", "corresponding": False}
    complete["submission"]["authors"][0]["lastname"] = "Dœ"  # a label takes no such letter, a name does
    complete["system"]["extra"] = "kept"
    again = meta.composed(dataclasses.replace(FACTS, nparams=7, capi_sdri_db=9.0), complete)
    assert again["system"]["complexity"]["total_parameters"] == 7
    assert again["results"]["development_dataset"]["CAPI-SDRi"] == 9
    again["system"]["complexity"]["total_parameters"] = 119356966
    again["results"]["development_dataset"]["CAPI-SDRi"] = 8.25
    assert again == complete


def test_a_figure_that_the_program_does_not_know_is_asked_for(complete):
    unknown = dataclasses.replace(FACTS, macs=None)
    assert ("system.complexity.macs", True) in told(meta.composed(unknown))
    assert meta.composed(unknown, complete)["system"]["complexity"]["macs"] == 26_511_699_920


@pytest.mark.parametrize(
    "key", [key for key in KEYS if not key.optional and "[]" not in key.path], ids=lambda k: k.path
)
def test_a_missing_key_is_an_error(complete, key):
    *tables, name = key.path.split(".")
    table = complete
    for step in tables:
        table = table[step]
    del table[name]
    assert (key.path, True) in told(complete)


def test_a_missing_table_is_an_error(complete):
    del complete["results"]["development_dataset"]
    assert told(complete) == [("results.development_dataset", True)]
    assert told(None) == [("", True)]


def test_an_unknown_key_is_a_warning(complete):
    complete["system"]["complexity"]["mac"] = 1
    problem = meta.problems(complete)[0]
    assert (problem.path, problem.fatal) == ("system.complexity.mac", False)
    assert "did you mean 'macs'" in problem.what


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("submission", "name"), 7),
        (("submission", "name"), " "),
        (("submission", "name"), "My Baseline"),
        (("submission", "name"), None),
        (("submission", "abbreviation"), "ABCDEFGHIJK"),
        (("submission", "authors"), []),
        (("submission", "authors"), "Jane"),
        (("submission", "authors", 0, "email"), "jane at example"),
        (("submission", "authors", 0, "corresponding"), "yes"),
        (("submission", "authors", 0, "affiliation"), "LAB"),
        (("submission", "authors", 0, "affiliation", "abbreviation"), "ABCDEFGHIJK"),
        (("system", "description", "input_sampling_rate"), "32kHz"),
        (("system", "description", "input_sampling_rate"), float("nan")),
        (("system", "description", "acoustic_features"), ["log-mel", "TODO"]),
        (("system", "description", "ensemble_method_subsystem_count"), 1.5),
        (("system", "complexity", "macs"), -1),
        (("system", "complexity", "macs"), True),
        (("system", "external_datasets"), None),
        (("system", "external_datasets"), [{"name": "x", "url": "x.org", "total_audio_length": 3}]),
        (("system", "external_datasets"), [{"name": "x"}]),
        (("system", "source_code"), "somewhere"),
        (("results", "development_dataset", "CAPI-SDRi"), None),
    ],
)
def test_a_wrong_value_is_an_error(complete, path, value):
    found = told(changed(complete, path, value))
    assert found
    assert all(fatal for _, fatal in found)
    assert found[0][0].replace("[0]", ".0").startswith(".".join(map(str, path[:3])))


@pytest.mark.parametrize("flags", [(False,), (True, True)])
def test_one_author_is_the_corresponding_one(complete, flags):
    author = complete["submission"]["authors"][0]
    complete["submission"]["authors"] = [{**author, "corresponding": flag} for flag in flags]
    assert [problem.what for problem in meta.problems(complete)] == ["exactly one author is the corresponding one"]


def test_the_other_spelling_is_taken_and_kept(complete):
    affiliation = complete["submission"]["authors"][0]["affiliation"]
    affiliation["institution"] = affiliation.pop("institute")
    assert told(complete) == []
    assert meta.composed(FACTS, complete)["submission"]["authors"][0]["affiliation"].keys() == affiliation.keys()


# --- text -------------------------------------------------------------------------------------------------------------


def test_null_is_written_as_dcase_does_and_read_either_way():
    content = meta.composed(FACTS)
    text = meta.dumps(content, ["macs: how"])
    assert "    training: !!null\n" in text
    assert text.splitlines()[1] == "# macs: how"
    assert meta.loads(text.encode()) == meta.loads(text.replace("!!null", "null").encode()) == content


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])) | st.sampled_from(
    ["null", "a: null", "x\n  y: null\n", "!!null", "TODO", "no", "1e3", "2026-01-01", "*a"]
)


@given(st.dictionaries(texts, st.recursive(st.none() | texts | st.integers(), st.lists, max_leaves=5)))
def test_what_is_written_is_read(content):
    assert meta.loads(meta.dumps(content).encode()) == content


def test_references_are_refused():
    bomb = b"a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\n"
    assert yaml.safe_load(bomb)["c"]
    with pytest.raises(InputError, match="references"):
        meta.loads(bomb)


def test_a_tower_of_brackets_is_refused_at_once():
    with pytest.raises(InputError, match="nested more than"):
        meta.loads(b"[" * meta.MOST_BYTES)


@pytest.mark.parametrize(
    "text", [b"a: [", b"a: !!python/object/apply:os.system [ls]", b"\xff\xfe\x00", b"a: 2026-99-99"]
)
def test_what_is_no_yaml(text):
    with pytest.raises(InputError, match="not YAML"):
        meta.loads(text)


def test_answers_of_the_tests_are_keys_of_the_schema():
    assert {".".join(path) for path in ANSWERS} <= {key.path for key in KEYS}
