"""When a stem sounds: from its first to its last frame that is loud against its loudest one."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile

from s5cli.audio import Samples
from s5cli.scene import RATE_HZ, Floats

FRAME = RATE_HZ // 50  # 20 ms
BELOW_LOUDEST_DB = 20.0
"""How far below the loudest frame still counts. Of true sources 40 would do, but separators leave more of others."""
BLOCK = FRAME * 512


def sounding_s(blocks: Iterable[Samples]) -> tuple[float, float] | None:
    """Onset and offset in seconds of a stem in consecutive blocks [t], to 20 ms; None where it is silent throughout.

    All blocks but the last hold a whole number of frames.

    >>> half = np.ones(RATE_HZ // 2, np.float32)
    >>> sounding_s([np.concatenate([0 * half, half]), 0 * half])
    (0.5, 1.0)
    """
    levels = [_energies(block) for block in blocks]
    energies = np.concatenate([np.zeros(1), *levels])[1:]
    loud = np.flatnonzero(energies > max(energies.max(initial=0.0) * 10 ** (-BELOW_LOUDEST_DB / 10), 0.0))
    if not len(loud):
        return None
    return float(loud[0] * FRAME / RATE_HZ), float((loud[-1] + 1) * FRAME / RATE_HZ)


def _energies(block: Samples) -> Floats:
    """Of each frame; a last one that is short is filled up with silence."""
    padded = np.zeros(-(-len(block) // FRAME) * FRAME, np.float32)
    padded[: len(block)] = block
    return np.asarray(np.square(padded.reshape(-1, FRAME), dtype=np.float64).sum(axis=1))


def blocks_of(path: Path) -> Iterator[Samples]:
    """A mono file that we wrote, some 10 s at a time."""
    with soundfile.SoundFile(str(path)) as file:
        while len(block := file.read(BLOCK, dtype="float32")):
            yield block
