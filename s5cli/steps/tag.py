"""Taggers on mixtures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from s5cli.rules.fuse import BothTags
from s5cli.scene import Scene, Tagger, Tags


@dataclass(frozen=True)
class Tag:
    """One tagger, mixtures to tags."""

    gives: ClassVar[type] = Tags
    tagger: Tagger

    def __call__(self, scenes: Sequence[Scene]) -> Tags:
        return self.tagger(scenes)


@dataclass(frozen=True)
class TagTwice:
    """Two taggers, mixtures to the tags of both."""

    gives: ClassVar[type] = BothTags
    tagger_4ch: Tagger
    tagger_1ch: Tagger

    def __call__(self, scenes: Sequence[Scene]) -> BothTags:
        silent = np.array([not scene.audio.any() for scene in scenes], dtype=np.bool_)
        return BothTags(self.tagger_4ch(scenes), self.tagger_1ch(scenes), silent)
