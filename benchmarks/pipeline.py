"""Taggers, a separator pass and whole systems on a 10 s clip: interleaved rounds, paired ratios.

    python -m benchmarks.pipeline [--device cpu|cuda] [--threads 2] [--rounds 5] [--batch-size 1] [--official] [--onnx]
    python -m benchmarks.pipeline --memory s5cli       # official size, one process for one variant: plain, s5cli

`--official` takes the official sizes with random weights, whose arithmetic is the same, against the same system with
the separators in plain form (`benchmarks/plain.py`), given the same queries: it runs the same passes. Else the
embedded networks in PyTorch, and with `--onnx` in ONNX Runtime.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks import separator
from benchmarks.measure import compared, interleaved, machine, peak_gb
from benchmarks.plain import PlainResUNetK
from s5cli.adapters.slots import SlotSeparator
from s5cli.adapters.tracks import TrackTagger
from s5cli.knobs import setting
from s5cli.nn.core import core_of, lower
from s5cli.nn.m2d import M2DConfig, M2DTagger1ch, M2DTagger4ch
from s5cli.scene import RATE_HZ, Queries, Scene
from s5cli.systems.baseline import Baseline
from s5cli.systems.tagging_driven import TaggingDriven
from s5cli.weights.build import build


def scenes(batch_size: int) -> list[Scene]:
    """Ten seconds of pink-ish noise in four channels."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(batch_size, 4, 10 * RATE_HZ, generator=generator).cumsum(dim=-1)
    audio = 0.1 * (noise - noise.mean(dim=-1, keepdim=True)) / noise.std(dim=-1, keepdim=True)
    return [Scene(f"clip{i}", clip) for i, clip in enumerate(audio)]


def official(device: torch.device, plain: bool, precision: str = "fp32") -> TaggingDriven:
    """The flagship at its published size, weights random."""
    taggers = [M2DTagger1ch(M2DConfig()).eval(), M2DTagger4ch(M2DConfig()).eval()]
    separators: list[Any] = [separator.official() for _ in range(2)]
    for number, one in enumerate(separators):
        if plain:
            separators[number] = PlainResUNetK(one)
        else:
            one.prepare()
    if precision == "bf16":
        for network in (*taggers, *separators):
            lower(core_of(network), torch.bfloat16)
    return TaggingDriven(
        tagger_1ch=TrackTagger(taggers[0], device=device, channels=1),
        tagger_4ch=TrackTagger(taggers[1], device=device, channels=4),
        separator_a=SlotSeparator(separators[0], device=device),
        separator_b=SlotSeparator(separators[1], device=device),
        setting=setting(TaggingDriven.knobs),
    )


def variants(name: str, system: TaggingDriven, batch: list[Scene]) -> dict[str, Callable[[], object]]:
    """What is timed of one system; three sources are asked for, so that every slot works."""
    asked = Queries(np.tile([15, 13, 7], (len(batch), 1)), np.ones((len(batch), 3)))
    baseline = Baseline(tagger=system.tagger_4ch, separator=system.separator_a, setting=setting(Baseline.knobs))
    return {
        f"{name}: pipeline, three queries given": lambda: system.with_queries(asked)(batch),
        f"{name}: baseline, three queries given": lambda: baseline.with_queries(asked)(batch),
        f"{name}: one separator pass": lambda: system.separator_a(batch, asked),
        f"{name}: 4-channel tagger": lambda: system.tagger_4ch(batch),
        f"{name}: 1-channel tagger": lambda: system.tagger_1ch(batch),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--official", action="store_true")
    parser.add_argument("--bf16", action="store_true", help="with --official: the cores in bf16 as well")
    parser.add_argument("--onnx", action="store_true")
    parser.add_argument("--by-cpu", action="store_true", help="ratios of processor time, for a busy machine")
    parser.add_argument("--memory", choices=("plain", "s5cli"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device, batch = torch.device(given.device), scenes(given.batch_size)
    if given.memory:
        system, before = official(device, given.memory == "plain"), peak_gb()
        variants("", system, batch)[": pipeline, three queries given"]()
        print(f"{given.memory}: peak {peak_gb():.2f} GB, {before:.2f} GB of them before the clip")
        return
    systems: dict[str, Any] = {}
    if given.official:
        systems = {"plain": official(device, True), "s5cli": official(device, False)}
        systems |= {"bf16": official(device, False, "bf16")} if given.bf16 else {}
    else:
        engines = ("torch", "onnx") if given.onnx else ("torch",)
        systems = {name: build("tagging-driven-compact", device=given.device, engine=name) for name in engines}
    print(f"batch of {given.batch_size} × 10 s; {machine(device)}")
    runs = {name: variants(name, system, batch) for name, system in systems.items()}
    for rows in zip(*(one.items() for one in runs.values()), strict=True):
        print(compared(interleaved(dict(rows), given.rounds, device), given.by_cpu), flush=True)
    print(machine(device))


if __name__ == "__main__":
    main()
