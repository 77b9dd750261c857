"""The separator's U-Net ready to run: what is constant is folded into the convolutions, tensors are channels-last.

Equal to the training form but for rounding. Folded are, exactly: the scale of each block's second batch norm into the
convolution before it; its shift with the query's shift into that convolution's bias, one a clip; the batch norm that a
decoder begins with into the last convolutions of the decoder before, which nothing else reads; `after_conv` into those
of the last decoder. On a CPU large maps go through a block in strips of frames, so that what a block holds on the way
stays in the cache and takes little memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s5cli.nn.unet import LEVELS, DecoderBlock, ResBlock, UNet, is_recorded

_SLOPE = 0.01
_STRIP_BYTES = 4 << 20  # of one map


def prepare(base: UNet) -> UNet:
    """Gives a U-Net its inference form, in place: the blocks of the training form are gone then."""
    decoders = [f"decoder_block{i}" for i in range(1, LEVELS + 1)]
    for name in [*(f"encoder_block{i}" for i in range(1, LEVELS + 1)), "conv_block7a"]:
        base.add_module(name, FoldedEncoder(getattr(base, name).conv_block1))
    for name, following in zip(decoders, [*decoders[1:], None], strict=True):
        head = base.after_conv if following is None else getattr(base, following).bn1
        base.add_module(name, FoldedDecoder(getattr(base, name), name == decoders[0], head, following))
    base.add_module("bn0", Affine(base.bn0))
    base.add_module("after_conv", nn.Identity())
    base.pre_conv.weight = filters(base.pre_conv.weight)  # the maps that it makes hand this order on
    base.is_prepared = True
    return base.eval().requires_grad_(False)


class Affine(nn.Module):
    """A batch norm in inference: x · scale + shift."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        scale, shift = affine(norm)
        self.scale, self.shift = column(scale), column(shift)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift, x, self.scale)

    def shifted(self, x: Tensor, beta: Tensor) -> Tensor:
        """Normalised, shifted by `beta` as well, and through LeakyReLU."""
        return F.leaky_relu_(torch.addcmul(self.shift + beta, x, self.scale), _SLOPE)


class FoldedBlock(nn.Module):
    """A `ResBlock`, followed by a batch norm or a 1×1 convolution where one is given."""

    def __init__(self, block: ResBlock, head: nn.Module | None = None) -> None:
        super().__init__()
        self.norm = Affine(block.bn1)
        scale, shift = affine(block.bn2)
        self.conv1, self.bias1 = filters(block.conv1.weight * scale[:, None, None, None]), column(shift)
        matrix, offset = last_step(head, len(scale))
        self.conv2 = filters(torch.einsum("oc,cihw->oihw", matrix, block.conv2.weight))
        shortcut = block.shortcut
        self.is_plain = not isinstance(shortcut, nn.Conv2d)
        if isinstance(shortcut, nn.Conv2d):
            self.shortcut = filters(torch.einsum("oc,cihw->oihw", matrix, shortcut.weight))
            self.bias2 = column(matrix @ torch.as_tensor(shortcut.bias) + offset)

    def forward(self, x: Tensor, beta1: Tensor, beta2: Tensor, beta3: Tensor | None, strip: Strip) -> Tensor:
        """Frames of a strip. `beta3` is the shift of what follows."""
        y = rectified(*edged(self.norm.shifted(x, beta1), strip.first), self.conv1, self.bias1 + beta2)
        y, padding = edged(y, strip.second)
        y = F.conv2d(y, self.conv2, padding=padding)
        x = x[:, :, strip.lead : strip.lead + y.shape[2]]
        if self.is_plain:
            return y.add_(x)
        return add_convolved(y, x, self.shortcut, self.bias2 if beta3 is None else self.bias2 + beta3)


class FoldedEncoder(nn.Module):
    def __init__(self, block: ResBlock) -> None:
        super().__init__()
        self.block = FoldedBlock(block)

    def forward(self, x: Tensor, shifts: Mapping[str, Tensor], place: str) -> Tensor:
        beta1, beta2 = (shifts[f"{place}->conv_block1->beta{i}"] for i in (1, 2))
        return in_strips(x, lambda strip: self.block(x[:, :, strip.begin : strip.end], beta1, beta2, None, strip))


