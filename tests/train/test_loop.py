"""Real short runs: what is saved, that a resumed run is the uninterrupted one, what stays frozen."""

import math
import resource
import signal
import tomllib
import weakref
from dataclasses import dataclass, replace

import pytest
import torch
from safetensors.torch import save_file

from s5cli.errors import OutputError, UsageError, WeightsError
from s5cli.nn.body_tagger import BodyTagger, BodyTaggerConfig
from s5cli.nn.efficientat import EfficientAT, EfficientATConfig
from s5cli.nn.resunet import ResUNetK
from s5cli.synth.settings import SceneSettings
from s5cli.train import start
from s5cli.train.data import ECHO_SCENES, Batch, ExampleSettings, Scenes, Span, as_stem, batches, echoed
from s5cli.train.loop import RunOptions, learning_rate, train, written
from s5cli.train.recipe import Recipe, Schedule, names, read_recipe, recipe_of
from s5cli.train.start import began_as, initial_network, install
from s5cli.train.tasks import Validation
from s5cli.weights import checkpoint, hashes
from s5cli.weights.fetch import Access
from s5cli.weights.registry import FileEntry, Licence, Registry

SCENES = SceneSettings(duration_s=1.0, n_simulated_rooms=2)
SCHEDULE = Schedule(steps=4, batch_size=2, warmup_steps=1, checkpoint_steps=2, validate_steps=4, validation_scenes=2)
TAGGER = Recipe(
    name="tiny_tagger", task="tagger", network="s5cli.nn.body_tagger:BodyTagger", schedule=SCHEDULE, scenes=SCENES,
    examples=ExampleSettings(seed=1, stem_share=0.5), half=False,
    config={"channels": 4, "width": 0.1, "dropout": 0.0, "gain_db": 0.0, "filter_deviation": 0.0, "masked_bands": 0,
            "masked_hops": 0},
)  # fmt: skip
SEPARATOR = Recipe(
    name="tiny_separator", task="separator", network="s5cli.nn.resunet:ResUNetK", schedule=SCHEDULE, scenes=SCENES,
    examples=ExampleSettings(seed=1),
    config={"widths": [4, 4, 4, 4, 4, 4], "condition_width": 8, "hop_samples": 512, "patch_frames": 2,
            "patch_bins": 2, "features": "spatial", "mask": "share"},
)  # fmt: skip


def options(folder, **given):
    lines = []
    return RunOptions(folder, accelerator="cpu", workers=0, report=lines.append, **given), lines


def run(recipe, library, folder, network=None, began_as=(), **given):
    torch.manual_seed(0)
    chosen, lines = options(folder, **given)
    return train(recipe, network or recipe.build(), library, library, chosen, began_as), lines


def test_a_resumed_run_is_the_uninterrupted_one(library, tmp_path):
    whole, _ = run(TAGGER, library, tmp_path / "whole")
    _, lines = run(TAGGER, library, tmp_path / "cut", minutes=0.0)
    assert len(torch.load(tmp_path / "cut" / "checkpoint.pt", weights_only=True)) == 5
    assert torch.load(tmp_path / "cut" / "checkpoint.pt", weights_only=True)["steps"] == 1
    resumed, lines = run(TAGGER, library, tmp_path / "cut")
    assert "resumed at step 1" in lines
    one, other = checkpoint.read(whole), checkpoint.read(resumed)
    for name, value in one.tensors.items():
        torch.testing.assert_close(value, other.tensors[name], rtol=0, atol=0, msg=name)


