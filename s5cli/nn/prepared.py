"""The separator's U-Net ready to run: what is constant is folded into the convolutions, tensors are channels-last.

Equal to the training form but for rounding. Folded are, exactly: the scale of each block's second batch norm into the
convolution before it; its shift with the query's shift into that convolution's bias, one a clip; the batch norm that a
decoder begins with into the last convolutions of the decoder before, which nothing else reads; `after_conv` into those
of the last decoder. On a CPU large maps go through a block in strips of frames, so that what a block holds on the way
stays in the cache and takes little memory.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s5cli.nn.unet import LEVELS, DecoderBlock, ResBlock, UNet

_SLOPE = 0.01
_HALO = 2  # frames that two 3×3 convolutions read beyond a strip
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

    def forward(self, x: Tensor, beta1: Tensor, beta2: Tensor, beta3: Tensor | None) -> Tensor:
        """`beta3` is the shift of what follows."""
        y = F.leaky_relu_(convolved(self.norm.shifted(x, beta1), self.conv1, self.bias1 + beta2), _SLOPE)
        y = F.conv2d(y, self.conv2, padding=1)
        if self.is_plain:
            return y.add_(x)
        return y.add_(convolved(x, self.shortcut, self.bias2 if beta3 is None else self.bias2 + beta3))


class FoldedEncoder(nn.Module):
    def __init__(self, block: ResBlock) -> None:
        super().__init__()
        self.block = FoldedBlock(block)

    def forward(self, x: Tensor, shifts: Mapping[str, Tensor], place: str) -> Tensor:
        beta1, beta2 = (shifts[f"{place}->conv_block1->beta{i}"] for i in (1, 2))
        return in_strips(x, lambda low, high: self.block(x[:, :, low:high], beta1, beta2, None))


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

        def strip(low: int, high: int | None) -> Tensor:
            part = x[:, :, low // self.step[0] : high and high // self.step[0]]
            up = F.conv_transpose2d(part, self.upsample, stride=self.step)
            found: Tensor = self.block(torch.cat([up, skip[:, :, low:high]], dim=1), beta1, beta2, beta3)
            return found

        return in_strips(skip, strip)


def in_strips(x: Tensor, run: Callable[[int, int | None], Tensor]) -> Tensor:
    """`run(low, high)` for all frames of maps like `x` [b, c, n, f], on a CPU in strips of an even number of frames."""
    if x.device.type != "cpu" or torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling():
        return run(0, None)
    n, out = x.shape[2], x
    size = max(8, _STRIP_BYTES // (x[:, :, 0].numel() * x.itemsize) // 2 * 2)
    if size >= n:
        return run(0, None)
    for start in range(0, n, size):
        low, end = max(0, start - _HALO), min(n, start + size)
        part = run(low, min(n, end + _HALO))[:, :, start - low : end - low]
        if start == 0:
            shape = (*part.shape[:2], n, part.shape[3])
            out = torch.empty(shape, dtype=part.dtype, memory_format=torch.channels_last)
        out[:, :, start:end] = part
    return out


def convolved(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution that keeps the size, with a bias for each clip, [b, c, 1, 1]."""
    padding = weight.shape[-1] // 2
    if len(bias) == 1 and not torch.onnx.is_in_onnx_export():
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
