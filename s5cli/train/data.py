"""Training examples: scenes drawn and rendered on the fly, example i always the same, padded to three slots."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from s5cli.adapters.slots import label_vectors
from s5cli.errors import UsageError
from s5cli.labels import CLASSES, N_SLOTS, SILENCE_INDEX
from s5cli.scene import N_CHANNELS
from s5cli.synth.library import Library
from s5cli.synth.recipe import draw
from s5cli.synth.render import Rendered, render
from s5cli.synth.settings import SceneSettings

ECHO_SCENES = 192
"""Scenes, or one batch if that is more, that are held to be drawn again; 10 s with four channels take 9 MB each."""


@dataclass(frozen=True)
class Batch:
    """What one training step sees."""

    mixture: Tensor  # [b, m, t]
    targets: Tensor  # [b, s, t], dry, zeros where unused
    classes: Tensor  # [b, s], −1 where unused; slots in random order

    @property
    def query(self) -> Tensor:
        """One-hot classes of all slots side by side, [b, s × k]."""
        return label_vectors(self.classes).to(self.mixture.dtype)

    @property
    def tags(self) -> Tensor:
        """Tagger targets, [b, s], silence where unused."""
        return self.classes.where(self.classes >= 0, SILENCE_INDEX)

    def to(self, device: torch.device) -> "Batch":
        return Batch(self.mixture.to(device), self.targets.to(device), self.classes.to(device))

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor, Tensor]:
        return self.mixture[row], self.targets[row], self.classes[row]


@dataclass(frozen=True)
class ExampleSettings:
    """What becomes of a scene before a network sees it.

    `stem_share` of a tagger's examples are one target with some of the mixture left in it, as a separator would hand it
    back (re-tagging sees such stems); `leak_db` is the range of what is left. `scenes` is how many different ones there
    are before they come round again; 0: none comes twice.

    >>> ExampleSettings(scenes=50).scene(120), ExampleSettings().scene(120)
    (20, 120)
    """

    seed: int = 0
    scenes: int = 0
    stem_share: float = 0.0
    leak_db: tuple[float, float] = (-40.0, -6.0)

    def __post_init__(self) -> None:
        if not isinstance(self.scenes, int) or self.scenes < 0:
            raise UsageError(f"[examples] scenes is {self.scenes!r}; give how many there are, or 0 for new ones always")

    def scene(self, example: int) -> int:
        """Number of the scene that an example shows."""
        return example % self.scenes if self.scenes else example


class Scenes(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Example i is a scene of the seed, with as many of its channels as the network reads."""

    def __init__(
        self, scenes: SceneSettings, library: Library, examples: ExampleSettings, n_channels: int = N_CHANNELS
    ) -> None:
        self.scenes, self.library, self.examples, self.n_channels = scenes, library, examples, n_channels

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        rendered, rng = self.rendered(index)
        if rendered.labels and rng.random() < self.examples.stem_share:
            rendered = as_stem(rendered, rng, self.examples.leak_db)
        mixture, targets, classes = padded(rendered, rng.permutation(N_SLOTS))
        return mixture[: self.n_channels], targets, classes

    def rendered(self, index: int) -> tuple[Rendered, np.random.Generator]:
        """Its scene, and where the rest of what is random about it comes from."""
        seed, scene = self.examples.seed, self.examples.scene(index)
        rendered = render(draw(self.scenes, self.library, seed, scene), self.library)
        return rendered, np.random.default_rng((seed, scene, 1))


def as_stem(rendered: Rendered, rng: np.random.Generator, leak_db: tuple[float, float]) -> Rendered:
    """A scene whose mixture is one of its targets and a rest of the mixture's channel 0, in all channels."""
    i = int(rng.integers(len(rendered.labels)))
    stem = rendered.targets[i] + 10 ** (rng.uniform(*leak_db) / 20) * rendered.mixture[0]
    mixture = np.repeat(stem[None], rendered.mixture.shape[0], axis=0)
    return replace(rendered, mixture=mixture, labels=rendered.labels[i : i + 1], targets=rendered.targets[i : i + 1])


def padded(rendered: Rendered, order: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Mixture, targets and classes with three slots, sources put into the slots that `order` begins with."""
    targets = np.zeros((N_SLOTS, rendered.mixture.shape[-1]), dtype=np.float32)
    classes = np.full(N_SLOTS, -1, dtype=np.int64)
    for slot, label, target in zip(order, rendered.labels, rendered.targets, strict=False):
        targets[slot], classes[slot] = target, CLASSES.index(label)
    return torch.from_numpy(rendered.mixture), torch.from_numpy(targets), torch.from_numpy(classes)


class Span(Sampler[int]):
    """Examples first, first + 1, …: a resumed run goes on where it stopped. Ranks of several devices take turns."""

    def __init__(self, first: int, last: int, rank: int = 0, n_ranks: int = 1) -> None:
        self.first, self.last, self.rank, self.n_ranks = first, last, rank, n_ranks

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first + self.rank, self.last, self.n_ranks))

    def __len__(self) -> int:
        return len(range(self.first + self.rank, self.last, self.n_ranks))


def collate(examples: list[tuple[Tensor, Tensor, Tensor]]) -> Batch:
    mixture, targets, classes = (torch.stack(parts) for parts in zip(*examples, strict=True))
    return Batch(mixture, targets, classes)


def one_thread(_: int) -> None:
    """Rendering processes keep to one core each."""
    torch.set_num_threads(1)


def batches(
    dataset: Dataset[tuple[Tensor, Tensor, Tensor]], span: Span, batch_size: int, workers: int
) -> DataLoader[Batch]:
    """The examples of a span in order, rendered by `workers` processes (0: in this one)."""
    return DataLoader(
        dataset,  # type: ignore[arg-type]  # collate makes Batches of its examples
        batch_size=batch_size,
        sampler=span,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=one_thread,
        prefetch_factor=4 if workers else None,
        drop_last=True,
        multiprocessing_context="forkserver" if workers else None,
    )


def echoed(rendered: Iterable[Batch], times: int, seed: int) -> Iterator[Batch]:
    """Each batch, then `times` − 1 others drawn from the scenes of the last few: rendering costs more than a step.

    Networks see a scene again after a while, beside other scenes and under their own augmentation. A run that goes on
    after an interruption begins with nothing to draw from but its first batch.

    Source: data echoing (Choi et al., arXiv:1907.05550), examples echoed through a buffer.
    """
    if times == 1:  # nothing is held
        yield from rendered
        return
    rng = np.random.default_rng(seed)
    held = deque[tuple[Tensor, Tensor, Tensor]]()
    for batch in rendered:
        size = len(batch.classes)
        held.extend(batch[row] for row in range(size))
        while len(held) > max(ECHO_SCENES, size):
            held.popleft()
        yield batch
        for _ in range(times - 1):
            yield collate([held[i] for i in rng.choice(len(held), size=size, replace=False)])