def test_separator_run_reports_trivial_answers_and_exports_half(library, tmp_path):
    path, lines = run(SEPARATOR, library, tmp_path)
    assert any("silent_sdri_db" in line and "quieter_sdri_db" in line for line in lines)
    read = checkpoint.read(path)
    assert {t.dtype for t in read.tensors.values() if t.is_floating_point()} == {torch.float16}
    network = checkpoint.build_network(ResUNetK, read, {})
    assert network.config.widths == (4,) * 6
    tuned = replace(SEPARATOR, name="tuned", config={})  # a fine-tune leaves the configuration to its initial weights
    again, _ = run(tuned, library, tmp_path / "tuned", initial_network(tuned, str(path), Access()), minutes=0.0)
    assert checkpoint.build_network(ResUNetK, checkpoint.read(again), {}).config == network.config
    assert list((tmp_path / "tensorboard").iterdir())
    assert not list(tmp_path.glob("*.part"))
    card = path.with_suffix(".md").read_text()
    assert "| Doorbell | 2 | 2 | 2 | no |" in card
    assert "| Typing | 0 | 0 | 0 | no |" in card
    assert "4 steps of 2 scenes" in card


def changed(recipe, library, folder):
    """Names of a tiny tagger's weights that a run changed, those that it kept, and by how much the largest moved."""
    network = BodyTagger(BodyTaggerConfig(**TAGGER.config))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    path, _ = run(recipe, library, folder, network)
    after = checkpoint.read(path).tensors
    moved = {name: float((value - after[name]).abs().max()) for name, value in before.items()}
    return {name: by for name, by in moved.items() if by}


def test_only_the_head_learns(library, tmp_path):
    found = changed(replace(TAGGER, trainable=("head.",)), library, tmp_path)
    assert found
    assert all(name.startswith("head.") for name in found)


def test_what_is_slow_learns_by_its_scale(library, tmp_path):
    schedule = replace(SCHEDULE, slow_scale=0.0)
    found = changed(replace(TAGGER, schedule=schedule, slow=("body.",), freeze_statistics=True), library, tmp_path)
    assert {name.partition(".")[0] for name in found} == {"head"}
    schedule = replace(SCHEDULE, slow_scale=0.01, weight_decay=0.0)
    scaled = changed(replace(TAGGER, schedule=schedule, slow=("body.",)), library, tmp_path / "scaled")
    slow = [by for name, by in scaled.items() if name.startswith("body.") and name.endswith("weight")]
    fast = [by for name, by in scaled.items() if name.startswith("head.") and name.endswith("weight")]
    assert 0 < max(slow) < 0.1 * max(fast)


def test_weights_are_pulled_back_to_where_they_began(library, tmp_path):
    schedule = replace(SCHEDULE, weight_decay=0.0)
    free = changed(replace(TAGGER, schedule=schedule), library, tmp_path / "free")
    pulled = changed(replace(TAGGER, schedule=replace(schedule, pull_back=500.0)), library, tmp_path / "pulled")
    weights = [name for name in free if name.endswith("fc1.weight")]
    assert weights
    assert all(pulled[name] < 0.9 * free[name] for name in weights)


@pytest.mark.parametrize("frozen", [False, True])
def test_statistics_may_be_frozen(library, tmp_path, frozen):
    found = changed(replace(TAGGER, freeze_statistics=frozen), library, tmp_path)
    assert any("running_mean" in name for name in found) != frozen


def test_a_tagger_begins_as_another_network(library, tmp_path):
    """The width comes from the weights; what AudioSet's network does not have is drawn afresh."""
    torch.manual_seed(0)
    other = EfficientAT(EfficientATConfig(width=0.2))
    torch.save(other.state_dict(), tmp_path / "mn02.pt")
    recipe = replace(TAGGER, grows=True)
    network = initial_network(recipe, str(tmp_path / "mn02.pt"), Access())
    assert network.config.width == 0.2
    for name, value in other.features.state_dict().items():
        assert torch.equal(network.body.state_dict()[name], value)
    torch.save({"weight": torch.zeros(3)}, tmp_path / "strange.pt")
    with pytest.raises(WeightsError, match="does not hold the weights of BodyTagger"):
        initial_network(recipe, str(tmp_path / "strange.pt"), Access())


