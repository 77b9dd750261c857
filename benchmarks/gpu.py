"""Every figure that needs a GPU, by one command; each line is printed as soon as it is known.

    python -m benchmarks.gpu [--device cuda:0] [--clips 2567] [--batch-size 8] [--rounds 5]
    python -m benchmarks.gpu --tiny --device cpu       # the same code on small networks, to see that it runs

1. ceilings: matrix products in float32, TF32 and bf16, and copies in memory
2. one separator pass: plain form, training form, inference form; compiled, and as a CUDA graph; by precision and batch
   size; clips per second and the share of the measured matrix ceiling (504 GFLOP a pass, 217 and 54 a tagger)
3. the taggers in the same way
4. tagging-driven-3 from files to files: clips per second over recordings of noise, official sizes, random weights,
   three queries a clip, a second pass for 30 % and for all of the clips
5. the published universal separator and the label-queried one, random weights: by precision, compiled, and with the
   kernel of `mamba_ssm` where it is installed; what each changes against fp32, and the peak of memory
6. what a precision changes in the official networks with golden weights (`benchmarks/golden.py`; not with `--tiny`)
"""

import argparse
import copy
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import nn

from benchmarks import golden, separator
from benchmarks.measure import DTYPES, error, interleaved, machine, set_precision
from benchmarks.plain import PlainResUNetK
from s5cli.adapters.slots import SlotSeparator
from s5cli.adapters.tracks import TrackTagger
from s5cli.api import LoadedSystem
from s5cli.knobs import setting
from s5cli.nn.core import compile_core, core_of, lower
from s5cli.nn.deft import DeftConfig, UniversalSeparator
from s5cli.nn.m2d import M2DConfig, M2DTagger1ch, M2DTagger4ch
from s5cli.nn.mamba2 import Mamba2
from s5cli.nn.sr_corrnet import SRCorrNet, SRCorrNetConfig
from s5cli.nn.unet import ResUNetConfig
from s5cli.run.pipeline import separate_all
from s5cli.run.plan import Options, plan
from s5cli.scene import RATE_HZ, Bools, Queries, Scene, Stems
from s5cli.systems.tagging_driven import Decision, TaggingDriven

PASS_FLOP, TAGGER_4CH_FLOP, TAGGER_1CH_FLOP = 504e9, 217e9, 54e9  # of a clip of 10 s


class Sizes:
    """What is built: official sizes, or as small as can be."""

    def __init__(self, tiny: bool) -> None:
        self.seconds = 0.2 if tiny else 10.0
        self.unet = ResUNetConfig((2, 2, 2, 2, 2, 2), 8) if tiny else ResUNetConfig()
        self.m2d = M2DConfig(width=16, depth=1, heads=2, track_width=8, hidden=8) if tiny else M2DConfig()
        self.deft = DeftConfig(width=4, blocks=1, heads=2, head_width=4, ffn_width=8, expand=1, mamba_head_width=4,
                               states=4) if tiny else DeftConfig()  # fmt: skip
        self.corrnet = SRCorrNetConfig(width=8, hidden=8, slot_hidden=8, heads=2, kernel=3, encoder_blocks=1,
                                       decoder_blocks=1, fold=16) if tiny else SRCorrNetConfig()  # fmt: skip
        self.matrix, self.copied_bytes = (256, 1 << 20) if tiny else (8192, 1 << 30)


def median_s(run: Callable[[], object], rounds: int, device: torch.device) -> float:
    return statistics.median(one.wall_s for one in interleaved({"": run}, rounds, device)[""])


# --- 1 ---------------------------------------------------------------------------------------------------------------


