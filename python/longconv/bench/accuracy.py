# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Relative RMS error of a forward pass, plain or transposed, against float64, on slices: both ends and the middle of the
first and the last signal of the batch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from longconv.bench.operands import Operands, pytorch_activation
from longconv.bench.problem import Problem

_SLICE_ELEMENTS = 1 << 17


def slices(problem: Problem) -> list[tuple[int, int, int]]:
    """(signal, first sample of the result, samples) of each."""
    batch, channels, length = problem.result_sizes
    samples = min(length, max(64, _SLICE_ELEMENTS // channels))
    firsts = {0, (length - samples) // 2, length - samples}
    return [(signal, first, samples) for signal in sorted({0, batch - 1}) for first in sorted(firsts)]


def exact_slice(problem: Problem, operands: Operands, signal: int, first: int, samples: int) -> torch.Tensor:
    """(channels, samples) of the result in float64."""
    p, o = problem, operands
    if p.pass_name == "transposed":
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


def relative_rms_error(problem: Problem, operands: Operands, y: torch.Tensor) -> float | None:
    """sqrt(sum (y - exact)^2 / sum exact^2) over the slices; None where there is no float64 reference for it."""
    if problem.pass_name not in ("fprop", "transposed") or problem.dtype in ("c64", "c128", "i64", "f64"):
        return None
    if problem.pad_mode != "zeros" or problem.batch == 0:
        return None
    difference = norm = 0.0
    for signal, first, samples in slices(problem):
        exact = exact_slice(problem, operands, signal, first, samples)
        difference += float((y[signal, :, first : first + samples].double() - exact).square().sum())
        norm += float(exact.square().sum())
    return math.sqrt(difference / norm) if norm else 0.0
