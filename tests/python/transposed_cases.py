# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Transposed convolutions to try, and what each must be: written from the definition in NumPy, without the library."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import torch
from hypothesis import strategies as st

from reference import Expected, bounded, dtype_name, to_numpy
from strategies import DTYPES, INPUT_LAYOUTS, OUTPUT_LAYOUTS, WEIGHT_LAYOUTS, lay_out, values


def result_length(length: int, kernel_size: int, stride: int, padding: int, output_padding: int, dilation: int) -> int:
    """Samples of the result, as PyTorch documents it."""
    return (length - 1) * stride - 2 * padding + dilation * (kernel_size - 1) + output_padding + 1


def spread(
    x: np.ndarray, w: np.ndarray, stride: int, padding: int, output_padding: int, groups: int, dilation: int
) -> np.ndarray:
    """Every product x[n, i, t] * w[i, o, k] goes to sample t * stride + k * dilation - padding of the result."""
    batch, channels, length = x.shape
    _, group_outputs, kernel_size = w.shape
    samples = result_length(length, kernel_size, stride, 0, output_padding, dilation)
    y = np.zeros((batch, groups, group_outputs, samples), dtype=np.result_type(x, w))
    x_groups = x.reshape(batch, groups, channels // groups, length)
    w_groups = w.reshape(groups, channels // groups, group_outputs, kernel_size)
    for k in range(kernel_size):
        last = k * dilation + (length - 1) * stride
        y[..., k * dilation : last + 1 : stride] += np.einsum("ngit,gio->ngot", x_groups, w_groups[..., k])
    y = y.reshape(batch, groups * group_outputs, samples)
    return y[:, :, padding : samples - padding]


def expected_conv_transpose1d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    groups: int = 1,
    dilation: int = 1,
    residual: torch.Tensor | None = None,
) -> Expected:
    """The exact result of :func:`longconv.functional.conv_transpose1d` and its bound, for (N, C, L) or (C, L)."""
    geometry = (stride, padding, output_padding, groups, dilation)
    if x.dim() == 2:
        one = expected_conv_transpose1d(x[None], weight, bias, *geometry, None if residual is None else residual[None])
        return Expected(one.y[0], one.bound[0])
    name, xs, ws = dtype_name(x), to_numpy(x), to_numpy(weight)
    added = [to_numpy(bias)[:, None]] if bias is not None else []
    added += [to_numpy(residual)] if residual is not None else []
    with np.errstate(over="ignore", invalid="ignore"):
        y = spread(xs, ws, *geometry)
        for term in added:
            y = y + term
        if name == "int64":
            return Expected(y, np.zeros(y.shape))
        magnitude = spread(np.abs(xs), np.abs(ws), *geometry)
        for term in added:
            magnitude = magnitude + np.abs(term)
        terms = spread(np.ones(xs.shape), np.ones(ws.shape), *geometry)
        return Expected(*bounded(name, y, magnitude, terms, "none", 0.0))


@dataclasses.dataclass(frozen=True)
class Case:
    """One call of conv_transpose1d, written in numbers and names; the same case always makes the same tensors."""

    batch: int | None = 1  # None: unbatched
    in_channels: int = 1
    out_channels: int = 1
    length: int = 1
    kernel_size: int = 1
    stride: int = 1
    padding: int = 0
    output_padding: int = 0
    dilation: int = 1
    groups: int = 1
    dtype: str = "float32"
    bias: bool = False
    residual: bool = False
    input_layout: str = "contiguous"
    weight_layout: str = "contiguous"
    output_layout: str = "fresh"
    seed: int = 0

    def replay(self) -> str:
        """A command that runs this case again."""
        default = Case()
        fields = {k: v for k, v in dataclasses.asdict(self).items() if v != getattr(default, k)}
        return f"replay: python -m pytest tests/python/test_transposed.py -k replay --replay '{json.dumps(fields)}'"

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        sizes = (self.length, self.kernel_size, self.stride, self.padding, self.output_padding, self.dilation)
        shape = (self.out_channels, result_length(*sizes))
        return shape if self.batch is None else (self.batch, *shape)

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """(input, weight, bias, residual)."""
        generator = torch.Generator().manual_seed(self.seed)
        dtype = getattr(torch, self.dtype)
        batch = 1 if self.batch is None else self.batch
        weight_shape = (self.in_channels, self.out_channels // self.groups, self.kernel_size)
        x = lay_out(values((batch, self.in_channels, self.length), dtype, generator), self.input_layout)
        w = lay_out(values(weight_shape, dtype, generator), self.weight_layout)
        bias = values((self.out_channels,), dtype, generator) if self.bias else None
        residual = None
        if self.residual:
            residual = lay_out(values((batch, *self.out_shape[-2:]), dtype, generator), self.output_layout)
        if self.batch is None:
            return x[0], w, bias, None if residual is None else residual[0]
        return x, w, bias, residual

    def options(self) -> dict[str, int]:
        """Keyword arguments that go with the tensors, but for `residual` and `out`."""
        names = ("stride", "padding", "output_padding", "groups", "dilation")
        return {name: getattr(self, name) for name in names}

    def expected(self) -> Expected:
        """Result and bound."""
        x, w, bias, residual = self.tensors()
        return expected_conv_transpose1d(x, w, bias, residual=residual, **self.options())


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Sizes around the engine's edges; every output_padding that PyTorch allows."""
    groups = draw(st.sampled_from((1, 1, 1, 2, 3, 8)))
    kernel_size = draw(st.sampled_from((1, 2, 3, 4, 5, 8, 15, 33)))
    stride = draw(st.sampled_from((1, 1, 2, 3, 4, 5, 9)))
    dilation = draw(st.sampled_from((1, 1, 2, 3, 4, 17)))
    length = draw(st.sampled_from((1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 127, 241)))
    output_padding = draw(st.integers(0, max(stride, dilation) - 1))
    longest = result_length(length, kernel_size, stride, 0, output_padding, dilation)
    return Case(
        batch=draw(st.sampled_from((None, 0, 1, 1, 2, 3))),
        in_channels=groups * draw(st.sampled_from((1, 1, 2, 3, 4, 7, 16))),
        out_channels=groups * draw(st.sampled_from((1, 1, 2, 3, 5, 6, 7, 13))),
        length=length,
        kernel_size=kernel_size,
        stride=stride,
        padding=draw(st.one_of(st.just(0), st.integers(0, min(40, (longest - 1) // 2)))),
        output_padding=output_padding,
        dilation=dilation,
        groups=groups,
        dtype=draw(st.sampled_from(("float32", "float32", *DTYPES))),
        bias=draw(st.booleans()),
        residual=draw(st.sampled_from((False, False, True))),
        input_layout=draw(st.sampled_from(INPUT_LAYOUTS)),
        weight_layout=draw(st.sampled_from(WEIGHT_LAYOUTS)),
        output_layout=draw(st.sampled_from(OUTPUT_LAYOUTS)),
        seed=draw(st.integers(0, 2**16)),
    )
