"""The packaged registry: every string of it leads somewhere, and nothing of the project is left out of it."""

import inspect
import re
from dataclasses import replace
from pathlib import Path

import pytest

import s5cli
from s5cli.cli.listed import part_parameters
from s5cli.errors import NeedsTrainingError
from s5cli.knobs import setting
from s5cli.train.recipe import read_recipe
from s5cli.weights import fetch, hashes, registry
from s5cli.weights.build import resolve
from s5cli.weights.registry import PartEntry, SystemEntry, parse, read

KNOWN = parse(read(registry.packaged_path()), registry.packaged_path())
PACKAGE = Path(s5cli.__file__).parent


@pytest.mark.parametrize("part", KNOWN.parts.values(), ids=lambda part: part.name)
def test_a_part_can_be_built(part: PartEntry) -> None:
    network, adapter = resolve(part.network), resolve(part.adapter)
    network.Config(**{key: tuple(v) if isinstance(v, list) else v for key, v in part.config.items()})
    inspect.signature(adapter).bind(object(), device="cpu", **part.options)


@pytest.mark.parametrize("part", KNOWN.parts.values(), ids=lambda part: part.name)
def test_the_number_of_parameters_is_the_networks(part: PartEntry) -> None:
    assert part.nparams in (part_parameters(replace(part, nparams=None)), None)


@pytest.mark.parametrize("entry", KNOWN.systems.values(), ids=lambda entry: entry.name)
def test_a_system_can_be_built(entry: SystemEntry) -> None:
    flow = resolve(entry.flow)
    chosen = setting(flow.knobs, entry.knobs)
    inspect.signature(flow).bind(**dict.fromkeys(entry.parts), setting=chosen)
    assert entry.summary
    assert "\n" not in entry.summary
    if entry.per_class:
        assert any(knob.per_class for knob in flow.knobs.values())


def test_systems_and_their_files_are_one_to_one() -> None:
    named = {entry.flow.partition(":")[0] for entry in KNOWN.systems.values()}
    there = {f"s5cli.systems.{path.stem}" for path in (PACKAGE / "systems").glob("*.py") if path.stem != "__init__"}
    assert named == there


def test_everything_named_is_used_and_everything_used_is_named() -> None:
    assert {part.name for entry in KNOWN.systems.values() for part in entry.parts.values()} == set(KNOWN.parts)
    of_parts = {part.file.name for part in KNOWN.parts.values()}
    starts = {f"efficientat-mn{n}" for n in ("04", "05", "10", "20", "30", "40")}  # what training may begin with
    starts |= {
        "fpasst-strong-1",
        "m2d-strong-1",
        "fusion-tagger-heads",
        "deft-uss-compact-unnamed",
        "deft-tse-compact-unnamed",
    }
    starts |= {name for file in KNOWN.files.values() for name in file.after} - of_parts
    assert of_parts | starts == set(KNOWN.files)
    assert not of_parts & starts
    assert {file.licence.name for file in KNOWN.files.values()} == set(KNOWN.licences)


def test_embedded_checkpoints_and_their_entries_are_one_to_one() -> None:
    named = {f"{file.package}.safetensors" for file in KNOWN.files.values() if file.package}
    assert named == {path.name for path in (PACKAGE / "compact").glob("*.safetensors")}
    assert all(fetch.status(file) == "embedded" for file in KNOWN.files.values() if file.package)


def test_the_sums_of_embedded_checkpoints_are_fresh() -> None:
    found = {path.name: hashes.sha256_of(path) for path in (PACKAGE / "compact").glob("*.safetensors")}
    assert dict(hashes.embedded()) == found, f"a checkpoint was exchanged; run `{hashes.RENEW}`"


def test_recipes_that_the_registry_names_exist() -> None:
    named = {f"{file.trained_by}.toml" for file in KNOWN.files.values() if file.trained_by}
    assert named
    assert named <= {path.name for path in (PACKAGE / "train" / "recipes").glob("*.toml")}


def test_the_compact_separator_is_what_its_recipe_trains() -> None:
    part = KNOWN.parts["sr-corrnet-compact"]
    recipe = read_recipe("compact_label_queried")
    assert part.config == recipe.config
    assert part.file.package == "queried_separator"


def test_a_recipe_makes_the_file_that_names_it_out_of_those_before() -> None:
    for file in KNOWN.files.values():
        if file.trained_by:
            recipe = read_recipe(file.trained_by)
            assert recipe.installs == file.name
            parts = [KNOWN.parts[recipe.options[role]].file for role in ("separator", "semantic", "frames")
                     if role in recipe.options]  # fmt: skip
            needed = {recipe.init, *(part.name for part in parts)}
            trained = {name for name in needed if name in KNOWN.files and KNOWN.files[name].trained_by}
            assert trained <= before(file.after), file.name


def before(names) -> set[str]:
    return {*names, *(each for name in names for each in before(KNOWN.files[name].after))}


def test_what_needs_training_is_told_in_its_order() -> None:
    entry = KNOWN.system("self-guided-2025")
    with pytest.raises(NeedsTrainingError) as told:
        fetch.fetch_all("it", entry.files, KNOWN, fetch.Access(offline=True))
    recipes = re.findall(r"s5 train (\w+)", str(told.value))
    assert recipes == ["uss_2025", "tse_2025", "sc_2025_arcface", "sc_2025"]
    assert "\n" not in str(told.value)


def test_the_ladder() -> None:
    official = [KNOWN.system(f"tagging-driven-{n}") for n in range(4)]
    compact = [KNOWN.system(f"tagging-driven-compact-{n}") for n in range(4)]
    for family in (official, compact):
        assert [entry.per_class for entry in family] == [False, False, True, True]
        heads = [entry.parts["tagger_4ch"].name for entry in family]
        assert heads[0] != heads[1]
        assert heads[1:] == heads[1:2] * 3
        assert ["separator_b" in entry.parts for entry in family] == [False, False, False, True]
    assert KNOWN.system("tagging-driven") is official[3]
    assert KNOWN.system("tagging-driven-compact") is compact[3]


def test_only_files_without_terms_are_had_without_being_asked() -> None:
    for file in KNOWN.files.values():
        assert file.licence.ask == (file.licence.name in ("ntt-evaluation", "nvidia-oneway"))
        assert file.licence.ask or file.package or file.trained_by or file.licence.name.startswith("mit-")
