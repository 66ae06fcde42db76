# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The data gradient on a GPU, against the float64 reference, element by element; through autograd, and twice."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import longconv
from cuda_support import (
    DEVICE,
    DGRAD_KERNELS,
    FORCED,
    arithmetic,
    forced,
    multiplies,
    skip_unless_supported,
    synchronize,
    to_tf32,
)
from gradient_reference import expected_dgrad
from longconv import functional
from reference import Expected
from strategies import Case, lay_out, values

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif("fprop" in FORCED, reason="forces a kernel of the forward pass"),
]

# The cases of the forward pass that say something here: strides around K, dilations that share factors with them.
CASES = [
    Case(2, 64, 128, 3000, 3, 3, 0, 4),
    Case(2, 64, 128, 1537, 3),
    Case(1, 256, 256, 700, 3, 1, 8, 8),
    Case(1, 48, 96, 4001, 8, 4),
    Case(1, 128, 128, 1030, 11, 1, 25, 5),
    Case(2, 32, 64, 2051, 4, 2, 1),
    Case(1, 16, 17, 999, 1),
    Case(1, 100, 65, 777, 3, 2, [2, 5], 3),
    Case(1, 32, 100, 3000, 40, 1, [20, 19]),
    Case(1, 512, 640, 150, 5, 1, 2),
    Case(1, 7, 513, 331, 7, 3, 3, 2),
    Case(1, 65, 3, 1021, 9, 1, "causal"),
    Case(2, 33, 130, 1025, 5, 1, 4, 2, 1, "reflect"),
    Case(1, 24, 200, 1500, 7, 2, 3, 1, 1, "circular"),
    Case(2, 65, 64, 1111, 3, 3, 1, 1, 1, "replicate"),
    Case(2, 64, 128, 900, 5, 1, 2, 1, 2),
    Case(2, 6, 6, 500, 5, 1, 2, 1, 6),
    Case(1, 4, 8, 1000, 4, 3, 2, 2, 4),
    Case(1, 1, 1, 3000, 257, 1, 128),
    Case(1, 3, 7, 1001, 9, 2, 4, 3, 1, "reflect"),
]


