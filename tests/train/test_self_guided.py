"""Training of the self-guided systems: real short runs of every task, chained through a registry of the user's own."""

import json
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import torch

from s5cli.cli import exit_code
from s5cli.errors import NeedsTrainingError, UsageError
from s5cli.nn.deft import DeftConfig, UniversalSeparator
from s5cli.synth.library import Library
from s5cli.synth.recipe import draw
from s5cli.synth.render import render
from s5cli.synth.settings import SceneSettings
from s5cli.train import self_guided
from s5cli.train.data import ExampleSettings
from s5cli.train.enrolments import Enrolments
from s5cli.train.loop import check
from s5cli.train.recipe import recipe_of
from s5cli.weights import checkpoint, registry
from s5cli.weights.build import load_network
from s5cli.weights.fetch import trained_path

SIZES = """width = 8
blocks = 1
heads = 2
head_width = 4
ffn_width = 16
expand = 1
mamba_head_width = 4
states = 4
dropout = 0.0
patch_frames = 2
patch_bins = 10
object_kernel = 1
features = "spatial"
output = "share"
"""
NAMED = 'classifier = "dual"\nclassifier_hidden = 8\nclassifier_recurrent = 4\nembedding = 8\nsemantic_features = 513\n'
REST = "[scenes]\nduration_s = 0.5\nn_foreground = [0, 3]\nn_simulated_rooms = 1\n" + (
    "[schedule]\nsteps = 2\nbatch_size = 2\nwarmup_steps = 1\nvalidate_steps = 2\nvalidation_scenes = 2\n"
)
UNIVERSAL = 'task = "universal_separator"\nnetwork = "s5cli.nn.deft:UniversalSeparator"\ninstalls = "tiny-uss"\n'
EXTRACTION = 'task = "target_extractor"\nnetwork = "s5cli.nn.deft:TargetExtractor"\ninstalls = "tiny-tse"\n'
CLASSIFIER = 'task = "stem_classifier"\nnetwork = "s5cli.nn.stem_classifier:StemHead"\ninstalls = "tiny-sc"\n'
PARTS = ("uss", "UniversalSeparator", "deft"), ("tse", "TargetExtractor", "deft"), ("sc", "StemHead", "stem_classifier")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A machine of one's own, whose registry has three parts that need training."""
    for kind in ("CACHE", "DATA", "CONFIG"):
        monkeypatch.setenv(f"S5_{kind}_DIR", str(tmp_path / kind.lower()))
    text = ""
    for name, network, module in PARTS:
        adapter = "StemNamer" if name == "sc" else network
        text += f"[part.tiny-{name}]\nnetwork = 's5cli.nn.{module}:{network}'\nfile = 'tiny-{name}'\n"
        text += f"adapter = 's5cli.adapters.objects:{adapter}'\n"
        text += f"[file.tiny-{name}]\nsource = 'trained-by:{name}'\nlicence = 'cc-by-4.0'\n"
    registry.user_path().parent.mkdir(parents=True)
    registry.user_path().write_text(text)
    return tmp_path


def train(place, material, name, text, capsys, *more, rest=REST):
    """`s5 train` with this recipe."""
    (place / f"{name}.toml").write_text(text + rest)
    line = ["train", place / f"{name}.toml", "--sources", material, "--held-out", "train", "-o", place / name, *more]
    assert exit_code([*map(str, line), "--accelerator", "cpu", "--workers", "0"]) == 0, capsys.readouterr().err


def trained(place, material, name, text, capsys):
    """The same: what it says, and the network from where the registry looks for it."""
    train(place, material, name, text, capsys)
    known = registry.registry()
    part = known.parts[f"tiny-{name.partition('_')[0]}"]
    return capsys.readouterr().err, load_network(part, trained_path(part.file))


