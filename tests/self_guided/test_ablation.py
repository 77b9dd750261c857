"""Every row of the ablation against the papers' procedure, written out with the bare networks."""

import json
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch

from s5cli.labels import CLASSES, N_CLASSES, index_of
from s5cli.scene import Queries, Scene
from s5cli.study.rows import ablation_rows
from s5cli.weights.build import build
from s5cli.weights.registry import registry as registries
from tests.self_guided.machine import SYSTEMS
from tests.self_guided.test_everywhere import data, machine, noisy, ok, s5, start, tiny  # noqa: F401  # fixtures
from tests.tune.world import coarsen

ROWS = {
    "{name}, stage 1": {"stages": 1},
    "{name}, stage 2": {"stages": 2},
    "{name}": {},
    "{name}, no class clue": {"class_clue": False},
    "{name}, no enrolments": {"enrolments": False},
    "true labels": {"wanted": ["Speech", "Dishes"]},
}
ROWS_2026 = {
    "{name}, no temporal FiLM": {"film": False},
    "{name}, object path only": {"paths": "object"},
    "{name}, semantic path only": {"paths": "semantic"},
}
ASKED = Queries(np.array([[index_of("Speech"), index_of("Dishes"), -1]]), np.array([[1.0, 1.0, 0.0]]))


class Written:
    """What the papers do with one clip, stage by stage and slot by slot."""

    def __init__(
        self, system, year, limits, stages=3, class_clue=True, enrolments=True, film=True, paths=None, wanted=None
    ):
        self.system, self.year, self.limits, self.stages = system, year, limits, stages
        self.wanted, self.paths = wanted, paths
        self.class_clue, self.enrolments, self.film = class_clue, enrolments, film
        self.silenced = []  # of each stage, which slots

    @torch.inference_mode()
    def __call__(self, mixture):
        network = self.system.separator.network
        stems, logits, silence = self.said(network, network(mixture[None]), mixture)
        classes = [self.index(slot) for slot in range(3)] if self.wanted else logits.argmax(dim=1).tolist()
        if self.wanted:
            totals = {
                order: sum(logits[order[slot], classes[slot]].item() for slot in range(len(self.wanted)))
                for order in permutations(range(3))
            }
            stems = stems[list(max(totals, key=totals.get))]
        silent = self.silent(silence, classes, 1)
        for number in range(2, self.stages + 1):
            one_hot = torch.zeros(3, N_CLASSES)
            for slot in range(3):
                if self.class_clue and not silent[slot]:
                    one_hot[slot, classes[slot]] = 1
            given = [
                mixture[None],
                stems[None] if self.enrolments else torch.zeros(1, *stems.shape),
                one_hot.view(1, -1),
            ]
            network = self.system.extractor.network
            if self.year == "2026" and self.film:
                given.append(self.frame_clue(stems, silent, mixture))
            stems, logits, silence = self.said(network, network(*given), mixture)
            if not self.wanted:
                classes = logits.argmax(dim=1).tolist()
            silent = self.silent(silence, classes, number)
        if self.year == "2025" and not self.wanted:
            for one, other in permutations(range(3), 2):
                same = classes[one] == classes[other] and not silent[one] and not silent[other]
                silent[one] |= same and bool(silence[other] < silence[one])
        return [(CLASSES[classes[slot]], stems[slot]) for slot in range(3) if not silent[slot]]

    def index(self, slot):
        return index_of(self.wanted[slot]) if slot < len(self.wanted) else -1

    def said(self, network, found, mixture):
        """Stems, their logits, and the value that their silence is decided by."""
        stems = found.waveforms[0, :3]
        if self.year == "2025":
            heard = self.system.listener.network(stems, mixture[:1].expand_as(stems))
            logits = self.system.namer.network(heard)
            return stems, logits, -logits.exp().sum(dim=1).log()
        heard = self.system.semantic.network(stems, mixture[:1].expand_as(stems))
        maps = found.objects[0].transpose(2, 3)
        if self.paths == "semantic":
            maps = torch.randn_like(maps)  # whatever they hold
        if self.paths == "object":
            heard = torch.randn_like(heard)
        logits, active = network.dpc(maps, heard, self.paths)
        return stems, logits, active

    def silent(self, silence, classes, number):
        if self.wanted:
            return [index == -1 for index in classes]
        limit = self.limits[f"{self.system.knob}_{number}"]
        found = [bool(value > limit if self.year == "2025" else value < limit) for value in silence]
        self.silenced.append(found)
        return found

    def frame_clue(self, stems, silent, mixture):
        heard = self.system.frames.network(stems, mixture[:1].expand_as(stems))
        return torch.stack([clue * (not off) for clue, off in zip(heard, silent, strict=True)])[None]


