"""What all adapters have in common."""

import math
from typing import Any

import torch
from torch import Tensor

from s5cli.errors import InputError
from s5cli.scene import RATE_HZ, Scene


class Adapter:
    """A network in inference mode on a device of its own."""

    def __init__(self, network: Any, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self.nparams: int = network.nparams


def heard(scene: Scene, channels: int) -> Tensor:
    """The channels that a tagger hears, [channels, t]; InputError if the scene has fewer."""
    if scene.audio.shape[0] < channels:
        raise InputError(f"{scene.name}: this tagger needs {channels} channels, not {scene.audio.shape[0]}")
    return scene.audio[:channels]


def most_numbers(device: torch.device) -> float:
    """Samples of all channels that taggers should hear in one forward pass.

    On a CPU 40 s of one channel, as more does not fit its cache: four 10 s clips of four channels take twice as long
    together as one by one, while stems of a second take half as long.
    """
    return 40 * RATE_HZ if device.type == "cpu" else math.inf
