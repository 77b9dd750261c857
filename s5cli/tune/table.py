"""What a step is known to answer, as arrays that are looked up for all clips at once.

Where a step is asked what it has never been asked of a clip, the clip is marked as unseen; nothing is ever estimated.
Letters: b clips, p passes, s slots, n class indices or waveforms that a step is asked about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from s5cli.scene import Bools, Ints
from s5cli.tune.form import Array, assembled
from s5cli.tune.index import Index


class NothingKnownError(Exception):
    """A step of which nothing is remembered for any clip."""


@dataclass(frozen=True)
class Clips:
    """All clips of a replay, in the place of scenes; steps mark those of which they do not know what is asked."""

    content: Ints  # [b], numbers of contents: files that hold the same share one
    unseen: Bools = field(init=False)  # [b]

    def __post_init__(self) -> None:
        object.__setattr__(self, "unseen", np.zeros(len(self.content), dtype=np.bool_))

    def __len__(self) -> int:
        return len(self.content)


class Table:
    """All passes of one step, found by content and inputs. Takes the place of the step in a replay.

    Arrays are kept, and answered, with the clips last in memory: [b, s] in Fortran's order. For NumPy a few long runs
    through memory are several times as fast as a thousand runs of three slots, and a flow need not know of it.
    """

    def __init__(self, gives: type, asked: Ints, arrays: Mapping[str, Array]) -> None:
        """`asked` [p, 1 + n]: content and inputs of each pass, all different; `arrays` have a leading pass axis."""
        self.gives = gives
        self.index = Index(np.ascontiguousarray(asked.T)) if len(asked) else None
        self.arrays = {path: np.ascontiguousarray(array.T) for path, array in arrays.items()}
        self._all: tuple[Clips, Any] | None = None  # a step that is asked nothing has one answer for all settings

    def __call__(self, clips: Clips, *inputs: Ints) -> Any:
        if inputs:
            return self._found(clips, inputs)
        if self._all is None or self._all[0].content is not clips.content:
            known = Clips(clips.content)
            self._all = known, self._found(known, ())
        np.logical_or(clips.unseen, self._all[0].unseen, out=clips.unseen)
        return self._all[1]

    def _found(self, clips: Clips, inputs: Sequence[Ints]) -> Any:
        if self.index is None:
            raise NothingKnownError
        rows, known = self.index.find(np.concatenate([clips.content[None], *(one.T for one in inputs)]))
        np.logical_or(clips.unseen, ~known, out=clips.unseen)
        return assembled(self.gives, {path: array.take(rows, axis=-1).T for path, array in self.arrays.items()})
