"""What a precision or an engine costs against fp32 in PyTorch: labels that change, and hundredths of a dB.

    python -m benchmarks.precision DATA [--system NAME] [--device auto] [--clips 50] [--ways bf16 onnx]

DATA is a folder that `s5 evaluate` takes, such as `examples`. The system hears every clip both ways. For each way are
printed: clips whose list of reported labels is another, queries whose fate is another (dropped or kept, by which rule,
which stem taken), the change of the mean CAPI-SDRi, the largest change of a clip's, and the median SNR of the stems
against those in fp32.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import machine
from s5cli.audio import read_scene
from s5cli.dataset import DataSet, open_dataset, read_sources
from s5cli.scene import Scene, Stem
from s5cli.score.metric import ClipScore
from s5cli.weights.build import build
from s5cli.weights.device import resolve_device
from s5cli.weights.engine import ENGINES
from tests.score.whole import capi_sdri


@dataclass(frozen=True)
class Answer:
    """A clip as one way of computing hears it."""

    stems: Sequence[Stem]
    fates: Sequence[tuple[object, ...]]  # of each query
    score: ClipScore

    @property
    def labels(self) -> list[str]:
        return [stem.label for stem in self.stems]


def answers(way: str, system: str, device: str, data: DataSet, names: Sequence[str]) -> list[Answer]:
    """Every clip through the system, alone."""
    how = {"compiled": True} if way == "compiled" else {"engine": way} if way in ENGINES else {"precision": way}
    loaded = build(system, device=device, **how)
    return [answer(loaded, read_scene(data.mixtures[name]), data, name) for name in names]


def answer(loaded: object, scene: Scene, data: DataSet, name: str) -> Answer:
    """One clip, scored."""
    decision = loaded([scene])  # type: ignore[operator]
    [stems], [trace] = decision.stems().clips(), decision.trace()
    sources, n = data.references[name], scene.audio.shape[-1]
    ref = read_sources(sources, data.mixtures[name], n)
    est = np.stack([stem.audio.numpy() for stem in stems]) if stems else np.zeros((0, n), np.float32)
    labels = [stem.label for stem in stems], [source.label for source in sources]
    score = capi_sdri(labels[0], est, labels[1], ref, scene.audio[0].numpy())
    fates = [(q.label, q.slot, q.dropped_by, *(stage.note for stage in q.stages)) for q in trace.queries]
    return Answer(stems, fates, score)


def cost(way: str, found: Sequence[Answer], exact: Sequence[Answer]) -> str:
    """A line."""
    pairs = list(zip(found, exact, strict=True))
    relabelled = sum(one.labels != other.labels for one, other in pairs)
    fates = sum(len(set(one.fates) ^ set(other.fates)) > 0 for one, other in pairs)
    changes = [
        one.score.capi_sdri_db - other.score.capi_sdri_db
        for one, other in pairs
        if None not in (one.score.capi_sdri_db, other.score.capi_sdri_db)
    ]
    snrs = [
        snr_db(stem.audio, like.audio)
        for one, other in pairs
        if one.labels == other.labels
        for stem, like in zip(one.stems, other.stems, strict=True)
    ]
    return (
        f"{way:6} {relabelled:4} of {len(pairs)} clips with other labels, {fates} where a query's fate is another; "
        f"CAPI-SDRi {100 * statistics.mean(changes):+.2f} hundredths of a dB on average, "
        f"{100 * max(map(abs, changes)):.2f} at most; SNR of stems {statistics.median(snrs):.0f} dB"
    )


def snr_db(stem: torch.Tensor, like: torch.Tensor) -> float:
    power, error = like.double().square().sum(), (stem - like).double().square().sum()
    return float(10 * torch.log10(power / error.clamp_min(1e-30)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--system", default="tagging-driven-compact")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--clips", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ways", nargs="+", default=["bf16", "onnx"], help="of tf32, bf16, fp16, onnx")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device, data = str(resolve_device(given.device)), open_dataset(given.data)
    names = sorted(data.mixtures)[: given.clips]
    print(f"{given.system}, {len(names)} clips of {given.data}; {machine(device)}")
    exact = answers("fp32", given.system, device, data, names)
    for way in given.ways:
        print(cost(way, answers(way, given.system, device, data, names), exact), flush=True)


if __name__ == "__main__":
    main()