def test_a_tagger_needs_two_clips_a_step(library, tmp_path):
    with pytest.raises(UsageError, match="at least 2"):
        run(replace(TAGGER, schedule=replace(SCHEDULE, batch_size=1)), library, tmp_path)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (replace(TAGGER, schedule=replace(SCHEDULE, echo=0)), "echo must be at least 1"),
        (replace(TAGGER, schedule=replace(SCHEDULE, steps=-1)), "steps must be at least 1"),
        (replace(TAGGER, schedule=replace(SCHEDULE, batch_size=10**9)), "batch_size must be .* at most 65536"),
        (replace(TAGGER, schedule=replace(SCHEDULE, learning_rate=math.nan)), "learning_rate must be at least 0"),
        (replace(TAGGER, task="os:getpid"), "task 'os:getpid' is no class with the methods of a training task"),
        (replace(TAGGER, network="os:system"), "network 'os:system' is no class with a dataclass Config"),
        (replace(TAGGER, config={"classes": -5}), "no BodyTagger can be built of its config"),
        (replace(TAGGER, installs="nothing"), "unknown file 'nothing'"),
        (replace(SEPARATOR, frame_weight=1.0), "frame_weight must be 0, as a separator does not say what sounds when"),
    ],
)
def test_a_recipe_that_asks_for_too_much_is_refused(library, tmp_path, recipe, said):
    with pytest.raises(UsageError, match=said):
        run(recipe, library, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_keeps_to_its_recipe(library, tmp_path):
    run(TAGGER, library, tmp_path, minutes=0.0)
    with pytest.raises(UsageError, match="holds a run of 'tiny_tagger'"):
        run(SEPARATOR, library, tmp_path)


def test_a_signal_is_answered_with_where_the_run_goes_on(library, tmp_path):
    def stop(line):
        raise SystemExit(130)

    torch.manual_seed(0)
    chosen = RunOptions(tmp_path, accelerator="cpu", workers=0, report=stop)  # it speaks after its last step first
    with pytest.raises(SystemExit) as stopped:
        train(TAGGER, TAGGER.build(), library, None, chosen)
    assert stopped.value.__notes__ == ["the same command goes on after step 2 of 4"]


@pytest.mark.parametrize("kind", ["cut", "of another program", "no pickle", "of another network"])
def test_a_checkpoint_that_is_none_of_this_run_is_left_alone(library, tmp_path, kind):
    path = tmp_path / "checkpoint.pt"
    if kind == "no pickle":
        path.write_text("somebody's notes")
    elif kind == "of another program":
        torch.save({"model": {}, "epoch": 3}, path)
    else:
        run(TAGGER, library, tmp_path, minutes=0.0)
        (tmp_path / "tiny_tagger.safetensors").unlink()
        if kind == "cut":
            path.write_bytes(path.read_bytes()[:-1000])
    before = path.read_bytes()
    recipe = replace(TAGGER, config={**TAGGER.config, "width": 0.2}) if kind == "of another network" else TAGGER
    with pytest.raises(UsageError, match=r"checkpoint\.pt: no checkpoint of this run .*; give another -o"):
        run(recipe, library, tmp_path)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("*.safetensors"))


def test_finished_weights_without_a_checkpoint_are_not_begun_again(library, tmp_path):
    path, _ = run(TAGGER, library, tmp_path, minutes=0.0)
    (tmp_path / "checkpoint.pt").unlink()
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"tiny_tagger\.safetensors is there, but no checkpoint"):
        run(TAGGER, library, tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("save", [torch.save, lambda tensors, path: save_file(tensors, path)])
def test_a_full_disk_costs_no_checkpoint(tmp_path, save):
    """Where a process may write no more, as to a full disk, the one before stays, and no half of the new one."""
    path = tmp_path / "checkpoint.pt"
    path.write_text("before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    on_signal = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with (
            pytest.raises(OutputError, match=r"checkpoint\.pt: cannot be written .*; with room there"),
            written(path) as part,
        ):
            save({"a": torch.zeros(100_000)}, part)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, on_signal)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("checkpoint.pt", "before")]


def test_examples_do_not_depend_on_workers(library):
    dataset = Scenes(SCENES, library, ExampleSettings(seed=3, stem_share=0.5))
    here = list(batches(dataset, Span(4, 8), 2, workers=0))
    there = list(batches(dataset, Span(4, 8), 2, workers=2))
    assert len(here) == len(there) == 2
    for a, b in zip(here, there, strict=True):
        assert torch.equal(a.mixture, b.mixture)
        assert torch.equal(a.targets, b.targets)
        assert torch.equal(a.classes, b.classes)


