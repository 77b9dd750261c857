"""A system of the tests that declares all that an ablation may have: an option, parts to take out, another flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import save_file
from torch import nn

from s5cli.knobs import AblationRow, Option, Setting
from s5cli.scene import Scene
from tests.toy import Toy, ToyDecision

HERE = "tests.study.bands"


@dataclass(frozen=True)
class GainConfig:
    """Nothing to choose."""


class Gain(nn.Module):
    """One factor."""

    Config = GainConfig
    nparams = 1

    def __init__(self, config: GainConfig) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1))


class Louder:
    """A part that makes stems louder or softer."""

    nparams = 1

    def __init__(self, network: Gain, device: torch.device) -> None:
        self.network = network

    def __call__(self, gain: float) -> float:
        return gain * self.network.factor.item()


class Plain(Toy):
    """All bands, as loud as one part makes them."""

    def __init__(self, *, gain: Louder, setting: Setting) -> None:
        super().__init__(setting=setting.moved({"gain": gain(setting.scalar("gain"))}))


class Bands(Toy):
    """The first bands only, as loud as one or two parts make them."""

    options: ClassVar[Mapping[str, Option]] = {"bands": Option(2, "how many bands", low=1, high=2)}
    ablation: ClassVar[Sequence[AblationRow]] = (
        AblationRow("{first} alone", flow=f"{HERE}:Plain", roles={"gain": "first"}),
        AblationRow("{second} alone", flow=f"{HERE}:Plain", roles={"gain": "second"}),
        AblationRow("{name}", tunable=True),
        AblationRow("{name}, one band", options={"bands": 1}),
        AblationRow("{name}, strong bands", knobs={"share": 0.9}),
        AblationRow("{name}, no second part", without=("second",)),
        AblationRow("{name}, {second}", knobs={"share": 0.1}),
        AblationRow("true labels, {first}", true_labels=True, without=("second",)),
        AblationRow("true labels", true_labels=True),
    )

    def __init__(self, *, first: Louder, second: Louder | None = None, setting: Setting) -> None:
        gain = first(setting.scalar("gain"))
        super().__init__(setting=setting.moved({"gain": gain if second is None else second(gain)}))

    def __call__(self, scenes: Sequence[Scene]) -> ToyDecision:
        found = super().__call__(scenes)
        limited = found.found.only(found.found.slot < self.setting.options["bands"])
        return found if self.asked is not None else ToyDecision(limited)


def write_registry(folder: Path, extra: str = "") -> None:
    """The user's own registry: `bands` with both parts, `bands-1` with one, made for folder's weights."""
    lines = []
    for name, factor in (("half", 0.5), ("double", 2.0)):
        path = folder / f"{name}.safetensors"
        save_file({"factor": torch.tensor([factor])}, path)
        lines += [f'[file.{name}]\npath = "{path}"\nlicence = "cc-by-4.0"']
        lines += [f'[part.{name}]\nnetwork = "{HERE}:Gain"\nadapter = "{HERE}:Louder"\nfile = "{name}"']
    about = f'flow = "{HERE}:Bands"\nsummary = "bands of channel 0"\nsource = "the tests"'
    lines += [f'[system.bands]\n{about}\nparts = {{ first = "half", second = "double" }}\nbeside = ["bands-1"]']
    lines += [f'[system.bands-1]\n{about}\nparts = {{ first = "half" }}']
    (folder / "weights.toml").write_text("\n".join([*lines, extra]))
