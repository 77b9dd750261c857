"""What a precision costs the official networks, with the golden weights and on the golden clips of the tests.

    python -m benchmarks.golden [--device cpu] [--threads 2] [--ways bf16]      # tf32, bf16, fp16 on CUDA

Of each tagger are printed the tracks whose likeliest class is another than in fp32, and the largest change of a logit;
of the separator the SNR of its stems against those in fp32, and by how much that can change the score of a stem that
is 10 dB above its error.
"""

import argparse
import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmarks.measure import DTYPES, machine, set_precision
from s5cli.nn.core import core_of, lower
from s5cli.nn.resunet import ResUNetK
from s5cli.nn.unet import ResUNetConfig
from tests.golden.golden import Case, Model, models
from tests.golden.test_m2d import network_of


def tagger(golden: Model) -> nn.Module:
    state = {key: torch.from_numpy(value) for key, value in golden.weights.items()}
    network = network_of(golden.manifest, state)
    network.load_state_dict(state, strict=True)
    return network.eval()


def separator(golden: Model) -> nn.Module:
    network = ResUNetK(ResUNetConfig()).eval()
    network.load_state_dict({key: torch.from_numpy(value) for key, value in golden.weights.items()}, strict=True)
    network.prepare()
    return network


def as_precise(network: nn.Module, way: str, device: torch.device) -> nn.Module:
    """A copy that computes in this way, and the flags that it needs."""
    set_precision(way)
    twin = copy.deepcopy(network).to(device)
    if way in DTYPES:
        lower(core_of(twin), DTYPES[way])
    return twin


def cases(golden: Model) -> list[Case]:
    return [golden.case(name) for name in golden.document["cases"]]


def answers(network: nn.Module, golden: Model) -> list[Tensor]:
    """What it makes of every case."""
    device = next(network.parameters()).device
    found = []
    for case in cases(golden):
        clips = torch.from_numpy(case.clips)
        is_asked = isinstance(network, ResUNetK)
        given = (clips, torch.from_numpy(case.label_vector)) if is_asked else (clips[:, : network.channels],)
        with torch.inference_mode():
            found.append(network(*(one.to(device) for one in given)).cpu())
    return found


def said(way: str, name: str, found: list[Tensor], exact: list[Tensor]) -> str:
    """Of a tagger's logits, [b, tracks, classes] each."""
    other = sum(int((a.argmax(dim=-1) != b.argmax(dim=-1)).sum()) for a, b in zip(found, exact, strict=True))
    most = max(float((a - b).abs().max()) for a, b in zip(found, exact, strict=True))
    tracks = sum(one.shape[0] * one.shape[1] for one in exact)
    return f"{name}, {way}: {other} of {tracks} tracks with another class, logits change by {most:.1e} at most"


def heard(way: str, name: str, found: list[Tensor], exact: list[Tensor]) -> str:
    """Of stems, [b, slots, t] each."""
    pairs = [(a.double().flatten(0, 1), b.double().flatten(0, 1)) for a, b in zip(found, exact, strict=True)]
    snrs = [
        float(10 * torch.log10(like.square().sum() / (stem - like).square().sum().clamp_min(1e-30)))
        for a, b in pairs
        for stem, like in zip(a, b, strict=True)
        if like.any()
    ]
    change_db = 20 * math.log10(1 + 10 ** ((10 - min(snrs)) / 20))
    return (
        f"{name}, {way}: SNR of {len(snrs)} stems {min(snrs):.0f} dB or more, at 10 dB SDR {change_db:.3f} dB at most"
    )


def costs(device: torch.device, ways: Sequence[str]) -> None:
    """A line for each network and way."""
    for name in [*models("m2dat"), *models("resunetk")]:
        golden = Model(name)
        network, told = (tagger(golden), said) if name.startswith("m2dat") else (separator(golden), heard)
        exact = answers(as_precise(network, "fp32", device), golden)
        for way in ways:
            print(told(way, name, answers(as_precise(network, way, device), golden), exact), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ways", nargs="+", default=["bf16"], help="of tf32, bf16, fp16")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(machine(given.device))
    costs(torch.device(given.device), given.ways)


if __name__ == "__main__":
    main()
