"""Hostile checkpoints run nothing: every payload would leave a file behind."""

import builtins
import functools
import io
import operator
import os
import pickle
import resource
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s5cli.errors import WeightsError
from s5cli.weights import checkpoint
from s5cli.weights.unpickle import StandIn, Table, TensorPlan, read_pickle


class Call:
    """Pickles as a call of anything with anything."""

    def __init__(self, function: Any, *args: Any, state: Any = None) -> None:
        self.reduced = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> Any:
        return self.reduced


def checkpoint_file(path: Path, content: Any, protocol: int = 2) -> Path:
    """A torch zip with `content` as its pickle; `content` may be ready-made bytes."""
    pickled = content if isinstance(content, bytes) else pickle.dumps(content, protocol)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickled)
        archive.writestr("x/version", "3\n")
        archive.writestr("x/byteorder", "little")
        archive.writestr("x/data/0", struct.pack("<3f", 1, 2, 3))
    return path


def global_op(module: str, name: str) -> bytes:
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def payloads(sentinel: Path) -> dict[str, Any]:
    touch, code = f"touch {sentinel}", f"open({str(sentinel)!r}, 'w')"
    run = Call(os.system, touch)
    string = pickle.dumps(touch, 2)[2:-1]  # without header and stop
    return {
        "os.system": run,
        "eval": Call(builtins.eval, code),
        "exec": Call(builtins.exec, code),
        "in the state_dict": {"state_dict": {"w": run}},
        "in hyper-parameters": {"state_dict": {"w": torch.tensor(1).item()}, "hyper_parameters": {"x": [run, (run,)]}},
        "as a key": {"state_dict": {}, run: 1},
        "argument of a container": {"state_dict": Call(OrderedDict, [("w", run)])},
        "container of a call": Call(OrderedDict, Call(os.system, touch)),
        "nested": Call(os.system, Call(builtins.eval, Call(builtins.str, code))),
        "partial": Call(functools.partial(os.system, touch)),
        "methodcaller": Call(operator.methodcaller("touch"), sentinel),
        "state": Call(OrderedDict, state={"x": run}),
        "rebuild": Call(torch._utils._rebuild_tensor_v2, run, 0, (1,), (1,), False, OrderedDict()),
        "rebuild from type": Call(torch._utils._rebuild_parameter, run, False, run),
        "load": Call(torch.load, str(sentinel)),
        # straight from opcodes: state given to classes, to the builder, and a replaced __setstate__
        "build on os": b"\x80\x02" + global_op("os", "system") + b"}" + string + b"K\x01sb" + string + b"\x85R.",
        "build on OrderedDict": b"\x80\x02"
        + global_op("collections", "OrderedDict")
        + b"N}(U\x08__init__"
        + global_op("os", "system")
        + b"u\x86b"
        + string
        + b"\x85R.",
        "build on the builder": b"\x80\x02"
        + global_op("torch._utils", "_rebuild_tensor_v2")
        + b"N}(U\x08__init__"
        + global_op("os", "system")
        + b"u\x86b"
        + string
        + b"\x85R.",
        "inst": b"\x80\x02(" + string + b"ios\nsystem\n.",
        "obj": b"\x80\x02(" + global_op("os", "system") + string + b"o.",
        "newobj": b"\x80\x02" + global_op("os", "system") + string + b"\x85\x81.",
        "python 2 name": b"\x80\x02" + global_op("__builtin__", "eval") + pickle.dumps(code, 2)[2:-1] + b"\x85R.",
        "dotted name": b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93)R.",
        "persistent": b"\x80\x02" + global_op("os", "system") + b"Q.",
        "called storage": b"\x80\x02" + global_op("torch", "FloatStorage") + string + b"\x85R.",
    }


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", payloads(Path("x")))
def test_nothing_runs(name: str, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    path = checkpoint_file(tmp_path / "x.ckpt", payloads(sentinel)[name])
    with pytest.raises(WeightsError) as caught:
        checkpoint.read(path)
    assert not sentinel.exists()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["os.system", "eval", "exec", "partial", "methodcaller"])
def test_the_payloads_are_real(name: str, tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(payloads(tmp_path / "sentinel")[name], 2))  # noqa: S301  or the test above proves nothing
    assert (tmp_path / "sentinel").exists()


