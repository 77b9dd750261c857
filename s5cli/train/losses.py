"""Losses: permutation-invariant cross-entropy of tracks, or cross-entropy of counts and of frames, for taggers;
class-aware permutation-invariant SNR for separators.
"""

from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor

_CLAMP_DB = 30.0  # errors further below the target than this are not rewarded
_HEARD_DB = 30.0  # a target sounds in a frame that is no further below its loudest frame
_RARE = 4.0  # weight of a class that sounds: most do not


def pit_cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """Mean cross-entropy of the best assignment of tracks to targets, over clips.

    Args:
        logits: [b, s, k + 1], silence last.
        classes: [b, s] class indices; an unused slot holds the silence index k.

    Source: DCASE 2026 Task 4 baseline (arXiv:2604.00776).

    >>> logits = torch.tensor([[[9.0, 0, 0], [0, 9.0, 0]]])
    >>> bool(pit_cross_entropy(logits, torch.tensor([[1, 0]])) < 0.001)
    True
    """
    b, s, k = logits.shape
    pairs = F.cross_entropy(
        logits[:, :, None].expand(b, s, s, k).reshape(-1, k),
        classes[:, None].expand(b, s, s).reshape(-1),
        reduction="none",
    ).view(b, s, s)  # [b, track, target]
    return best_over_permutations(pairs).mean()


def frame_pit_cross_entropy(clip: Tensor, frames: Tensor, classes: Tensor, heard: Tensor) -> Tensor:
    """Mean over tracks of the cross-entropies of a clip and of its frames, of the best assignment for both, over clips.

    So a track keeps its identity from clip to frame.

    Args:
        clip: [b, s, k + 1] logits, silence last.
        frames: [b, n, s, k + 1] logits.
        classes: [b, s] class indices; an unused slot holds the silence index k.
        heard: [b, s, n], whether the slot's target sounds in a frame; elsewhere the frame's target is silence.
    """
    silence = clip.shape[2] - 1
    when = torch.where(heard, classes[..., None], silence)  # [b, target, n]
    of_clip = -clip.log_softmax(dim=-1).gather(2, classes[:, None].expand(-1, clip.shape[1], -1))
    log_p = frames.log_softmax(dim=-1).permute(0, 2, 3, 1)  # [b, track, k + 1, n]
    of_frames = -log_p.gather(2, when[:, None].expand(-1, log_p.shape[1], -1, -1)).mean(dim=-1)
    return best_over_permutations(of_clip + of_frames).mean()


def count_cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """Mean negative log-likelihood of how many of each class there are, summed over classes, over clips.

    Args:
        logits: [b, s, k]; row j is of "more than j, if there are j", and is not judged where there are fewer.
        classes: [b, s] class indices, negative where unused.

    Source: continuation-ratio model of ordered categories (Fienberg, The Analysis of Cross-Classified Categorical
    Data, 1980).

    >>> logits = torch.tensor([[[9.0, -9.0], [-9.0, 9.0], [9.0, 9.0]]])  # one of the first class
    >>> bool(count_cross_entropy(logits, torch.tensor([[0, -1, -1]])) < 0.001)
    True
    """
    hot = F.one_hot(classes.clamp_min(0), logits.shape[2]) * (classes >= 0)[..., None]
    counts = hot.sum(dim=1, keepdim=True)  # [b, 1, k]
    before = torch.arange(logits.shape[1], device=logits.device)[:, None]  # [s, 1]
    told = F.binary_cross_entropy_with_logits(logits, (counts > before).to(logits.dtype), reduction="none")
    return (told * (counts >= before)).sum(dim=(1, 2)).mean()


def frame_cross_entropy(logits: Tensor, targets: Tensor, classes: Tensor) -> Tensor:
    """Mean binary cross-entropy of what sounds when, over clips, frames and classes.

    Args:
        logits: [b, n, k] of every class in each of n frames of equal length.
        targets: [b, s, t], zeros where unused.
        classes: [b, s] class indices, negative where unused.
    """
    heard = activity(targets, classes, logits.shape[1], logits.shape[2])
    rare = logits.new_tensor(_RARE)
    return F.binary_cross_entropy_with_logits(logits, heard, pos_weight=rare)


def activity(targets: Tensor, classes: Tensor, n_frames: int, n_classes: int) -> Tensor:
    """Which classes sound in which frame, 0 or 1, [b, n, k]: those with a target within 30 dB of its loudest frame.

    >>> targets = torch.tensor([[[0.0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]]])
    >>> activity(targets, torch.tensor([[1, 0, -1]]), n_frames=2, n_classes=3)
    tensor([[[1., 0., 0.],
             [0., 1., 0.]]])
    """
    power = F.adaptive_avg_pool1d(targets.square(), n_frames)  # [b, s, n]
    sounds = (power > power.amax(dim=-1, keepdim=True) * 10 ** (-_HEARD_DB / 10)) & (classes >= 0)[..., None]
    hot = F.one_hot(classes.clamp_min(0), n_classes)  # [b, s, k]
    return (sounds[..., None] & hot[:, :, None].bool()).any(dim=1).to(targets.dtype)