def test_all_tasks_one_after_the_other(place, material, capsys):
    tables = {
        "uss": UNIVERSAL + f"[config]\n{SIZES}[options]\nclasses = 0\nsilence = 0\n",
        "uss_dpc": UNIVERSAL
        + f'init = "tiny-uss"\ngrows = true\ntrainable = ["dpc."]\n[config]\n{SIZES}{NAMED}'
        + '[options]\nseparation = 0\nsemantic = "body-frames"\n',
        "tse": EXTRACTION
        + f'init = "tiny-uss"\ngrows = true\n[config]\n{SIZES}{NAMED}frame_features = 513\nclass_width = 4\n'
        + '[options]\nseparator = "tiny-uss"\nsemantic = "body-frames"\nframes = "body-frames"\nwrong_clue = 0.5\n',
        "sc": CLASSIFIER
        + "[config]\nfeatures = 513\nembedding = 8\npeaks = true\n"
        + '[options]\nenergy = 0.001\nseparator = "tiny-uss"\nsemantic = "body-frames"\n',
    }
    said, plain = trained(place, material, "uss", tables["uss"], capsys)
    assert "stem_snri_db" in said
    assert "silent_snri_db" in said
    said, separator = trained(place, material, "uss_dpc", tables["uss_dpc"], capsys)
    assert "class_right_percent" in said
    assert "silence_right_percent" in said
    for name, tensor in plain.state_dict().items():
        assert torch.equal(separator.state_dict()[name], tensor), "only the classifier learned"
    said, extractor = trained(place, material, "tse", tables["tse"], capsys)
    assert "enrolment_snri_db" in said
    assert not (place / "tse" / "enrolments").exists(), "no scene comes twice"
    assert extractor.config.frame_features == 513
    said, classifier = trained(place, material, "sc", tables["sc"], capsys)
    assert "class_right_percent" in said
    assert classifier.config.peaks
    read = checkpoint.read(place / "sc" / "sc.safetensors")
    assert json.loads(read.metadata["config"])["embedding"] == 8


def test_losses_of_2025(place, material, capsys):
    """A class decoder beside the separator; SNR of active slots."""
    decoder = 'classifier = "decoder"\nclassifier_hidden = 8\nclassifier_recurrent = 4\n'
    trained(place, material, "uss", UNIVERSAL + f"[config]\n{SIZES}{decoder}", capsys)
    options = '[options]\nextraction = "snr"\nseparator = "tiny-uss"\n'
    trained(place, material, "tse", EXTRACTION + f"[config]\n{SIZES}class_width = 4\n{options}", capsys)


@pytest.fixture
def separated(monkeypatch):
    """How many clips universal separators have heard."""
    heard, forward = [], UniversalSeparator.forward

    def counted(network, mixture):
        heard.extend(mixture)
        return forward(network, mixture)

    monkeypatch.setattr(UniversalSeparator, "forward", counted)
    return heard


def test_a_run_of_scenes_that_come_round_again_separates_each_once(place, material, capsys, separated):
    """Also when it is stopped and goes on; a file that is damaged meanwhile is made again."""
    trained(place, material, "uss", UNIVERSAL + f"[config]\n{SIZES}[options]\nclasses = 0\nsilence = 0\n", capsys)
    separated.clear()
    text = EXTRACTION + f"[config]\n{SIZES}class_width = 4\n[options]\nseparator = 'tiny-uss'\n"
    rest = REST.replace("[schedule]\nsteps = 2", "[examples]\nscenes = 3\n[schedule]\nsteps = 6")
    train(place, material, "tse", text, capsys, "--steps", 6, "--minutes", 0, rest=rest)
    assert len(separated) == 2, "one step"
    first, second = sorted((place / "tse" / "enrolments").rglob("*.f16"))
    assert first.stat().st_size == 3 * 16_000 * 2 + 4
    kept = first.read_bytes()
    first.write_bytes(kept[:-100])
    train(place, material, "tse", text, capsys, "--steps", 6, rest=rest)
    assert len(separated) == 2 + 2 + 2, "a damaged one, the third scene, two of the validation"
    assert first.read_bytes() == kept
    assert second.is_file()
    assert "6 steps of 2 scenes of 0.5 s out of 3." in (place / "tse" / "tse.md").read_text()