def test_hostile_hyper_parameters_beside_good_weights_are_inert(tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    content = {"state_dict": OrderedDict(w=torch.arange(3.0)), "hyper_parameters": Call(os.system, f"touch {sentinel}")}
    torch.save(content, tmp_path / "x.ckpt")
    assert torch.equal(checkpoint.read(tmp_path / "x.ckpt").tensors["w"], torch.arange(3.0))
    assert not sentinel.exists()


def test_what_is_handed_out_cannot_be_changed() -> None:
    before = {each: dict(vars(each)) for each in (StandIn, Table, TensorPlan)}
    for module, name in (("a", "b"), ("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor_v2")):
        read_pickle(b"\x80\x02" + global_op(module, name) + b"N}(U\x03newK\x01U\x08__init__K\x02u\x86b.")
        read_pickle(b"\x80\x02" + global_op(module, name) + b"}(U\x03newK\x01ub.")
    assert before == {each: dict(vars(each)) for each in (StandIn, Table, TensorPlan)}


def storage(key: str = "0", kind: str = "FloatStorage") -> bytes:
    """Opcodes that leave a storage on the stack."""
    parts = [
        b"(",
        b"U\x07storage",
        global_op("torch", kind),
        b"U" + bytes([len(key)]) + key.encode(),
        b"U\x03cpu",
        b"K\x03",
        b"tQ",
    ]
    return b"".join(parts)


def tensor_file(path: Path, offset: int, size: tuple[int, ...], stride: tuple[int, ...], stored: bytes) -> Path:
    loose = b"".join(pickle.dumps(each, 2)[2:-1] for each in (offset, size, stride, False))
    make = (
        global_op("torch._utils", "_rebuild_tensor_v2")
        + b"("
        + stored
        + loose
        + global_op("collections", "OrderedDict")
        + b")Rt"
        + b"R"
    )
    foreign = b"U\x01x" + global_op("a", "b")
    return checkpoint_file(path, b"\x80\x02}(U\nstate_dict}U\x01w" + make + b"s" + foreign + b"u.")


def test_a_tensor_made_by_hand_is_read(tmp_path: Path) -> None:
    found = checkpoint.read(tensor_file(tmp_path / "x.ckpt", 1, (2,), (1,), storage())).tensors["w"]
    assert found.tolist() == [2.0, 3.0]


@pytest.mark.parametrize(
    ("offset", "size", "stride", "stored"),
    [
        (0, (4,), (1,), storage()),  # beyond the end
        (2, (2,), (1,), storage()),
        (0, (2,), (1 << 40,), storage()),
        (0, (1 << 62, 4), (1 << 62, 1), storage()),
        (-1, (2,), (1,), storage()),
        (0, (-2,), (1,), storage()),
        (0, (2,), (-1,), storage()),
        (0, (2,), (1, 1), storage()),
        (0, ("2",), (1,), storage()),
        (0, (2,), (1,), storage(key="9")),
        (0, (2,), (1,), storage(key="../data.pkl")),
        (0, (2,), (1,), storage(kind="Tensor")),
        (0, (2,), (1,), b"N"),
    ],
)
def test_a_tensor_that_leaves_its_storage_is_refused(
    offset: int, size: tuple[int, ...], stride: tuple[int, ...], stored: bytes, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match="damaged"):
        checkpoint.read(tensor_file(tmp_path / "x.ckpt", offset, size, stride, stored))


def test_two_pickles_in_one_file_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.ckpt", "w") as archive:
        for folder in "ab":
            archive.writestr(f"{folder}/data.pkl", pickle.dumps({"w": Call(os.system, "true")}, 2))
    with pytest.raises(WeightsError, match="damaged"):
        checkpoint.read(tmp_path / "x.ckpt")


_SEED = io.BytesIO()
torch.save({"state_dict": {"w": torch.arange(3.0)}, "x": Call(os.getpid)}, _SEED)
with zipfile.ZipFile(_SEED) as _archive:
    _PICKLE = _archive.read(next(name for name in _archive.namelist() if name.endswith("data.pkl")))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(_PICKLE) - 1), st.binary(max_size=6))
def test_no_damage_makes_anything_but_inert_values(at: int, inserted: bytes) -> None:
    try:
        found = read_pickle(_PICKLE[:at] + inserted + _PICKLE[at + len(inserted) :])
    except Exception:
        return
    allowed = (
        StandIn | Table | TensorPlan | dict | list | tuple | set | frozenset | str | bytes | bytearray | int | float
    )
    assert found is None or found in (StandIn, Table, TensorPlan) or isinstance(found, allowed)


def test_a_huge_memo_index_takes_no_memory() -> None:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read_pickle(b"Nr" + (2**31 - 1).to_bytes(4, "little") + b".") is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 100_000
