"""A tagger on a pretrained body: EfficientAT's features, frames, and how many of each class there are.

Frame features of channel 0 become contexts of two seconds; each says what it hears and a soft maximum over time says
which classes are there. With four channels the body may listen to beams too, and what is heard is averaged. A second
head says how many of each: from how sure that is, what else there is and how long it sounds, and with four channels
from the directions that it comes from. The tracks are made of these numbers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s5cli.nn.augment import filtered, masked
from s5cli.nn.efficientat import HOP_SAMPLES, KaldiMel, body, body_sizes, width_of
from s5cli.nn.network import Network

_CELL = 8  # mel bands and hops in a cell of the directions
_ANCHORS = 12  # azimuths of a histogram of directions
_SHARP = 20.0  # how narrow its lobes are
_NOWHERE = -30.0  # logit of a class that a track does not hold
_SUREST = 15.0  # largest logit of the one that it holds

AUDIOSET_ROWS = (
    (395, 481), (203,), (369,), (398,), (63, 67), (47,), (362, 363), (364, 365), (355, 356), (53, 51), (373,), (412,),
    (*range(152, 159), 160), (*range(161, 166), *range(168, 184)), (449, 450, 452, 444), (0, 1, 2, 5, 4),
    (384, 385, 386), (377,),
)  # fmt: skip
"""AudioSet's classes that are ours, in the order of ours."""
AUDIOSET_MEANS = (
    -6.70, -9.89, -9.21, -7.33, -8.11, -8.87, -9.55, -8.38, -8.30, -7.75, -9.84, -8.88, -6.39, -5.94, -7.30, -3.79,
    -7.73, -9.01,
)  # fmt: skip
"""Class-balanced mean of mn04's largest logit of these rows over the training clips."""
_START_SCALE, _START_SHIFT = 0.5, 5.5
"""What makes of those logits, less their means, probabilities of mixtures: chosen on 64 training scenes."""


@dataclass(frozen=True)
class BodyTaggerConfig:
    channels: int = 1  # 1 or 4
    beams: int = 0  # horizontal cardioids that are heard beside channel 0, where there are four
    width: float = 0.4  # of the body
    classes: int = 18
    tracks: int = 3
    context_frames: int = 7  # of 0.32 s
    level: float = 0.05  # standard deviation of channel 0 as the body hears it
    dropout: float = 0.2
    gain_db: float = 6.0  # largest change of the level in training
    filter_deviation: float = 0.2  # of the random frequency response in training, in the log-mel's unit of 22 dB
    masked_bands: int = 24  # widest frequency mask in training
    masked_hops: int = 100  # widest time mask in training


