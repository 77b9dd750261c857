"""What taggers say of mixtures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from s5cli.rules.fuse import Candidates, pair
from s5cli.rules.propose import propose
from s5cli.scene import Bools, Scene, Tagger, Tags


@dataclass(frozen=True)
class Listen:
    """One tagger, mixtures to tags."""

    gives: ClassVar[type] = Tags
    tagger: Tagger

    def __call__(self, scenes: Sequence[Scene]) -> Tags:
        return self.tagger(scenes)


@dataclass(frozen=True)
class BothTags:
    """What two taggers say of a batch."""

    tags_4ch: Tags
    tags_1ch: Tags


@dataclass(frozen=True)
class Proposed:
    """Two taggers' proposals paired, before any threshold, and which mixtures hold no sound at all."""

    tags: BothTags
    candidates: Candidates  # [b, c]
    silent: Bools  # [b], every sample of every channel is zero


@dataclass(frozen=True)
class Propose:
    """Two taggers, mixtures to paired proposals."""

    gives: ClassVar[type] = Proposed
    tagger_4ch: Tagger
    tagger_1ch: Tagger

    def __call__(self, scenes: Sequence[Scene]) -> Proposed:
        tags = BothTags(self.tagger_4ch(scenes), self.tagger_1ch(scenes))
        silent = np.array([not scene.audio.any() for scene in scenes], dtype=np.bool_)
        return Proposed(tags, pair(propose(tags.tags_4ch), propose(tags.tags_1ch)), silent)
