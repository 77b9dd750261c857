"""A world of tones in which every step of a system can be written into the recording.

A source of class k is a sine whose frequency belongs to that class; a class has three of them, one per source. What
the networks make of a source is its amplitude in the four channels of the mixture:

    channel 0: probability that the 1-channel tagger gives it, and its level in the mixture
    channel 1: probability that the 4-channel tagger gives it
    channel 2 / 3: level at which separator A / B extracts it (hence the support of the stem)
"""

from dataclasses import dataclass
from itertools import product

import torch
from torch import nn

from s5cli.adapters.slots import SlotSeparator
from s5cli.adapters.tracks import TrackTagger
from s5cli.labels import CLASSES
from s5cli.scene import Scene

RATE_HZ, N_SAMPLES, STEP_HZ, PER_CLASS = 32_000, 3_200, 200, 3
HUM_HZ = 15_000  # belongs to no class


@dataclass(frozen=True)
class Tone:
    label: str
    p_1ch: float = 0.0
    p_4ch: float = 0.0
    in_a: float = 0.0
    in_b: float = 0.0
    source: int = 0


def scene_of(name, *tones, hum=0.0, n_samples=N_SAMPLES):
    """A mixture of tones; `hum` is the level of something else in channel 0."""
    t = torch.arange(n_samples, dtype=torch.float64) / RATE_HZ
    audio = torch.zeros(4, n_samples, dtype=torch.float64)
    audio[0] += hum * torch.sin(2 * torch.pi * HUM_HZ * t)
    for tone in tones:
        wave = torch.sin(2 * torch.pi * frequency_hz(CLASSES.index(tone.label), tone.source) * t)
        audio += torch.tensor([[tone.p_1ch], [tone.p_4ch], [tone.in_a], [tone.in_b]]) * wave
    return Scene(name, audio.float())


def frequency_hz(index, source):
    return STEP_HZ * (1 + PER_CLASS * index + source)


def tones_of(audio):
    """Complex amplitude of every tone, [b, t] to [b, 18, 3]."""
    n = audio.shape[-1]
    bins = [frequency_hz(k, i) * n // RATE_HZ for k, i in product(range(18), range(PER_CLASS))]
    spectrum = torch.fft.rfft(audio.double()) * 2 / n
    return spectrum[:, bins].unflatten(1, (18, PER_CLASS))


class ToneTagger(nn.Module):
    """Three strongest tones of a channel: a track each, with the tone's amplitude as probability, the rest silence.

    A track that hears nothing has a preferred class too, `idle`, as improbable as can be.
    """

    def __init__(self, channel, idle, nparams):
        super().__init__()
        self.channel, self.idle, self.nparams = channel, idle, nparams
        self.batches = []

    def forward(self, waveform):
        self.batches.append(waveform.shape[0])
        strength = tones_of(waveform[:, self.channel]).abs().flatten(1)
        strongest = strength.topk(3)
        p = strongest.values.clamp(1e-9, 1 - 1e-9)
        classes = torch.where(strongest.values > 1e-4, strongest.indices // PER_CLASS, self.idle)
        logits = torch.full((*p.shape, 19), -40.0, dtype=p.dtype)
        logits.scatter_(2, classes[..., None], p.log()[..., None])
        logits[..., 18] = (1 - p).log()
        return logits.float()


class ToneSeparator(nn.Module):
    """Extracts the tones of the queried classes; the n-th slot of a class gets its n-th tone.

    `crowding`: each further query costs this share of the level. `backwards`: the n-th from last instead.
    """

    def __init__(self, channel, nparams, crowding=0.0, backwards=False):
        super().__init__()
        self.channel, self.nparams, self.crowding, self.backwards = channel, nparams, crowding, backwards
        self.batches = []

    def forward(self, waveform, label_vector):
        self.batches.append(waveform.shape[0])
        tones, asked = tones_of(waveform[:, self.channel]), label_vector.unflatten(1, (3, 18))
        phase = 2j * torch.pi * torch.arange(waveform.shape[-1], dtype=torch.float64) / RATE_HZ
        out = torch.zeros(waveform.shape[0], 3, waveform.shape[-1])
        for b, clip in enumerate(asked):
            classes = [int(slot.argmax()) if slot.any() else None for slot in clip]
            level = 1 - self.crowding * (sum(k is not None for k in classes) - 1)
            for slot, k in enumerate(classes):
                if k is not None:
                    others = classes.count(k) - 1
                    nth = classes[:slot].count(k)
                    i = others - nth if self.backwards else nth
                    out[b, slot] = level * (tones[b, k, i] * torch.exp(frequency_hz(k, i) * phase)).real
        return out


@dataclass(frozen=True)
class Parts:
    """The adapters of a tagging-driven system, and access to the networks in them."""

    tagger_1ch: TrackTagger
    tagger_4ch: TrackTagger
    separator_a: SlotSeparator
    separator_b: SlotSeparator


def parts(crowding=0.0, backwards=False):
    return Parts(
        TrackTagger(ToneTagger(0, idle=0, nparams=1), channels=1),
        TrackTagger(ToneTagger(1, idle=1, nparams=20), channels=4),
        SlotSeparator(ToneSeparator(2, nparams=300, crowding=crowding)),
        SlotSeparator(ToneSeparator(3, nparams=4000, crowding=crowding, backwards=backwards)),
    )


def clips_of(system, scenes, queries=None):
    """The decision on a batch, and the reported stems of each clip."""
    decision = (system if queries is None else system.with_queries(queries))(scenes)
    return decision, decision.stems().clips()


def summary(stems):
    """What is reported of a clip, without audio."""
    return [(s.label, s.slot, round(s.confidence, 4)) for s in stems]


def numbers_of(stems, name):
    """A named number of each stem of a clip."""
    return [stem.numbers[name] for stem in stems]
