"""`s5 systems` and `s5 doctor`."""

import json

import torch

import s5cli


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


def test_doctor_answers_where_everything_is_broken(s5, machine, tmp_path):
    machine.write_text("this is no TOML")
    (tmp_path / "machine" / "config" / "licences.json").write_text("{")
    done = s5("doctor", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert "cannot be read" in found["weights"]["problem"]
    assert "damaged" in found["licences_accepted"]["problem"]
