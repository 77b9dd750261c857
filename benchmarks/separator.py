"""One separator pass against the plain form (`benchmarks/plain.py`), and what its cost depends on.

    python benchmarks/separator.py [--size official|compact] [--threads 2] [--rounds 5] [--seconds 10] [--by-cpu]
    python benchmarks/separator.py --sweep             # clip length, batch size, slots asked for
    python benchmarks/separator.py --memory prepared   # one process for one variant: plain, training, prepared, bf16

The official size gets random weights, whose arithmetic is the same; batch norms are far from the identity. The compact
size has the embedded weights, and its training form as the plain one.
"""

import argparse
import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.measure import compared, error, interleaved, machine, peak_gb
from benchmarks.plain import PlainResUNetK
from s5cli.nn.core import core_of, lower
from s5cli.nn.resunet import ResUNetK
from s5cli.nn.unet import ResUNetConfig
from s5cli.scene import RATE_HZ
from s5cli.weights import build, fetch
from s5cli.weights.registry import registry

Call = Callable[[Tensor, Tensor], Tensor]


def official(config: ResUNetConfig | None = None) -> ResUNetK:
    """Random weights."""
    torch.manual_seed(0)
    network = ResUNetK(config or ResUNetConfig()).eval()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, 0, 0.1)
    return network.requires_grad_(False)


def compact() -> nn.Module:
    """The embedded separator A."""
    part = registry().system("tagging-driven-compact").parts["separator_a"]
    path = fetch.locate(part.file)
    assert path is not None
    return build.load_network(part, path)


def forms(network: nn.Module, names: list[str] | None = None) -> dict[str, Call]:
    """The same separator in several forms; the first is the one that others are held against."""
    made: dict[str, Callable[[], Call]] = {
        "plain": lambda: PlainResUNetK(network),
        "training": lambda: network,
        "prepared": lambda: prepared(network),
        "bf16": lambda: prepared(network, torch.bfloat16),
    }
    if network.config.mask != "polar":
        del made["plain"]
    return {name: make() for name, make in made.items() if names is None or name in names}


def prepared(network: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A copy in inference form."""
    twin = copy.deepcopy(network)
    twin.prepare()
    if dtype != torch.float32:
        lower(core_of(twin), dtype)
    return twin


def inputs(seconds: float, batch: int = 1, slots: int = 3) -> tuple[Tensor, Tensor]:
    """Noise, and a query for so many sources of each clip."""
    mixture = 0.1 * torch.randn(batch, 4, int(seconds * RATE_HZ), generator=torch.Generator().manual_seed(1))
    query = torch.zeros(batch, 3, 18)
    for slot in range(slots):
        query[:, slot, 3 + 4 * slot] = 1
    return mixture, query.flatten(1)


def sweep(network: Call, rounds: int, seconds: float) -> None:
    """Cost of the inference form by length, batch size and slots; the first row of each is its measure."""
    for title, cases in {
        "clip length": {f"{s} s": inputs(s) for s in (seconds / 2, seconds, 2 * seconds)},
        "batch size": {f"{b} clips": inputs(seconds, batch=b) for b in (1, 2, 4)},
        "slots asked for": {f"{n} of 3": inputs(seconds, slots=n) for n in (3, 2, 1)},
    }.items():
        runs = {name: lambda given=given: network(*given) for name, given in cases.items()}
        print(f"\n{title}\n{compared(interleaved(runs, rounds), by_cpu=True)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("official", "compact"), default="official")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--by-cpu", action="store_true", help="ratios of processor time, for a busy machine")
    parser.add_argument("--forms", nargs="+", help="of plain, training, prepared, bf16; by default all")
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--memory", choices=("plain", "training", "prepared", "bf16"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    network = official() if given.size == "official" else compact()
    print(f"{given.size} separator, {given.seconds:g} s\n{machine()}")
    with torch.inference_mode():
        if given.memory:
            [(name, form)] = forms(network, [given.memory]).items()
            del network
            before = peak_gb()
            form(*inputs(given.seconds))
            print(f"{name}: peak {peak_gb():.2f} GB, {before:.2f} GB of them before the pass")
            return
        if given.sweep:
            sweep(prepared(network), given.rounds, given.seconds)
            return
        made, clip = forms(network, given.forms), inputs(given.seconds)
        expected = next(iter(made.values()))(*clip)
        for name, form in list(made.items())[1:]:
            print(f"{name}: {error(form(*clip), expected)}")
        runs = {name: lambda form=form: form(*clip) for name, form in made.items()}
        print(compared(interleaved(runs, given.rounds), given.by_cpu))
    print(machine())


if __name__ == "__main__":
    main()
