# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The forward pass on a GPU, against the float64 reference, element by element. Skipped where there is no GPU.

``LONGCONV_CUDA_KERNEL=dense_fprop_sm80`` (or another kernel's name) runs the same tests on that kernel.
"""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest
import torch

from longconv import functional
from reference import UNIT, Expected, accumulation_factor, expected_conv1d, to_numpy
from strategies import Case

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

FORCED = os.environ.get("LONGCONV_CUDA_KERNEL", "")

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
LAYOUTS = ["contiguous", "nwc", "rows", "every_third"]


def bounded_tf32(case: Case) -> Expected:
    """TF32 rounds the operands to 10 bits, to nearest, ties away; after that the products are exact in float32."""

    def rounded(t: torch.Tensor) -> torch.Tensor:
        return ((t.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)

    x, w, bias, residual = case.tensors()
    return chained(expected_conv1d(rounded(x), rounded(w), bias, residual=residual, **case.options()), case)  # type: ignore[arg-type]


def chained(expected: Expected, case: Case) -> Expected:
    """Tensor cores add in one chain for TF32, bf16 and f16: c(n) is n + 2 (docs/design/numerics.md)."""
    terms = np.asarray(case.in_channels // case.groups * case.kernel_size)
    ratio = float((terms + 2) / (accumulation_factor("float32", terms)))
    return Expected(expected.y, expected.bound * max(1.0, ratio))


def run(case: Case, precision: str) -> torch.Tensor:
    x, w, bias, residual = (None if t is None else t.cuda() for t in case.tensors())
    out = functional.conv1d(x, w, bias, residual=residual, precision=precision, **case.options())  # type: ignore[arg-type]
    torch.cuda.synchronize()
    return out


def check(case: Case, precision: str, expected: Expected) -> None:
    worst, where = expected.worst(run(case, precision))
    assert worst <= 1, f"{worst:.3g} times the bound at {where}\n{precision} {case.replay()}"


def skip_unless_supported(dtype: str, precision: str) -> None:
    if FORCED == "dense_fprop_sm90" and (dtype == "float32") == (precision == "fp32"):
        pytest.skip("that kernel multiplies TF32, bf16 and f16")
    if FORCED == "dense_fprop_split_sm90" and (dtype != "float32" or precision != "fp32"):
        pytest.skip("that kernel multiplies fp32")
    if FORCED == "direct_fprop" and precision == "tf32":
        pytest.skip("that kernel does not round to TF32")
    if FORCED.startswith("dense") and dtype == "float64":
        pytest.skip("tensor-core kernels do not multiply float64")


@pytest.mark.parametrize(
    "case", CASES, ids=lambda c: f"{c.in_channels}-{c.out_channels}-k{c.kernel_size}-s{c.stride}-{c.activation}"
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_every_shape_within_the_bound(case: Case, dtype: str) -> None:
    skip_unless_supported(dtype, "fp32")
    case = dataclasses.replace(case, dtype=dtype)
    expected = case.expected()
    check(case, "fp32", chained(expected, case) if dtype in ("bfloat16", "float16") else expected)


@pytest.mark.parametrize(
    "case", CASES, ids=lambda c: f"{c.in_channels}-{c.out_channels}-k{c.kernel_size}-s{c.stride}-{c.activation}"
)
def test_tf32_within_the_bound(case: Case) -> None:
    skip_unless_supported("float32", "tf32")
    check(case, "tf32", bounded_tf32(case))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_layout(layout: str, dtype: str) -> None:
    skip_unless_supported(dtype, "fp32")
    case = Case(2, 32, 72, 700, 5, 1, 2, dtype=dtype, input_layout=layout, weight_layout="contiguous")
    expected = case.expected()
    check(case, "fp32", chained(expected, case) if dtype == "bfloat16" else expected)


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
    got = functional.conv1d(x.cuda(), w.cuda(), stride=3, dilation=4, precision="fp32")
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
    got = to_numpy(functional.conv1d(x.cuda(), w.cuda(), padding=2, precision="fp32"))
    assert np.array_equal(np.isnan(got), np.isnan(expected.y))
    assert np.array_equal(np.isinf(got), np.isinf(expected.y))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_bitwise_the_same_on_every_run_and_stream(dtype: str) -> None:
    skip_unless_supported(dtype, "fp32")
    x = torch.randn(4, 64, 20000, device="cuda").to(getattr(torch, dtype))
    w = torch.randn(128, 64, 3, device="cuda").to(x.dtype)
    first = functional.conv1d(x, w, stride=3, dilation=4, precision="fp32")
    streams = [torch.cuda.Stream() for _ in range(2)]
    torch.cuda.synchronize()
    results = []
    for run_index in range(20):
        with torch.cuda.stream(streams[run_index % 2]):
            results.append(functional.conv1d(x, w, stride=3, dilation=4, precision="fp32"))
    torch.cuda.synchronize()
    assert all(torch.equal(first, other) for other in results)


def test_nothing_is_written_outside_and_rows_beside_are_kept() -> None:
    skip_unless_supported("float32", "fp32")
    x = torch.randn(2, 32, 1000, device="cuda")
    w = torch.randn(72, 32, 3, device="cuda")
    memory = torch.full((2, 90, 1100), float("nan"), device="cuda")
    out = memory[:, 5:77, 51 : 51 + 998]
    functional.conv1d(x, w, precision="fp32", out=out)
    assert torch.equal(out, functional.conv1d(x, w, precision="fp32"))
    out.fill_(float("nan"))
    assert torch.isnan(memory).all()


def test_follows_pytorchs_switch() -> None:
    if FORCED:
        pytest.skip("about the planner's own choice")
    x, w = torch.randn(1, 64, 3000, device="cuda"), torch.randn(128, 64, 3, device="cuda")
    before = torch.backends.cudnn.allow_tf32
    try:
        for allowed, precision in ((True, "tf32"), (False, "fp32")):
            torch.backends.cudnn.allow_tf32 = allowed
            assert torch.equal(functional.conv1d(x, w), functional.conv1d(x, w, precision=precision))
    finally:
        torch.backends.cudnn.allow_tf32 = before


def test_captured_into_a_graph_and_replayed() -> None:
    x, w = torch.randn(2, 64, 3000, device="cuda"), torch.randn(128, 64, 3, device="cuda")
    functional.conv1d(x, w)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = functional.conv1d(x, w)
    x.copy_(torch.randn_like(x))
    w.copy_(torch.randn_like(w))
    graph.replay()
    assert torch.equal(y, functional.conv1d(x, w))


def test_more_than_2_to_the_31_elements() -> None:
    skip_unless_supported("bfloat16", "fp32")
    length = 2**25 + 7
    x = torch.zeros(1, 64, length, device="cuda", dtype=torch.bfloat16)
    w = torch.randn(16, 64, 3, device="cuda").bfloat16()
    tail = torch.randn(1, 64, 2000, device="cuda").bfloat16()
    x[..., -2000:] = tail
    got = functional.conv1d(x, w)[..., -1998:]
    assert torch.equal(got, functional.conv1d(tail, w)) or torch.allclose(
        got.float(), functional.conv1d(tail, w).float(), rtol=2 * UNIT["bfloat16"]
    )


def test_backward_says_that_it_does_not_exist_yet() -> None:
    x = torch.randn(1, 16, 100, device="cuda", requires_grad=True)
    w = torch.randn(16, 16, 3, device="cuda")
    y = functional.conv1d(x, w)
    with pytest.raises(NotImplementedError, match="no CUDA kernels for longconv::dgrad"):
        y.sum().backward()
