"""Memory of a training step of the self-guided separators, counted without numbers (PyTorch's meta device).

    python benchmarks/training.py uss_2025 tse_2025 uss_2026 tse_2026

One device's batch and crop are the recipe's, float32. Counted are tensors that are alive at once in the forward and the
backward pass, gradients among them, parameters and the optimiser's two moments; not the allocator's rest, the inverse
transform, and the networks that make enrolments and features, which keep nothing for a gradient.
"""

import argparse
from dataclasses import dataclass
from typing import Any

import torch

from s5cli.labels import N_CLASSES, N_SLOTS
from s5cli.nn.deft import DeftConfig, TargetExtractor, UniversalSeparator
from s5cli.scene import N_CHANNELS, RATE_HZ, Scene
from s5cli.study.cost import lighter, peak_bytes
from s5cli.train.recipe import Recipe, read_recipe

GB = 1e9
ADAM_COPIES = 2
FRAME_HOP_SAMPLES = 640


@dataclass
class Step:
    """Forward and backward pass, from waveforms to spectra."""

    network: Any
    batch_size: int

    def exercise(self, scene: Scene) -> None:
        network, n_samples = self.network, scene.audio.shape[-1]
        spectrum = network.analyse(scene.audio.expand(self.batch_size, -1, -1))
        maps, told = network.mixture_features(spectrum), ()
        if isinstance(network, TargetExtractor):
            enrolled = spectrum[:, :1].expand(-1, N_SLOTS, -1, -1)
            maps = torch.cat([maps, network.enrolment_features(enrolled, spectrum)], dim=1)
            classes = torch.zeros(self.batch_size, N_SLOTS * N_CLASSES, device="meta")
            n_features = network.config.frame_features
            frames = (self.batch_size, N_SLOTS, n_samples // FRAME_HOP_SAMPLES, n_features)
            heard = torch.zeros(frames, device="meta") if n_features else None
            told = network.clues(classes, heard, maps.shape[2])
        network.spectra(network.objects(maps, told), spectrum).abs().sum().backward()


def step_gb(recipe: Recipe, *, checkpointing: bool) -> float:
    """Of one training step, in 10^9 bytes. Blocks are alike, so two sizes show what each of them adds."""
    whole = DeftConfig(**recipe.config)
    one, two = (
        sized_bytes(recipe, lighter(whole, blocks=n_blocks, checkpointing=checkpointing)) for n_blocks in (1, 2)
    )
    return (one + (whole.blocks - 1) * (two - one)) / GB


def sized_bytes(recipe: Recipe, config: DeftConfig) -> int:
    """What a step of that size takes."""
    kind = TargetExtractor if recipe.task == "target_extractor" else UniversalSeparator
    with torch.device("meta"):
        network = kind(config).train()
    scene = Scene("crop", torch.zeros(N_CHANNELS, round(recipe.scenes.duration_s * RATE_HZ), device="meta"))
    held = sum(p.numel() * p.element_size() for p in network.parameters())
    return peak_bytes(Step(network, recipe.schedule.batch_size), scene) + held * (1 + ADAM_COPIES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", metavar="RECIPE")
    parser.add_argument("--plain", action="store_true", help="also without gradient checkpointing")
    args = parser.parse_args()
    for name in args.recipes:
        recipe = read_recipe(name)
        shape = f"{recipe.schedule.batch_size} crops of {recipe.scenes.duration_s:g} s"
        print(f"{name}: {shape}, {step_gb(recipe, checkpointing=True):.1f} GB", flush=True)
        if args.plain:
            print(f"{name}, nothing computed again: {step_gb(recipe, checkpointing=False):.1f} GB", flush=True)


if __name__ == "__main__":
    main()
