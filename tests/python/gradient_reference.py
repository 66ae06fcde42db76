# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The two gradient passes, written from their definition in NumPy, and how far from them a result may lie.

Complex numbers follow PyTorch's convention for gradients: dL/dx has conj(w), dL/dw has conj(x).
"""

from __future__ import annotations

import numpy as np
import torch

from reference import HALF_SUBNORMAL, UNIT, UNIT_ACCUMULATE, Expected, dtype_name, source_samples, to_numpy


def expected_dgrad(
    grad_y: torch.Tensor,
    weight: torch.Tensor,
    length: int,
    stride: int,
    left: int,
    right: int,
    padding_mode: str,
    dilation: int,
    groups: int,
) -> Expected:
    """dL/dx, (N, C, L), from dL/dy, (N, O, T)."""
    geometry = (length, stride, left, padding_mode, dilation, groups)
    dy, w = to_numpy(grad_y), np.conj(to_numpy(weight))
    with np.errstate(over="ignore", invalid="ignore"):
        dx = _scatter(dy, w, *geometry)
        magnitude = _scatter(abs_(dy), abs_(w), *geometry)
    terms = _scatter(np.ones_like(dy, np.float64), np.ones_like(w, np.float64), *geometry)
    return _within(dtype_name(grad_y), dx, magnitude, terms)


def expected_wgrad(
    x: torch.Tensor,
    grad_y: torch.Tensor,
    kernel_size: int,
    stride: int,
    left: int,
    right: int,
    padding_mode: str,
    dilation: int,
    groups: int,
) -> tuple[Expected, Expected]:
    """dL/dw, (O, C / groups, K), and dL/dbias, (O,), from dL/dy, (N, O, T)."""
    geometry = (kernel_size, stride, left, padding_mode, dilation, groups)
    xs, dy = np.conj(to_numpy(x)), to_numpy(grad_y)
    with np.errstate(over="ignore", invalid="ignore"):
        dw = _correlate_taps(xs, dy, *geometry)
        magnitude = _correlate_taps(abs_(xs), abs_(dy), *geometry)
        db, bias_magnitude = dy.sum((0, 2)), abs_(dy).sum((0, 2))
    terms = dy.shape[0] * dy.shape[2]
    name = dtype_name(x)
    return _within(name, dw, magnitude, terms), _within(name, db, bias_magnitude, terms)


def abs_(values: np.ndarray) -> np.ndarray:
    """Magnitudes; integers need no bound."""
    return np.abs(values) if values.dtype != np.int64 else np.zeros_like(values)


def _scatter(
    dy: np.ndarray, w: np.ndarray, length: int, stride: int, left: int, padding_mode: str, dilation: int, groups: int
) -> np.ndarray:
    """Every product dy[n, o, t] * w[o, i, k] goes to the sample that the forward pass read for it."""
    batch, out_channels, samples = dy.shape
    _, group_inputs, kernel_size = w.shape
    dy_groups = dy.reshape(batch, groups, out_channels // groups, samples)
    w_groups = w.reshape(groups, out_channels // groups, group_inputs, kernel_size)
    dx = np.zeros((batch, groups, group_inputs, length), dtype=np.result_type(dy, w))
    for k in range(kernel_size):
        exists, index = source_samples(np.arange(samples) * stride + k * dilation - left, length, padding_mode)
        products = np.einsum("ngot,goi->ngit", dy_groups[..., exists], w_groups[..., k])
        np.add.at(dx, (slice(None), slice(None), slice(None), index[exists]), products)
    return dx.reshape(batch, groups * group_inputs, length)


def _correlate_taps(
    x: np.ndarray,
    dy: np.ndarray,
    kernel_size: int,
    stride: int,
    left: int,
    padding_mode: str,
    dilation: int,
    groups: int,
) -> np.ndarray:
    batch, out_channels, samples = dy.shape
    _, in_channels, length = x.shape
    x_groups = x.reshape(batch, groups, in_channels // groups, length)
    dy_groups = dy.reshape(batch, groups, out_channels // groups, samples)
    dw = np.zeros((groups, out_channels // groups, in_channels // groups, kernel_size), dtype=np.result_type(x, dy))
    for k in range(kernel_size):
        exists, index = source_samples(np.arange(samples) * stride + k * dilation - left, length, padding_mode)
        dw[..., k] = np.einsum("ngot,ngit->goi", dy_groups[..., exists], x_groups[..., index[exists]])
    return dw.reshape(out_channels, in_channels // groups, kernel_size)


def _within(name: str, exact: np.ndarray, magnitude: np.ndarray, terms: np.ndarray | int) -> Expected:
    """n products added in any order, rounded to the result's type: (n + 2) u S + u |y|; complex: twice that."""
    if name == "int64":
        return Expected(exact, np.zeros(exact.shape))
    with np.errstate(over="ignore", invalid="ignore"):
        bound = (np.asarray(terms) + 2) * UNIT_ACCUMULATE[name] * magnitude
        bound = bound * (2 if name.startswith("complex") else 1) + UNIT[name] * np.abs(exact)
    return Expected(exact, np.asarray(bound + HALF_SUBNORMAL[name] * (np.asarray(terms) + 1), np.float64))
