"""Block streaming of the label-queried separator: a present, what it hears of the past, and a look ahead.

What is cheap and local (spectra, levels, correlations, their embedding, labels) is as in the whole clip; blocks along
time see a window of it. Past frames are heard again, or remembered as keys and values.

Source: "Extending SR-CorrNet to label-queried target sound extraction" (Ku, Jeong & Park, DCASE 2026); the windows, of
which the report gives no sizes, are ours.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from s5cli.nn.query_split import Asked
from s5cli.nn.sr_corrnet import Heard, SRCorrNet
from s5cli.nn.tf_block import Memory, Place, Seen

RATE_HZ = 32_000


@dataclass(frozen=True)
class Block:
    """Frames of a spectrum: `begin` … `end` − 1 are made, `earliest` … `last` − 1 are heard."""

    earliest: int
    begin: int
    end: int
    last: int


@dataclass(frozen=True)
class Window:
    """What a block hears, in seconds."""

    past_s: float
    present_s: float
    future_s: float

    def block(self, number: int, hop_samples: int, n_frames: int | None = None) -> Block:
        """A block by its number, cut to the frames that there are, where that is known.

        >>> Window(1, 0.25, 0.1).block(3, 512)
        Block(earliest=0, begin=48, end=64, last=70)
        """
        past, present, future = (frames(s, hop_samples) for s in (self.past_s, self.present_s, self.future_s))
        begin = number * max(1, present)
        end = begin + max(1, present)
        last = end + future
        if n_frames is not None:
            end, last = min(end, n_frames), min(last, n_frames)
        return Block(max(0, begin - past), begin, end, last)

    def blocks(self, hop_samples: int, n_frames: int) -> Iterator[Block]:
        """All blocks of a clip."""
        number = 0
        while (block := self.block(number, hop_samples, n_frames)).begin < n_frames:
            yield block
            number += 1


def frames(seconds: float, hop_samples: int) -> int:
    """Rounded, halves up.

    >>> frames(0.1, 512), frames(0.25, 256)
    (6, 31)
    """
    return int(seconds * RATE_HZ / hop_samples + 0.5)


PRESETS: Mapping[str, Window | None] = {
    "full": None,  # the whole clip at once
    "long": Window(4, 2, 4),  # nearly the whole of 10 s for every block
    "matched": Window(1.5, 1, 1.5),  # as long as the excerpts of training
    "low_latency": Window(1, 0.25, 0.1),
}


class Remembering:
    """The network over one stretch of frames after the other, with keys and values of `past` frames before each."""

    def __init__(self, network: SRCorrNet, past: int) -> None:
        self.network, self.past = network, past
        self.encoder: list[Memory | None] = [None] * len(network.enc_block)
        self.decoder: dict[Hashable, list[Memory]] = {}  # of each slot

    def __call__(self, maps: Tensor, asked: Asked, slots: Sequence[Hashable], begin: int, present: int) -> Tensor:
        """Maps before the filters, [u, n, f', c], of embedded frames `begin` and on, `present` of which are final.

        `slots` name what is asked; one that is not named is forgotten, and a new name begins with nothing.
        """
        place = Place(begin, present, self.past)
        for i, block in enumerate(self.network.enc_block):
            maps, self.encoder[i] = block(maps, place, self.encoder[i])
        maps = self.network.split(maps, asked)
        kept: dict[Hashable, list[Memory]] = {slot: [] for slot in slots}
        groups = self.groups(slots)
        for i, (block, mixer) in enumerate(zip(self.network.dec_block, self.network.dec_cs, strict=True)):
            found = torch.empty_like(maps)
            for rows in groups:
                found[rows], memories = self.through(block, i, maps[rows], place, [slots[row] for row in rows])
                for row, memory in zip(rows, memories, strict=True):
                    kept[slots[row]].append(memory)
            maps = mixer(found, asked.counts)
        self.decoder = kept
        return maps

    def groups(self, slots: Sequence[Hashable]) -> list[list[int]]:
        """Rows that remember equally much: they go through a block together."""
        found: dict[tuple[int, int], list[int]] = {}
        for row, slot in enumerate(slots):
            memories = self.decoder.get(slot)
            length = (memories[0].first.shape[1], memories[0].seen.length) if memories else (-1, -1)
            found.setdefault(length, []).append(row)
        return list(found.values())

    def through(
        self, block: torch.nn.Module, number: int, maps: Tensor, place: Place, slots: Sequence[Hashable]
    ) -> tuple[Tensor, list[Memory]]:
        """One block of the decoder for slots that remember equally much."""
        known = [self.decoder[slot][number] for slot in slots if slot in self.decoder]
        out, memory = block(maps, place, together(known) if known else None)
        return out, apart(memory, len(slots))


def together(memories: Sequence[Memory]) -> Memory:
    """Of several slots as of one batch."""
    return Memory(
        torch.cat([memory.first for memory in memories]),
        torch.cat([memory.second for memory in memories]),
        Seen(
            torch.cat([memory.seen.keys for memory in memories]), torch.cat([memory.seen.values for memory in memories])
        ),
    )


def apart(memory: Memory, n_slots: int) -> list[Memory]:
    """Each slot's own, so that the others can be forgotten."""
    parts = (memory.first, memory.second, memory.seen.keys, memory.seen.values)
    return [
        Memory(first.clone(), second.clone(), Seen(keys.clone(), values.clone()))
        for first, second, keys, values in zip(*(part.chunk(n_slots) for part in parts), strict=True)
    ]


def in_blocks(
    network: SRCorrNet, waveform: Tensor, classes: Tensor, activity: Tensor, window: Window, remembers: bool
) -> Tensor:
    """As the network itself, [b, m, t] to [b, s, t], but with windows along time.

    `remembers`: earlier keys and values are kept; else the past is heard again with every block.
    """
    asked, heard = Asked.of(classes, activity), network.hear(waveform)
    hop, n_frames = network.config.hop_samples, heard.spectrum.shape[2]
    memory = Remembering(network, frames(window.past_s, hop))
    spectra = []
    for block in window.blocks(hop, n_frames):
        maps = remembered(memory, heard, asked, block) if remembers else heard_again(network, heard, asked, block)
        neighbours = network.neighbours(heard, asked.clip, block.begin, block.end)
        spectra.append(network.filter_estim(maps, neighbours))
    spectrum = torch.cat(spectra, dim=2)
    return network.placed(network.sounded(spectrum, heard, waveform, asked), asked)


def remembered(memory: Remembering, heard: Heard, asked: Asked, block: Block) -> Tensor:
    """Maps of a block's present frames, [u, n, f', c]."""
    maps = memory.network.embed(heard, block.begin, block.last)
    present = block.end - block.begin
    slots = range(len(asked.classes))
    return memory(maps, asked.frames(block.begin, block.last), slots, block.begin, present)[:, :present]


def heard_again(network: SRCorrNet, heard: Heard, asked: Asked, block: Block) -> Tensor:
    """The same of a whole pass over past, present and future."""
    encoded = network.encode(network.embed(heard, block.earliest, block.last))
    maps = network.split(encoded, asked.frames(block.earliest, block.last))
    return network.decode(maps, asked.counts)[-1][:, block.begin - block.earliest : block.end - block.earliest]
