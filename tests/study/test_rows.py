"""Ablation rows: what a system declares becomes entries that differ in just that."""

from dataclasses import replace

import pytest

from s5cli.errors import UsageError
from s5cli.knobs import AblationRow
from s5cli.study.rows import ablation_rows
from s5cli.weights.registry import registry
from tests.study.bands import HERE, Bands

COMPACT = "tagging-driven-compact"


def rows_of(name: str, **changes: object) -> dict:
    known = registry()
    return {one.title: one for one in ablation_rows(replace(known.system(name), **changes), known)}


def parts(variant) -> dict[str, str]:
    return {role: part.name for role, part in variant.entry.parts.items()}


def test_a_declared_ablation(bands):
    rows = rows_of("bands")
    assert [*rows] == [
        "bands-1", "half alone", "double alone", "bands", "bands, one band", "bands, strong bands", "bands, double",
        "true labels, half", "true labels",
    ]  # fmt: skip
    assert rows["bands"].entry == registry().system("bands")
    assert rows["bands, one band"].entry.options == {"bands": 1}
    assert rows["bands, strong bands"].entry.knobs == {"share": 0.9}
    assert parts(rows["true labels, half"]) == {"first": "half"}
    assert parts(rows["true labels"]) == {"first": "half", "second": "double"}
    assert [title for title, one in rows.items() if one.true_labels] == ["true labels, half", "true labels"]
    assert [title for title, one in rows.items() if one.tunable] == ["bands-1", "bands"]


def test_another_flow_takes_parts_into_roles_of_its_own_and_nothing_else(bands):
    alone = rows_of("bands", knobs={"share": 0.3}, options={"bands": 1})["double alone"]
    assert alone.entry.flow == f"{HERE}:Plain"
    assert parts(alone) == {"gain": "double"}
    assert (alone.entry.knobs, alone.entry.options) == ({}, {})


def test_rows_are_of_the_section_and_of_the_options_that_were_given(bands):
    rows = rows_of("bands", knobs={"gain": 3, "share": 0.3}, options={"bands": "1"})
    assert rows["bands, strong bands"].entry.knobs == {"gain": 3, "share": 0.9}
    assert "bands, one band" not in rows  # that is the system itself now


def test_rows_that_speak_of_a_part_that_is_not_there_are_left_out(bands):
    """And what is taken out anyway is nothing new."""
    assert [*rows_of("bands-1")] == [
        "half alone", "bands-1", "bands-1, one band", "bands-1, strong bands", "true labels, half",
    ]  # fmt: skip


def test_equal_rows_are_shown_once(bands, monkeypatch):
    """Equal in what they do: a knob or option at its default is none, whatever number or text stands for it."""
    rows = (
        AblationRow("{name}"),
        AblationRow("again", knobs={"share": 0.01}),
        AblationRow("and again", options={"bands": "2"}),
        AblationRow("another", knobs={"share": 0.02}),
    )
    monkeypatch.setattr(Bands, "ablation", rows)
    assert [*rows_of("bands")] == ["bands-1", "bands", "another"]


def test_a_system_whose_classes_may_differ_is_another_one_to_a_search():
    rows = rows_of(COMPACT)
    assert rows[f"{COMPACT}-1"].content == rows[f"{COMPACT}-2"].content
    assert rows[f"{COMPACT}-1"].differs_by_class is False
    assert rows[f"{COMPACT}-2"].differs_by_class is True
    assert f"{COMPACT}-3, no separator B" not in rows  # it is the second


def test_the_published_networks():
    rows = rows_of("tagging-driven")
    assert [*rows] == [
        "baseline-1ch", "baseline-4ch", *(f"tagging-driven-{number}" for number in range(3)),
        "m2dat-4c-zero-target, no rules", "tagging-driven-3", "tagging-driven-3, no verification",
        "tagging-driven-3, no gates", "true labels, separator A", "true labels, A or B",
    ]  # fmt: skip
    no_rules = rows["m2dat-4c-zero-target, no rules"]
    assert no_rules.entry.flow == registry().system("baseline-4ch").flow
    assert parts(no_rules) == {"tagger": "m2dat-4c-zero-target", "separator": "resunetk"}
    assert [title for title, one in rows.items() if one.tunable] == [f"tagging-driven-{number}" for number in range(4)]


def test_the_first_system_without_rules_is_the_baseline():
    known = registry()
    entry = replace(known.system("tagging-driven-0"), beside=("baseline-4ch",), per_class=True)
    assert "m2dat-4c, no rules" not in [one.title for one in ablation_rows(entry, known)]


@pytest.mark.parametrize("system", registry().systems)
def test_every_system_can_be_studied(system):
    assert system in rows_of(system)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (AblationRow("{name}", knobs={"share": 0.4}), "two different ablation rows 'bands'"),
        (AblationRow("{name}, silent", knobs={"gian": 0}), r"unknown knob 'gian' \(did you mean 'gain'\?\)"),
        (AblationRow("{name}, silent", knobs={"gain": -1}), "outside 0 to 100"),
        (AblationRow("{name}, more", options={"bands": 3}), "a whole number from 1 to 2"),
    ],
)
def test_rows_that_a_system_should_not_declare(row, words, bands, monkeypatch):
    monkeypatch.setattr(Bands, "ablation", (*Bands.ablation, row))
    with pytest.raises(UsageError, match=words):
        rows_of("bands")
