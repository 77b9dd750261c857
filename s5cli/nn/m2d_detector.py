"""M2D by frames: the detector of AudioSet's strong labels on it, 16 kHz (`M2D_strong_1.pt`).

Source: "Effective Pre-Training of Audio Transformers for Sound Event Detection" (arXiv:2409.09546).
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s5cli.nn.fpasst import FPaSSTConfig, to_frames
from s5cli.nn.m2d import CHUNK_FRAMES, N_MELS, PATCH, Backbone, M2DConfig
from s5cli.nn.mel import LogMel

_MEAN, _DEVIATION = -7.1, 4.2  # the file's own statistics are stored and not used
_FRAMES = 250


class M2DFrames(nn.Module):
    """Waveforms [b, t] at 16 kHz to features [b, n, 5 width], one each 160 ms: the patches of a column side by side."""

    def __init__(self, config: FPaSSTConfig) -> None:
        super().__init__()
        self.to_spec = LogMel(rate_hz=16_000, n_fft=400, hop=160, n_mels=N_MELS, low_hz=50.0, high_hz=8_000.0)
        self.backbone = Backbone(M2DConfig(width=config.width, depth=config.depth, heads=config.heads))

    def mel(self, waveform: Tensor) -> Tensor:
        out: Tensor = (self.to_spec(waveform) - _MEAN) / _DEVIATION
        return out

    def forward(self, waveform: Tensor) -> Tensor:
        mel = self.mel(waveform)
        mel = F.pad(mel, (0, -mel.shape[-1] % PATCH if mel.shape[-1] < CHUNK_FRAMES else 0))
        chunks = [piece for piece in mel.split(CHUNK_FRAMES, dim=-1) if piece.shape[-1] >= PATCH]
        return torch.cat([self.backbone(chunk).permute(0, 2, 1, 3).flatten(2) for chunk in chunks], dim=1)


class M2DDetector(nn.Module):
    """Waveforms [b, t] at 16 kHz to logits of AudioSet strong classes in each frame, [b, k, 250], and of clips [b, k].

    Frames of 160 ms are stretched to 40 ms as published, which is up to 80 ms late at the end of 10 s.
    """

    Config = FPaSSTConfig
    stored_constants = (r"\.to_spec\.",)

    def __init__(self, config: FPaSSTConfig) -> None:
        super().__init__()
        self.config = config
        self.model = nn.ModuleDict({"m2d": M2DFrames(config)})
        self.strong_head = nn.Linear(5 * config.width, config.outputs)
        self.weak_head = nn.Linear(5 * config.width, config.outputs)

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        features = to_frames(self.model["m2d"](waveform), _FRAMES)
        return self.strong_head(features).transpose(1, 2), self.weak_head(features.mean(dim=1))

    @staticmethod
    def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Names without `m2d.`, as some files have them, with it."""
        return {
            f"model.m2d.{name[6:]}" if name.startswith("model.") and not name.startswith("model.m2d.") else name: value
            for name, value in tensors.items()
        }
