# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The forward pass on a GPU, against the float64 reference, element by element."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from cuda_support import DEVICE, arithmetic, check, skip_unless_supported
from longconv import functional
from reference import Expected, expected_conv1d, to_numpy
from strategies import Case

pytestmark = pytest.mark.cuda

# Sizes around tiles and sectors, strides and dilations of every kind, odd channels, all padding modes.
CASES = [
    Case(2, 64, 128, 3000, 3, 3, 0, 4),
    Case(2, 64, 128, 1537, 3),
    Case(1, 64, 128, 2000, 2, 1, 0, 512),
    Case(2, 256, 256, 1024, 3, 1, 8, 8),
    Case(1, 48, 96, 4001, 8, 4),
    Case(1, 128, 128, 1030, 11, 1, 25, 5),
    Case(2, 32, 64, 2051, 4, 2, 1),
    Case(1, 16, 17, 999, 1),
    Case(1, 100, 65, 777, 3, 2, [2, 5], 3),
    Case(1, 32, 100, 3000, 40, 1, [20, 19]),
    Case(1, 64, 128, 8000, 3, 17, 0, 5),
    Case(3, 16, 64, 5, 3, 1, 1),
    Case(1, 512, 640, 700, 5, 1, 2),
    Case(1, 7, 513, 331, 7, 3, 3, 2),
    Case(1, 65, 3, 1021, 9, 1, "causal"),
    Case(2, 33, 130, 1025, 5, 1, 4, 2, 1, "reflect", bias=True, activation="relu"),
    Case(1, 24, 200, 1500, 7, 1, 3, 1, 1, "circular", bias=True, residual=True, activation="gelu"),
    Case(2, 65, 64, 1111, 3, 1, 1, 1, 1, "replicate", residual=True, activation="leaky_relu", negative_slope=0.1),
    Case(1, 20, 70, 601, 15, 2, 7, bias=True, activation="tanh"),
    Case(1, 20, 70, 601, 15, 2, 7, bias=True, activation="silu"),
    Case(1, 40, 72, 515, 3, 1, 1, bias=True, activation="sigmoid"),
    Case(1, 40, 72, 515, 3, 1, 1, bias=True, activation="gelu_tanh"),
    Case(2, 64, 128, 900, 5, 1, 2, 1, 2, bias=True),
    Case(2, 6, 6, 500, 5, 1, 2, 1, 6, bias=True),
    Case(1, 4, 8, 1000, 4, 3, 2, 2, 4),
    Case(1, 1, 1, 3000, 257, 1, 128),
    Case(1, 3, 7, 1001, 9, 2, 4, 3, 1, "reflect", bias=True),
]
LAYOUTS = ["contiguous", "nwc", "rows", "every_third", "batch_expanded", "time_expanded", "channels_expanded"]


def name_of(case: Case) -> str:
    return f"{case.in_channels}-{case.out_channels}-k{case.kernel_size}-s{case.stride}-{case.activation}"


@pytest.mark.parametrize("case", CASES, ids=name_of)
@arithmetic
def test_every_shape_within_the_bound(case: Case, dtype: str, precision: str) -> None:
    skip_unless_supported(dtype, precision)
    check(dataclasses.replace(case, dtype=dtype), precision)


@pytest.mark.parametrize("layout", LAYOUTS)
@arithmetic
def test_every_layout(layout: str, dtype: str, precision: str) -> None:
    skip_unless_supported(dtype, precision)
    check(Case(2, 32, 72, 700, 5, 1, 2, dtype=dtype, input_layout=layout, weight_layout="taps_outer"), precision)


@pytest.mark.parametrize("special", ["inf", "nan", "-inf", "huge", "tiny", "subnormal", "wide", "quiet"])
def test_fp32_special_values(special: str) -> None:
    skip_unless_supported("float32", "fp32")
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 64, 4000, generator=generator)
    w = torch.randn(96, 64, 3, generator=generator)
    if special in ("inf", "nan", "-inf", "huge"):
        x[1, 7, 1234] = {"huge": 3.3e38}.get(special, float(special) if special != "huge" else 0)
        w[5, 3, 1] = 0
    elif special == "tiny":
        x *= 1e-37
    elif special == "subnormal":
        x *= 1e-41
    elif special == "wide":
        x *= torch.exp(8 * torch.randn(x.shape, generator=generator))
    else:
        x[..., 1000:2000] *= 1e-13
    expected = expected_conv1d(x, w, stride=3, dilation=4)
    got = functional.conv1d(x.to(DEVICE), w.to(DEVICE), stride=3, dilation=4, precision="fp32")
    with np.errstate(over="ignore"):
        limits = expected.y.astype(np.float32)
    actual = to_numpy(got)
    overflow = np.isfinite(expected.y) & ~np.isfinite(limits)
    kept = np.where(overflow, expected.y, actual)  # results beyond float32's range may overflow
    worst, where = Expected(expected.y, expected.bound).worst(torch.from_numpy(kept).double())
    assert worst <= 1, f"{worst:.3g} times the bound at {where}"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_zero_padding_is_not_multiplied(dtype: str) -> None:
    skip_unless_supported(dtype, "fp32")
    x = torch.randn(1, 32, 300).to(getattr(torch, dtype))
    w = torch.randn(80, 32, 5).to(x.dtype)
    w[3, 2, 0] = float("inf")
    expected = expected_conv1d(x, w, padding=2)
    got = to_numpy(functional.conv1d(x.to(DEVICE), w.to(DEVICE), padding=2, precision="fp32"))
    assert np.array_equal(np.isnan(got), np.isnan(expected.y))
    assert np.array_equal(np.isinf(got), np.isinf(expected.y))
