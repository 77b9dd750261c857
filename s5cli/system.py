"""The contract of a system: what it declares beside its flow, and what a decision answers (docs/architecture.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from s5cli.knobs import AblationRow, Knob, Option, Setting
from s5cli.scene import Queries, Scene, Stems
from s5cli.trace import ClipTrace, Drop

if TYPE_CHECKING:
    from torch import Tensor


class Decision(Protocol):
    """What a system found of a batch, in a frozen record of its own; others know these two methods of it."""

    def stems(self) -> Stems:
        """The stems that are reported, in slot order; slots of which nothing is reported are EMPTY."""

    def trace(self) -> list[ClipTrace]:
        """What became of every query, by clip. Made of numbers alone: audio is not looked at."""


class System(Protocol):
    """A method from a paper, which owns all that is said about it: see docs/architecture.md.

    Built with its parts and a setting by keyword; the setting holds its knobs and options. What networks compute stands
    in attributes that are steps (`s5cli.steps.step`), so that others can remember their answers or stop between them.
    """

    knobs: ClassVar[Mapping[str, Knob]]  # searched, in the order of the stages
    options: ClassVar[Mapping[str, Option]]  # chosen
    drops: ClassVar[Mapping[str, Drop]]  # rules by which queries are dropped, in the order of the flow
    ablation: ClassVar[Sequence[AblationRow]]  # what is switched off to see what it is worth
    window_s: ClassVar[float | None]  # length of the windows that suit it in long recordings; None: taken whole
    setting: Setting
    nparams: int  # as the official code counts them

    def __call__(self, scenes: Sequence[Scene]) -> Decision: ...

    def with_queries(self, queries: Queries) -> System:
        """The same method for classes that a user named: they replace what taggers say, and nothing is dropped."""


@runtime_checkable
class Staged(Protocol):
    """A decision that also gives stems from before its end."""

    def staged(self) -> Mapping[str, Stems]:
        """Stems by the name of the stage that made them; empty where nobody asked for them."""


@runtime_checkable
class Streaming(Protocol):
    """A system that also takes a recording block by block, its state inside."""

    def stream(self, blocks: Iterable[Tensor]) -> Iterator[Stems]:
        """Consecutive blocks [m, t] of one recording to the stems of each (b is 1, waveforms as long as what is ready).

        A slot is one source throughout: its waveforms in the order of the blocks make the whole stem. Together they are
        as long as the recording; with the end of the blocks comes what was held back.
        """
