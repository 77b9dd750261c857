"""`s5 systems` and `s5 doctor`."""

import importlib.util
import json
import math
import shutil
from pathlib import Path
from typing import ClassVar

import pytest
import torch

import s5cli
from s5cli.knobs import AblationRow, Knob, Option, per_stage
from s5cli.trace import Drop


def test_systems_as_json(s5):
    done = s5("systems", "--json")
    assert done.code == 0
    content = json.loads(done.out)
    systems = {system["name"]: system for system in content["systems"]}
    assert set(systems["toy"]) == {"name", "summary", "source", "parts", "state", "parameters"}
    assert systems["baseline-1ch"]["state"] == "needs download"
    assert systems["tagging-driven-3"]["state"] == "needs training"
    assert systems["toy"]["state"] == "ready"
    assert content["aliases"]["tagging-driven-compact"] == "tagging-driven-compact-3"


def test_parameters_are_counted_the_official_way(s5):
    """The totals of the paper: two taggers with one separator, and with two."""
    systems = {system["name"]: system for system in json.loads(s5("systems", "--json").out)["systems"]}
    assert systems["tagging-driven-0"]["parameters"] == 215_903_073
    assert systems["tagging-driven-3"]["parameters"] == 245_791_820


def test_systems_for_people(s5):
    done = s5("systems")
    assert (done.code, done.err) == (0, "")
    line = next(line for line in done.out.splitlines() if line.startswith("tagging-driven-0 "))
    assert "needs download" in line
    assert "215,903,073" in line
    assert "tagging-driven-compact stands for tagging-driven-compact-3" in done.out


def test_the_compact_systems_are_ready(s5):
    systems = {system["name"]: system for system in json.loads(s5("systems", "--json").out)["systems"]}
    compact = [system for name, system in systems.items() if name.startswith("tagging-driven-compact")]
    assert len(compact) == 4
    assert all(system["state"] == "ready" and system["parameters"] > 0 for system in compact)


# ----------------------------------------------------------------------------------------------------------- one system
class Declared:
    """A flow that says all that a flow can say of itself."""

    knobs = per_stage("silence", Knob(0.0, -math.inf, math.inf, "logit", per_class=True, span=(-4, 4)), 2)
    options: ClassVar = {
        "stages": Option(3, "how often it is separated", low=1, high=3),
        "activity": Option(True, "whether what sounds when is a clue"),
        "size": Option("small", "of the network", choices=("small", "large")),
    }
    drops: ClassVar = {"hushed": Drop("silent"), "late": Drop("too late")}
    ablation = (AblationRow("{name}"), AblationRow("{name}, one stage", options={"stages": 1}))
    window_s = 2.0

    def stream(self, blocks):
        raise NotImplementedError


OWN = f"""
[system.mine]
flow = "{__name__}:Declared"
summary = "three stages"
source = "the tests"
parts = {{}}
knobs = {{ silence_1 = 0.5, silence_2 = {{ Speech = -1.0 }} }}
options = {{ stages = 2 }}
"""


def rows(out: str, head: str) -> list[list[str]]:
    """The lines below a head of columns, cut at gaps of two blanks."""
    lines = out[out.index(f"\n{head}") + 1 :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines[1:]]


