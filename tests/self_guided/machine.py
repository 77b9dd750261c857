"""A machine with both self-guided systems in tiny sizes, with weights of chance: what one has who trained them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from s5cli.nn.af_whisper import AFWhisper, AFWhisperConfig
from s5cli.nn.deft import DeftConfig, TargetExtractor, UniversalSeparator
from s5cli.nn.m2d import M2DConfig, M2DTagger1ch
from s5cli.nn.stem_classifier import M2DStemClassifier, M2DStemConfig, StemHead, StemHeadConfig

WHOLE = DeftConfig(
    width=4, blocks=1, heads=2, head_width=4, ffn_width=8, expand=1, mamba_head_width=4, states=4, n_fft=1280,
    hop_samples=640, classifier_hidden=8, classifier_recurrent=4, embedding=8, class_width=4, semantic_features=120,
)  # fmt: skip
SMALL = replace(WHOLE, width=8, patch_frames=2, patch_bins=10, object_kernel=1, features="spatial", output="share",
                classifier="dual", semantic_features=513)  # fmt: skip
torch.manual_seed(1)  # whatever drew before this file was imported
NETWORKS = {
    "uss-small": UniversalSeparator(SMALL),
    "tse-small": TargetExtractor(replace(SMALL, frame_features=513)),
    "sc-small": StemHead(StemHeadConfig(features=513, embedding=8, peaks=True)),
    "uss-2025": UniversalSeparator(replace(WHOLE, classifier="decoder")),
    "tse-2025": TargetExtractor(WHOLE),
    "sc-2025": M2DStemClassifier(M2DStemConfig(width=24, depth=1, heads=2, embedding=8)),
    "uss-2026": UniversalSeparator(replace(WHOLE, classifier="dual")),
    "tse-2026": TargetExtractor(replace(WHOLE, classifier="dual", frame_features=16)),
    "m2d": M2DTagger1ch(M2DConfig(width=24, depth=1, heads=2)),
    "whisper": AFWhisper(AFWhisperConfig(width=16, depth=1, heads=2, ffn_width=16, mels=16)),
}
ADAPTERS = {"uss": "UniversalSeparator", "tse": "TargetExtractor", "sc": "StemNamer"}
SYSTEMS = {
    "tiny-2025": ("2025", {"separator": "uss-2025", "extractor": "tse-2025", "namer": "sc-2025"}),
    "tiny-2026": ("2026", {"separator": "uss-2026", "extractor": "tse-2026", "semantic": "m2d", "frames": "whisper"}),
    "small-2025": ("2025", {"separator": "uss-small", "extractor": "tse-small", "namer": "sc-small",
                            "listener": "body-frames"}),
    "small-2026": ("2026", {"separator": "uss-small", "extractor": "tse-small", "semantic": "body-frames",
                            "frames": "body-frames"}),
}  # fmt: skip


def registry(folder: Path) -> str:
    """The machine's own registry; its checkpoints are written to the folder."""
    text = ""
    for name, (year, parts) in SYSTEMS.items():
        text += f"[system.{name}]\nflow = 's5cli.systems.self_guided:SelfGuided{year}'\nsummary = 'tiny'\n"
        text += f"source = 'the tests'\nper_class = true\n[system.{name}.parts]\n"
        text += "".join(f"{role} = '{part}'\n" for role, part in parts.items())
    for name, network in NETWORKS.items():
        kind = type(network)
        save_file(stirred(network), folder / f"{name}.safetensors", {"config": json.dumps(asdict(network.config))})
        listens = "M2DFrames" if name == "m2d" else kind.__name__
        module = "s5cli.nn.stem_classifier" if name == "m2d" else kind.__module__
        text += f"[part.{name}]\nnetwork = '{module}:{listens}'\nfile = '{name}'\n"
        text += f"adapter = 's5cli.adapters.objects:{ADAPTERS.get(name.partition('-')[0], 'Listener')}'\n"
        text += f"[file.{name}]\npath = '{folder / name}.safetensors'\nlicence = 'cc-by-4.0'\n"
    return text


def stirred(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights of chance, of which none is zero: clues count."""
    g = torch.Generator().manual_seed(1)
    return {
        name: (value + 0.3 * torch.randn(value.shape, generator=g)).contiguous() if "film" in name or "cosine" in name
        else value.contiguous()
        for name, value in network.state_dict().items()
    }  # fmt: skip
