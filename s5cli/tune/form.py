"""Results of steps taken apart into named arrays, and put together again: dataclasses of arrays, nested or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, get_type_hints

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def arrays_of(result: Any, prefix: str = "") -> Iterator[tuple[str, Array]]:
    """Every array of a result under its path, such as `tags.tags_4ch.probabilities`.

    Raises:
        TypeError: the result holds something else.
    """
    for field in fields(result):
        value, path = getattr(result, field.name), prefix + field.name
        if is_dataclass(value):
            yield from arrays_of(value, f"{path}.")
        elif isinstance(value, np.ndarray):
            yield path, value
        else:
            raise TypeError(f"a step gives arrays, but {path} is of type {type(value).__name__}")


def assembled(kind: type, arrays: Mapping[str, Array] | Array, prefix: str = "") -> Any:
    """Inverse of `arrays_of` for a result of this kind; arrays by path, or the fields of records.

    >>> from s5cli.scene import Tags
    >>> assembled(Tags, dict(arrays_of(Tags(np.zeros((1, 3, 19)))))).probabilities.shape
    (1, 3, 19)
    """
    return kind(
        *(
            arrays[prefix + name] if inner is None else assembled(inner, arrays, f"{prefix}{name}.")
            for name, inner in _members(kind)
        )
    )


@lru_cache
def _members(kind: type) -> tuple[tuple[str, type | None], ...]:
    """Names of the fields, and of what dataclass they are, if of one."""
    hints = get_type_hints(kind)
    return tuple((field.name, hints[field.name] if is_dataclass(hints[field.name]) else None) for field in fields(kind))
