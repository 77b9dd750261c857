"""Classes by angle: scaled cosines to class centres, the margin that training puts between them, and their energy.

Source: ArcFace (Deng et al., CVPR 2019); energy as a measure of what belongs to no class (Liu et al., NeurIPS 2020).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CosineHead(nn.Module):
    """Embeddings [n, e] to s cos θ between each and every class centre, [n, k]."""

    def __init__(self, embedding: int, classes: int, scale: float = 32.0) -> None:
        super().__init__()
        self.scale = scale
        self.centres = nn.Parameter(torch.randn(classes, embedding) / math.sqrt(embedding))

    def forward(self, embedding: Tensor) -> Tensor:
        return self.scale * F.linear(F.normalize(embedding, dim=-1), F.normalize(self.centres, dim=-1))


def with_margin(logits: Tensor, classes: Tensor, margin: float = 0.5, scale: float = 32.0) -> Tensor:
    """Logits with s cos(θ + m) in the place of the true class's s cos θ; beyond θ + m = π, s (cos θ − m sin m).

    Shapes: logits [n, k], classes [n] to [n, k].

    >>> with_margin(torch.tensor([[32.0, 0.0]]), torch.tensor([0])).round(decimals=2)
    tensor([[28.0800,  0.0000]])
    """
    own = classes[:, None]
    cosine = (logits.gather(1, own) / scale).clamp(-1 + 1e-7, 1 - 1e-7)
    angle = torch.acos(cosine)
    moved = torch.where(angle + margin <= math.pi, torch.cos(angle + margin), cosine - margin * math.sin(margin))
    return logits.scatter(1, own, scale * moved)


def energy(logits: Tensor) -> Tensor:
    """−ln Σ exp(logits) over classes, [n, k] to [n]: low where some class is near, high where none is.

    >>> energy(torch.tensor([[0.0, 0.0]]))
    tensor([-0.6931])
    """
    return -torch.logsumexp(logits, dim=-1)