def gradient_of(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """(dL/dy, weight) of a case; `input_layout` is the gradient's."""
    generator = torch.Generator().manual_seed(case.seed)
    _, weight, _, _ = case.tensors()
    grad_y = values((case.batch or 1, *case.out_shape[-2:]), weight.dtype, generator)
    return lay_out(grad_y, case.input_layout), weight


def geometry_of(case: Case) -> tuple[int, int, int, int, str, int, int]:
    return (case.length, case.stride, *case.pads, case.padding_mode, case.dilation, case.groups)


def expect_dgrad(case: Case, precision: str) -> Expected:
    grad_y, weight = gradient_of(case)
    if precision == "tf32" and DEVICE == "cuda":
        grad_y, weight = to_tf32(grad_y), to_tf32(weight)
    return expected_dgrad(grad_y, weight, *geometry_of(case))


def run_dgrad(case: Case, precision: str) -> torch.Tensor:
    grad_y, weight = (t.to(DEVICE) for t in gradient_of(case))
    try:
        grad_x = torch.ops.longconv.dgrad(grad_y, weight, *geometry_of(case), precision)
    except NotImplementedError as error:
        if FORCED and ("the stride is larger" in str(error) or "no tile of this problem fits" in str(error)):
            pytest.skip(str(error).splitlines()[-1])
        raise
    synchronize()
    return grad_x


def check_dgrad(case: Case, precision: str) -> None:
    grad_x = run_dgrad(case, precision)
    worst, where = expect_dgrad(case, precision).worst(grad_x)
    assert worst <= 1, f"{worst:.3g} times the bound at {where}\n{precision} {FORCED} {case}"


def name_of(case: Case) -> str:
    return f"{case.in_channels}-{case.out_channels}-k{case.kernel_size}-s{case.stride}-{case.padding_mode}"


@pytest.mark.parametrize("case", CASES, ids=name_of)
@arithmetic
def test_every_shape_within_the_bound(case: Case, dtype: str, precision: str) -> None:
    skip_unless_supported(dtype, precision)
    check_dgrad(dataclasses.replace(case, dtype=dtype), precision)


@pytest.mark.parametrize("stride", range(1, 18))
@arithmetic
def test_every_stride(stride: int, dtype: str, precision: str) -> None:
    """Fewer taps than phases, as many, and more; the last window ends before the signal does."""
    skip_unless_supported(dtype, precision)
    taps = (3, 16, 20)[stride % 3]
    check_dgrad(Case(2, 40, 24, 900 + stride, taps, stride, [5, 3], 1 + stride % 4, dtype=dtype), precision)


@pytest.mark.parametrize("stride", [1, 2, 3])
@arithmetic
def test_lengths_around_tiles(stride: int, dtype: str, precision: str) -> None:
    skip_unless_supported(dtype, precision)
    for length in (3, 4, 63, 64, 65, 111, 120, 127, 129, 191, 193, 223, 225, 240, 241, 255, 256, 257, 385, 513, 769):
        check_dgrad(Case(2, 72, 32, length, 3, stride, 0, 1, dtype=dtype), precision)


@pytest.mark.parametrize("layout", ["nwc", "rows", "unaligned", "every_third", "batch_expanded", "time_expanded"])
@arithmetic
def test_every_layout_of_the_gradient(layout: str, dtype: str, precision: str) -> None:
    skip_unless_supported(dtype, precision)
    for stride in (1, 2):
        case = Case(2, 32, 72, 701, 5, stride, 2, dtype=dtype, input_layout=layout, weight_layout="taps_outer")
        check_dgrad(case, precision)


@pytest.mark.parametrize("special", [float("inf"), float("nan"), 1e30, 1e-41])
@pytest.mark.parametrize("stride", [1, 2])
def test_special_values_stay_in_their_windows(special: float, stride: int) -> None:
    skip_unless_supported("float32", "fp32")
    case = Case(1, 70, 24, 600, 5, stride, 3)
    for in_weight in (False, True):
        grad_y, weight = gradient_of(case)
        target = weight if in_weight else grad_y
        target.view(-1)[target.numel() // 2] = special
        target.view(-1)[0] = special
        expected = expected_dgrad(grad_y, weight, *geometry_of(case))
        got = torch.ops.longconv.dgrad(grad_y.to(DEVICE), weight.to(DEVICE), *geometry_of(case), "fp32")
        worst, where = expected.worst(got)
        assert worst <= 1, f"{worst:.3g} times the bound at {where}, {special} in {'weight' if in_weight else 'dy'}"


@arithmetic
def test_bitwise_the_same_in_twenty_runs(dtype: str, precision: str) -> None:
    skip_unless_supported(dtype, precision)
    case = Case(2, 64, 128, 6000, 3, 3, 0, 4, dtype=dtype)
    first = run_dgrad(case, precision)
    assert all(torch.equal(first, run_dgrad(case, precision)) for _ in range(20))


@pytest.mark.skipif(bool(FORCED), reason="forces kernels itself")
@pytest.mark.parametrize("candidate", range(12))
@pytest.mark.parametrize("name", ["headline", "strided", "plain"])
@pytest.mark.parametrize("kernel", DGRAD_KERNELS)
def test_every_config(kernel: str, name: str, candidate: int) -> None:
    cases = {
        "headline": Case(2, 64, 128, 3001, 3, 3, 0, 4),
        "strided": Case(1, 136, 264, 1100, 5, 2, 2),
        "plain": Case(1, 40, 72, 1500, 7, 1, [6, 0], 2),
    }
    for dtype, precision in (("bfloat16", "fp32"), ("float32", "tf32"), ("float32", "fp32")):
        if not multiplies(kernel, dtype, precision):
            continue
        case = dataclasses.replace(cases[name], dtype=dtype)
        with forced(kernel, candidate):
            try:
                check_dgrad(case, precision)
            except (RuntimeError, ValueError, NotImplementedError) as error:
                if f"no candidate {candidate}:" not in str(error):
                    raise


@pytest.mark.skipif(bool(FORCED), reason="about the planner's own choice")
@pytest.mark.parametrize("stride", [1, 3])
def test_backward_to_the_input(stride: int) -> None:
    layer = longconv.Conv1d(24, 40, 5, stride, padding=2, device=DEVICE, precision="fp32").requires_grad_(False)
    x = torch.randn(2, 24, 500, device=DEVICE, requires_grad=True)
    layer(x).square().sum().backward()
    with torch.no_grad():
        grad_y = 2 * layer(x)
    expected = expected_dgrad(grad_y.cpu(), layer.weight.cpu(), 500, stride, 2, 2, "zeros", 1, 1)
    assert expected.worst(x.grad)[0] <= 1  # type: ignore[arg-type]


@pytest.mark.skipif(bool(FORCED), reason="about the planner's own choice")
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect"])
def test_gradients_of_gradients(padding_mode: str) -> None:
    """In float64, by finite differences, of the input alone."""
    w = torch.randn(3, 2, 3, dtype=torch.float64, device=DEVICE)
    x = torch.randn(2, 2, 17, dtype=torch.float64, device=DEVICE, requires_grad=True)

    def layer(signal: torch.Tensor) -> torch.Tensor:
        return functional.conv1d(signal, w, None, 2, 2, 1, padding_mode=padding_mode).sin()

    assert torch.autograd.gradcheck(layer, (x,))
    assert torch.autograd.gradgradcheck(layer, (x,))


@pytest.mark.real_gpu
@pytest.mark.skipif(bool(FORCED), reason="about the planner's own choice")
@arithmetic
def test_no_memory_but_packed_weights(dtype: str, precision: str) -> None:
    weight = torch.randn(128, 64, 3, device=DEVICE).to(getattr(torch, dtype))
    grad_y = torch.randn(1, 128, 1 << 17, device=DEVICE).to(weight.dtype)
    arguments = (grad_y, weight, (1 << 17) * 2 + 1, 2, 0, 0, "zeros", 1, 1, precision)
    grad_x = torch.ops.longconv.dgrad(*arguments)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    again = torch.ops.longconv.dgrad(*arguments)
    torch.cuda.synchronize()
    extra = torch.cuda.max_memory_allocated() - before - again.nbytes
    assert extra <= 4 * 3 * 128 * 128 + (1 << 20), f"{extra} bytes"
    assert torch.equal(grad_x, again)


@pytest.mark.real_gpu
@pytest.mark.skipif(bool(FORCED), reason="about the planner's own choice")
def test_packed_weights_of_the_passes_are_kept_apart() -> None:
    """Square weights: what one pass packs would fit the other."""
    weight = torch.randn(64, 64, 3, device=DEVICE)
    x = torch.randn(2, 64, 900, device=DEVICE)
    plain = torch.ops.longconv.dgrad(x, weight, 902, 1, 0, 0, "zeros", 1, 1, "fp32")
    y = functional.conv1d(x, weight, precision="fp32")
    longconv.reuse_packed_weights(True)
    try:
        for _ in range(3):
            assert torch.equal(functional.conv1d(x, weight, precision="fp32"), y)
            assert torch.equal(torch.ops.longconv.dgrad(x, weight, 902, 1, 0, 0, "zeros", 1, 1, "fp32"), plain)
    finally:
        longconv.reuse_packed_weights(False)
