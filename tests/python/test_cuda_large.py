# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""More than 2^31 elements on a GPU, in the signal and in the result: slices against the reference on slices.

Needs some 40 GiB of device memory.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch

from cuda_support import DEVICE, KERNELS, expect, forced, multiplies
from longconv import functional
from strategies import Case
from test_cuda_wgrad import expect as expect_wgrad
from test_cuda_wgrad import wgrad

pytestmark = [pytest.mark.cuda, pytest.mark.real_gpu]

BOUNDARY = 2**31
SAMPLES = 1500  # of a slice
NEEDED = 44 << 30


def skip_without_memory() -> None:
    torch.cuda.empty_cache()
    if torch.cuda.mem_get_info()[0] < NEEDED:
        pytest.skip(f"needs {NEEDED >> 30} GiB of free device memory")


def fill(x: torch.Tensor) -> torch.Tensor:
    """Normal numbers, without a float32 copy of everything."""
    for row in x.view(-1, x.shape[-1]):
        row.normal_()
    return x


def check_slices(
    x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor, stride: int, dilation: int, precision: str
) -> None:
    taps = weight.shape[2]
    firsts = {0, y.shape[2] // 2, y.shape[2] - SAMPLES}
    for tensor, per_output in ((x, stride), (y, 1)):  # around where the 2^31st element of each lies in its row
        flat = BOUNDARY % tensor.stride(0) % tensor.stride(1) // per_output
        firsts.add(min(max(flat - SAMPLES // 2, 0), y.shape[2] - SAMPLES))
    crossing = {min(BOUNDARY // tensor.stride(0), tensor.shape[0] - 1) for tensor in (x, y)}
    for signal in sorted({0, x.shape[0] - 1} | crossing):
        for first in sorted(firsts):
            piece = x[signal : signal + 1, :, first * stride :][
                ..., : (SAMPLES - 1) * stride + dilation * (taps - 1) + 1
            ]
            expected = expect(piece, weight, None, precision, stride=stride, dilation=dilation)
            worst, where = expected.worst(y[signal : signal + 1, :, first : first + SAMPLES])
            assert worst <= 1, f"{worst:.3g} times the bound at {where} of the slice of signal {signal} from {first}"


@pytest.mark.parametrize(
    ("kernel", "dtype", "precision"),
    [
        ("", "bfloat16", "fp32"),
        ("", "float32", "tf32"),
        ("", "float32", "fp32"),
        ("dense_fprop_sm80", "bfloat16", "fp32"),
        ("dense_fprop_sm80", "float32", "fp32"),
        ("direct_fprop", "bfloat16", "fp32"),
    ],
)
@pytest.mark.parametrize("stride", [1, 3])
def test_long_rows(kernel: str, dtype: str, precision: str, stride: int) -> None:
    skip_without_memory()
    assert not kernel or (kernel in KERNELS and multiplies(kernel, dtype, precision))
    x = fill(torch.empty(1, 16, 140_000_003, device=DEVICE, dtype=getattr(torch, dtype)))
    weight = torch.randn(16 * stride, 16, 3, device=DEVICE).to(x.dtype)
    with forced(kernel, 0):
        y = functional.conv1d(x, weight, stride=stride, dilation=4, precision=precision)
    assert x.numel() > BOUNDARY
    assert y.numel() > BOUNDARY
    check_slices(x, weight, y, stride, 4, precision)


@pytest.mark.parametrize(("dtype", "precision"), [("bfloat16", "fp32"), ("float32", "fp32")])
def test_many_signals(dtype: str, precision: str) -> None:
    skip_without_memory()
    x = fill(torch.empty(70, 64, 500_001, device=DEVICE, dtype=getattr(torch, dtype)))
    weight = torch.randn(64, 64, 3, device=DEVICE).to(x.dtype)
    y = functional.conv1d(x, weight, precision=precision)
    assert x.numel() > BOUNDARY
    assert y.numel() > BOUNDARY
    check_slices(x, weight, y, 1, 1, precision)


@pytest.mark.parametrize(("dtype", "precision"), [("bfloat16", "fp32"), ("float32", "tf32"), ("float32", "fp32")])
@pytest.mark.parametrize("kernel", ["", "direct_wgrad"])
def test_weight_gradient(kernel: str, dtype: str, precision: str) -> None:
    """All of dy is zero but for some steps, whose products are known."""
    length, channels, taps = 140_000_003, 16, 3
    skip_without_memory()
    x = torch.empty(1, channels, length, device=DEVICE, dtype=getattr(torch, dtype))
    for row in x[0]:
        row.normal_()
    grad_y = torch.zeros(1, channels, length - 2, device=DEVICE, dtype=x.dtype)
    assert min(x.numel(), grad_y.numel()) > 2**31
    pieces = [(first, 50) for first in (0, length // 2, 2**31 % length - 25, length - 2 - 50)]
    for first, count in pieces:
        grad_y[..., first : first + count].normal_()
    case = Case(1, channels, channels, length, taps, bias=True, dtype=dtype)
    x_parts = torch.cat([x[..., first : first + count + 2] for first, count in pieces]).cpu()
    grad_parts = torch.cat([grad_y[..., first : first + count] for first, count in pieces]).cpu()
    weight, bias = expect_wgrad(x_parts, grad_parts, dataclasses.replace(case, batch=len(pieces)), precision)
    with forced(kernel, 0):
        grads = wgrad(x, grad_y, case, precision)
    for expected, got in zip((weight, bias), grads):
        worst, where = expected.worst(got)
        assert worst <= 1, f"{worst:.3g} times the bound at {where}"
