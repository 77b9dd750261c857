"""What the networks of the other families gain from how they are computed, each against its plain form.

    python -m benchmarks.families [--only scan groups blocks stems] [--rounds 5] [--seconds 10] [--by-cpu]
    python -m benchmarks.families --memory groups      # one process for one variant: all, groups

scan    the Mamba-2 mixer at its published width in chunks, against the recurrence as it is defined
groups  the published universal separator (first two blocks of six, random weights) a few sequences at a time, against
        all at once
blocks  the compact label-queried separator in blocks, past keys and values kept, against the past heard again
stems   six stems of a clip tagged in one call, against one call for each
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import compared, error, interleaved, machine, peak_gb
from benchmarks.plain import recurrence
from s5cli.nn.blocks import PRESETS, in_blocks
from s5cli.nn.body_tagger import BodyTagger, BodyTaggerConfig
from s5cli.nn.deft import DeftConfig, UniversalSeparator
from s5cli.nn.mamba2 import Mamba2, Mamba2Config, chunked_scan
from s5cli.nn.sr_corrnet import SRCorrNet, SRCorrNetConfig
from s5cli.scene import RATE_HZ
from s5cli.weights.registry import registry

Call = Callable[[], Tensor]
SEQUENCES = 64  # of the mixer's; a clip of 10 s has 641 along time
FRAMES_A_SECOND = 50  # of the universal separator's spectrum


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def scan(seconds: float) -> dict[str, Call]:
    """One mixer along time; only the scan is another."""
    mixer, u = Mamba2(Mamba2Config()).eval(), noise(SEQUENCES, int(seconds * FRAMES_A_SECOND), Mamba2Config().width)

    def with_scan(how: Callable[..., Tensor]) -> Call:
        def call() -> Tensor:
            mixer.scan = lambda x, dt, b, c: how(x, dt, -mixer.A_log.exp(), b, c)
            out: Tensor = mixer(u)
            return out

        return call

    chunk = mixer.config.chunk
    return {"recurrence": with_scan(recurrence), "chunks": with_scan(lambda *parts: chunked_scan(*parts, chunk))}


def groups(seconds: float) -> dict[str, Call]:
    """Two blocks: the others take the same time and, one after the other, the same memory."""
    config, clip = DeftConfig(blocks=2), 0.1 * noise(1, 4, int(seconds * RATE_HZ))
    network = UniversalSeparator(config).eval()

    def of(tokens: int) -> Call:
        def call() -> Tensor:
            for block in network.modules():
                if hasattr(block, "in_groups"):
                    block.config = replace(block.config, group_tokens=tokens)
            out: Tensor = network(clip).waveforms
            return out

        return call

    return {"all": of(0), "groups": of(config.group_tokens)}


def blocks(seconds: float) -> dict[str, Call]:
    """Three sources of one clip, in the blocks of least delay; random weights, whose arithmetic is the same."""
    values: dict[str, Any] = dict(registry().parts["sr-corrnet-compact"].config)
    config = SRCorrNetConfig(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
    network, clip = SRCorrNet(config).eval(), 0.1 * noise(1, 4, int(seconds * RATE_HZ))
    classes, window = torch.tensor([[15, 13, 7]]), PRESETS["low_latency"]
    activity = torch.ones(1, 3, network.n_frames(clip.shape[-1]))
    assert window is not None

    def of(remembers: bool) -> Call:
        return lambda: in_blocks(network, clip, classes, activity, window, remembers)

    return {"heard again": of(False), "keys and values": of(True)}


def stems(seconds: float) -> dict[str, Call]:
    """The compact 1-channel tagger, random weights."""
    network, clips = BodyTagger(BodyTaggerConfig(channels=1)).eval(), noise(6, 1, int(seconds * RATE_HZ))

    def of(n_together: int) -> Call:
        return lambda: torch.cat([network(each) for each in clips.split(n_together)])

    return {"one by one": of(1), "together": of(len(clips))}


CASES = {"scan": scan, "groups": groups, "blocks": blocks, "stems": stems}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--by-cpu", action="store_true", help="ratios of processor time, for a busy machine")
    parser.add_argument("--memory", choices=("all", "groups"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    print(f"{given.seconds:g} s; {machine()}")
    with torch.inference_mode():
        if given.memory:
            call, before = groups(given.seconds)[given.memory], peak_gb()
            call()
            print(f"{given.memory}: peak {peak_gb():.2f} GB, {before:.2f} GB of them before the pass")
            return
        for title in given.only:
            plain, fast = (runs := CASES[title](given.seconds)).values()
            print(f"\n{title}: {error(fast(), plain())}")
            print(compared(interleaved(runs, given.rounds), given.by_cpu), flush=True)
    print(machine())


if __name__ == "__main__":
    main()
