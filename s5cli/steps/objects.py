"""Separation of whatever there is, extraction by clues, and what is said of each stem."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from s5cli.scene import Floats, Ints, Scene, Waveforms
from s5cli.steps.step import stacked, waveforms


@dataclass(frozen=True)
class Objects:
    """Stems of a batch, and what the network that made them says of each."""

    waveforms: Waveforms  # [b, s]
    logits: Floats  # [b, s, k]; zeros where it names nothing
    active: Floats  # [b, s], logit of not being silent; zeros where it does not say


@dataclass(frozen=True)
class SeparateObjects:
    """One pass of a universal separator."""

    gives: ClassVar[type] = Objects
    separator: Any  # `s5cli.adapters.objects.UniversalSeparator`
    semantic: Any = None  # a `Listener`, of which a dual-path classifier takes features
    paths: str | None = None  # of a dual-path classifier; None: its own

    def __call__(self, scenes: Sequence[Scene]) -> Objects:
        return together(self.separator(scenes, self.semantic, self.paths))


@dataclass(frozen=True)
class ExtractObjects:
    """One pass of a target extractor; a silent slot is EMPTY."""

    gives: ClassVar[type] = Objects
    extractor: Any  # `s5cli.adapters.objects.TargetExtractor`
    semantic: Any = None
    frames: Any = None  # a `Listener`, whose features are the frame clue
    paths: str | None = None
    temporal_film: bool = True  # whether the layers that take the frame clue are there
    class_clue: bool = True
    enrolments: bool = True

    def __call__(self, scenes: Sequence[Scene], classes: Ints, enrolments: Waveforms) -> Objects:
        clues = {"temporal_film": self.temporal_film, "class_clue": self.class_clue, "enrolled": self.enrolments}
        found = self.extractor(scenes, classes, enrolments, self.semantic, self.frames, self.paths, **clues)
        return together(found)


def together(found: Sequence[Any]) -> Objects:
    """One record of all clips."""
    return Objects(
        waveforms([one.waveforms for one in found], found[0].waveforms.shape[0]),
        np.stack([one.logits for one in found]),
        np.stack([one.active for one in found]),
    )


@dataclass(frozen=True)
class Heard:
    """What a stem classifier says of each stem of a batch."""

    logits: Floats  # [b, s, k]


@dataclass(frozen=True)
class HearStems:
    """Stems to classes, by features of a pretrained network or by the classifier's own encoder."""

    gives: ClassVar[type] = Heard
    namer: Any  # `s5cli.adapters.objects.StemNamer`
    listener: Any = None  # a `Listener`; None: the classifier takes waveforms

    def __call__(self, scenes: Sequence[Scene], stems: Waveforms) -> Heard:
        return Heard(np.stack([self._heard(scene, row) for scene, row in zip(scenes, stems, strict=True)]))

    def _heard(self, scene: Scene, row: Waveforms) -> Floats:
        audio = stacked(row)
        if self.listener is not None:
            audio = self.listener(audio, scene.audio[:1].expand_as(audio))
        logits: Floats = self.namer(audio)
        return logits