def test_a_tagger_of_one_channel_is_given_one(library):
    whole = Scenes(SCENES, library, ExampleSettings(seed=3))
    first = Scenes(SCENES, library, ExampleSettings(seed=3), n_channels=1)
    assert torch.equal(first[5][0], whole[5][0][:1])
    assert torch.equal(first[5][1], whole[5][1])


def test_echoed_batches_are_made_of_scenes_that_came_before():
    rendered = [numbered(range(3 * i, 3 * i + 3)) for i in range(40)]
    seen: set[float] = set()
    uses = dict.fromkeys(range(120), 0)
    for step, batch in enumerate(echoed(rendered, 3, seed=0)):
        numbers = batch.mixture[:, 0, 0].tolist()
        if step % 3 == 0:
            assert torch.equal(batch.mixture, rendered[step // 3].mixture)
            seen |= set(numbers)
        assert set(numbers) <= seen
        assert len(set(numbers)) == 3
        assert batch.classes[:, 0].tolist() == numbers
        for number in numbers:
            uses[number] += 1
    assert sum(uses.values()) == 3 * 120
    assert max(uses.values()) < 20


def numbered(numbers) -> Batch:
    rows = torch.tensor(list(numbers))
    return Batch(rows[:, None, None].float(), rows[:, None, None].float(), rows[:, None])


def test_without_echo_every_batch_comes_once_and_none_is_held():
    rendered = (numbered([i]) for i in range(4))
    gone = []
    for number, batch in enumerate(echoed(rendered, 1, seed=0)):
        assert batch.classes.item() == number
        assert all(before() is None for before in gone[:-1])
        gone.append(weakref.ref(batch.mixture))
    assert len(gone) == 4


def test_a_batch_larger_than_what_is_held_is_echoed_too():
    large = numbered(range(ECHO_SCENES + 8))
    first, second = echoed([large], 2, seed=0)
    assert torch.equal(first.mixture, large.mixture)
    assert sorted(second.classes.flatten().tolist()) == list(range(ECHO_SCENES + 8))


@pytest.mark.parametrize("cut", [False, True])
def test_a_run_with_echo_ends_after_its_steps(library, tmp_path, cut):
    recipe = replace(TAGGER, schedule=replace(SCHEDULE, steps=5, echo=2), frame_weight=1.0)
    if cut:
        run(recipe, library, tmp_path, minutes=0.0)
    _, lines = run(recipe, library, tmp_path)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["steps"] == 5
    assert ("resumed at step 1" in lines) == cut
    card = (tmp_path / f"{recipe.name}.md").read_text()
    assert "5 steps of 2 scenes of 1 s, each rendered scene in 2 of them on average." in card


class Humming:
    """A task of the tests: a network that answers every mixture with a constant learns the mean of channel 0."""

    calls = ()

    def problems(self, recipe, network):
        yield from ["it hums alone"] if recipe.schedule.batch_size > 2 else []

    def examples(self, recipe, library, network):
        return Scenes(recipe.scenes, library, recipe.examples, 1)

    def loss(self, recipe, network, batch):
        assert batch.mixture.shape[1] == 1
        return (network(batch.mixture) - batch.mixture.square().mean()).square().mean()

    def validate(self, network, scenes):
        return Validation({"hum": float(network(scenes[0].mixture))})


class Hum(torch.nn.Module):
    @dataclass(frozen=True)
    class Config:
        start: float = 3.0

    def __init__(self, config):
        super().__init__()
        self.config, self.level = config, torch.nn.Parameter(torch.tensor(config.start))

    def forward(self, waveform):
        return self.level


def test_a_task_of_ones_own_is_looked_up(library, tmp_path):
    text = "task = 'tests.train.test_loop:Humming'\nnetwork = 'tests.train.test_loop:Hum'\nhalf = false\n"
    schedule = "[schedule]\nsteps = 30\nbatch_size = 2\nlearning_rate = 0.3\nwarmup_steps = 1\nema = 0.5\n"
    text += f"{schedule}validate_steps = 30\n[scenes]\nduration_s = 0.5\n"
    recipe = recipe_of("humming", tomllib.loads(text))
    path, lines = run(recipe, library, tmp_path)
    assert abs(checkpoint.read(path).tensors["level"]) < 1 < 3
    assert any("hum 0." in line or "hum -0." in line for line in lines)
    with pytest.raises(UsageError, match="recipe humming: it hums alone"):
        run(replace(recipe, schedule=replace(recipe.schedule, batch_size=3)), library, tmp_path / "other")
    for task, said in (("tests.train.test_loop:Singing", "cannot be imported"), ("dance", "is unknown; give one of")):
        with pytest.raises(UsageError, match=f"recipe humming: task '{task}' {said}"):
            run(replace(recipe, task=task), library, tmp_path / "none")


def test_what_sounds_when_is_learned_too(library, tmp_path):
    tuned = replace(TAGGER, trainable=("head.frames.",), schedule=replace(SCHEDULE, weight_decay=0.0))
    told = changed(replace(tuned, frame_weight=1.0), library, tmp_path / "told")
    assert told.keys() == {"head.frames.weight", "head.frames.bias"}
    assert not changed(tuned, library, tmp_path / "untold")


def test_ranks_share_a_span():
    assert sorted([*Span(3, 10, 0, 2), *Span(3, 10, 1, 2)]) == list(range(3, 10))


def test_a_batch_speaks_both_languages(library):
    (batch,) = batches(Scenes(replace(SCENES, n_foreground=(2, 2)), library, ExampleSettings()), Span(0, 1), 1, 0)
    assert (batch.tags == 18).sum() == 1
    assert batch.query.sum() == 2
    used = batch.classes >= 0
    assert batch.targets[used].abs().amax() > 0
    assert not batch.targets[~used].any()


def test_scenes_come_round_again(library):
    dataset = Scenes(SCENES, library, ExampleSettings(seed=1, scenes=2))
    first, second, third = dataset[0], dataset[1], dataset[2]
    assert all(torch.equal(one, other) for one, other in zip(first, third, strict=True))
    assert not torch.equal(first[0], second[0])
    with pytest.raises(UsageError, match=r"scenes is -1; give how many"):
        ExampleSettings(scenes=-1)


def test_a_stem_is_one_target_and_a_rest(library):
    import numpy as np

    from s5cli.synth.recipe import draw
    from s5cli.synth.render import render

    rendered = render(draw(replace(SCENES, n_foreground=(2, 2)), library, 0, 0), library)
    stem = as_stem(rendered, np.random.default_rng(0), (-200.0, -200.0))
    assert len(stem.labels) == 1
    np.testing.assert_allclose(stem.mixture, np.repeat(stem.targets, 4, axis=0), atol=1e-6)


def test_learning_rate_warms_up_and_ends_near_zero():
    schedule = Schedule(steps=100, batch_size=1, learning_rate=1.0, warmup_steps=10)
    rates = [learning_rate(step, schedule) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001


@pytest.mark.parametrize("name", names())
def test_every_recipe_builds_its_network(name):
    recipe = read_recipe(name)
    with torch.device("meta"):
        network = recipe.build()
    assert [p for p, _ in network.named_parameters() if p.startswith(recipe.trainable)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task = 'tagger'\nnetwork='a:B'\nlearning = 1\n[schedule]\nsteps=1\nbatch_size=1", "unknown key 'learning'"),
        (
            "task = 'tagger'\nnetwork='a:B'\n[schedule]\nstep=1",
            r"\[schedule\]: unknown key 'step' \(did you mean 'steps'",
        ),
        ("[schedule]\nsteps = 1", r"\[schedule\]: lacks 'batch_size'"),
        ("task =", r"cannot be read as TOML \("),
        ("schedule = 3", r"\[schedule\]: 3 is no table"),
        ("[schedule]\nsteps=1\nbatch_size=1\n[config]\na = " + "[" * 1000 + "]" * 1000, "nested too deeply"),
        ("[schedule]\nsteps=1\nbatch_size=1\n[config." + ".".join("a" * 200) + "]", "nested too deeply"),
        ("#" + "\n#" * (1 << 18), "it is larger than"),
        ("steps = 1" + "0" * 5000, "cannot be read"),
        (
            "task = 'tagger'\nnetwork='a:B'\n[schedule]\nsteps=1\nbatch_size='two'",
            "batch_size = 'two' is no whole number",
        ),
        ("[schedule]\nsteps=true\nbatch_size=1", "steps = True is no whole number"),
        ("task = 'tagger'\nnetwork='a:B'\ntrainable = 'head'\n[schedule]\nsteps=1\nbatch_size=1", "is no list"),
    ],
    ids=[
        "unknown",
        "misspelt",
        "missing",
        "no TOML",
        "no table",
        "deep",
        "dotted",
        "huge",
        "a long number",
        "text",
        "yes",
        "list",
    ],
)
def test_recipes_with_mistakes(text, said, tmp_path):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UsageError, match=said) as raised:
        read_recipe(str(tmp_path / "mine.toml"))
    assert "\n" not in str(raised.value)


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'compact_tagger_1ch'"):
        read_recipe("compact_tagger_1")


def test_initial_weights_are_checked(library, tmp_path):
    path, _ = run(TAGGER, library, tmp_path, minutes=0.0)
    again = initial_network(TAGGER, str(path), Access())
    torch.testing.assert_close(again.state_dict(), checkpoint.read(path).tensors)
    with pytest.raises(WeightsError, match="ResUNetK"):
        initial_network(SEPARATOR, str(path), Access())
    with pytest.raises(UsageError, match="no such file"):
        initial_network(TAGGER, str(tmp_path / "missing.safetensors"), Access())


def test_a_card_says_what_the_network_has_been(library, tmp_path, monkeypatch):
    torch.save(EfficientAT(EfficientATConfig(width=0.1)).state_dict(), tmp_path / "mn01.pt")
    sha256 = hashes.sha256_of(tmp_path / "mn01.pt")
    licence = Licence("mit", "MIT (c) its author", "https://example.org")
    known = Registry({}, {}, {"mn01": FileEntry("mn01", licence, sha256=sha256)}, {}, {})
    monkeypatch.setattr(start, "registry", lambda: known)
    began = began_as([tmp_path / "mn01.pt"])
    assert began == ["mn01, MIT (c) its author, https://example.org"]
    first, _ = run(TAGGER, library, tmp_path / "first", minutes=0.0, began_as=began)
    assert (
        "\nBefore that it was mn01, MIT (c) its author, https://example.org.\n" in first.with_suffix(".md").read_text()
    )
    assert began_as([first]) == ["tiny_tagger", *began]
    assert began_as([]) == []


def test_a_finished_run_is_where_the_registry_looks(library, tmp_path, monkeypatch):
    monkeypatch.setenv("S5_DATA_DIR", str(tmp_path / "data"))
    path, _ = run(TAGGER, library, tmp_path / "run", minutes=0.0)
    done = replace(TAGGER, installs="resunetk-b", schedule=replace(SCHEDULE, steps=1))
    target = install(done, path)
    assert target == tmp_path / "data" / "trained" / "resunetk-b.safetensors"
    assert target.read_bytes() == path.read_bytes()
    assert install(TAGGER, path) is None


def test_a_run_that_was_stopped_takes_no_finished_ones_place(library, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("S5_DATA_DIR", str(tmp_path / "data"))
    finished = tmp_path / "data" / "trained" / "resunetk-b.safetensors"
    finished.parent.mkdir(parents=True)
    finished.write_bytes(b"finished")
    path, _ = run(TAGGER, library, tmp_path / "run", minutes=0.0)
    assert install(replace(TAGGER, installs="resunetk-b"), path) is None
    assert finished.read_bytes() == b"finished"
    assert f"stopped after 1 of {SCHEDULE.steps} steps, so not installed" in capsys.readouterr().err