def ceilings(sizes: Sizes, rounds: int, device: torch.device) -> dict[str, float]:
    """FLOP/s of matrix products by precision; copies are printed only."""
    found, n = {}, sizes.matrix
    for precision in ("fp32", "tf32", "bf16", "fp16"):
        if device.type == "cpu" and precision in ("tf32", "fp16"):
            continue
        set_precision(precision)
        a = torch.randn(n, n, device=device).to(DTYPES.get(precision, torch.float32))
        found[precision] = 2 * n**3 / median_s(lambda a=a: a @ a, rounds, device)
        print(f"matrix products, {precision}: {found[precision] / 1e12:.2f} TFLOP/s", flush=True)
    source = torch.empty(sizes.copied_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    rate = 2 * sizes.copied_bytes / median_s(lambda: target.copy_(source), rounds, device)
    print(f"copies: {rate / 1e12:.3f} TB/s read and written", flush=True)
    return found


# --- 2, 3 ------------------------------------------------------------------------------------------------------------


def graphed(call: Callable[..., torch.Tensor], given: Sequence[torch.Tensor]) -> Callable[[], object]:
    """The call on these tensors as a CUDA graph: one launch for all its kernels."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call(*given)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call(*given)
    return graph.replay


def core_call(network: nn.Module, given: Sequence[torch.Tensor]) -> tuple[Callable[..., torch.Tensor], tuple]:
    """The network's core, and what it is called with for this input: of fixed shape, and nothing waits for the CPU."""
    seen: list[tuple] = []
    core = core_of(network)
    assert core is not None
    with core.register_forward_pre_hook(lambda _, args: seen.append(args)):
        network(*given)
    return core, seen[0]


def told(what: str, precision: str, batch: int, seconds: float, flop: float, ceiling: dict[str, float]) -> None:
    share = f"{100 * batch * flop / seconds / ceiling[precision]:.0f} % of the ceiling" if precision in ceiling else ""
    print(f"{what:30} {precision} batch {batch:2}: {1e3 * seconds:8.2f} ms, {batch / seconds:7.1f} clips/s  {share}",
          flush=True)  # fmt: skip


def networks(
    sizes: Sizes, batches: Sequence[int], rounds: int, device: torch.device, ceiling: dict[str, float]
) -> None:
    """Every network alone, by form, precision and batch size."""
    on_cuda = device.type == "cuda"
    for precision in ("fp32", "tf32", "bf16", "fp16") if on_cuda else ("fp32", "bf16"):
        set_precision(precision)
        unet = separator.official(sizes.unet)
        made: dict[str, tuple[nn.Module, float]] = {
            "separator, inference form": (separator.prepared(unet), PASS_FLOP),
            "4-channel tagger": (M2DTagger4ch(sizes.m2d).eval(), TAGGER_4CH_FLOP),
            "1-channel tagger": (M2DTagger1ch(sizes.m2d).eval(), TAGGER_1CH_FLOP),
        }
        if precision not in DTYPES:
            made["separator, plain form"] = PlainResUNetK(unet), PASS_FLOP
            made["separator, training form"] = unet, PASS_FLOP
        for name, (network, flop) in made.items():
            network.to(device)
            if precision in DTYPES:
                lower(core_of(network), DTYPES[precision])  # type: ignore[arg-type]
            for batch in batches:
                given = [one.to(device) for one in separator.inputs(sizes.seconds, batch)]
                given = given if "separator" in name else [given[0][:, : network.channels]]  # type: ignore[list-item]
                run = lambda network=network, given=given: network(*given)  # noqa: E731
                told(name, precision, batch, median_s(run, rounds, device), flop, ceiling)
                if on_cuda and name == "separator, inference form":
                    core, args = core_call(network, given)
                    replay = graphed(core, args)
                    told("its core as a CUDA graph", precision, batch, median_s(replay, rounds, device), flop, ceiling)
                if on_cuda and core_of(network) is not None and "training" not in name:
                    twin = copy.deepcopy(network)
                    compile_core(core_of(twin))  # type: ignore[arg-type]
                    run = lambda twin=twin, given=given: twin(*given)  # noqa: E731
                    told(f"{name}, compiled", precision, batch, median_s(run, rounds, device), flop, ceiling)


# --- 4 ---------------------------------------------------------------------------------------------------------------


class Measured(TaggingDriven):
    """The flagship with random weights: its taggers' answers are ignored, three queries asked of every clip.

    A second pass is made for the share `again` of each batch.
    """

    again = 0.3

    def __call__(self, scenes: Sequence[Scene]) -> Decision:
        self.tag(scenes)
        asked = Queries(np.tile([15, 13, 7], (len(scenes), 1)), np.ones((len(scenes), 3)))
        twin = self.with_queries(asked)
        return TaggingDriven.__call__(twin, scenes)

    def separate_rest(self, scenes: Sequence[Scene], first: Stems, kept: Bools) -> Stems:
        n = int(np.ceil(self.again * len(scenes)))
        self.separate(scenes[:n], Queries(first.classes[:n], first.confidence[:n]))
        return first


def flagship(sizes: Sizes, precision: str, device: torch.device, compiled: bool) -> Measured:
    taggers = [M2DTagger1ch(sizes.m2d).eval(), M2DTagger4ch(sizes.m2d).eval()]
    separators = [separator.prepared(separator.official(sizes.unet)) for _ in range(2)]
    for core in map(core_of, (*taggers, *separators)):
        assert core is not None
        if precision in DTYPES:
            lower(core, DTYPES[precision])
        if compiled:
            compile_core(core)
    return Measured(
        tagger_1ch=TrackTagger(taggers[0], device=device, channels=1),
        tagger_4ch=TrackTagger(taggers[1], device=device, channels=4),
        separator_a=SlotSeparator(separators[0], device=device),
        separator_b=SlotSeparator(separators[1], device=device),
        setting=setting(TaggingDriven.knobs),
    )


def whole_runs(sizes: Sizes, n_clips: int, batch: int, device: torch.device) -> None:
    """From files to files."""
    with tempfile.TemporaryDirectory() as place:
        recordings = Path(place) / "recordings"
        recordings.mkdir()
        noise = separator.inputs(sizes.seconds)[0][0].T.numpy()
        soundfile.write(recordings / "clip0.wav", noise, RATE_HZ, subtype="PCM_16")
        for number in range(1, n_clips):
            os.link(recordings / "clip0.wav", recordings / f"clip{number}.wav")
        on_cuda = device.type == "cuda"
        for precision, compiled in product(("fp32", "tf32", "bf16") if on_cuda else ("fp32",), {False, on_cuda}):
            set_precision(precision)
            system = flagship(sizes, precision, device, compiled)
            loaded = LoadedSystem("measured", system, str(device), precision=precision, compiled=compiled)
            form = f"{precision}{', compiled' * compiled}"
            for share in (0.3, 1.0):
                system.again = share
                job = plan([recordings], Path(place) / f"{form}-{share}", Options(batch_size=batch))
                first = dict([*job.clips.items()][:batch])
                separate_all(replace(job, clips=first, out_dir=Path(place) / f"warm-up-{form}-{share}"), loaded)
                begin = time.perf_counter()
                result = separate_all(job, loaded)
                seconds = time.perf_counter() - begin
                done = len(result.done)
                print(f"tagging-driven-3 from files to files, {form}, second pass for {share:.0%}: {done} clips in"
                      f" {seconds:.1f} s, {done / seconds:.1f} clips/s", flush=True)  # fmt: skip


# --- 5 ---------------------------------------------------------------------------------------------------------------


def other_families(sizes: Sizes, rounds: int, device: torch.device) -> None:
    """One clip through the separators of the two other families."""
    torch.manual_seed(0)
    clip = separator.inputs(sizes.seconds)[0].to(device)
    universal = UniversalSeparator(sizes.deft).eval().to(device)
    queried = SRCorrNet(sizes.corrnet).eval().to(device)
    asked = (
        torch.tensor([[15, 13, 7]], device=device),
        torch.ones(1, 3, queried.n_frames(clip.shape[-1]), device=device),
    )
    calls: dict[str, tuple[nn.Module, Callable[[nn.Module], torch.Tensor]]] = {
        "universal separator": (universal, lambda network: network(clip).waveforms),
        "label-queried separator": (queried, lambda network: network(clip, *asked)),
    }
    for name, (network, call) in calls.items():
        exact = None
        for way, twin in ways(network, device):
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            found = call(twin).float()
            exact = found if exact is None else exact
            seconds = median_s(lambda twin=twin, call=call: call(twin), rounds, device)
            peak = f"{torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB, " if device.type == "cuda" else ""
            print(f"{name:30} {way}: {1e3 * seconds:8.2f} ms, {peak}{error(found, exact)}", flush=True)


def ways(network: nn.Module, device: torch.device) -> Iterator[tuple[str, nn.Module]]:
    """Copies of a network by how they compute; the first is the plain one in fp32."""
    on_cuda, core = device.type == "cuda", core_of(network)
    set_precision("fp32")
    yield "fp32", with_scan(network, "torch")
    if on_cuda:
        yield "fp32, mamba_ssm if installed", with_scan(network, "auto")
        set_precision("tf32")
        yield "tf32", with_scan(network, "torch")
        set_precision("fp32")
    for precision in ("bf16", "fp16") if on_cuda else ("bf16",):
        if core is not None:
            twin = with_scan(network, "torch")
            lower(core_of(twin), DTYPES[precision])  # type: ignore[arg-type]
            yield precision, twin
    if on_cuda and core is not None:
        twin = with_scan(network, "torch")
        compile_core(core_of(twin))  # type: ignore[arg-type]
        yield "fp32, compiled", twin


def with_scan(network: nn.Module, backend: str) -> nn.Module:
    """A copy whose Mamba-2 mixers take this scan."""
    twin = copy.deepcopy(network)
    for module in twin.modules():
        if isinstance(module, Mamba2):
            module.config = replace(module.config, backend=backend)  # type: ignore[arg-type]
    return twin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--clips", type=int, default=2567)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    sizes, device = Sizes(given.tiny), torch.device(given.device)
    print(machine(device))
    with torch.inference_mode():
        found = ceilings(sizes, given.rounds, device)
        if given.tiny:
            found = {}  # shares of a ceiling are of the official sizes
        networks(sizes, (1, given.batch_size), given.rounds, device, found)
        whole_runs(sizes, given.clips, given.batch_size, device)
        other_families(sizes, given.rounds, device)
    if not given.tiny:
        golden.costs(device, ["tf32", "bf16", "fp16"] if device.type == "cuda" else ["bf16"])
    if device.type == "cuda":
        print(f"peak GPU memory {torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
