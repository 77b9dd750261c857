"""Stems of a recording that has not ended, as they form.

A recording that goes on has no labels of its own, no level and no mean power: the tagger hears the last ten seconds
once a second, and what it says holds until it is asked again; levels are means up to a block's end. A block is made as
soon as its look ahead is there. Everything depends on samples alone, not on when they come or in what portions.

Source: "Extending SR-CorrNet to label-queried target sound extraction" (Ku, Jeong & Park, DCASE 2026) for the blocks;
how labels and levels are had is ours.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from s5cli.adapters.queried import QueriedSeparator, WhenTagger
from s5cli.nn.blocks import PRESETS, Block, Remembering, frames
from s5cli.nn.growing import GrowingSpectrum, Overlapped
from s5cli.nn.query_split import Asked
from s5cli.nn.sr_corrnet import MARGIN, Heard
from s5cli.rules.bridge import Bridged
from s5cli.scene import EMPTY, N_CHANNELS, RATE_HZ, Floats, Scene, Stems, Tracks

HEARD_SAMPLES = 10 * RATE_HZ
ASKED_EVERY_SAMPLES = RATE_HZ
Source = tuple[int, int]
"""A class, and how many of it come before: what a stem is known by."""


@dataclass(frozen=True)
class Said:
    """What the tagger last said, of which stretch."""

    end: int  # sample after the last that it heard
    sources: tuple[Source, ...]
    activity: Floats  # [u, n]
    reported: tuple[bool, ...]
    confidence: tuple[float, ...]


@dataclass
class Known:
    """A source that was reported once: its number, and what of its stem still grows."""

    number: int
    overlapped: Overlapped
    confidence: float = 0.0


@dataclass(frozen=True)
class Live:
    """A tagger and a separator on one recording block by block; each call begins a recording."""

    tagger: WhenTagger
    separator: QueriedSeparator
    bridged: Callable[[Tracks], Bridged]
    preset: str

    def __call__(self, blocks: Iterable[Tensor]) -> Iterator[Stems]:
        """Portions [m, t] of any length to stems [1, s] of what is ready; a source that was reported once stays.

        Each says in `begin_s` where in the recording it begins: nothing is given of a source before its first report,
        where it is silent. A recording of half a window or less gives nothing.
        """
        recording = Recording(self)
        for samples in blocks:
            recording.add(samples)
            yield from recording.ready()
        recording.end()
        yield from recording.ready()
        yield from recording.rest()


@dataclass
class Recording:
    """Where one recording stands."""

    live: Live
    samples: Tensor = field(default_factory=lambda: torch.zeros(N_CHANNELS, 0))  # the last that a tagger may hear
    n_samples: int = 0
    ended: bool = False
    number: int = 0  # of the next block
    said: Said | None = None
    known: dict[Source, Known] = field(default_factory=dict)
    given: int = 0  # samples of the stems that were handed out, from half a window before the beginning on

    def __post_init__(self) -> None:
        window = PRESETS[self.live.preset]
        assert window is not None
        network = self.live.separator.network
        self.network, self.config, self.window = network, network.config, window
        self.spectrum = GrowingSpectrum(network.transform)
        self.envelope = Overlapped(network.transform)
        self.memory = Remembering(network, frames(window.past_s, self.config.hop_samples))
        self.power = torch.zeros(self.config.bins, dtype=torch.float64)  # summed over past frames

    def add(self, samples: Tensor) -> None:
        samples = samples[:N_CHANNELS].to(torch.float32).cpu()
        self.n_samples += samples.shape[1]
        self.samples = torch.cat([self.samples, samples], dim=1)
        self.spectrum.add(samples.to(self.live.separator.device))

    def end(self) -> None:
        self.ended = True
        self.spectrum.end()

    @property
    def margin(self) -> int:
        """Frames after a block's look ahead that its embedding hears."""
        return MARGIN + self.config.taps.after

    def ready(self) -> Iterator[Stems]:
        """What can be made of the samples that came."""
        while (block := self.next_block()) is not None:
            yield self.made(block)
            self.number += 1
            self.spectrum.let_go(block.end - MARGIN - self.config.taps.before)

    def next_block(self) -> Block | None:
        last = self.spectrum.last
        block = self.window.block(self.number, self.config.hop_samples, last if self.ended else None)
        if self.ended:
            return block if block.begin < last else None
        return block if block.last + self.margin <= last else None

    @torch.inference_mode()
    def made(self, block: Block) -> Stems:
        self.ask(self.needed(block))
        power = self.local(block.begin, block.end)[self.config.reference].abs().square().double().sum(dim=0)
        self.power += power.cpu()
        spectra = self.separated(block)
        shape = (block.end - block.begin, self.config.bins)
        window = self.network.transform.window
        weight = self.envelope.add(window.square().expand(shape[0], -1)).clamp_min(1e-11)
        assert self.said is not None
        of = dict(zip(self.said.sources, zip(self.said.reported, self.said.confidence, strict=True), strict=True))
        for source, (reported, confidence) in of.items():
            if reported:
                known = self.known.setdefault(source, Known(len(self.known), Overlapped(self.network.transform)))
                known.confidence = confidence
        nothing = torch.zeros(shape, dtype=torch.complex64, device=window.device)
        found = [
            known.overlapped.sounded(spectra[source] if of.get(source, (False, 0))[0] else nothing) / weight
            for source, known in self.known.items()
        ]
        return self.handed_out(found, len(weight))

    def needed(self, block: Block) -> int:
        """Samples without which the block cannot be made; the tagger hears no others, however many are there."""
        n_frames = block.last + self.margin
        n_needed = (n_frames - 1) * self.config.hop_samples + self.config.n_fft // 2
        return min(n_needed, self.n_samples) if self.ended else n_needed

    def ask(self, needed: int) -> None:
        """The tagger once a second, of the last ten seconds, zeros before the beginning."""
        if self.said is not None and needed < self.said.end + ASKED_EVERY_SAMPLES:
            return
        first = self.n_samples - self.samples.shape[1]
        heard = self.samples[:, max(0, needed - HEARD_SAMPLES - first) : needed - first]
        self.samples = self.samples[:, max(0, needed - HEARD_SAMPLES - first) :].clone()
        heard = F.pad(heard, (HEARD_SAMPLES - heard.shape[1], 0))
        found = self.live.bridged(self.live.tagger([Scene("live", heard)]))
        classes = found.queries.classes[0]
        used = np.flatnonzero(classes != EMPTY).tolist()
        counted: dict[int, int] = {}
        sources = []
        for slot in used:
            label = int(classes[slot])
            sources.append((label, counted.setdefault(label, 0)))
            counted[label] += 1
        reported, confidence = found.reported[0, used].tolist(), found.queries.confidence[0, used].tolist()
        self.said = Said(needed, tuple(sources), found.activity[0, used], tuple(reported), tuple(confidence))

    def separated(self, block: Block) -> dict[Source, Tensor]:
        """Spectra [n, f] of the present frames of each source that is asked."""
        assert self.said is not None
        sources = self.said.sources
        if not sources:  # what is heard next begins with nothing
            self.memory = Remembering(self.network, self.memory.past)
            return {}
        asked = self.asked(block)
        first = self.spectrum.first
        heard = self.heard(block)
        maps = self.network.embed(heard, block.begin - first, block.last - first)
        n_present = block.end - block.begin
        maps = self.memory(maps, asked, sources, block.begin, n_present)[:, :n_present]
        neighbours = self.network.neighbours(heard, asked.clip, block.begin - first, block.end - first)
        found = self.network.filter_estim(maps, neighbours)[:, 0, :, : self.config.bins] * heard.scale[0, 0, 0]
        return dict(zip(sources, found, strict=True))

    def asked(self, block: Block) -> Asked:
        """The sources and when they sound; after what the tagger heard its last frame holds."""
        assert self.said is not None
        hop, frame = self.config.hop_samples, self.live.tagger.frame_samples
        samples = np.arange(block.begin, block.last) * hop - (self.said.end - HEARD_SAMPLES)
        places = np.clip(samples // frame, 0, self.said.activity.shape[1] - 1)
        device = self.live.separator.device
        activity = torch.as_tensor(self.said.activity[:, places], dtype=torch.float32, device=device)
        classes = torch.tensor([label for label, _ in self.said.sources], device=device)
        found = Asked.of(classes[None], activity[None])
        repetition = torch.tensor([which for _, which in self.said.sources], device=device)
        return Asked(found.classes, repetition, found.clip, found.slot, found.activity, found.counts)

    def heard(self, block: Block) -> Heard:
        """The spectrum that is held, with means of power up to the block's end."""
        assert self.spectrum.frames is not None
        power = (self.power / block.end).float().to(self.live.separator.device)
        scale = power.mean().sqrt().clamp_min(1e-8)
        level = (power / scale.square() + 1e-12).sqrt()[None]
        shown = self.spectrum.frames[None, :, : block.last + self.margin - self.spectrum.first]
        return Heard(shown / scale, level, scale.view(1, 1, 1))

    def local(self, begin: int, end: int) -> Tensor:
        """Frames [m, n, f] of the spectrum by their number in the recording."""
        assert self.spectrum.frames is not None
        return self.spectrum.frames[:, begin - self.spectrum.first : end - self.spectrum.first]

    def handed_out(self, found: list[Tensor], n_samples: int) -> Stems:
        """Stems [1, s] of the next so many samples, without what lies before the beginning or after the end."""
        half = self.config.n_fft // 2
        begin, self.given = self.given, self.given + n_samples
        part = slice(max(0, half - begin), max(0, self.n_samples + half - begin) if self.ended else None)
        waveforms = np.empty((1, len(found)), dtype=object)
        for place, one in enumerate(found):
            waveforms[0, place] = one[part].cpu()
        classes = np.array([[label for label, _ in self.known]], dtype=np.int64)
        confidence = np.array([[known.confidence for known in self.known.values()]])
        begin_s = np.full((1, len(found)), max(0, begin - half) / RATE_HZ)
        return Stems(classes, confidence, np.arange(len(found))[None], waveforms, {"begin_s": begin_s})

    def rest(self) -> Iterator[Stems]:
        """What the last frames leave behind."""
        left = self.n_samples + self.config.n_fft // 2 - self.given
        if self.spectrum.last and left > 0:
            weight = self.envelope.tail.clamp_min(1e-11)
            yield self.handed_out([known.overlapped.tail / weight for known in self.known.values()], len(weight))
