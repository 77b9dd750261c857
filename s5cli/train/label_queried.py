"""How the label-queried separator learns: excerpts, labels as a tagger would give them, and its losses.

Source: "Extending SR-CorrNet to label-queried target sound extraction" (Ku, Jeong & Park, DCASE 2026): 4 s excerpts and
the class-aware permutation-invariant loss; how labels are spoilt is ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from s5cli.nn.label_frames import held
from s5cli.scene import EMPTY, RATE_HZ
from s5cli.synth.library import Library
from s5cli.train.data import Batch, Scenes
from s5cli.train.losses import auxiliary_loss, class_aware_si_sdr_loss, class_aware_snr_loss, frame_pit_cross_entropy
from s5cli.train.recipe import Recipe, from_table
from s5cli.train.tasks import Separator, Tagger

_HEARD_DB = 50.0  # a target sounds in a label's frame that is no further below its loudest one
_SHORTEST_S = 0.04  # frames in which an excerpt is looked at


@dataclass(frozen=True)
class LabelSettings:
    """The recipe's `[options]`."""

    excerpt_s: float = 4.0
    loss: Literal["snr", "si_sdr"] = "snr"
    jitter_s: float = 0.2  # onsets and offsets are moved by at most this
    dropped: float = 0.05  # share of the stretches of sound that the labels lack
    whole: float = 0.2  # share of excerpts whose labels say that everything sounds throughout
    auxiliary_weight: float = 0.5  # of the loss of earlier blocks, where the network has estimators there


class LabelQueried(Separator):
    """Mixtures, the classes asked for and what sounds when, to waveforms."""

    calls = ("with_stages",)

    def problems(self, recipe: Recipe, network: nn.Module) -> Iterator[str]:
        yield from super().problems(recipe, network)
        if settings_of(recipe).loss not in ("snr", "si_sdr"):
            yield f"[options] loss is {settings_of(recipe).loss!r}; give snr or si_sdr"
        if not 0 < settings_of(recipe).excerpt_s <= recipe.scenes.duration_s:
            yield "[options] excerpt_s must be above 0 and at most the scenes' duration_s"

    def examples(self, recipe: Recipe, library: Library, network: nn.Module) -> Dataset[tuple[Tensor, Tensor, Tensor]]:
        scenes = Scenes(recipe.scenes, library, recipe.examples)
        return Excerpts(scenes, round(settings_of(recipe).excerpt_s * RATE_HZ))

    def loss(self, recipe: Recipe, network: Any, batch: Batch) -> Tensor:
        settings = settings_of(recipe)
        labels = spoilt(true_labels(network, batch), settings, network.config.label_samples)
        separated, stages = network.with_stages(batch.mixture, batch.classes, by_frame(network, labels, batch))
        of = class_aware_si_sdr_loss if settings.loss == "si_sdr" else class_aware_snr_loss
        loss = of(separated.float(), batch.targets, batch.classes)
        if stages:
            earlier = auxiliary_loss(stages, separated, batch.targets, batch.classes)
            loss = loss + settings.auxiliary_weight * earlier
        return loss

    def separated(self, network: Any, batch: Batch) -> Tensor:
        """With true labels of what sounds when."""
        labels = by_frame(network, true_labels(network, batch), batch)
        separated: Tensor = network(batch.mixture, batch.classes, labels)
        return separated


class FrameTagger(Tagger):
    """Mixtures to the classes in them, and when: one assignment of tracks for clips and frames."""

    calls = ("tracked",)

    def problems(self, recipe: Recipe, network: nn.Module) -> Iterator[str]:
        if not hasattr(network, "tracked"):
            yield f"task must be another, as {type(network).__name__} does not say what sounds when by track"
        yield from super().problems(recipe, network)

    def loss(self, recipe: Recipe, network: Any, batch: Batch) -> Tensor:
        clip, frames = network.tracked(batch.mixture)
        heard = sounding(batch.targets, network.frame_samples)[..., : frames.shape[1]]
        heard = F.pad(heard, (0, frames.shape[1] - heard.shape[-1]))
        return frame_pit_cross_entropy(clip.float(), frames.float(), batch.tags, heard)


def settings_of(recipe: Recipe) -> LabelSettings:
    settings: LabelSettings = from_table(LabelSettings, recipe.options, f"recipe {recipe.name}: [options]")
    return settings


