"""A tagger by ear for the label-queried system: tones belong to classes by their frequency, as in `tests.sixth`."""

import torch
from torch import Tensor

from tests.sixth.networks import FRAME_SAMPLES, Ear
from tests.systems.tones import tones_of


class ToneTagger(Ear):
    """[b, 4, t] to logits of three tracks, [b, 3, 19], and of every class in each frame of 0.1 s, [b, n, 18]."""

    channels = 4
    frame_samples = FRAME_SAMPLES

    def heard(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        frames = waveform[:, 0].unfold(1, FRAME_SAMPLES, FRAME_SAMPLES)  # [b, n, 3200]
        of_frames = tones_of(frames.flatten(0, 1)).abs().amax(dim=2).unflatten(0, frames.shape[:2])  # [b, n, k]
        loudest = torch.log(of_frames.amax(dim=1) + 1e-9) - torch.log(self.floor)
        tracks = torch.full((len(waveform), 3, 19), -30.0, dtype=loudest.dtype)
        found = loudest.topk(3)
        tracks.scatter_(2, found.indices[..., None], found.values[..., None])
        tracks[..., 18] = 0
        return tracks.float(), (10 * (torch.log(of_frames + 1e-9) - torch.log(self.floor / 2))).float()