@torch.inference_mode()
def splitting(system, year, mixture):
    """Thresholds under which one of the three slots differs from the others in stage 1, and none is silent later."""
    network = system.separator.network
    *_, silence = Written(system, year, {}).said(network, network(mixture[None]), mixture)
    least, middle, _ = sorted(silence.tolist())
    never = np.inf if year == "2025" else -np.inf
    return {f"{system.knob}_1": (least + middle) / 2, f"{system.knob}_2": never, f"{system.knob}_3": never}


@pytest.mark.parametrize("name", ["small-2025", "small-2026"])
def test_every_row_is_the_papers_procedure(tiny, name):  # noqa: F811
    year, known = SYSTEMS[name][0], registries()
    mixture, sounds = torch.from_numpy(noisy("three")).float(), {}
    limits = splitting(build(name), year, mixture)
    entry = replace(known.system(name), knobs=limits)
    rows = {one.title: one for one in ablation_rows(entry, known)}
    for title, options in (ROWS | (ROWS_2026 if year == "2026" else {})).items():
        row = rows[title.format(name=name)]
        system = build(row.entry)
        written = Written(system, year, limits, **options)
        expected = written(mixture)
        asked = system.with_queries(ASKED) if row.true_labels else system
        [stems] = asked([Scene("three", mixture)]).stems().clips()
        assert [stem.label for stem in stems] == [label for label, _ in expected], title
        for stem, (_, waveform) in zip(stems, expected, strict=True):
            torch.testing.assert_close(stem.audio, waveform, atol=1e-5, rtol=1e-4, msg=title)
        sounds[title] = torch.cat([waveform for _, waveform in expected])
        if not row.true_labels and not options.get("paths"):
            assert len({*written.silenced[0]}) == 2, "some slots are silent in stage 1, and some are not"
    plain = sounds.pop("{name}")
    for title, sound in sounds.items():
        assert sound.shape != plain.shape or not torch.allclose(sound, plain, atol=1e-6), title


def test_the_embedded_systems_have_these_rows():
    known = registries()
    for year, titles in (("2025", ROWS), ("2026", ROWS | ROWS_2026)):
        name = f"self-guided-{year}-compact"
        found = {one.title: one for one in ablation_rows(known.system(name), known)}
        assert {title.format(name=name) for title in titles} <= found.keys()
        assert f"{name}, default thresholds" not in found, "its section has no others"
        tunable = [title for title, one in found.items() if one.tunable]
        assert tunable == [f"{name}, stage 1", f"{name}, stage 2", name]


def test_evidence_of_one_stage_serves_the_others(tiny, data, tmp_path):  # noqa: F811
    """What was asked for three stages is not asked again for two or one."""
    from s5cli.tune.clips import open_devset
    from s5cli.tune.evidence import Store
    from s5cli.tune.tuner import Options, prepared

    known, clips = registries(), open_devset(data)
    numbers = []
    for stages in ("3", "2", "1"):
        trials = prepared(
            known.system("small-2026"), clips, tmp_path, Options("cpu", system_options={"stages": stages})
        )
        trials.exact(trials.system.setting)
        numbers.append(len(Store(tmp_path)))
    assert numbers == [numbers[0]] * 3


@pytest.mark.parametrize("name", ["small-2026"])
def test_every_stage_with_and_without_tuned_thresholds(tiny, data, tmp_path, monkeypatch, name):  # noqa: F811
    """One command: of each stage the defaults, the best on the same clips, and every clip tuned without it."""
    coarsen(monkeypatch)
    line = ("study", "ablation", data, "--system", name, "--tuned", "--folds", 2, "--workers", 1, "--json")
    found = json.loads(ok(tiny(*line, "--cache", tmp_path / "cache")))
    titles = [row["title"] for row in found["rows"]]
    for stage, title in ((1, f"{name}, stage 1"), (2, f"{name}, stage 2"), (3, name)):
        place = titles.index(title)
        assert titles[place + 1 : place + 3] == ["tuned, on the same clips", "tuned, 2 folds held out"]
        default, same, _ = found["rows"][place : place + 3]
        assert same["capi_sdri_db"] >= default["capi_sdri_db"] - 1e-6
        assert same["gain_db"] == pytest.approx(same["capi_sdri_db"] - default["capi_sdri_db"], abs=1e-4)
        assert f"stage {stage}" in [one["stage"] for one in found["tuned"][title]["stages"]]
    again = tiny(*line, "--cache", tmp_path / "cache")
    assert "results" in again.err
    assert json.loads(ok(again)) == found
