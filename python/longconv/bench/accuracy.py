# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Relative RMS error of a forward pass against float64, on slices: both ends and the middle of the first and the last
signal of the batch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from longconv.bench.operands import Operands, pytorch_activation
from longconv.bench.problem import Problem

_SLICE_ELEMENTS = 1 << 17


def slices(problem: Problem) -> list[tuple[int, int, int]]:
    """(signal, first output sample, samples) of each."""
    samples = min(problem.out_length, max(64, _SLICE_ELEMENTS // problem.out_channels))
    firsts = {0, (problem.out_length - samples) // 2, problem.out_length - samples}
    return [(signal, first, samples) for signal in sorted({0, problem.batch - 1}) for first in sorted(firsts)]


def exact_slice(problem: Problem, operands: Operands, signal: int, first: int, samples: int) -> torch.Tensor:
    """(out_channels, samples) of the result in float64."""
    p, o = problem, operands
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


def relative_rms_error(problem: Problem, operands: Operands, y: torch.Tensor) -> float | None:
    """sqrt(sum (y - exact)^2 / sum exact^2) over the slices; None where there is no float64 reference for it."""
    if problem.pass_name != "fprop" or problem.dtype in ("c64", "c128", "i64", "f64"):
        return None
    if problem.pad_mode != "zeros" or problem.batch == 0:
        return None
    difference = norm = 0.0
    for signal, first, samples in slices(problem):
        exact = exact_slice(problem, operands, signal, first, samples)
        difference += float((y[signal, :, first : first + samples].double() - exact).square().sum())
        norm += float(exact.square().sum())
    return math.sqrt(difference / norm) if norm else 0.0
