"""Networks of the sixth system: a tone belongs to a class by its frequency, as in `tests.systems.tones`.

They have one parameter, the level under which nothing is heard, so that they come from checkpoints as others do.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.systems.tones import PER_CLASS, RATE_HZ, frequency_hz, tones_of

N_TRACKS, N_CLASSES = 3, 18
FRAME_SAMPLES = 3_200  # 0.1 s


@dataclass(frozen=True)
class EarConfig:
    floor: float = 0.05


class Ear(nn.Module):
    """What all three have in common."""

    Config = EarConfig

    def __init__(self, config: EarConfig) -> None:
        super().__init__()
        self.config = config
        self.floor = nn.Parameter(torch.tensor(config.floor))

    @property
    def nparams(self) -> int:
        return 1


class Finder(Ear):
    """Universal separation: [b, 4, t] to the three strongest tones of channel 0, [b, 3, t], whatever they are."""

    def forward(self, waveform: Tensor) -> Tensor:
        tones = tones_of(waveform[:, 0]).flatten(1)  # [b, tones]
        strongest = tones.abs().topk(N_TRACKS)
        amplitudes = tones.gather(1, strongest.indices) * (strongest.values > self.floor / 5)
        return sounded(amplitudes, strongest.indices, waveform.shape[-1])


class FrameTagger(Ear):
    """[b, 1, t] to raw logits of 18 classes and silence, [b, 1, 19], and of every class in each frame, [b, n, 18]."""

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        level = tones_of(waveform[:, 0]).abs().amax(dim=2)  # [b, k]
        logits = torch.log(level + 1e-9) - torch.log(self.floor)
        power = waveform[:, 0].unfold(1, FRAME_SAMPLES, FRAME_SAMPLES).square().mean(dim=2)  # [b, n]
        sounding = torch.where(power > self.floor**2 / 4, 5.0, -5.0)[:, :, None]  # [b, n, 1]
        frames = torch.where(logits[:, None] > 0, sounding, -5.0)
        return torch.cat([logits, torch.zeros_like(logits[:, :1])], dim=1)[:, None].float(), frames.float()


class Extractor(Ear):
    """Target extraction: [b, 4, t] and per slot class, enrolment [b, s, t] and what sounds when, to [b, s, t].

    It takes the enrolment's strongest tone out of channel 0, where that is of the class, while the class sounds.
    """

    def forward(self, waveform: Tensor, classes: Tensor, enrolments: Tensor, active: Tensor) -> Tensor:
        n = waveform.shape[-1]
        meant = tones_of(enrolments.flatten(0, 1)).flatten(1).abs().argmax(dim=1).unflatten(0, classes.shape)  # [b, s]
        amplitudes = tones_of(waveform[:, 0]).flatten(1).gather(1, meant) * (meant // PER_CLASS == classes)
        gate = active.repeat_interleave(-(-n // active.shape[2]), dim=2)[..., :n]
        return sounded(amplitudes, meant, n) * gate


def sounded(amplitudes: Tensor, tones: Tensor, n_samples: int) -> Tensor:
    """Tones [b, s] by their number, with complex amplitudes [b, s], as waveforms [b, s, t]."""
    used = torch.tensor([frequency_hz(*divmod(number, PER_CLASS)) for number in range(N_CLASSES * PER_CLASS)]).double()
    phase = 2j * torch.pi * used[tones][..., None] * torch.arange(n_samples, dtype=torch.float64) / RATE_HZ
    return (amplitudes[..., None] * torch.exp(phase)).real.float()
