"""Checkpoint files in every form, and networks that take them exactly or not at all."""

import json
import resource
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from s5cli.errors import WeightsError
from s5cli.nn.body_tagger import BodyTagger
from s5cli.nn.m2d import M2DTagger1ch
from s5cli.weights import checkpoint
from tests.weights import tiny
from tests.weights.tiny import Foreign, Other, Sized, Tiny, TinyConfig, save_lightning, state_of


def same(network: torch.nn.Module, state: dict[str, torch.Tensor]) -> bool:
    own = network.state_dict()
    return set(own) == set(state) and all(torch.equal(own[name], state[name]) for name in own)


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return state_of(Tiny(TinyConfig()))


def build(path: Path, network: type = Tiny, **config: object) -> torch.nn.Module:
    return checkpoint.build_network(network, checkpoint.read(path), config)


@pytest.mark.parametrize("form", ["bare", "state_dict", "lightning", "foreign", "safetensors", "old", "parameters"])
def test_every_form_gives_the_same_network(form: str, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / ("x.safetensors" if form == "safetensors" else "x.ckpt")
    if form == "bare":
        torch.save(state, path)
    elif form == "state_dict":
        torch.save({"state_dict": state, "epoch": 1}, path)
    elif form == "lightning":
        save_lightning(path, state)
    elif form == "foreign":
        save_lightning(path, state, hyper_parameters={"model": Foreign(), "classes": [Foreign], "path": tmp_path})
    elif form == "old":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    elif form == "parameters":
        trained = {n: torch.nn.Parameter(v) if v.is_floating_point() else v for n, v in state.items()}
        torch.save({"state_dict": trained, "x": Foreign()}, path)
    else:
        save_file(state, path)
    network = build(path)
    assert same(network, state)
    assert not network.training


def test_shared_and_strided_tensors_survive_our_own_reader(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    state = {"a": base.T, "b": base[1:3, ::2], "half": base.half(), "n": torch.tensor(5), "empty": torch.zeros(0)}
    torch.save({"state_dict": state, "x": Foreign()}, tmp_path / "x.ckpt")
    found = checkpoint.read(tmp_path / "x.ckpt").tensors
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in state.items())


def test_float16_fills_a_float32_network(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file({n: v.half() if v.is_floating_point() else v for n, v in state.items()}, tmp_path / "x.safetensors")
    network = build(tmp_path / "x.safetensors")
    assert all(p.dtype == torch.float32 for p in network.parameters())
    assert torch.allclose(network.state_dict()["body.0.weight"], state["body.0.weight"], atol=1e-3)


def test_a_width_is_read_from_the_weights(tmp_path: Path) -> None:
    save_lightning(tmp_path / "x.ckpt", state_of(Tiny(TinyConfig(width=5))))
    assert build(tmp_path / "x.ckpt", Sized).config.width == 5  # type: ignore[union-attr]


def test_the_configuration_in_the_file_counts_where_none_is_given(tmp_path: Path) -> None:
    config = {"width": 2, "kernels": [3, 5]}
    save_file(state_of(Tiny(TinyConfig(2, (3, 5)))), tmp_path / "x.safetensors", {"config": json.dumps(config)})
    network = build(tmp_path / "x.safetensors")
    assert network.config == TinyConfig(2, (3, 5))
    with pytest.raises(WeightsError, match="shape"):
        build(tmp_path / "x.safetensors", width=4, kernels=[3, 5])


# --- what does not match ---------------------------------------------------------------------------------------------


def refused(path: Path, network: type = Tiny, **config: object) -> str:
    with pytest.raises(WeightsError) as caught:
        build(path, network, **config)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"norm.weight": None}, "norm.weight is missing"),
        ({"extra.weight": torch.zeros(1)}, "extra.weight is unexpected"),
        ({"norm.weight": torch.zeros(4)}, "norm.weight has shape [4] instead of [3]"),
    ],
)
def test_one_wrong_name_is_named(
    change: dict[str, torch.Tensor | None], expected: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    changed = {name: value for name, value in (state | change).items() if value is not None}
    save_lightning(tmp_path / "x.ckpt", changed)
    message = refused(tmp_path / "x.ckpt")
    assert expected in message
    assert "Tiny" in message


def test_another_network_is_refused_with_five_names_at_most(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "x.ckpt")
    message = refused(tmp_path / "x.ckpt", Other)
    assert message.count(" is missing") + message.count(" is unexpected") == 5
    assert f"and {8 + len(state) - 5} more" in message
    assert "missing" in refused(
        tmp_path / "x.ckpt",
        type("Named", (Sized,), {"config_from_state": staticmethod(lambda s, c: s["no"])}),
        kernels=[1, 1],
    )


def test_a_constant_that_the_network_owns_is_loaded(tmp_path: Path) -> None:
    class Owner(Tiny):
        stored_constants = ("norm",)

    state = state_of(Tiny(TinyConfig()))
    torch.save({**state, "norm_of_something": torch.zeros(1)}, tmp_path / "x.ckpt")
    assert same(build(tmp_path / "x.ckpt", Owner), state)


@pytest.mark.parametrize("config", [{"depth": 3}, {"width": -1}, {"width": "wide"}])
def test_an_impossible_configuration_is_one_line(
    config: dict[str, object], tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    torch.save(state, tmp_path / "x.ckpt")
    assert "Tiny" in refused(tmp_path / "x.ckpt", **config)


@pytest.mark.parametrize(
    "content", [[1, 2], {"weights": [1]}, {}, {"state_dict": {}}, {"state_dict": {"a": 1}}, {3: torch.ones(1)}]
)
def test_what_holds_no_weights_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.ckpt")
    assert "holds no weights" in refused(tmp_path / "x.ckpt")


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
@pytest.mark.parametrize("damage", ["empty", "text", "half", "flipped"])
def test_a_damaged_file_is_refused(suffix: str, damage: str, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    if suffix == ".ckpt":
        save_lightning(path, state, x=Foreign())
    else:
        save_file(state, path)
    whole = path.read_bytes()
    flipped = bytes(b ^ 0xFF for b in whole[:64]) + whole[64:]
    path.write_bytes({"empty": b"", "text": b"not found", "half": whole[: len(whole) // 2], "flipped": flipped}[damage])
    assert "damaged" in refused(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "is not there" in refused(tmp_path / "x.ckpt")


@pytest.mark.parametrize("config", ["[1]", "{", "[" * 100_000])
def test_a_damaged_configuration_in_the_file_is_refused(
    config: str, tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    save_file(state, tmp_path / "x.safetensors", {"config": config})
    assert "config" in refused(tmp_path / "x.safetensors")


# --- sizes that cannot be --------------------------------------------------------------------------------------------


@pytest.fixture
def little_memory() -> Iterator[None]:
    """The test may take 200 MB and ten seconds at most."""
    before_kib, began_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 200_000
    assert time.process_time() - began_s < 10


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    ("network", "config", "expected"),
    [
        (BodyTagger, {"classes": 10**6}, "instead of"),
        (M2DTagger1ch, {"depth": 10**9}, "more than 10000 modules"),
        (BodyTagger, {"classes": 10**400}, "no BodyTagger can be built"),
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_a_configuration_of_a_huge_network_takes_no_memory(
    network: Any, config: dict[str, int], expected: str, inside: bool, tmp_path: Path
) -> None:
    state = BodyTagger(BodyTagger.Config()).state_dict()
    save_file(state, tmp_path / "x.safetensors", {"config": json.dumps(config if inside else {})})
    assert expected in refused(tmp_path / "x.safetensors", network, **({} if inside else config))


def regrown(source: Path, target: Path, member: str, mebibytes: int, compression: int) -> Path:
    """The same zip with so many zeros more in one of its members."""
    with zipfile.ZipFile(source) as small, zipfile.ZipFile(target, "w", compression) as archive:
        for name in small.namelist():
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(small.read(name))
                for _ in range(mebibytes if name.endswith(member) else 0):
                    file.write(bytes(1 << 20))
    return target


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("foreign", [True, False])
def test_a_storage_that_is_larger_than_its_tensors_is_refused(foreign: bool, tmp_path: Path) -> None:
    torch.save({"state_dict": {"w": torch.zeros(3)}, "x": Foreign() if foreign else 1}, tmp_path / "y.ckpt")
    path = regrown(tmp_path / "y.ckpt", tmp_path / "x.ckpt", "data/0", 300, zipfile.ZIP_STORED)
    assert f"a storage of {(300 << 20) + 12} bytes for tensors of 12" in refused(path)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("form", ["zip", "old"])
def test_a_tensor_that_is_larger_than_its_storage_is_refused(form: str, tmp_path: Path) -> None:
    wide = torch.zeros(1).expand(1 << 40)
    torch.save({"w": wide}, tmp_path / "x.ckpt", _use_new_zipfile_serialization=form == "zip")
    assert "larger than" in refused(tmp_path / "x.ckpt")


@pytest.mark.usefixtures("little_memory")
def test_many_tensors_of_one_storage_take_its_memory_once(tmp_path: Path) -> None:
    base = torch.zeros(1 << 20)
    torch.save({str(number): base.view(-1) for number in range(500)}, tmp_path / "x.ckpt")
    assert len(checkpoint.read(tmp_path / "x.ckpt").tensors) == 500


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("member", ["data.pkl", "data/0"])
def test_a_zip_that_would_grow_is_refused(member: str, tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(3)}, tmp_path / "y.ckpt")
    path = regrown(tmp_path / "y.ckpt", tmp_path / "x.ckpt", member, 300, zipfile.ZIP_DEFLATED)
    assert "would become larger than the file" in refused(path)


def test_a_list_of_tensors_that_is_too_long_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(3), "x": "x" * (17 << 20)}, tmp_path / "x.ckpt")
    assert "data.pkl has" in refused(tmp_path / "x.ckpt")


def test_a_safetensors_file_of_another_name_is_read(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "x.ckpt")
    assert same(build(tmp_path / "x.ckpt"), state)


# --- the prefix rule -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "own", "expected"),
    [
        (["a.w", "b"], ["a.w", "b"], ["a.w", "b"]),
        (["model.a.w", "model.b", "other.b"], ["a.w", "b"], ["a.w", "b"]),
        (["a.w", "b", "c"], ["a.w", "b"], ["a.w", "b", "c"]),  # no prefix: what is too much is seen
        (["x.y.a.w"], ["a.w", "b"], ["a.w"]),
        (["aa.w", "m.a.w"], ["a.w"], ["a.w"]),  # the end of a step is not a step
        (["q"], ["a.w"], ["q"]),
        (["q"], [], ["q"]),
    ],
)
def test_prefix(names: list[str], own: list[str], expected: list[str]) -> None:
    tensors = {name: torch.tensor(index) for index, name in enumerate(names)}
    assert list(checkpoint.strip_prefix(tensors, own)) == expected


# --- the copy --------------------------------------------------------------------------------------------------------


def test_the_copy_is_taken_as_long_as_the_source_is_the_same(tmp_path: Path) -> None:
    from s5cli.weights.build import load_network

    part = tiny.registry_of({"tagger": {"path": str(tmp_path / "x.ckpt")}}).parts["tagger"]
    first, second = state_of(Tiny(TinyConfig()), 1), state_of(Tiny(TinyConfig()), 2)
    save_lightning(tmp_path / "x.ckpt", first, hyper=Foreign())
    assert same(load_network(part, tmp_path / "x.ckpt"), first)
    assert same(checkpoint.build_network(Tiny, checkpoint.read(checkpoint.copy_path("tagger")), {}), first)
    marked = {**first, "norm.bias": torch.full((3,), 42.0)}
    save_file(marked, checkpoint.copy_path("tagger"), checkpoint.read_metadata(checkpoint.copy_path("tagger")))
    assert same(load_network(part, tmp_path / "x.ckpt"), marked)  # it is the copy that is read
    save_lightning(tmp_path / "x.ckpt", second, hyper=Foreign())
    assert same(load_network(part, tmp_path / "x.ckpt"), second)
    assert same(load_network(part, tmp_path / "x.ckpt"), second)
    assert [each.name for each in checkpoint.copy_path("tagger").parent.iterdir()] == ["tagger.safetensors"]


def test_nothing_is_left_of_a_refused_file(tmp_path: Path) -> None:
    from s5cli.weights.build import load_network

    part = tiny.registry_of({"tagger": {"path": str(tmp_path / "x.ckpt")}}).parts["tagger"]
    torch.save(state_of(Other(TinyConfig())), tmp_path / "x.ckpt")
    with pytest.raises(WeightsError):
        load_network(part, tmp_path / "x.ckpt")
    assert not checkpoint.copy_path("tagger").exists()