def test_what_is_kept_is_what_a_separator_would_say(tmp_path, separated):
    torch.manual_seed(0)
    settings = tomllib.loads(SIZES)
    network = UniversalSeparator(DeftConfig(**settings)).eval()
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"one")
    mixtures = torch.randn(3, 4, 16_000) / 10

    def made(clips):
        with torch.no_grad():
            return network(clips).waveforms[:, :3]

    kept = Enrolments(tmp_path / "kept", weights, made)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first = kept(mixtures[:2])
    separated.clear()
    expected = made(mixtures)
    torch.testing.assert_close(first, expected[:2], rtol=1e-3, atol=1e-6)
    separated.clear()
    assert torch.equal(kept(mixtures[[1, 2, 0]])[[0, 2]], first[[1, 0]])
    assert len(separated) == 1, "the third"
    assert len([*kept.folder.iterdir()]) == 3, "and nothing that is not whole"
    for path in kept.folder.iterdir():
        content = bytearray(path.read_bytes())
        content[100] ^= 1
        path.write_bytes(content)
    assert torch.equal(kept(mixtures[:2]), first)
    assert len(separated) == 3, "a bit was wrong in each"
    weights.write_bytes(b"another")
    other = Enrolments(tmp_path / "kept", weights, made)
    other(mixtures[:1])
    assert len(separated) == 4
    assert len([*(tmp_path / "kept").iterdir()]) == 2


def test_what_a_task_needs_is_asked_before_it_begins(place, library):
    recipe = recipe_of("tse", tomllib.loads(EXTRACTION + f"[config]\n{SIZES}{REST}"))
    with pytest.raises(UsageError, match="must name the part that is its separator"):
        check(recipe, recipe.build())
    unknown = replace(recipe, options={"separator": "tiny-uss", "seperation": 1})
    with pytest.raises(UsageError, match=r"unknown key 'seperation' \(did you mean 'separation'"):
        check(unknown, recipe.build())
    with pytest.raises(NeedsTrainingError, match="s5 train uss"):
        check(replace(recipe, options={"separator": "tiny-uss"}), recipe.build())
    named = recipe_of("uss", tomllib.loads(UNIVERSAL + f"[config]\n{SIZES}{NAMED}{REST}"))
    with pytest.raises(UsageError, match="must name the part that is its semantic"):
        check(named, named.build())


def test_every_source_is_a_target(library: Library):
    scenes = SceneSettings(duration_s=1.0, n_foreground=(1, 3), n_interference=(1, 2), n_simulated_rooms=1)
    dataset = self_guided.Sources(scenes, library, ExampleSettings(seed=2))
    most = 0
    for index in range(4):
        rendered = render(draw(scenes, library, 2, index), library)
        most = max(most, len(rendered.others))
        whole = rendered.wet[:, 0].sum(axis=0) + rendered.others.sum(axis=0)
        np.testing.assert_allclose(whole, rendered.mixture[0], atol=1e-5)
        mixture, targets, classes = dataset[index]
        assert targets.shape == (6, 32_000)
        np.testing.assert_allclose(targets[3:].sum(dim=0), rendered.others.sum(axis=0), atol=1e-5)
        assert (classes >= 0).sum() == len(rendered.labels)
        assert mixture.shape == (4, 32_000)
    assert most > 1, "there is an interferer in one of them"


def test_wrong_clues_are_as_many_as_asked():
    task = self_guided.Extraction()
    classes = torch.full((1000, 3), 5)
    assert torch.equal(task.mistaken(classes), classes)
    task.options = self_guided.Options(wrong_clue=0.2)
    torch.manual_seed(0)
    found = task.mistaken(classes)
    assert 0.15 < float((found != classes).float().mean()) < 0.23
    assert found.min() == -1
