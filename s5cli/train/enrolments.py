"""What the universal separator makes of scenes that come round again: made once, and kept on disk.

A file holds the foreground stems of one scene as float16, with a checksum behind them. Its name is a hash of the
mixture's samples, its folder's that of the separator's weights; so whatever else makes a scene (settings, seed,
recordings, this program) or a stem, an answer for something else is never found.
"""

import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from s5cli import __version__
from s5cli.labels import N_SLOTS
from s5cli.nn.ears import full_precision
from s5cli.weights import hashes, places

_CHECKSUM_BYTES = 4


class Enrolments:
    """Mixtures [b, m, t] to foreground stems [b, s, t], the same to the bit whether made now or read.

    Processes may share the folder: files appear whole, and one that is damaged or cut off is made again.

    Args:
        folder: the run's folder for all separators.
        weights: the separator's file.
        separate: the separator; called without autocast, so that a file does not depend on a run's precision.

    Raises:
        OutputError: the folder cannot be written to, or its disk is full.
    """

    def __init__(self, folder: Path, weights: Path, separate: Callable[[Tensor], Tensor]) -> None:
        self.folder = folder / f"{hashes.sha256_of(weights)[:16]}-{__version__}"
        self.separate = separate

    def __call__(self, mixture: Tensor) -> Tensor:
        return torch.stack([self.of(clip) for clip in mixture.float()])

    def of(self, mixture: Tensor) -> Tensor:
        """Of one scene, [m, t] to [s, t]: separated alone, as in company it might be rounded in another way."""
        samples = mixture.cpu().contiguous().numpy()
        path = self.folder / f"{hashlib.sha256(samples).hexdigest()}.f16"
        stems = read(path, N_SLOTS, mixture.shape[-1])
        if stems is None:
            with full_precision(mixture.device.type):
                stems = self.separate(mixture[None])[0].half().cpu()
            write(path, stems)
        return stems.to(mixture.device).float()


def write(path: Path, stems: Tensor) -> None:
    """Stems as float16, atomically."""
    content = stems.contiguous().numpy().tobytes()
    with places.whole(path) as temporary:
        temporary.write_bytes(content + checksum(content))


def read(path: Path, n_stems: int, n_samples: int) -> Tensor | None:
    """Stems [s, t] in float16; None where the file is not there, or is not what was written."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    content, check = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
    if len(content) != 2 * n_stems * n_samples or check != checksum(content):
        return None
    return torch.frombuffer(bytearray(content), dtype=torch.float16).view(n_stems, n_samples)


def checksum(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(_CHECKSUM_BYTES, "little")
