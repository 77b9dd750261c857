"""Reads the pickle inside a torch checkpoint without calling anything that it names.

`torch.load(weights_only=True)` refuses a file as a whole when it names one class that torch does not know, and training
checkpoints do that in their hyper-parameters. Here a tensor becomes a plan of one, an ordered dictionary a dictionary,
and every other name an inert stand-in. A pickle can do five things with an object: call it, make an instance of it,
give it state, put items into it, and append to it. Everything handed out below accepts them (or refuses them) without
effect on anything outside itself; in particular every type has its own `__setstate__`, as a pickle would otherwise set
attributes of the type itself.
"""

import io
import pickle
from typing import Any, NamedTuple

STORAGE_DTYPES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}


def _forget(*_: Any) -> None:
    """Takes whatever a pickle gives and does nothing."""


class StandIn:
    """What every foreign name becomes."""

    __slots__ = ()
    __setstate__ = staticmethod(_forget)
    __setitem__ = append = extend = add = _forget

    def __new__(cls, *_: Any, **__: Any) -> "StandIn":
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> "StandIn":
        return self


class Table(dict[Any, Any]):
    """What `collections.OrderedDict` becomes: nothing but items."""

    __slots__ = ()
    __setstate__ = staticmethod(_forget)


class Storage(NamedTuple):
    """Numbers that lie in the archive as `data/KEY`."""

    dtype: str
    key: str


class TensorPlan:
    """What `torch._utils._rebuild_tensor_v2` is asked to make: a strided view of a storage."""

    __slots__ = ("offset", "size", "storage", "stride")
    __setstate__ = staticmethod(_forget)

    def __init__(self, storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> None:
        if not isinstance(storage, Storage):
            raise pickle.UnpicklingError("a tensor that is not a view of a storage")
        self.storage, self.offset, self.size, self.stride = storage, offset, tuple(size), tuple(stride)


class Parameter:
    """What `torch._utils._rebuild_parameter` is asked to make: a tensor that is trained."""

    __slots__ = ("plan",)
    __setstate__ = staticmethod(_forget)

    def __init__(self, plan: TensorPlan, *_: Any) -> None:
        if not isinstance(plan, TensorPlan):
            raise pickle.UnpicklingError("a parameter that is not a tensor")
        self.plan = plan


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): Table,
    ("torch._utils", "_rebuild_tensor_v2"): TensorPlan,
    ("torch._utils", "_rebuild_parameter"): Parameter,
    # a string is the most inert of all: it can neither be called nor changed
    **{("torch", name): name for name in STORAGE_DTYPES},
}


class _Unpickler(pickle._Unpickler):
    """Python's own pickle machine: the C one reserves memory for as many memo entries as five hostile bytes say."""

    def find_class(self, module: str, name: str) -> Any:
        return _KNOWN.get((module, name), StandIn)

    def persistent_load(self, identity: Any) -> Storage:
        kind, storage, key, *_ = identity
        if kind != "storage" or storage not in STORAGE_DTYPES or not isinstance(key, str):
            raise pickle.UnpicklingError("a storage that is not a torch storage")
        return Storage(STORAGE_DTYPES[storage], key)


def read_pickle(data: bytes) -> Any:
    """Containers, numbers, strings and `TensorPlan`s; everything foreign is a `StandIn`.

    Damaged or hostile data raise whatever the pickle machine raises (not only `pickle.UnpicklingError`).

    >>> read_pickle(b"cos\\nsystem\\n(S'rm -rf /'\\ntR.").__class__.__name__
    'StandIn'
    """
    return _Unpickler(io.BytesIO(data)).load()
