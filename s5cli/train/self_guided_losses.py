"""Losses of the self-guided systems: of sources without order, of what is extracted, of classes and of silence.

Source: "A Multi-Stage Separation-and-Classification Framework Guided by Complementary Acoustic-to-Semantic Clues"
(arXiv:2606.24512) and "Self-Guided Target Sound Extraction …" (arXiv:2509.13741).
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from s5cli.nn.arcface import energy, with_margin

_EPS = 1e-8
_ZERO_FLOOR = 1e-3  # of the mixture's power, where nothing is to be separated
_ENERGY_IN, _ENERGY_OUT = -6.0, -1.0


def errors(estimates: Tensor, targets: Tensor) -> Tensor:
    """Squared distance of every estimate to every target: [b, s, t] each to [b, estimate, target]."""
    return (estimates[:, :, None] - targets[:, None]).square().sum(dim=-1)


def ordered(values: Tensor, order: Tensor) -> Tensor:
    """`values` [b, s, …] with the rows of each clip in the given order [b, s]."""
    return torch.stack([value[row] for value, row in zip(values, order, strict=True)])


def sa_sdr_loss(estimates: Tensor, targets: Tensor, reference: Tensor) -> Tensor:
    """Negative source-aggregated SDR in dB, −10 lg(Σ‖s‖² / Σ‖s − ŝ‖²), by clip.

    Where all targets are zero it is 10 lg(Σ‖ŝ‖² + 0.001 ‖x‖²) instead, over 10 lg ‖x‖² of the mixture.

    Args:
        estimates, targets: [b, s, t], in the same order; an absent source is zero.
        reference: the mixture's channel 0, [b, t].

    Source: von Neumann et al., "SA-SDR: A novel loss function for separation of meeting style data" (ICASSP 2022).
    """
    power = targets.square().sum(dim=(1, 2))
    of_mixture = reference.square().sum(dim=-1) + _EPS
    error = (targets - estimates).square().sum(dim=(1, 2))
    heard = 10 * torch.log10((error + _EPS) / (power + _EPS))
    nothing = 10 * torch.log10((error + _ZERO_FLOOR * of_mixture) / of_mixture)
    return torch.where(power > 0, heard, nothing)


def si_snr_loss(estimate: Tensor, target: Tensor) -> Tensor:
    """Negative scale-invariant SNR in dB by clip, zero where there is no target. Shapes: [b, t] each to [b]."""
    power = target.square().sum(dim=-1, keepdim=True)
    scaled = (estimate * target).sum(dim=-1, keepdim=True) / (power + _EPS) * target
    error = (estimate - scaled).square().sum(dim=-1)
    loss = 10 * torch.log10((error + _EPS) / (scaled.square().sum(dim=-1) + _EPS))
    return torch.where(power[:, 0] > 0, loss, torch.zeros_like(loss))


def masked_snr_loss(estimates: Tensor, targets: Tensor, active: Tensor) -> Tensor:
    """Negative SNR in dB of active slots, their mean by clip: [b, s, t] twice and [b, s] to [b]."""
    error = (targets - estimates).square().sum(dim=-1)
    loss = 10 * torch.log10((error + _EPS) / (targets.square().sum(dim=-1) + _EPS))
    return (loss * active).sum(dim=1) / active.sum(dim=1).clamp_min(1)


def arcface_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Mean cross-entropy with a margin over the stems that have a class; 0 where none has. Shapes: [n, k], [n]."""
    has = classes >= 0
    if not has.any():
        return logits.sum() * 0
    return F.cross_entropy(with_margin(logits[has], classes[has]), classes[has])


def uniform_loss(logits: Tensor, way: Literal["from", "to"] = "from") -> Tensor:
    """Mean divergence between what is said of stems [n, k] and "any class alike", 0 where there is none.

    "from": KL(p ‖ u) = Σ p ln(k p), as published; "to": KL(u ‖ p).
    """
    if not len(logits):
        return logits.sum() * 0
    log_p = logits.log_softmax(dim=-1)
    log_k = math.log(logits.shape[-1])
    divergence = (log_p.exp() * (log_p + log_k)).sum(dim=-1) if way == "from" else -(log_p + log_k).mean(dim=-1)
    return divergence.mean()


def silence_loss(active_logits: Tensor, classes: Tensor) -> Tensor:
    """Mean binary cross-entropy of being active: [n] each."""
    return F.binary_cross_entropy_with_logits(active_logits, (classes >= 0).to(active_logits.dtype))


def energy_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Energies of stems with a class pushed below −6, those of others above −1, squared beyond the margins."""
    found, has = energy(logits), classes >= 0
    inside = F.relu(found[has] - _ENERGY_IN).square()
    outside = F.relu(_ENERGY_OUT - found[~has]).square()
    return sum((part.mean() for part in (inside, outside) if len(part)), logits.sum() * 0)
