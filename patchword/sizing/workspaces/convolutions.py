"""Convolutions on the CPU: oneDNN works on channels in blocks, and lays pictures and weights out anew.

What is made stands in stages; the most of any stage counts, less what is an output and is not there yet. Constants are
oneDNN's descriptions of the work.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from patchword.sizing.flops.registry import Call
from patchword.sizing.workspaces.registry import Inside, aten, copied, rule, size, up, volume

_FEW = 3  # channels that need no other layout


def _block() -> int:
    return 16 if "AVX512" in torch.backends.cpu.get_cpu_capability() else 8


def _laid_out(picture: Tensor, groups: int = 1) -> int:
    """Bytes of a picture [B, C, ...] with its channels filled up to whole blocks."""
    channels = picture.shape[1]
    filled = channels if groups > 1 else up(channels, _block())
    return size(picture) // max(channels, 1) * filled


def _weights(weight: Tensor, groups: int) -> int:
    rest = volume(weight.shape[2:]) * weight.element_size()
    if groups > 1:
        return size(weight)
    outputs, inputs = weight.shape[:2]
    return up(outputs, _block()) * (inputs if inputs <= _FEW else up(inputs, _block())) * rest


def _by_onednn(x: Tensor, weight: Tensor, call: Call) -> bool:
    """torch's own rule (`ConvParams::use_mkldnn`)."""
    if not torch.backends.mkldnn.enabled:
        return False
    if x.dtype == torch.bfloat16:
        return True
    strided = any(s != 1 for s in call["stride"]) or any(d != 1 for d in call["dilation"])
    single = all(side == 1 for side in weight.shape[2:])
    worth = strided or x.shape[0] >= 16 or not single or torch.get_num_threads() > 1
    many = x.shape[0] > 1 or x.numel() > 20_480 or all(side > 3 for side in weight.shape[2:])
    return x.dtype == torch.float32 and worth and (call["groups"] > 1 or many)


def _columns(x: Tensor, weight: Tensor, out: Tensor) -> int:
    """Every window of the picture side by side, as torch's own kernel needs them; not for windows of one pixel."""
    if volume(weight.shape[2:]) == 1:
        return 0
    return x.shape[0] * volume(weight.shape[1:]) * volume(out.shape[2:]) * x.element_size()


Stage = tuple[int, int]
"""Bytes of tensors and of oneDNN's description."""


def _most(stages: Iterable[Stage], less: int, copies: int) -> Inside:
    """The largest stage, less outputs that are not there yet, beside copies of what does not lie in one piece."""
    tensors, library = max(stages, key=sum)
    return Inside(copies + max(tensors - less, 0), library)


@rule(aten.convolution, aten._convolution)
def _forward(call: Call) -> Inside:
    x, weight, groups = call["input"], call["weight"], call["groups"]
    out = call.out
    if not _by_onednn(x, weight, call):
        return Inside(copied(x) + _columns(x, weight, out))
    made, weights = _laid_out(out, groups), _weights(weight, groups)
    few = x.shape[1] <= _FEW and groups == 1
    library = 26_032 if few else 28_672 if weight.shape[1] == 1 else 26_912
    first = (weights + made + (0 if few else _laid_out(x, groups)), library)
    back = 14_200 if torch.is_inference_mode_enabled() else 15_080
    return _most((first, (made + size(out), back)), size(out), copied(x))


@rule(aten.convolution_backward)
def _backward(call: Call) -> Inside:
    grad, x, weight = call["grad_output"], call["input"], call["weight"]
    copies = copied(grad, x)
    if not _by_onednn(x, weight, call):
        return Inside(copies + _columns(x, weight, grad))
    few = x.shape[1] <= _FEW and call["groups"] == 1
    stages = _few_stages if few else _narrow_stages if x.dtype == torch.bfloat16 else _stages
    return _most(stages(call), size(weight), copies)


def _stages(call: Call) -> list[Stage]:
    """Beyond the picture's gradient: while those of weights are computed, of the picture, and when all are moved."""
    grad, x, weight, groups = call["grad_output"], call["input"], call["weight"], call["groups"]
    given, read, weights = _laid_out(grad, groups), _laid_out(x, groups), _weights(weight, groups)
    library = 22_640 if weight.shape[1] == 1 else 18_968
    stages = [(read + given + weights, library), (weights + size(weight) + 512, 17_720)]
    return [*stages, (2 * read - 4 * weight.shape[0], 5_664)] if call["output_mask"][0] else stages


def _few_stages(call: Call) -> list[Stage]:
    """Of three channels: the picture is read as it lies."""
    grad, x, weight = call["grad_output"], call["input"], call["weight"]
    if min(weight.shape[2:]) >= 16:  # a patch at a time
        return [(5 * size(weight) + 49_408, 17_208)]
    given = _laid_out(grad)
    weights = _weights(weight, 1)
    if x.dtype == torch.bfloat16:
        turned = torch.get_num_threads() * (given // max(x.shape[0], 1) + 4 * weight.shape[0])
        return [(given + turned + 3 * weights + 8_580, 18_088)]
    stages = [(given + 1_664, 22_528), (given + weights, 18_088), (weights + size(weight) + 512, 17_720)]
    return [*stages, (_laid_out(x), 4_688)] if call["output_mask"][0] else stages


def _narrow_stages(call: Call) -> list[Stage]:
    """In bf16: gradients of weights are summed in fp32, and each thread turns one picture with its borders around."""
    grad, x, weight, groups = call["grad_output"], call["input"], call["weight"], call["groups"]
    read, weights = _laid_out(x, groups), _weights(weight, groups)
    given, wide = _laid_out(grad, groups), x.shape[-1]
    one = read // max(x.shape[0], 1) * (wide + 2 * call["stride"][-1]) // max(wide, 1) + given // max(x.shape[0], 1)
    turned = torch.get_num_threads() * (one + 4 * weight.shape[0])
    return [(2 * read + 133_892, 18_968), (read + given + 3 * weights + turned + 8_580, 18_968)]