def test_one_system_as_json(s5):
    """By its alias too, and nothing that the listing says of it is said otherwise."""
    done = s5("systems", "tagging-driven-compact", "--json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    listed = {one["name"]: one for one in json.loads(s5("systems", "--json").out)["systems"]}[found["name"]]
    assert found["aliases"] == ["tagging-driven-compact"]
    assert {role: part["name"] for role, part in found["parts"].items()} == listed["parts"]
    assert all(found[key] == value for key, value in listed.items() if key != "parts")
    assert sum(part["parameters"] for part in found["parts"].values()) == found["parameters"]
    assert {part["state"] for part in found["parts"].values()} == {"embedded"}
    energy = {"default": -30, "low": -60, "high": 0, "axis": "db", "per_class": False, "stage": "gates"}
    assert found["knobs"]["energy_db"] == energy
    assert found["knobs"]["confidence"]["per_class"] is True
    assert (found["options"], found["window_s"], found["streams"]) == ({}, 10.0, False)
    assert found["drops"]["verify"] == "not verified"
    assert "tagging-driven-compact-3, no gates" in found["ablation"]


def test_classes_differ_only_where_the_section_allows_it(s5):
    knobs = json.loads(s5("systems", "tagging-driven-compact-1", "--json").out)["knobs"]
    assert not any(knob["per_class"] for knob in knobs.values())


def test_defaults_are_those_of_the_section(s5, machine):
    machine.write_text(OWN)
    found = json.loads(s5("systems", "mine", "--json").out, parse_constant=pytest.fail)
    assert found["knobs"]["silence_1"]["default"] == 0.5
    assert found["knobs"]["silence_2"]["default"]["Speech"] == -1.0
    assert {(knob["low"], knob["high"], knob["axis"]) for knob in found["knobs"].values()} == {("-inf", "inf", "logit")}
    stages, activity, size = found["options"].values()
    assert (stages["default"], stages["low"], stages["high"], stages["choices"]) == (2, 1, 3, [])
    assert (activity["default"], activity["expected"]) == (True, "on or off")
    assert "low" not in activity
    assert (size["default"], size["choices"], size["expected"]) == ("small", ["small", "large"], "small or large")
    assert found["streams"] is True


def test_one_system_for_people(s5, machine):
    machine.write_text(OWN)
    done = s5("systems", "mine")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("mine: three stages\nsource: the tests\nstate: ready, 0 parameters\n")
    assert rows(done.out, "knob ") == [
        ["silence_1", "0.5", "-inf to inf", "logit", "no", "stage 1"],
        ["silence_2", "differs by class", "-inf to inf", "logit", "no", "stage 2"],
    ]
    assert rows(done.out, "option ") == [
        ["stages", "2", "a whole number from 1 to 3", "how often it is separated"],
        ["activity", "on", "on or off", "whether what sounds when is a clue"],
        ["size", "small", "small or large", "of the network"],
    ]
    assert rows(done.out, "rule that drops queries") == [["hushed", "silent"], ["late", "too late"]]
    assert rows(done.out, "rows of `s5 study ablation`") == [["mine"], ["mine, one stage"]]
    assert "role " not in done.out  # it has no parts


def test_parts_and_files_for_people(s5):
    out = s5("systems", "tagging-driven").out
    assert "state: needs training, 245,791,820 parameters\nalso called: tagging-driven\n" in out
    found = {row[0]: row[1:] for row in rows(out, "role ")}
    assert found["tagger_1ch"][:3] == ["m2dat-1c", "m2dat-1c", "missing"]
    assert found["separator_b"][:3] == ["resunetk-b", "resunetk-b", "needs training"]


def test_a_system_that_there_is_not(s5):
    done = s5("systems", "tagging-drivn")
    assert done.code == 2
    assert "did you mean 'tagging-driven'" in done.error


# -------------------------------------------------------------------------------------------------------------- machine
def test_doctor_as_json(s5, tmp_path):
    (tmp_path / "machine" / "cache" / "something").write_bytes(bytes(3 << 20))
    done = s5("doctor", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert found["s5cli"] == s5cli.__version__
    assert found["torch"]["version"] == torch.__version__
    assert found["torch"]["built_for_cuda"] == torch.version.cuda
    assert len(found["torch"]["gpus"]) == torch.cuda.device_count()
    assert found["torch"]["threads"] >= 1
    assert "CPUExecutionProvider" in found["onnxruntime"]["providers"]
    assert found["onnxruntime"]["wheel"][0].startswith("onnxruntime")
    assert found["folders"]["cache"] == {"path": str(tmp_path / "machine" / "cache"), "size_mib": 3.0}
    assert found["weights"]["m2dat-1c"] == "missing"
    assert found["licences_accepted"] == {}


def test_doctor_for_people(s5):
    done = s5("doctor")
    assert (done.code, done.err) == (0, "")
    assert torch.__version__ in done.out
    assert "m2dat-1c" in done.out
    assert done.out.splitlines()[-1].startswith("verdict: ready; `s5 separate` runs on ")


def test_doctor_lists_extras_memory_and_disk(s5, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr("s5cli.cli.doctor.find_spec", lambda name: None if name == "ray" else find(name))
    found = json.loads(s5("doctor", "--json").out)
    assert found["extras"] == {
        "train": "here",
        "plots": "here",
        "cluster": "lacks ray; pip install 's5cli[cluster]'",
        "onnx": "here",
        "live": "here",
    }
    assert 0 < found["memory_gib"]["available"] <= found["memory_gib"]["total"]
    assert found["disk_free_gib"].keys() == {"here", "cache"}
    assert found["disk_free_gib"]["here"] == pytest.approx(shutil.disk_usage(".").free / 2**30, abs=2)


def test_doctor_says_what_is_in_the_way(s5, monkeypatch):
    monkeypatch.setattr("s5cli.cli.doctor._free_gib", lambda folder: 0.2 if folder == Path() else 100.0)
    done = s5("doctor")
    assert done.out.splitlines()[-1] == "verdict: 1 in the way: little disk (here): 0.2 GiB"


def test_doctor_answers_where_everything_is_broken(s5, machine, tmp_path):
    machine.write_text("this is no TOML")
    (tmp_path / "machine" / "config" / "licences.json").write_text("{")
    done = s5("doctor", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert "cannot be read" in found["weights"]["problem"]
    assert "damaged" in found["licences_accepted"]["problem"]
    assert found["verdict"].startswith("verdict: 2 in the way: weights: ")