class Excerpts(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """A stretch of every scene in which a target sounds; targets that do not sound in it are not asked for."""

    def __init__(self, scenes: Scenes, n_samples: int) -> None:
        self.scenes, self.n_samples = scenes, n_samples

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        mixture, targets, classes = self.scenes[index]
        frame = round(_SHORTEST_S * RATE_HZ)
        sounds = sounding(targets, frame)  # [s, n]
        rng = np.random.default_rng((self.scenes.examples.seed, index, 2))
        first = self.first(sounds, frame, targets.shape[-1], rng)
        heard = sounds[:, first // frame : -(-(first + self.n_samples) // frame)].any(dim=-1)
        stretch = slice(first, first + self.n_samples)
        return mixture[:, stretch], targets[:, stretch] * heard[:, None], classes.where(heard, EMPTY)

    def first(self, sounds: Tensor, frame: int, n_samples: int, rng: np.random.Generator) -> int:
        """Its first sample: anywhere, but so that a frame drawn from those that sound lies in it."""
        latest = n_samples - self.n_samples
        somewhere = sounds.any(dim=0).nonzero()[:, 0]
        if not len(somewhere):
            return int(rng.integers(latest + 1))
        meant = int(somewhere[int(rng.integers(len(somewhere)))]) * frame
        return int(rng.integers(max(0, min(latest, meant - self.n_samples + frame)), min(latest, meant) + 1))


def sounding(targets: Tensor, frame_samples: int) -> Tensor:
    """In which frames each target sounds, within 50 dB of its loudest: [..., t] to [..., n] booleans.

    >>> sounding(torch.tensor([[0.0, 1, 1, 1e-4], [0, 0, 0, 0]]), 2)
    tensor([[ True,  True],
            [False, False]])
    """
    padded = F.pad(targets, (0, -targets.shape[-1] % frame_samples))
    power = padded.unflatten(-1, (-1, frame_samples)).square().mean(dim=-1)
    heard: Tensor = (power > 0) & (power >= power.amax(dim=-1, keepdim=True) * 10 ** (-_HEARD_DB / 10))
    return heard


def true_labels(network: Any, batch: Batch) -> Tensor:
    """What sounds when, of each slot or, where the network learns with a tagger that does not tell slots of a class
    apart, of any slot of the class: [b, s, l] booleans."""
    sounds = sounding(batch.targets, network.config.label_samples)
    if network.config.labels_of == "slot":
        return sounds
    same = (batch.classes[:, :, None] == batch.classes[:, None]) & (batch.classes >= 0)[:, :, None]
    return (same[..., None] & sounds[:, None]).any(dim=2)


def by_frame(network: Any, labels: Tensor, batch: Batch) -> Tensor:
    """Labels [b, s, l] by frame of the network's spectrum, [b, s, n]; where nothing sounds at all, all does."""
    c = network.config
    labels = labels | ~labels.any(dim=-1, keepdim=True)
    n_frames = network.n_frames(batch.mixture.shape[-1])
    return held(labels, n_frames, c.hop_samples, c.label_samples).to(batch.mixture.dtype)


def spoilt(labels: Tensor, settings: LabelSettings, label_samples: int) -> Tensor:
    """Labels [b, s, l] as a tagger might give them, drawn by torch's generator."""
    jitter = settings.jitter_s * RATE_HZ / label_samples
    clips = []
    for clip in labels.cpu():
        if torch.rand(()) < settings.whole:
            clips.append(torch.ones_like(clip))
        else:
            clips.append(torch.stack([_moved(slot, jitter, settings.dropped) for slot in clip]))
    return torch.stack(clips).to(labels.device)


def _moved(slot: Tensor, jitter: float, dropped: float) -> Tensor:
    """One slot's labels with the ends of every stretch moved by up to `jitter` frames, and some stretches left out."""
    edges = torch.diff(F.pad(slot.int(), (1, 1))).nonzero()[:, 0].view(-1, 2)  # begin, end
    moved = torch.zeros_like(slot)
    for begin, end in edges.tolist():
        if torch.rand(()) >= dropped:
            shift = (jitter * (2 * torch.rand(2) - 1)).round().int().tolist()
            moved[max(0, begin + shift[0]) : max(0, end + shift[1])] = True
    return moved
