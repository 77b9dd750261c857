"""Networks that separate objects and say what each is: scenes to stems with classes and silence.

One clip is one forward pass: an object's feature map takes more memory than its waveform, and is gone when it is named.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from s5cli.adapters.part import Adapter
from s5cli.adapters.slots import label_vectors
from s5cli.labels import N_CLASSES, N_SLOTS
from s5cli.scene import EMPTY, Floats, Ints, Scene, Waveforms

Listen = Callable[[Tensor, Tensor], Tensor]
"""Stems [s, t], and what their level counts relative to [s, t], to features [s, m, e]."""


@dataclass(frozen=True)
class Objects:
    """What is found in one clip."""

    waveforms: Tensor  # [s, t]
    logits: Floats  # [s, k]; zeros where the network names nothing
    active: Floats  # [s], logit of not being silent; zeros where the network does not say


class Listener(Adapter):
    """A pretrained network that hears single stems: to features [s, m, e] on its device."""

    @torch.inference_mode()
    def __call__(self, stems: Tensor, reference: Tensor) -> Tensor:
        out: Tensor = self.network(stems.to(self.device), reference.to(self.device))
        return out

    @torch.inference_mode()
    def exercise(self, scene: Scene) -> None:
        """One stem of one clip."""
        self(scene.audio[:1], scene.audio[:1])


class _Separating(Adapter):
    def _objects(self, found: Any, mixture: Tensor, semantic: Listen | None, paths: str | None) -> Objects:
        """The foreground of one clip, named where there is a classifier."""
        waveforms, kind = found.waveforms[0, :N_SLOTS].float(), self.network.config.classifier
        if kind == "none" or (kind == "dual" and semantic is None):
            return Objects(waveforms, np.zeros((N_SLOTS, N_CLASSES)), np.zeros(N_SLOTS))
        features = None
        if kind == "dual" and semantic is not None:
            features = semantic(waveforms, mixture[0, :1].expand_as(waveforms)).to(self.device)
        said = self.network.said(found, features, paths)
        return Objects(waveforms, said.logits.double().cpu().numpy(), said.active.double().cpu().numpy())

    def _exercise(self, found: Any) -> None:
        """What the network names by itself; what it is told of stems costs another part."""
        config = self.network.config
        if config.classifier != "none":
            self.network.said(found, torch.zeros(N_SLOTS, 1, config.semantic_features, device=self.device))


class UniversalSeparator(_Separating):
    """Scenes to everything in them."""

    @torch.inference_mode()
    def __call__(
        self, scenes: Sequence[Scene], semantic: Listen | None = None, paths: str | None = None
    ) -> list[Objects]:
        found = []
        for scene in scenes:
            mixture = scene.audio[None].to(self.device, torch.float32)
            found.append(self._objects(self.network(mixture), mixture, semantic, paths))
        return found

    @torch.inference_mode()
    def exercise(self, scene: Scene) -> None:
        """One clip, with what the network names by itself."""
        self._exercise(self.network(scene.audio[None].to(self.device)))


class TargetExtractor(_Separating):
    """Scenes, classes and enrolments to what is meant, slot by slot."""

    @torch.inference_mode()
    def __call__(
        self,
        scenes: Sequence[Scene],
        classes: Ints,
        enrolments: Waveforms,
        semantic: Listen | None = None,
        frames: Listen | None = None,
        paths: str | None = None,
        *,
        temporal_film: bool = True,
        class_clue: bool = True,
        enrolled: bool = True,
    ) -> list[Objects]:
        """Classes are [b, s], EMPTY where a slot is silent: such a slot has no class and no frame clue.

        Clues that are switched off are zeros; without `temporal_film` the layers that take the frame clue are left out.
        """
        found = []
        for scene, asked, given in zip(scenes, classes, enrolments, strict=True):
            mixture = scene.audio[None].to(self.device, torch.float32)
            stems = torch.stack([stem.to(self.device) for stem in given])
            told = self._frames(stems, mixture, asked, frames) if temporal_film else None
            one_hot = label_vectors(asked[None]).to(self.device) * class_clue
            answer = self.network(mixture, stems[None] * enrolled, one_hot, told)
            found.append(self._objects(answer, mixture, semantic, paths))
        return found

    def _frames(self, stems: Tensor, mixture: Tensor, asked: Ints, frames: Listen | None) -> Tensor | None:
        """The frame clue [1, s, m, e], zeros where a slot is silent; such stems are not listened to."""
        config = self.network.config
        if not config.frame_features:
            return None
        used = torch.from_numpy(asked != EMPTY).to(self.device)
        told = torch.zeros(1, N_SLOTS, 1, config.frame_features, device=self.device)
        if frames is not None and used.any():
            heard = frames(stems[used], mixture[0, :1].expand_as(stems[used])).to(self.device)
            told = told.expand(-1, -1, heard.shape[1], -1).clone()
            told[0, used] = heard.float()
        return told

    @torch.inference_mode()
    def exercise(self, scene: Scene) -> None:
        """One clip with all slots asked."""
        mixture, config = scene.audio[None].to(self.device), self.network.config
        classes = torch.zeros(1, N_SLOTS * N_CLASSES, device=self.device)
        frames = (
            torch.zeros(1, N_SLOTS, 1, config.frame_features, device=self.device) if config.frame_features else None
        )
        self._exercise(self.network(mixture, mixture[:, :N_SLOTS], classes, frames))


class StemNamer(Adapter):
    """Stems, or features of them, to scaled cosines of all classes, [s, k]."""

    @torch.inference_mode()
    def __call__(self, heard: Tensor) -> Floats:
        out: Floats = self.network(heard.to(self.device)).double().cpu().numpy()
        return out

    @torch.inference_mode()
    def exercise(self, scene: Scene) -> None:
        """One stem of one clip."""
        config = self.network.config
        heard = scene.audio[:1] if getattr(config, "own_encoder", False) else torch.zeros(1, 32, config.features)
        self.network(heard.to(self.device))
