"""A development set as the tuner sees it: every clip under the hash of its content, read when networks need it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from s5cli.audio import Samples, opened, read_scene
from s5cli.dataset import open_dataset, read_sources
from s5cli.labels import index_of
from s5cli.official import SourceFile
from s5cli.scene import Ints, Scene
from s5cli.tune.evidence import digest
from s5cli.tune.score import NO_REFERENCE, References
from s5cli.weights.hashes import sha256_of


@dataclass(frozen=True)
class Clip:
    """One mixture with its references, on disk."""

    name: str
    mixture: Path
    sources: tuple[SourceFile, ...]
    key: str  # hash of the files' content and of the labels
    n_samples: int  # as the mixture's header has it

    @property
    def classes(self) -> tuple[int, ...]:
        """Class indices of the references, in the order of `sources`."""
        return tuple(index_of(source.label) for source in self.sources)


@dataclass(frozen=True)
class HeldClip(Scene):
    """A clip in memory: what networks hear, and what their answers are held against."""

    key: str
    references: Samples  # [m, t]


@dataclass(frozen=True)
class DevSet:
    """The clips of a folder in name order."""

    folder: Path
    clips: tuple[Clip, ...]

    @property
    def references(self) -> References:
        most = max((len(clip.sources) for clip in self.clips), default=0)
        classes: Ints = np.full((len(self.clips), most), NO_REFERENCE, dtype=np.int64)
        for row, clip in zip(classes, self.clips, strict=True):
            row[: len(clip.sources)] = clip.classes
        return References(classes)

    @property
    def fingerprint(self) -> str:
        """Hash of all names and contents."""
        return digest([(clip.name, clip.key) for clip in self.clips])


def open_devset(folder: Path) -> DevSet:
    """Mixtures and references of a folder in official layout.

    Raises:
        UsageError: a folder that does not exist.
        InputError: no mixtures, one that is not audio, or references that belong to none.
    """
    found = open_dataset(folder)
    clips = [_clip(name, path, found.references[name]) for name, path in found.mixtures.items()]
    return DevSet(folder, tuple(clips))


def _clip(name: str, mixture: Path, sources: tuple[SourceFile, ...]) -> Clip:
    content = [sha256_of(mixture), *((source.label, sha256_of(source.path)) for source in sources)]
    with opened(mixture) as file:
        return Clip(name, mixture, sources, digest(content), file.frames)


def held(clip: Clip) -> HeldClip:
    """The clip read from disk.

    Raises:
        InputError: a mixture or reference that cannot be used.
    """
    scene = read_scene(clip.mixture)
    references = read_sources(clip.sources, clip.mixture, scene.audio.shape[-1])
    return HeldClip(clip.name, scene.audio, clip.key, references)


def batches(clips: Sequence[Clip], size: int) -> Iterator[list[Clip]]:
    """Consecutive clips of one length together, at most `size`, as a run has them."""
    for _, alike in groupby(clips, key=lambda clip: clip.n_samples):
        row = list(alike)
        yield from (row[first : first + size] for first in range(0, len(row), size))