class FoldedDecoder(nn.Module):
    """Unless it is the first, its input has passed its batch norm already; its output has passed `head`."""

    def __init__(self, block: DecoderBlock, is_first: bool, head: nn.Module, following: str | None) -> None:
        super().__init__()
        self.norm = Affine(block.bn1) if is_first else None
        self.upsample, self.step = filters(block.conv1.weight), block.conv1.stride
        self.block, self.following = FoldedBlock(block.conv_block2, head), following

    def forward(self, x: Tensor, skip: Tensor, shifts: Mapping[str, Tensor], place: str) -> Tensor:
        beta1, beta2 = (shifts[f"{place}->conv_block2->beta{i}"] for i in (1, 2))
        beta3 = shifts[f"{self.following}->beta1"] if self.following else None
        x = self.norm.shifted(x, shifts[f"{place}->beta1"]) if self.norm else F.leaky_relu_(x, _SLOPE)

        def run(strip: Strip) -> Tensor:
            part = x[:, :, strip.begin // self.step[0] : strip.end and strip.end // self.step[0]]
            up = F.conv_transpose2d(part, self.upsample, stride=self.step)
            joined = torch.cat([up, skip[:, :, strip.begin : strip.end]], dim=1)
            found: Tensor = self.block(joined, beta1, beta2, beta3, strip)
            return found

        return in_strips(skip, run)


# --- strips ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Strip:
    """Frames that are made together, and what two 3×3 convolutions need for them."""

    begin: int = 0  # of the input, and its end
    end: int | None = None
    lead: int = 0  # of these before the first that is made
    first: tuple[int, int] = (1, 1)  # frames of zeros that the first convolution's input gets before and after
    second: tuple[int, int] = (1, 1)  # and the second's

    @staticmethod
    def of(low: int, high: int, n: int) -> Strip:
        """Frames low … high − 1 of n. Low is 0 or at least two.

        >>> Strip.of(8, 16, 17)
        Strip(begin=6, end=17, lead=2, first=(0, 1), second=(0, 0))
        """
        begin, end = max(0, low - 2), min(n, high + 2)
        at_begin, at_end = int(low == 0), int(high == n)
        return Strip(begin, end, low - begin, (at_begin, min(n, high + 1) + 1 - end), (at_begin, at_end))


WHOLE = Strip()


def in_strips(x: Tensor, run: Callable[[Strip], Tensor]) -> Tensor:
    """What `run` makes of all frames of maps like `x` [b, c, n, f], on a CPU in strips of an even number of frames."""
    if x.device.type != "cpu" or is_recorded():
        return run(WHOLE)
    n, out = x.shape[2], x
    size = max(8, _STRIP_BYTES // (x[:, :, 0].numel() * x.itemsize) // 2 * 2)
    if size >= n:
        return run(WHOLE)
    for start in range(0, n, size):
        end = min(n, start + size)
        part = run(Strip.of(start, end, n))
        if start == 0:
            shape = (*part.shape[:2], n, part.shape[3])
            out = torch.empty(shape, dtype=part.dtype, memory_format=torch.channels_last)
        out[:, :, start:end] = part
    return out


def edged(x: Tensor, zeros: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
    """What a 3×3 convolution gets, and its padding, so that there are so many frames of zeros before and after."""
    if zeros[0] == zeros[1]:
        return x, (zeros[0], 1)
    return F.pad(x, (0, 0, *zeros)), (0, 1)


# --- steps in one ----------------------------------------------------------------------------------------------------


def is_fused(x: Tensor, bias: Tensor) -> bool:
    """Whether oneDNN does a convolution with what comes before or after it while the numbers are in registers."""
    return (
        x.device.type == "cpu" and x.dtype == torch.float32 and len(bias) == 1
        and not is_recorded() and torch.backends.mkldnn.is_available()
    )  # fmt: skip


def rectified(x: Tensor, padding: tuple[int, int], weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution with a bias for each clip, [b, c, 1, 1], and LeakyReLU."""
    if is_fused(x, bias):
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, weight, bias.flatten(), padding, (1, 1), (1, 1), 1, "leaky_relu", [_SLOPE], ""
        )
        return out
    return F.leaky_relu_(convolved(x, padding, weight, bias), _SLOPE)


def add_convolved(y: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """y + a 1×1 convolution of x with a bias for each clip."""
    if is_fused(x, bias):
        out: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
            y, x, weight, bias.flatten(), (0, 0), (1, 1), (1, 1), 1, "add", 1.0, None, [], None
        )
        return out
    return y.add_(convolved(x, (0, 0), weight, bias))


def convolved(x: Tensor, padding: tuple[int, int], weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution with a bias for each clip, [b, c, 1, 1]."""
    if len(bias) == 1 and not is_recorded():
        return F.conv2d(x, weight, bias.flatten(), padding=padding)
    return F.conv2d(x, weight, padding=padding).add_(bias)


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift of a batch norm in inference."""
    weight, bias, mean, var = map(torch.as_tensor, (norm.weight, norm.bias, norm.running_mean, norm.running_var))
    scale = weight / torch.sqrt(var + norm.eps)
    return scale, bias - mean * scale


def last_step(head: nn.Module | None, width: int) -> tuple[Tensor, Tensor]:
    """Matrix and offset of a batch norm, of a 1×1 convolution, or of nothing."""
    if isinstance(head, nn.Conv2d):
        return head.weight[:, :, 0, 0], torch.as_tensor(head.bias)
    if isinstance(head, nn.BatchNorm2d):
        scale, shift = affine(head)
        return scale.diag(), shift
    return torch.eye(width), torch.zeros(width)


def filters(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach().contiguous(memory_format=torch.channels_last), requires_grad=False)


def column(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach()[None, :, None, None].clone(), requires_grad=False)
