# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The convolution, written from its definition in NumPy, and how far from it a result may lie.

Shares no code with the library: sums run tap by tap over an explicit table of source samples, in extended precision
for 64-bit results, in float64 for narrower ones, modulo 2^64 for int64. The bounds are those of
docs/design/numerics.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

# Unit roundoff of a result, of what it accumulates in, and half the spacing of a result's subnormals.
UNIT = {
    "float32": 2.0**-24,
    "float64": 2.0**-53,
    "bfloat16": 2.0**-8,
    "float16": 2.0**-11,
    "complex64": 2.0**-24,
    "complex128": 2.0**-53,
    "int64": 0.0,
}
UNIT_ACCUMULATE = {**UNIT, "bfloat16": 2.0**-24, "float16": 2.0**-24}
HALF_SUBNORMAL = {
    "float32": 2.0**-150,
    "float64": np.longdouble(2) ** -1075,
    "bfloat16": 2.0**-134,
    "float16": 2.0**-25,
    "complex64": 2.0**-150,
    "complex128": np.longdouble(2) ** -1075,
    "int64": 0.0,
}

# The largest slope of each activation: what an error before it can become behind it.
SLOPE = {"none": 1.0, "relu": 1.0, "gelu": 1.13, "gelu_tanh": 1.13, "silu": 1.1, "tanh": 1.0, "sigmoid": 0.25}
# float32 sums are blocked: at most so many terms in a chain, at least so many in every block of a total.
LONGEST_CHAIN = 512
SHORTEST_BLOCK = 64


def dtype_name(tensor: torch.Tensor) -> str:
    """'float32', ..."""
    return str(tensor.dtype).replace("torch.", "")


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """The tensor's values in the type that the reference computes in."""
    tensor = tensor.detach().resolve_conj().resolve_neg().cpu()
    name = dtype_name(tensor)
    if name == "int64":
        return tensor.numpy().copy()
    if name == "complex64":
        return tensor.numpy().astype(np.complex128)
    if name == "complex128":
        return tensor.numpy().astype(np.clongdouble)
    if name == "float64":
        return tensor.numpy().astype(np.longdouble)
    return tensor.to(torch.float64).numpy().copy()


def pads(padding: object, kernel_size: int, dilation: int) -> tuple[int, int]:
    """(left, right) of any way to write a padding."""
    total = dilation * (kernel_size - 1)
    if padding == "valid":
        return 0, 0
    if padding == "same":
        return total // 2, total - total // 2
    if padding == "causal":
        return total, 0
    numbers = (padding,) if isinstance(padding, int) else tuple(padding)  # type: ignore[arg-type]
    return (numbers[0], numbers[-1])


def out_length(length: int, kernel_size: int, stride: int, dilation: int, left: int, right: int) -> int:
    """Samples of the result."""
    return (length + left + right - dilation * (kernel_size - 1) - 1) // stride + 1


def source_samples(positions: np.ndarray, length: int, padding_mode: str) -> tuple[np.ndarray, np.ndarray]:
    """(exists, index): which sample of the signal lies at each position, inside or beyond its ends."""
    exists = np.ones(positions.shape, dtype=bool)
    if padding_mode == "zeros":
        exists = (positions >= 0) & (positions < length)
        index = np.where(exists, positions, 0)
    elif padding_mode == "reflect":
        index = np.where(positions < 0, -positions, positions)
        index = np.where(index >= length, 2 * (length - 1) - index, index)
    elif padding_mode == "replicate":
        index = np.minimum(np.maximum(positions, 0), length - 1)
    elif padding_mode == "circular":
        index = positions % length
    else:
        raise AssertionError(padding_mode)
    return exists, index


