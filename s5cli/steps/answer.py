"""What a system decided about a batch, still in arrays."""

from __future__ import annotations

from dataclasses import dataclass

from s5cli.labels import CLASSES
from s5cli.scene import EMPTY, Bools, Floats, Ints, Stem
from s5cli.steps.step import Waveforms


@dataclass(frozen=True)
class Answer:
    """What is reported of every clip, in slot order; None: the system knows no such thing."""

    classes: Ints  # [b, s], EMPTY where nothing is reported
    slot: Ints  # [b, s], the query's own place in the list that was asked
    confidence: Floats  # [b, s]
    waveforms: Waveforms  # [b, s]
    support: Floats | None = None  # [b, s]
    energy_db: Floats | None = None  # [b, s]
    from_b: Bools | None = None  # [b, s], made by the second separator

    def stems(self) -> list[list[Stem]]:
        """The reported stems of each clip, their audio on the CPU and the caller's own."""
        return [self._of(row) for row in range(len(self.classes))]

    def _of(self, row: int) -> list[Stem]:
        return [
            Stem(
                label=CLASSES[index],
                slot=int(self.slot[row, place]),
                confidence=float(self.confidence[row, place]),
                audio=self.waveforms[row, place].cpu().clone(),
                support=None if self.support is None else float(self.support[row, place]),
                energy_db=None if self.energy_db is None else float(self.energy_db[row, place]),
                separator="b" if self.from_b is not None and self.from_b[row, place] else "a",
            )
            for place, index in enumerate(self.classes[row].tolist())
            if index != EMPTY
        ]
