"""What systems take, counted without weights."""

import json
from dataclasses import replace

import pytest
import torch

from s5cli.challenge.macs import multiply_adds
from s5cli.cli import exit_code
from s5cli.study.cost import config_of, cost, part_cost
from s5cli.train.recipe import read_recipe
from s5cli.weights import build, fetch
from s5cli.weights.registry import packaged_path, parse, read

KNOWN = parse(read(packaged_path()), packaged_path())


def test_a_count_without_numbers_is_the_count_with_them():
    part = KNOWN.parts["tagger-1ch"]
    adapter = build.resolve(part.adapter)(build.load_network(part, fetch.locate(part.file)), **part.options)
    assert part_cost(part).multiply_adds == multiply_adds(adapter)


def test_the_full_systems_take_what_the_papers_sizes_say():
    """Within a tenth of the sums of the layers' products; less than 3 GB at once."""
    found = cost(KNOWN.system("self-guided-2026"))
    assert found.by_role["extractor"].multiply_adds == pytest.approx(1964e9 + 78e9, rel=0.1)
    assert found.by_role["separator"].multiply_adds == pytest.approx(1964e9 + 78e9, rel=0.1)
    assert found.by_role["semantic"].multiply_adds == pytest.approx(28e9, rel=0.1)
    assert found.by_role["frames"].multiply_adds == pytest.approx(340e9, rel=0.1)
    assert found.multiply_adds == pytest.approx(8400e9, rel=0.1)
    assert max(found.by_role[role].peak_bytes for role in ("separator", "extractor")) < 3e9


def test_it_is_printed(capsys):
    assert exit_code(["systems", "self-guided-2025-compact", "--cost", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["by_role"]["listener"]["calls"] == 9
    assert found["multiply_adds"] == sum(one["calls"] * one["multiply_adds"] for one in found["by_role"].values())
    assert exit_code(["systems", "baseline-compact", "--cost"]) == 0
    assert "G multiply-adds for a clip of 10 s" in capsys.readouterr().out
    assert exit_code(["systems", "--cost"]) == 2


def test_memory_is_that_of_what_is_held():
    from s5cli.scene import Scene
    from s5cli.study.cost import peak_bytes

    class Part:
        network = torch.nn.Linear(10, 10, bias=False, device="meta")

        def exercise(self, scene):
            x = scene.audio * 2
            x = x + 1  # two at once
            self.network(x)

    scene = Scene("x", torch.zeros(1000, 10, device="meta"))
    assert peak_bytes(Part(), scene) == 3 * 1000 * 10 * 4


def test_an_untrained_part_is_as_its_recipe_has_it():
    part = replace(KNOWN.parts["deft-uss-2025"], config={})
    assert config_of(part) == read_recipe("uss_2025").config == {"classifier": "decoder"}
