"""What a task uses as it is beside the network that learns: parts of the registry."""

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from s5cli.errors import UsageError, nearest
from s5cli.weights import build, fetch, registry


class Given:
    """A part of the registry that a task uses as it is, loaded when it is first asked, moved to where the data is."""

    def __init__(self, part: str) -> None:
        self.part = part

    @cached_property
    def path(self) -> Path:
        """Its weights, fetched if need be.

        Raises:
            UsageError: the registry has no such part.
            NeedsTrainingError: it has to be trained before.
            WeightsError: the weights cannot be had.
        """
        known = registry.registry()
        if self.part not in known.parts:
            hint = nearest(self.part, known.parts)
            raise UsageError(f"the registry has no part {self.part!r}{hint}")
        file = known.parts[self.part].file
        return fetch.fetch_all(f"part {self.part!r}", [file], known, fetch.Access())[0]

    @cached_property
    def network(self) -> Any:
        return build.load_network(registry.registry().parts[self.part], self.path).requires_grad_(False)

    @torch.no_grad()
    def __call__(self, first: Tensor, *inputs: Tensor) -> Any:
        return self.network.to(first.device)(first, *inputs)
