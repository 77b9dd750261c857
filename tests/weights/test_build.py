"""From names to systems that run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from s5cli.cli import exit_code
from s5cli.errors import NeedsTrainingError, UsageError, WeightsError
from s5cli.weights import fetch, hashes, own
from s5cli.weights import registry as registries
from s5cli.weights.build import build, provenance, resolve
from s5cli.weights.device import resolve_device
from s5cli.weights.registry import Registry, Table, parse
from tests.weights import tiny
from tests.weights.server import Server
from tests.weights.tiny import Tiny, TinyConfig, save_lightning, state_of


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """`tiny`: a tagger in a training checkpoint, a separator of another size in a safetensors file."""
    save_lightning(tmp_path / "a.ckpt", state_of(Tiny(TinyConfig()), 1), hyper_parameters=tiny.Foreign())
    config = TinyConfig(2, (3, 5))
    save_file(
        state_of(Tiny(config), 2), tmp_path / "b.safetensors", {"config": json.dumps({"width": 2, "kernels": [3, 5]})}
    )
    content = tiny.tables(
        {"tagger": {"path": str(tmp_path / "a.ckpt")}, "separator": {"path": str(tmp_path / "b.safetensors")}},
        knobs={"drop": 0.25},
        per_class=True,
    )
    content["part"]["separator"]["options"] = {"gain": 2.0}
    return parse(content, Path("weights.toml"))


def test_a_system_is_put_together(registry: Registry) -> None:
    system = build("small", registry=registry, thresholds={"gate": -20})
    tagger, separator = system.tagger, system.separator  # type: ignore[attr-defined]
    assert torch.equal(tagger.network.state_dict()["norm.bias"], state_of(Tiny(TinyConfig()), 1)["norm.bias"])
    assert separator.network.config == TinyConfig(2, (3, 5))
    assert (tagger.gain, separator.gain) == (1.0, 2.0)
    assert tagger.device == torch.device("cpu")
    assert not tagger.network.training
    assert dict(system.setting.values) == {"drop": 0.25, "gate": -20, "top": 1}  # type: ignore[attr-defined]


def test_thresholds_go_before_the_section(registry: Registry) -> None:
    system = build("tiny", registry=registry, thresholds={"drop": {"Speech": 0.75}})
    assert system.setting.of("drop", np.array([15, 0])).tolist() == [0.75, 0.5]  # type: ignore[attr-defined]


@pytest.mark.parametrize("thresholds", [{"dorp": 1}, {"drop": 2}, {"gate": {"Speech": -20}}, {"drop": {"Speach": 0.5}}])
def test_thresholds_that_do_not_fit_are_refused(registry: Registry, thresholds: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        build("tiny", registry=registry, thresholds=thresholds)


def test_tables_per_class_are_refused_where_the_section_has_none(tmp_path: Path) -> None:
    registry = tiny.registry_of({"tagger": {"path": str(tmp_path / "a.ckpt")}})
    with pytest.raises(UsageError, match="one value for 'drop'"):
        build("tiny", registry=registry, thresholds={"drop": {"Speech": 0.5}})


def test_provenance_names_every_part(registry: Registry, tmp_path: Path) -> None:
    build("tiny", registry=registry)
    sha256 = {name: hashes.sha256_of(tmp_path / name) for name in ("a.ckpt", "b.safetensors")}
    assert provenance("small", registry) == [
        {"part": "tagger", "file": "tagger", "sha256": sha256["a.ckpt"], "licence": "free"},
        {"part": "separator", "file": "separator", "sha256": sha256["b.safetensors"], "licence": "free"},
    ]
    (tmp_path / "a.ckpt").unlink()
    with pytest.raises(WeightsError, match="s5 download tiny"):
        provenance("tiny", registry)


def test_what_is_missing_is_downloaded_under_its_licence(server: Server, tmp_path: Path) -> None:
    save_lightning(tmp_path / "a.ckpt", state_of(Tiny(TinyConfig()), 1))
    url = server.put("/a.ckpt", (tmp_path / "a.ckpt").read_bytes())
    registry = tiny.registry_of({"tagger": {"source": url, "licence": "strict"}})
    for refused in ({}, {"offline": True}, {"ask": lambda _: False}):
        with pytest.raises(WeightsError):
            build("tiny", registry=registry, **refused)  # type: ignore[arg-type]
    assert server.asked == []
    build("tiny", registry=registry, accept_licence=True)
    build("tiny", registry=registry, offline=True)
    assert len(server.asked) == 1


def test_a_trained_file_is_found_where_its_recipe_puts_it() -> None:
    registry = tiny.registry_of({"tagger": {"source": "trained-by:zero_target_head"}})
    with pytest.raises(NeedsTrainingError, match=r"system 'tiny' needs training.*`s5 train zero_target_head"):
        build("tiny", registry=registry)
    path = fetch.trained_path(registry.file("tagger"))
    path.parent.mkdir(parents=True)
    save_file(state_of(Tiny(TinyConfig(4))), path, {"config": '{"width": 4}'})
    assert build("tiny", registry=registry).tagger.network.config.width == 4  # type: ignore[attr-defined]


def test_the_packaged_systems_name_both_commands() -> None:
    with pytest.raises(NeedsTrainingError, match=r"`s5 train zero_target_head [^`]*` and `s5 train separator_b [^`]*`"):
        build("tagging-driven-3", offline=True)
    with pytest.raises(NeedsTrainingError, match=r"`s5 train zero_target_head [^`]*`$"):
        build("tagging-driven-2", offline=True)


@pytest.mark.parametrize("text", ["s5cli.nothing:X", "s5cli.labels:Nothing"])
def test_a_name_that_leads_nowhere_is_told(text: str) -> None:
    with pytest.raises(WeightsError, match=text):
        resolve(text)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"network": "os:system"}, "is no class"),
        (
            {"network": "subprocess:Popen"},
            r"\[part.tagger\] in weights.toml: network = 'subprocess:Popen' is no network",
        ),
        ({"network": f"{tiny.HERE}:Adapter"}, "is no network"),
        ({"network": "torch.nn:ReLU"}, "is no network"),
        ({"adapter": "os:system"}, "is no class"),
        ({"adapter": "subprocess:Popen"}, "does not take what its section gives it"),
        ({"adapter": f"{tiny.HERE}:Tiny"}, "is no adapter"),
        ({"adapter": "..x:Y"}, "names nothing that can be imported"),
        ({"adapter": "unimportable_for_s5:Y"}, "names nothing that can be imported.*loud"),
        ({"options": {"gian": 2}}, "unexpected keyword argument 'gian'"),
        ({"config": {"with": 2}}, r"its configuration has 'with', Tiny has not \(did you mean 'width'\?\)"),
    ],
)
def test_a_part_may_only_name_what_fits(
    part: Table, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unimportable_for_s5.py").write_text("raise KeyError('loud')")
    monkeypatch.syspath_prepend(tmp_path)
    torch.save(state_of(Tiny(TinyConfig())), tmp_path / "a.ckpt")
    content = tiny.tables({"tagger": {"path": str(tmp_path / "a.ckpt")}})
    content["part"]["tagger"] |= part
    with pytest.raises(WeightsError, match=expected):
        build("tiny", registry=parse(content, Path()))


@pytest.mark.parametrize(
    ("flow", "expected"),
    [("os:system", "is no class"), ("fractions:Fraction", "is no flow"), (f"{tiny.HERE}:Adapter", "is no flow")],
)
def test_a_system_may_only_name_a_flow(flow: str, expected: str) -> None:
    with pytest.raises(WeightsError, match=expected):
        build("tiny", registry=tiny.registry_of({"tagger": {"path": "/nowhere"}}, flow=flow))


@pytest.mark.parametrize(
    "line", ["systems", "systems tiny", "separate examples -o {out} --system tiny", "weights list"]
)
@pytest.mark.parametrize("name", ["os:system", "subprocess:Popen"])
def test_no_command_dies_of_a_registry_that_names_a_program(
    line: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(state_of(Tiny(TinyConfig())), tmp_path / "a.ckpt")
    content = tiny.tables({"tagger": {"path": str(tmp_path / "a.ckpt")}})
    content["part"]["tagger"]["network"] = name
    registries.user_path().parent.mkdir(parents=True)
    registries.user_path().write_text(own.to_toml(content))
    code = exit_code(line.format(out=tmp_path / "out").split())
    said = capsys.readouterr().err
    assert (code, said) == (0, "") or (code == 2 and name in said and said.count("\n") == 1)


def test_the_registry_needs_no_torch() -> None:
    heavy = "any(name in sys.modules for name in ('torch', 'numpy', 'huggingface_hub', 'pooch'))"
    code = f"import sys, s5cli.weights.listing, s5cli.weights.own; sys.exit({heavy})"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


# --- devices ---------------------------------------------------------------------------------------------------------


def test_a_device_is_what_was_asked_for_or_an_error() -> None:
    assert resolve_device("cpu").type == "cpu"
    for name in ("gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "", "mps:0"):
        with pytest.raises(UsageError, match="auto, cpu, cuda, cuda:N or mps"):
            resolve_device(name)
    if torch.cuda.is_available():
        assert resolve_device("auto").type == "cuda"
        assert resolve_device("cuda:0") == torch.device("cuda:0")
        with pytest.raises(UsageError, match="counted from 0"):
            resolve_device(f"cuda:{torch.cuda.device_count()}")
    else:
        assert resolve_device("auto").type == ("mps" if torch.backends.mps.is_available() else "cpu")
        for name in ("cuda", "cuda:0"):
            with pytest.raises(UsageError, match="finds no CUDA"):
                resolve_device(name)