def correlate(
    x: np.ndarray, w: np.ndarray, stride: int, left: int, right: int, dilation: int, groups: int, padding_mode: str
) -> np.ndarray:
    """sum_{i,k} w[o,i,k] * xpad[n, g(o)*I + i, t*stride + k*dilation - left]; samples that are not there add nothing."""
    batch, _, length = x.shape
    out_channels, group_inputs, kernel_size = w.shape
    samples = out_length(length, kernel_size, stride, dilation, left, right)
    x_groups = x.reshape(batch, groups, group_inputs, length)
    w_groups = w.reshape(groups, out_channels // groups, group_inputs, kernel_size)
    y = np.zeros((batch, groups, out_channels // groups, samples), dtype=np.result_type(x, w))
    for k in range(kernel_size):
        exists, index = source_samples(np.arange(samples) * stride + k * dilation - left, length, padding_mode)
        y[..., exists] += np.einsum("goi,ngit->ngot", w_groups[..., k], x_groups[..., index[exists]])
    return y.reshape(batch, out_channels, samples)


def term_counts(
    length: int,
    kernel_size: int,
    group_inputs: int,
    stride: int,
    left: int,
    right: int,
    dilation: int,
    padding_mode: str,
) -> np.ndarray:
    """Products in each sum: taps that fall into the signal (all of them unless it is padded with zeros)."""
    samples = np.arange(out_length(length, kernel_size, stride, dilation, left, right))
    counts = np.zeros(samples.shape, dtype=np.int64)
    for k in range(kernel_size):
        counts += source_samples(samples * stride + k * dilation - left, length, padding_mode)[0]
    return counts * group_inputs


def accumulation_factor(name: str, terms: np.ndarray) -> np.ndarray:
    """Unit roundoffs of S that a sum of so many products, bias and residual may be off."""
    if UNIT_ACCUMULATE[name] == UNIT["float64"]:
        return terms + 2
    return np.minimum(terms, LONGEST_CHAIN + -(-terms // SHORTEST_BLOCK)) + 2


_erf = np.vectorize(math.erf, otypes=[np.float64])


def activate(t: np.ndarray, activation: str, negative_slope: float) -> np.ndarray:
    """The activation of each element."""
    if activation == "none":
        return t
    if activation == "relu":
        return np.maximum(t, 0)
    if activation == "leaky_relu":
        return np.where(t < 0, t * negative_slope, t)
    with np.errstate(over="ignore", invalid="ignore"):
        if activation == "tanh":
            return np.tanh(t)
        if activation == "sigmoid":
            return 1 / (1 + np.exp(-t))
        if activation == "silu":
            y = t / (1 + np.exp(-t))
        elif activation == "gelu":
            y = t * 0.5 * (1 + _erf(np.asarray(t, np.float64) / math.sqrt(2.0))) if t.size else t
        elif activation == "gelu_tanh":
            y = t * 0.5 * (1 + np.tanh(math.sqrt(2.0 / math.pi) * (t + 0.044715 * t**3)))
        else:
            raise AssertionError(activation)
        return np.where(t == -np.inf, -0.0, y)  # the limit


def evaluation_error(t: np.ndarray, y: np.ndarray, activation: str) -> np.ndarray:
    """Of y = act(t) at an exact t, in unit roundoffs of the accumulation type."""
    if activation in ("gelu", "gelu_tanh"):
        return 8 * np.abs(t)  # t * (1 + erf) cancels where t is negative
    return {"none": 0, "relu": 0, "leaky_relu": 1}.get(activation, 8) * np.abs(y)


@dataclass(frozen=True)
class Expected:
    """What a result must be: within `bound` of `y`, element by element."""

    y: np.ndarray
    bound: np.ndarray

    def worst(self, got: torch.Tensor) -> tuple[float, tuple[int, ...]]:
        """The largest error in units of the bound (at most 1 when all is well), and where it is."""
        actual = to_numpy(got)
        assert actual.shape == self.y.shape, f"shape {actual.shape}, expected {self.y.shape}"
        if actual.size == 0:
            return 0.0, ()
        if np.issubdtype(actual.dtype, np.integer):
            error = np.where(actual == self.y, 0.0, np.inf)
        else:
            with np.errstate(invalid="ignore", divide="ignore"):
                same = (actual == self.y) | (np.isnan(actual) & np.isnan(self.y))
                error = np.where(same, 0.0, np.abs(actual - self.y) / self.bound)
            error = np.where(np.isnan(error), np.inf, error)
        where = np.unravel_index(int(np.argmax(error)), error.shape)
        return float(error[where]), tuple(int(i) for i in where)


def expected_conv1d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int = 1,
    padding: object = 0,
    dilation: int = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    activation: str | None = None,
    negative_slope: float = 0.01,
    residual: torch.Tensor | None = None,
) -> Expected:
    """The exact result of :func:`longconv.functional.conv1d` and its bound, for (N, C, L) or (C, L)."""
    name = dtype_name(x)
    if x.dim() == 2:
        one = expected_conv1d(
            x[None],
            weight,
            bias,
            stride,
            padding,
            dilation,
            groups,
            padding_mode,
            activation,
            negative_slope,
            None if residual is None else residual[None],
        )
        return Expected(one.y[0], one.bound[0])
    left, right = pads(padding, weight.shape[2], dilation)
    xs, ws = to_numpy(x), to_numpy(weight)
    geometry = (stride, left, right, dilation, groups, padding_mode)
    with np.errstate(over="ignore", invalid="ignore"):
        y = correlate(xs, ws, *geometry)
        added = [to_numpy(bias)[:, None]] if bias is not None else []
        added += [to_numpy(residual)] if residual is not None else []
        for term in added:
            y = y + term
        if name == "int64":
            return Expected(y, np.zeros(y.shape))
        magnitude = correlate(np.abs(xs), np.abs(ws), *geometry)
        for term in added:
            magnitude = magnitude + np.abs(term)
        terms = term_counts(x.shape[2], weight.shape[2], weight.shape[1], stride, left, right, dilation, padding_mode)
        return Expected(*bounded(name, y, magnitude, terms, str(activation or "none"), negative_slope))


def bounded(
    name: str, total: np.ndarray, magnitude: np.ndarray, terms: np.ndarray, activation: str, negative_slope: float
) -> tuple[np.ndarray, np.ndarray]:
    """(act(total), bound): `magnitude` is S, the sum of the magnitudes of what is added."""
    unit = UNIT_ACCUMULATE[name]
    half_subnormal = HALF_SUBNORMAL[name] if unit == UNIT[name] else HALF_SUBNORMAL["float32"]
    factor = accumulation_factor(name, terms) * unit
    # Each operation may underflow besides, to a multiple of the smallest subnormal.
    bound = factor / (1 - factor) * magnitude + (terms + 2) * half_subnormal
    y = activate(total, activation, negative_slope)
    if activation != "none":
        slope = max(1.0, abs(negative_slope)) if activation == "leaky_relu" else SLOPE[activation]
        bound = slope * bound + unit * evaluation_error(total, y, activation) + 4 * half_subnormal
    if unit != UNIT[name]:
        bound = bound + UNIT[name] * (np.abs(y) + bound) + HALF_SUBNORMAL[name]
    if name.startswith("complex"):
        bound = 2 * bound
    return y, np.where(np.isfinite(y), bound, 0)  # nothing is rounded where a term is infinite


def relative_rms(got: torch.Tensor, exact: np.ndarray) -> float:
    """sqrt(sum (got - exact)^2 / sum exact^2)."""
    difference = to_numpy(got) - exact
    return float(np.sqrt(np.sum(np.abs(difference) ** 2) / np.sum(np.abs(exact) ** 2)))
