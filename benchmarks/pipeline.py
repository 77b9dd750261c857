"""Times taggers, one separator pass and whole systems on a 10 s clip: interleaved rounds, paired ratios.

    python benchmarks/pipeline.py [--device cpu|cuda] [--threads 2] [--rounds 5] [--batch-size 1] [--official]

Every variant runs once to warm up, then once a round, in reverse order on odd rounds, so that a drifting machine
touches all alike. Ratios are taken within a round against the first variant. The official networks get random weights
(`--official`): the arithmetic is the same. A run is marked noisy where a variant's slowest round took more than 1.3
times its fastest; quote no absolute time of such a run.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from s5cli.adapters.slots import SlotSeparator
from s5cli.adapters.tracks import TrackTagger
from s5cli.knobs import setting
from s5cli.nn.m2d import M2DConfig, M2DTagger1ch, M2DTagger4ch
from s5cli.nn.resunet import ResUNetConfig, ResUNetK
from s5cli.scene import RATE_HZ, Queries, Scene
from s5cli.systems.tagging_driven import TaggingDriven
from s5cli.weights.build import build


def scenes(batch_size: int) -> list[Scene]:
    """Ten seconds of pink-ish noise in four channels."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(batch_size, 4, 10 * RATE_HZ, generator=generator).cumsum(dim=-1)
    audio = 0.1 * (noise - noise.mean(dim=-1, keepdim=True)) / noise.std(dim=-1, keepdim=True)
    return [Scene(f"clip{i}", clip) for i, clip in enumerate(audio)]


def official(device: torch.device) -> TaggingDriven:
    """The flagship at its published size, weights random."""
    return TaggingDriven(
        tagger_1ch=TrackTagger(M2DTagger1ch(M2DConfig()).eval(), device=device, channels=1),
        tagger_4ch=TrackTagger(M2DTagger4ch(M2DConfig()).eval(), device=device, channels=4),
        separator_a=SlotSeparator(ResUNetK(ResUNetConfig()).eval(), device=device),
        separator_b=SlotSeparator(ResUNetK(ResUNetConfig()).eval(), device=device),
        setting=setting(TaggingDriven.knobs),
    )


def variants(name: str, system: TaggingDriven, batch: list[Scene]) -> dict[str, Callable[[], object]]:
    """What is timed of one system; three sources are asked for, so that every slot works."""
    asked = Queries(np.tile([15, 13, 7], (len(batch), 1)), np.ones((len(batch), 3)))
    return {
        f"{name}: 1-channel tagger": lambda: system.tagger_1ch(batch),
        f"{name}: 4-channel tagger": lambda: system.tagger_4ch(batch),
        f"{name}: one separator pass": lambda: system.separator_a(batch, asked),
        f"{name}: pipeline, three queries given": lambda: system.with_queries(asked)(batch),
        f"{name}: pipeline": lambda: system(batch),
    }


def timed(run: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Wall and process-CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--official", action="store_true", help="also the official sizes, random weights")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device, batch = torch.device(given.device), scenes(given.batch_size)
    compact = build("tagging-driven-compact", device=given.device)
    runs = variants("compact", compact, batch)  # type: ignore[arg-type]
    if given.official:
        runs |= variants("official size", official(device), batch)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for run in runs.values():
        timed(run, device)
    load = os.getloadavg()[0]
    for number in range(given.rounds):
        for name in list(runs)[:: -1 if number % 2 else 1]:
            times[name].append(timed(runs[name], device))
    print(f"torch {torch.__version__}, {given.device}, {given.threads} threads, batch of {given.batch_size} × 10 s")
    print(f"TF32: matmul {torch.backends.cuda.matmul.allow_tf32}, cuDNN {torch.backends.cudnn.allow_tf32}")
    print(f"load before {load:.2f}, after {os.getloadavg()[0]:.2f}; {given.rounds} interleaved rounds")
    print(f"{'':44}{'wall s':>9}{'cpu s':>9}{'ratio':>9}{'min':>8}{'max':>8}")
    first = [wall for wall, _ in next(iter(times.values()))]
    for name, rounds in times.items():
        walls = [wall for wall, _ in rounds]
        ratios = [wall / base for wall, base in zip(walls, first, strict=True)]
        noisy = "  noisy" if max(walls) / min(walls) > 1.3 else ""
        cpu = statistics.median(cpu for _, cpu in rounds)
        print(
            f"{name:44}{statistics.median(walls):9.3f}{cpu:9.3f}{statistics.median(ratios):9.2f}"
            f"{min(ratios):8.2f}{max(ratios):8.2f}{noisy}"
        )


if __name__ == "__main__":
    main()
