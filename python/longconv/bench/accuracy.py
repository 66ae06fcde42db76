# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Relative RMS error against float64, on slices of a signal (fprop, dgrad, transposed): both ends and the middle of the
first and the last signal of the batch; and on some weights (wgrad)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F

from longconv.bench.operands import Operands, pytorch_activation, result_tensors
from longconv.bench.problem import Problem

_SLICE_ELEMENTS = 1 << 17
_CHANNELS, _TAPS = 4, 3  # of each side, and of a channel's taps, that are looked at in a weight gradient


def slices(problem: Problem) -> list[tuple[int, int, int]]:
    """(signal, first sample of the result, samples) of each."""
    batch, channels, length = problem.result_sizes
    samples = min(length, max(64, _SLICE_ELEMENTS // channels))
    firsts = {0, (length - samples) // 2, length - samples}
    return [(signal, first, samples) for signal in sorted({0, batch - 1}) for first in sorted(firsts)]


def exact_slice(problem: Problem, operands: Operands, signal: int, first: int, samples: int) -> torch.Tensor:
    """(channels, samples) of the result in float64."""
    p, o = problem, operands
    if p.pass_name in ("transposed", "dgrad"):
        return _exact_transposed_slice(p, o, signal, first, samples)
    start = first * p.stride - p.pad_left
    stop = start + (samples - 1) * p.stride + p.dilation * (p.kernel_size - 1) + 1
    inside = o.x[signal : signal + 1, :, max(start, 0) : min(stop, p.length)].double()
    padded = F.pad(inside, (max(-start, 0), max(stop - p.length, 0)))
    bias = None if o.bias is None else o.bias.double()
    y = F.conv1d(padded, o.weight.double(), bias, p.stride, 0, p.dilation, p.groups)
    if o.residual is not None:
        y = y + o.residual[signal : signal + 1, :, first : first + samples].double()
    activation = pytorch_activation(p)
    return (y if activation is None else activation(y))[0]


def _exact_transposed_slice(p: Problem, o: Operands, signal: int, first: int, samples: int) -> torch.Tensor:
    """From all inputs that reach the slice. `start` counts from the first sample before the padding is cropped."""
    start, reach = first + p.pad_left, p.dilation * (p.kernel_size - 1)
    begin, end = max(0, -((reach - start) // p.stride)), min(p.out_length, (start + samples - 1) // p.stride + 1)
    exact = torch.zeros(p.in_channels, samples, dtype=torch.float64, device=o.weight.device)
    if begin < end:
        inputs = o.grad_y[signal : signal + 1, :, begin:end].double()
        y = F.conv_transpose1d(inputs, o.weight.double(), None, p.stride, 0, 0, p.groups, p.dilation)[0]
        ahead = start - begin * p.stride  # samples of y before the slice; below 0: of the slice before y
        low, high = max(0, -ahead), min(samples, y.shape[1] - ahead)
        exact[:, low:high] = y[:, low + ahead : high + ahead]
    return exact if o.bias is None else exact + o.bias.double().unsqueeze(1)


def some_weights(problem: Problem) -> list[tuple[int, int, int]]:
    """(output channel, input channel of its group, tap) of each weight that is looked at: spread over all of them."""
    p = problem

    def spread(size: int, count: int) -> list[int]:
        return sorted({index * (size - 1) // max(1, count - 1) for index in range(count)})

    in_channels = spread(p.in_channels // p.groups, _CHANNELS)
    return list(itertools.product(spread(p.out_channels, _CHANNELS), in_channels, spread(p.kernel_size, _TAPS)))


def exact_weight_gradient(problem: Problem, operands: Operands, weight: tuple[int, int, int]) -> float:
    """Of one weight, in float64."""
    p, (out_channel, in_channel, tap) = problem, weight
    channel = out_channel // (p.out_channels // p.groups) * (p.in_channels // p.groups) + in_channel
    # The steps whose sample lies in the signal.
    first = tap * p.dilation - p.pad_left
    begin, end = max(0, -(first // p.stride)), min(p.out_length, (p.length - 1 - first) // p.stride + 1)
    if begin >= end:
        return 0.0
    grad_y = operands.grad_y[:, out_channel, begin:end].double()
    samples = operands.x[:, channel, first + begin * p.stride : first + (end - 1) * p.stride + 1 : p.stride]
    return float((grad_y * samples.double()).sum())


def relative_rms_error(problem: Problem, operands: Operands, result: Any) -> float | None:
    """sqrt(sum (y - exact)^2 / sum exact^2) over what is looked at; None where there is no float64 reference for it."""
    if problem.dtype in ("c64", "c128", "i64", "f64") or problem.pad_mode != "zeros" or problem.batch == 0:
        return None
    y = result_tensors(result)[0]
    difference = norm = 0.0
    if problem.pass_name == "wgrad":
        for weight in some_weights(problem):
            value = exact_weight_gradient(problem, operands, weight)
            difference += (float(y[weight]) - value) ** 2
            norm += value**2
    else:
        for signal, first, samples in slices(problem):
            exact = exact_slice(problem, operands, signal, first, samples)
            difference += float((y[signal, :, first : first + samples].double() - exact).square().sum())
            norm += float(exact.square().sum())
    return math.sqrt(difference / norm) if norm else 0.0
