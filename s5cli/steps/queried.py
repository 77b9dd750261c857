"""What sounds when, and a separator that is asked for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from s5cli.adapters.queried import QueriedSeparator, WhenTagger
from s5cli.scene import Floats, Ints, Scene, Tracks
from s5cli.steps.separate import Separated
from s5cli.steps.step import waveforms


@dataclass(frozen=True)
class HearWhen:
    """Mixtures to tracks and frames."""

    gives: ClassVar[type] = Tracks
    tagger: WhenTagger

    def __call__(self, scenes: Sequence[Scene]) -> Tracks:
        return self.tagger(scenes)


@dataclass(frozen=True)
class SeparateWhen:
    """One separator pass, whole or in blocks."""

    gives: ClassVar[type] = Separated
    separator: QueriedSeparator
    frame_samples: int  # of an activity
    preset: str
    remembers: bool

    def __call__(self, scenes: Sequence[Scene], classes: Ints, activity: Floats) -> Separated:
        audio = self.separator(scenes, classes, activity, self.frame_samples, self.preset, self.remembers)
        return Separated(waveforms(audio, classes.shape[1]))
