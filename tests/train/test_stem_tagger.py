"""A tagger learns from stems of the compact separators: which is heard, and what is true of it."""

from dataclasses import replace

import pytest
import torch

from s5cli.errors import UsageError
from s5cli.labels import N_CLASSES
from s5cli.scene import EMPTY
from s5cli.train.data import ExampleSettings, Scenes, Span, batches
from s5cli.train.loop import check
from s5cli.train.recipe import read_recipe
from s5cli.train.stem_tagger import StemTagger
from s5cli.train.tasks import task_of
from tests.train.test_loop import SCENES, TAGGER, run

RECIPE = replace(
    TAGGER,
    name="tiny_stems",
    task="stem_tagger",
    config={**TAGGER.config, "channels": 1},
    options={"separators": ("separator-a",), "stems": 2, "absent": 0.0},
    schedule=replace(TAGGER.schedule, batch_size=3),
)


def task(library, **options) -> StemTagger:
    found = task_of("stem_tagger")
    assert isinstance(found, StemTagger)
    recipe = replace(RECIPE, options={**RECIPE.options, **options})
    found.examples(recipe, library, recipe.build())
    return found


@pytest.fixture(scope="module")
def batch(library):
    scenes = replace(SCENES, n_foreground=(1, 2))
    [found] = batches(Scenes(scenes, library, ExampleSettings(seed=5)), Span(0, 3), 3, workers=0)
    return found


def test_the_first_clips_become_one_of_their_stems(library, batch):
    with_stems = task(library).with_stems(batch)
    assert with_stems.mixture.shape == (3, 1, SCENES.duration_s * 32_000)
    assert torch.equal(with_stems.mixture[2], batch.mixture[2, :1])
    assert torch.equal(with_stems.classes[2], batch.classes[2])
    for clip in range(2):
        [slot] = (with_stems.classes[clip] >= 0).nonzero()[:, 0].tolist()
        assert with_stems.classes[clip, slot] == batch.classes[clip, slot]
        assert torch.equal(with_stems.targets[clip, slot], batch.targets[clip, slot])
        assert torch.equal(with_stems.targets[clip].sum(dim=0), batch.targets[clip, slot])
        separated = task(library).given[0](batch.mixture[clip : clip + 1], batch.query[clip : clip + 1])
        torch.testing.assert_close(with_stems.mixture[clip], separated[0, slot][None], atol=1e-5, rtol=0)


def test_stems_do_not_depend_on_the_precision_of_the_run(library, batch):
    torch.manual_seed(0)
    expected = task(library).with_stems(batch).mixture
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        found = task(library).with_stems(batch).mixture
    assert torch.equal(found, expected)


def test_what_is_asked_for_and_absent_is_nothing(library, batch):
    with_stems = task(library, absent=1.0).with_stems(batch)
    assert (with_stems.classes[:2] == EMPTY).all()
    assert not with_stems.targets[:2].any()
    assert with_stems.mixture[:2].square().sum() > 0, "its stem is heard all the same"


def test_asked_for_is_what_is_there_and_now_and_then_one_class_more(library):
    torch.manual_seed(0)
    classes = torch.tensor([[3, EMPTY, 7], [EMPTY, EMPTY, EMPTY], [1, 1, 2]]).repeat(200, 1)
    asked, slots = task(library, absent=0.25).asked(classes)
    rows = torch.arange(len(classes))
    added = asked[rows, slots] != classes[rows, slots]
    others = torch.where(torch.arange(3) == slots[:, None], EMPTY, asked)
    assert torch.equal(others, torch.where(torch.arange(3) == slots[:, None], EMPTY, classes)), "the rest stays"
    assert added[1::3].all(), "in a clip without targets there is nothing else to ask for"
    assert not added[2::3].any(), "three is all that can be asked for"
    assert added[::3].float().mean() == pytest.approx(0.25, abs=0.08)
    assert not any(asked[i, slots[i]] in classes[i] for i in added.nonzero()[:, 0])
    assert asked.max() < N_CLASSES


def test_a_run(library, tmp_path):
    path, lines = run(RECIPE, library, tmp_path)
    assert path.exists()
    assert any("accuracy_source" in line for line in lines)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"config": {**TAGGER.config, "channels": 4}}, "channels must be 1"),
        ({"options": {}}, "must name the separators"),
        ({"options": {"separators": ("separator-a",), "stems": 4}}, "stems must be at least 1 and at most"),
        ({"options": {"separators": ("separator-a",), "stems": 0}}, "stems must be at least 1 and at most"),
        ({"options": {"separators": ("separator-a",), "absent": 1.5}}, "absent must be between 0 and 1"),
        ({"options": {"separators": ("separator-c",)}}, "no part 'separator-c'"),
    ],
)
def test_mistakes_of_a_recipe(changed, said):
    recipe = replace(RECIPE, **changed)
    with pytest.raises(UsageError, match=said):
        check(recipe, recipe.build())


def test_the_compact_recipe_leaves_alone_what_others_build_on():
    recipe = read_recipe("compact_tagger_stems")
    learning = {name for name, _ in recipe.build().named_parameters() if name.startswith(recipe.trainable)}
    assert learning
    assert not any(name.startswith(("body.", "head.trunk.")) for name in learning)
