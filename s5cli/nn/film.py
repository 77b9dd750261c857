"""Conditioning of a network on a query by feature-wise shifts (FiLM without the scale, arXiv:1709.07871)."""

from collections.abc import Mapping

from torch import Tensor, nn


class Shifts(nn.ModuleDict):
    """One linear map per place: condition [b, d] to a shift per channel, {place: [b, channels, 1, 1]}."""

    def __init__(self, width: int, places: Mapping[str, int]) -> None:
        super().__init__({place: nn.Linear(width, channels) for place, channels in places.items()})

    def forward(self, condition: Tensor) -> dict[str, Tensor]:
        return {place: linear(condition)[:, :, None, None] for place, linear in self.items()}
