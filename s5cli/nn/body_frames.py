"""Frame features of the pretrained body: what stands in for M2D and AF-Whisper in the compact self-guided systems."""

import torch
import torch.nn.functional as F
from torch import Tensor

from s5cli.nn.body_tagger import BodyTagger

_LEVEL_DB = 20.0  # of the level's own unit
_FLOOR = 1e-6


class BodyFrames(BodyTagger):
    """A 1-channel tagger of which only the hidden layer is asked: that and the stem's level, for each 0.32 s."""

    def forward(self, waveform: Tensor, reference: Tensor | None = None) -> Tensor:
        """Waveforms [n, t] to features [n, m, e]; their level counts relative to that of `reference` [n, t]."""
        level = rms(waveform)
        maps = self.to_mel((waveform * (self.config.level / level))[:, None])
        features = self.body(maps.contiguous(memory_format=torch.channels_last)).mean(dim=2).transpose(1, 2)
        hidden = F.hardswish(self.head.trunk(features))
        louder = torch.log10(level / (rms(reference) if reference is not None else self.config.level)) * 20 / _LEVEL_DB
        return torch.cat([hidden, louder[:, None].expand(-1, hidden.shape[1], 1)], dim=-1)


def rms(waveform: Tensor) -> Tensor:
    """[n, t] to [n, 1], never zero."""
    return waveform.square().mean(dim=-1, keepdim=True).sqrt().clamp_min(_FLOOR)
