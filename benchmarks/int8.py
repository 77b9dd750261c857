"""The compact taggers with 8-bit weights and activations in ONNX Runtime: the time they take, and other labels.

    python -m benchmarks.int8 DATA [--clips 150] [--calibration examples] [--rounds 5] [--by-cpu]

DATA is a folder that `s5 evaluate` takes. Each tagger's core is quantised in two ways: `dynamic` (ranges of activations
are found while it runs) and `static` (ranges of the calibration clips, weights by channel). Printed are the clips whose
labels are others than PyTorch's in float32, the largest change of a probability, and times for the first clip.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from benchmarks.measure import compared, interleaved, machine
from s5cli.adapters.tracks import TrackTagger
from s5cli.audio import read_scene
from s5cli.dataset import open_dataset
from s5cli.nn.core import core_of, packed, replace
from s5cli.rules.slots import official_slots
from s5cli.scene import Scene, Tags
from s5cli.weights import build, fetch, onnx
from s5cli.weights.registry import registry

WAYS = ("torch", "onnx", "dynamic", "static")
PARTS = ("tagger-1ch", "tagger-4ch")


class Heard(CalibrationDataReader):
    """What a core is called with for some scenes."""

    def __init__(self, core: torch.nn.Module, tagger: TrackTagger, scenes: list[Scene]) -> None:
        seen: list[dict[str, Any]] = []

        def keep(_: object, args: tuple[Any, ...]) -> None:
            seen.append({f"in{number}": tensor.contiguous().numpy() for number, tensor in enumerate(packed(args))})

        handle = core.register_forward_pre_hook(keep)
        for scene in scenes:
            tagger([scene])
        handle.remove()
        self.left: Iterator[dict[str, Any]] = iter(seen)

    def get_next(self) -> dict[str, Any] | None:
        return next(self.left, None)


def tagger(name: str, way: str, calibration: list[Scene], folder: Path) -> TrackTagger:
    """A part of the registry that computes so."""
    part = registry().parts[name]
    path = fetch.locate(part.file)
    assert path is not None
    network, made = build.ready(part, path)
    core = core_of(network)
    if way == "torch" or core is None:
        return made
    whole, file = folder / f"{name}.onnx", folder / f"{name}-{way}.onnx"
    onnx.export(core, made, whole)
    if way == "onnx":
        whole.rename(file)
    elif way == "dynamic":
        quantize_dynamic(whole, file, weight_type=QuantType.QUInt8)
    else:
        quant_pre_process(whole, folder / "prepared.onnx", skip_symbolic_shape=True)
        quantize_static(folder / "prepared.onnx", file, Heard(core, made, calibration), per_channel=True)
    print(f"{name} {way}: {file.stat().st_size / 1e6:.2f} MB")
    replace(core, onnx.Session(file, torch.device("cpu")))
    return made


def labels(tags: Tags) -> np.ndarray:
    """What is asked of a separator, in order."""
    return official_slots(tags).classes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--clips", type=int, default=150)
    parser.add_argument("--calibration", type=Path, default=Path("examples"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--by-cpu", action="store_true", help="ratios of processor time, for a busy machine")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    mixtures, calibrating = open_dataset(given.data).mixtures, open_dataset(given.calibration).mixtures
    scenes = [read_scene(mixtures[name]) for name in sorted(mixtures)[: given.clips]]
    print(f"{len(scenes)} clips of {given.data}; {machine()}")
    with tempfile.TemporaryDirectory() as folder:
        for name in PARTS:
            calibration = [read_scene(path) for path in calibrating.values()]
            made = {way: tagger(name, way, calibration, Path(folder)) for way in WAYS}
            found = {way: [one([scene]) for scene in scenes] for way, one in made.items()}
            for way in WAYS[1:]:
                pairs = list(zip(found[way], found["torch"], strict=True))
                others = sum(not np.array_equal(labels(one), labels(exact)) for one, exact in pairs)
                change = max(np.abs(one.probabilities - exact.probabilities).max() for one, exact in pairs)
                print(f"{name} {way}: {others} of {len(pairs)} clips with other labels, largest change {change:.3f}")
            runs = {f"{name} {way}": lambda one=one: one(scenes[:1]) for way, one in made.items()}
            print(compared(interleaved(runs, given.rounds), given.by_cpu), flush=True)
    print(machine())


if __name__ == "__main__":
    main()