def auxiliary_loss(stages: list[Tensor], final: Tensor, targets: Tensor, classes: Tensor) -> Tensor:
    """Mean over stages of the scale-invariant ratio of magnitude spectra, in dB, clamped at 30 dB.

    Slots of one class stand for the targets that the final stems stand for (by their SNR).

    Args:
        stages: [b, s, t] each, what a network's earlier blocks make of the slots.
        final, targets: [b, s, t].
        classes: [b, s], negative where unused; unused slots carry no loss.

    Source: SR-CorrNet's public release (arXiv:2603.29097), with the class-aware permutation.
    """
    order = best_order(_pairs(*_energies(final.detach(), targets), classes))
    meant = magnitudes(targets.gather(1, order[..., None].expand_as(targets)))
    energy = meant.square().sum(dim=-1, keepdim=True).clamp_min(1e-12)
    used, losses = classes >= 0, []
    for stage in stages:
        found = magnitudes(stage)
        scaled = (found * meant).sum(dim=-1, keepdim=True) / energy * meant
        loss_db = _ratio_db((found - scaled).square().sum(dim=-1), scaled.square().sum(dim=-1))
        losses.append((loss_db * used).sum() / used.sum().clamp_min(1))
    return torch.stack(losses).mean()


def magnitudes(waveforms: Tensor) -> Tensor:
    """Magnitude spectra (512 samples, hop 256) of waveforms [b, s, t] in one row each, [b, s, f n]."""
    window = torch.hann_window(512, device=waveforms.device)
    spectrum = torch.stft(waveforms.flatten(0, 1), 512, 256, window=window, return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()
    rows: Tensor = (power + 1e-12).sqrt().flatten(1).unflatten(0, waveforms.shape[:2])
    return rows


def class_aware_snr_loss(estimates: Tensor, targets: Tensor, classes: Tensor) -> Tensor:
    """Negative SNR in dB, clamped at 30 dB; slots of one class may be exchanged, others not.

    Args:
        estimates: [b, s, t].
        targets: [b, s, t], zeros where unused.
        classes: [b, s], the queried class of each slot, negative where unused; unused slots carry no loss.

    Source: DCASE 2026 Task 4 baseline (arXiv:2604.00776); the clamp is ours.
    """
    return _class_aware(*_energies(estimates, targets), classes)


def class_aware_si_sdr_loss(estimates: Tensor, targets: Tensor, classes: Tensor) -> Tensor:
    """As `class_aware_snr_loss`, with the scale-invariant ratio: of signals without mean, the target scaled to fit.

    Source: "SDR – half-baked or well done?" (Le Roux et al., ICASSP 2019).
    """
    targets = (targets - targets.mean(dim=-1, keepdim=True))[:, None]  # [b, 1, target, t]
    estimates = (estimates - estimates.mean(dim=-1, keepdim=True))[:, :, None]  # [b, slot, 1, t]
    energy = targets.square().sum(dim=-1, keepdim=True).clamp_min(1e-12)
    meant = (estimates * targets).sum(dim=-1, keepdim=True) / energy * targets
    return _class_aware((estimates - meant).square().sum(dim=-1), meant.square().sum(dim=-1), classes)


def _energies(estimates: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Energies of the errors [b, slot, target] and of the targets [b, 1, target]."""
    # ‖e − s‖² through inner products would lose precision for good estimates, so the differences are formed
    error = (estimates[:, :, None] - targets[:, None]).square().sum(dim=-1)
    return error, targets.square().sum(dim=-1)[:, None]


def _class_aware(error: Tensor, signal: Tensor, classes: Tensor) -> Tensor:
    """Mean loss in dB of the best allowed assignment, from energies [b, slot, target]."""
    best = best_over_permutations(_pairs(error, signal, classes))
    return (best.sum() * classes.shape[1]) / (classes >= 0).sum().clamp_min(1)


def _pairs(error: Tensor, signal: Tensor, classes: Tensor) -> Tensor:
    """Loss in dB of every slot with every target, [b, slot, target]; far too large where classes differ."""
    loss_db = _ratio_db(error, signal)
    same = classes[:, :, None] == classes[:, None]
    return torch.where(same, loss_db, loss_db.new_tensor(1e4)) * (classes >= 0)[:, :, None]


def _ratio_db(error: Tensor, signal: Tensor) -> Tensor:
    floor = signal * 10 ** (-_CLAMP_DB / 10)
    return 10 * torch.log10((error + floor).clamp_min(1e-12) / signal.clamp_min(1e-12))


def best_over_permutations(pairs: Tensor) -> Tensor:
    """Least mean over slots of pairs[b, i, π(i)] over all permutations π, [b]."""
    s = pairs.shape[1]
    rows = torch.arange(s, device=pairs.device)
    options = [pairs[:, rows, torch.tensor(order, device=pairs.device)].mean(dim=1) for order in permutations(range(s))]
    return torch.stack(options).amin(dim=0)


def best_order(pairs: Tensor) -> Tensor:
    """The target of each slot by the permutation of the least mean, [b, slot, target] to [b, s].

    >>> best_order(torch.tensor([[[5.0, 1], [1, 9]]]))
    tensor([[1, 0]])
    """
    orders = torch.tensor(list(permutations(range(pairs.shape[1]))), device=pairs.device)  # [p, s]
    rows = torch.arange(pairs.shape[1], device=pairs.device)
    return orders[pairs[:, rows, orders].mean(dim=2).argmin(dim=1)]