class Directions(nn.Module):
    """Waveforms [b, 4, t] to active intensity over energy in cells of 8 mel bands and 8 hops, and the energy.

    Gives [b, 3, 16, m] (Y, Z, X; length 1 for one plane wave) and [b, 1, 16, m], m = n / 8 rounded up.
    """

    def __init__(self, to_mel: KaldiMel) -> None:
        super().__init__()
        self.to_mel = to_mel
        self.register_buffer("filters", to_mel.filters.unflatten(0, (-1, _CELL)).sum(dim=1), persistent=False)

    filters: Tensor

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        maps = torch.stack([self.of_clip(clip) for clip in waveform])  # one by one: less memory, and faster on CPUs
        return maps[:, :3] / (maps[:, 3:] + 1e-8), maps[:, 3:]

    def of_clip(self, waveform: Tensor) -> Tensor:
        """Sums over the cells of intensity and, last, energy: [4, 16, m]."""
        spectrum = self.to_mel.spectrum(waveform, 2 * HOP_SAMPLES)  # their windows still overlap
        crossed = (spectrum[:1].conj() * spectrum[1:]).real
        energy = (spectrum.conj() * spectrum).real.sum(dim=0, keepdim=True) / 2
        maps = self.filters @ torch.cat([crossed, energy])
        return F.avg_pool1d(maps, _CELL // 2, ceil_mode=True)


class Spread(nn.Module):
    """In how many directions each class is heard: autocorrelations of its histogram of azimuths, [b, k, 7].

    A source gives one lobe, two sources of a class at least 60° apart give two: their distance shows at its lag, and
    nothing changes when the scene is turned.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.bands = nn.Parameter(torch.zeros(classes, 128 // _CELL))  # log of what a class makes of each band
        angles = [2 * math.pi * step / _ANCHORS for step in range(_ANCHORS)]
        anchors = torch.tensor([[*map(math.sin, angles)], [*map(math.cos, angles)]])  # Y, X
        self.register_buffer("anchors", anchors, persistent=False)

    anchors: Tensor

    @property
    def n_out(self) -> int:
        return _ANCHORS // 2 + 1

    def forward(self, directions: Tensor, energy: Tensor, sounds: Tensor) -> Tensor:
        """Of directions [b, 3, 16, m], energy [b, 1, 16, m] and how much each class sounds, [b, n, k]."""
        flat = directions[:, [0, 2]]
        length = flat.norm(dim=1, keepdim=True) + 1e-6
        lobes = torch.exp(_SHARP * (torch.einsum("bcfm,ca->bafm", flat / length, self.anchors) - 1))
        lobes = lobes * (length * energy.clamp_min(1e-12).sqrt())
        when = _pooled(sounds.transpose(1, 2), directions.shape[-1])
        histogram = torch.einsum("bafm,kf,bkm->bka", lobes, self.bands.exp(), when)
        histogram = histogram / histogram.sum(dim=-1, keepdim=True).clamp_min(1e-12)
        lags = [(histogram * histogram.roll(lag, dims=-1)).sum(dim=-1) for lag in range(self.n_out)]
        return torch.stack(lags, dim=-1) * _ANCHORS


def _pooled(x: Tensor, size: int) -> Tensor:
    """Means over the last axis, to that size; Apple's MPS takes only sizes that divide the old one."""
    return F.adaptive_avg_pool1d(x.cpu() if x.device.type == "mps" else x, size).to(x.device)


class CountHead(nn.Module):
    """Frame features [b, n, d] to logits of counts [b, tracks, k] and of every class in each frame [b, n, k].

    Row j of the counts is the logit of "more than j of them, if there are j": presence first.
    """

    def __init__(self, config: BodyTaggerConfig) -> None:
        super().__init__()
        maps, hidden = body_sizes(config.width)
        self.context_frames = config.context_frames
        self.trunk = nn.Linear(maps, hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.present = nn.Linear(hidden, config.classes)
        self.frames = nn.Linear(hidden, config.classes)
        self.spread = Spread(config.classes) if config.channels > 1 else None
        n_more = 3 + (self.spread.n_out if self.spread else 0)
        self.more = nn.Sequential(nn.Linear(n_more, 16), nn.ReLU(), nn.Linear(16, config.tracks - 1))
        self.repeats = nn.Parameter(torch.full((config.classes, config.tracks - 1), -2.0))

    def forward(self, features: Tensor, places: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Of features [b, v, n, d] of what is heard of each clip, `v` times; logits are means over these.

        `places` are directions and energy of each cell, where there are four channels.
        """
        hidden = F.hardswish(self.trunk(features))
        frames = self.frames(self.dropout(hidden)).mean(dim=1)
        half = self.context_frames // 2
        flat = features.flatten(0, 1).transpose(1, 2)
        around = F.avg_pool1d(flat, self.context_frames, 1, half, count_include_pad=False)
        contexts = self.dropout(F.hardswish(self.trunk(around.transpose(1, 2))))
        present = self.present(contexts).logsumexp(dim=1) - math.log(features.shape[2])  # [b · v, k]
        present = present.unflatten(0, features.shape[:2]).mean(dim=1)
        more = self.more(self.evidence(frames, present, places)) + self.repeats  # [b, k, tracks − 1]
        return torch.cat([present[:, None], more.transpose(1, 2)], dim=1), frames

    def evidence(self, frames: Tensor, present: Tensor, places: tuple[Tensor, Tensor] | None) -> Tensor:
        """What tells one of a class from more, [b, k, e]: how sure it is, what else there is, how long, from where.

        Three sources are the most: where two other classes are, there is one of this.
        """
        here, sounds = present.detach().sigmoid(), frames.detach().sigmoid()
        others = here.sum(dim=1, keepdim=True) - here
        evidence = torch.stack([here, others, torch.log(sounds.mean(dim=1) + 1e-3)], dim=-1)
        if self.spread is None or places is None:
            return evidence
        return torch.cat([evidence, self.spread(*places, sounds)], dim=-1)


class BodyTagger(Network):
    """Waveform [b, c, t] at 32 kHz to logits [b, 3, 19]; the answer does not depend on the input's level."""

    Config = BodyTaggerConfig
    core = "body"  # see `s5cli.nn.core`
    frame_samples = 32 * HOP_SAMPLES  # of what sounds when

    def __init__(self, config: BodyTaggerConfig) -> None:
        super().__init__()
        self.config, self.channels = config, config.channels
        self.to_mel = KaldiMel()
        self.body = body(config.width)
        self.to_directions = Directions(self.to_mel) if config.channels > 1 else None
        self.head = CountHead(config)

    @classmethod
    def grown(cls, tensors: Mapping[str, Tensor], config: BodyTaggerConfig) -> dict[str, Tensor]:
        """The state that training begins with: out of an EfficientAT, or out of a tagger of other channels.

        What the given network lacks, or has for other evidence, is drawn afresh. The weights of anything else are left
        as they are, for the strict load to refuse.
        """
        given = from_audioset(tensors) if "classifier.5.weight" in tensors else tensors
        if "body.16.0.weight" not in given:
            return dict(tensors)
        fresh = cls(cls.config_from_state(given, config)).state_dict()
        return {name: given[name] if fits(given.get(name), value) else value for name, value in fresh.items()}

    @staticmethod
    def config_from_state(state: Mapping[str, Tensor], config: BodyTaggerConfig) -> BodyTaggerConfig:
        """The configuration with the width that a state dict has."""
        return replace(config, width=width_of(len(state["body.16.0.weight"])))

    def forward(self, waveform: Tensor) -> Tensor:
        return self.heard(waveform)[0]

    def heard(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the tracks [b, 3, 19] and of every class in each frame of 0.32 s, [b, n, 18]."""
        counts, frames = self.counted(waveform)
        return tracks(counts), frames

    def counted(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of counts [b, 3, 18], see `CountHead`, and of frames [b, n, 18]."""
        c = self.config
        heard = beams(waveform, c.beams) if self.channels > 1 else waveform
        level = heard.square().mean(dim=-1, keepdim=True).sqrt().clamp_min(1e-6)
        gain = c.level / level
        if self.training:
            gain = gain * 10 ** (c.gain_db / 20 * (2 * torch.rand_like(gain[:, :1]) - 1))
        maps = self.to_mel((heard * gain).flatten(0, 1)[:, None])
        if self.training:
            maps = masked(filtered(maps, c.filter_deviation), c.masked_bands, c.masked_hops)
        features = self.body(maps.contiguous(memory_format=torch.channels_last)).mean(dim=2).transpose(1, 2).float()
        features = features.unflatten(0, heard.shape[:2])
        places = self.to_directions(waveform * gain[:, :1]) if self.to_directions is not None else None
        counts, frames = self.head(features, places)
        return counts.float(), frames.float()


def beams(waveform: Tensor, n_beams: int) -> Tensor:
    """Channel 0 and cardioids to `n_beams` azimuths, of first-order clips [b, 4, t] (W, Y, Z, X): [b, 1 + n, t].

    >>> from_the_left = torch.tensor([[[1.0], [1.0], [0.0], [0.0]]])
    >>> beams(from_the_left, 4).flatten().round(decimals=3)
    tensor([1.0000, 0.5000, 1.0000, 0.5000, 0.0000])
    """
    azimuths = torch.arange(n_beams, device=waveform.device, dtype=waveform.dtype) * (2 * math.pi / max(1, n_beams))
    towards = azimuths.sin()[:, None] * waveform[:, 1:2] + azimuths.cos()[:, None] * waveform[:, 3:]
    return torch.cat([waveform[:, :1], (waveform[:, :1] + towards) / 2], dim=1)


def from_audioset(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An EfficientAT's weights under this tagger's names: of each class the mean of its AudioSet rows."""
    found = {f"body.{name.removeprefix('features.')}": t for name, t in tensors.items() if name.startswith("features.")}
    found |= {f"head.trunk.{leaf}": tensors[f"classifier.2.{leaf}"] for leaf in ("weight", "bias")}
    rows = [list(each) for each in AUDIOSET_ROWS]
    weight = torch.stack([tensors["classifier.5.weight"][each].mean(dim=0) for each in rows])
    bias = torch.stack([tensors["classifier.5.bias"][each].mean() for each in rows]) - torch.tensor(AUDIOSET_MEANS)
    for head in ("present", "frames"):
        found[f"head.{head}.weight"] = _START_SCALE * weight
        found[f"head.{head}.bias"] = _START_SCALE * (bias - _START_SHIFT)
    return found


def fits(given: Tensor | None, own: Tensor) -> bool:
    return given is not None and given.shape == own.shape


def tracks(counts: Tensor) -> Tensor:
    """The most probable sources as tracks: logits of counts [b, s, k] to [b, s, k + 1], silence last.

    A track's softmax is the probability p of one class and 1 − p of silence, p that of at least so many of it.

    >>> of_two = tracks(torch.tensor([[[3.0, -9.0], [2.0, -9.0]]]))
    >>> of_two.softmax(dim=-1)[0, :, [0, 2]].round(decimals=2)
    tensor([[0.9500, 0.0500],
            [0.8400, 0.1600]])
    """
    b, s, k = counts.shape
    log_p, place = F.logsigmoid(counts).cumsum(dim=1).flatten(1).topk(s)
    log_p = log_p.clamp(-_SUREST, -1e-6)
    logits = counts.new_full((b, s, k + 1), _NOWHERE)
    logits.scatter_(2, (place % k)[..., None], (log_p - torch.log(-torch.expm1(log_p)))[..., None])
    logits[..., k] = 0
    return logits
