# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The weight gradient on a GPU, against the float64 reference, element by element; both operands lie in NaN.

``LONGCONV_CUDA_KERNEL=dense_wgrad_sm80`` (or another kernel's name) runs the tests on that kernel.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import longconv
from cuda_support import (
    ARITHMETICS,
    DEVICE,
    FORCED,
    WGRAD_KERNELS,
    arithmetic,
    forced,
    multiplies,
    skip_unless_supported,
    surrounded,
    synchronize,
    to_tf32,
)
from gradient_reference import expected_wgrad
from longconv import functional
from reference import Expected, to_numpy
from strategies import Case, lay_out, values

pytestmark = pytest.mark.cuda

CASES = [
    Case(2, 64, 128, 3000, 3, 3, 0, 4),
    Case(2, 64, 128, 1537, 3, bias=True),
    Case(1, 64, 128, 2000, 2, 1, 0, 512),
    Case(2, 256, 256, 1024, 3, 1, 8, 8),
    Case(1, 48, 96, 4001, 8, 4),
    Case(1, 128, 128, 1030, 11, 1, 25, 5),
    Case(2, 32, 64, 2051, 4, 2, 1),
    Case(1, 16, 17, 999, 1),
    Case(1, 100, 65, 777, 3, 2, [2, 5], 3, bias=True),
    Case(1, 32, 100, 3000, 40, 1, [20, 19]),
    Case(1, 64, 128, 8000, 3, 17, 0, 5),
    Case(300, 16, 64, 20, 3, 1, 1),
    Case(1, 512, 640, 300, 5, 1, 2),
    Case(1, 7, 513, 331, 7, 3, 3, 2),
    Case(1, 65, 3, 1021, 9, 1, "causal"),
    Case(2, 33, 130, 1025, 5, 1, 4, 2, 1, "reflect", bias=True),
    Case(1, 24, 200, 1500, 7, 1, 3, 1, 1, "circular"),
    Case(2, 65, 64, 1111, 3, 1, 1, 1, 1, "replicate"),
    Case(2, 64, 128, 900, 5, 1, 2, 1, 2, bias=True),
    Case(2, 6, 6, 500, 5, 1, 2, 1, 6, bias=True),
    Case(1, 4, 8, 1000, 4, 3, 2, 2, 4),
    Case(1, 1, 1, 3000, 257, 1, 128),
    Case(2, 20, 40, 60_000, 3, 1, 1, bias=True),
]
LAYOUTS = ["contiguous", "nwc", "rows", "every_third", "batch_expanded", "time_expanded", "channels_expanded"]
LONGEST_CHAIN = 512


def geometry(case: Case) -> tuple[int, int, int, str, int, int]:
    return case.stride, *case.pads, case.padding_mode, case.dilation, case.groups


def operands(case: Case, layout: str = "contiguous") -> tuple[torch.Tensor, torch.Tensor]:
    """(x, dy) on the host."""
    x = case.tensors()[0]
    grad_y = values((x.shape[0], *case.out_shape[-2:]), x.dtype, torch.Generator().manual_seed(case.seed + 1))
    return x, lay_out(grad_y, layout)


def expect(x: torch.Tensor, grad_y: torch.Tensor, case: Case, precision: str) -> tuple[Expected, Expected]:
    """Gradients of weight and bias with their bounds: chains of sums have at most 512 terms."""
    x, grad_y = x.cpu(), grad_y.cpu()
    rounded = precision == "tf32" and DEVICE == "cuda"
    factors = (to_tf32(x), to_tf32(grad_y)) if rounded else (x, grad_y)
    weight, _ = expected_wgrad(*factors, case.kernel_size, *geometry(case))
    _, bias = expected_wgrad(x, grad_y, case.kernel_size, *geometry(case))
    terms = grad_y.shape[0] * grad_y.shape[2]
    share = (min(terms, LONGEST_CHAIN) + 2) / (terms + 2) if x.dtype != torch.float64 else 1.0
    if x.dtype == torch.float32:
        return Expected(weight.y, weight.bound * share), Expected(bias.y, bias.bound * share)
    return weight, bias


def wgrad(
    x: torch.Tensor, grad_y: torch.Tensor, case: Case, precision: str, grad_dtype: torch.dtype | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    arguments = (case.kernel_size, *geometry(case), case.bias, precision, grad_dtype)
    grads = torch.ops.longconv.wgrad(x.to(DEVICE), grad_y.to(DEVICE), *arguments)
    synchronize()
    return grads


def check(x: torch.Tensor, grad_y: torch.Tensor, case: Case, precision: str) -> None:
    weight, bias = expect(x, grad_y, case, precision)
    grad_w, grad_b = wgrad(x, grad_y, case, precision)
    worst, where = weight.worst(grad_w)
    assert worst <= 1, f"{worst:.3g} times the bound at {where}\n{precision} {FORCED} {case.replay()}"
    if case.bias:
        worst, where = bias.worst(grad_b)
        assert worst <= 1, f"bias: {worst:.3g} times the bound at {where}\n{precision} {FORCED} {case.replay()}"
    else:
        assert grad_b.shape == (0,)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.in_channels}-{c.out_channels}-k{c.kernel_size}-s{c.stride}")
@arithmetic
def test_every_shape_within_the_bound(case: Case, dtype: str, precision: str) -> None:
    skip_unless_supported(dtype, precision)
    case = dataclasses.replace(case, dtype=dtype)
    check(*operands(case), case, precision)


@pytest.mark.parametrize("layout", LAYOUTS)
@arithmetic
def test_every_layout(layout: str, dtype: str, precision: str) -> None:
    skip_unless_supported(dtype, precision)
    case = Case(2, 32, 72, 700, 5, 1, 2, dtype=dtype, input_layout=layout, bias=True)
    check(*operands(case), case, precision)
    case = dataclasses.replace(case, input_layout="contiguous")
    check(*operands(case, layout), case, precision)


@pytest.mark.parametrize("offset", range(8))
@arithmetic
def test_every_length_and_alignment(offset: int, dtype: str, precision: str) -> None:
    """Rows begin on any element, one after another without a gap or with one: neighbours are real numbers or NaN."""
    skip_unless_supported(dtype, precision)
    kind = getattr(torch, dtype)
    for stride, samples in ((1, 1), (1, 2), (1, 15), (1, 17), (3, 63), (1, 64), (1, 65), (2, 127), (1, 129), (3, 257)):
        samples += offset
        case = Case(2, 32, 72, (samples - 1) * stride + 3 + offset % stride, 3, stride, dtype=dtype)
        x, _ = surrounded(2, 32, case.length, kind, offset, gap=offset % 3)
        grad_y, _ = surrounded(2, 72, samples, kind, (3 * offset + 1) % 8, gap=offset % 2)
        x.copy_(torch.randn(x.shape))
        grad_y.copy_(torch.randn(grad_y.shape))
        check(x, grad_y, case, precision)


@pytest.mark.parametrize("special", ["inf", "nan", "-inf"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_non_finite_numbers_stay_in_their_products(special: str, dtype: str) -> None:
    """And are not multiplied by padding."""
    skip_unless_supported(dtype, "fp32")
    case = Case(2, 32, 70, 901, 5, 2, 6, 3, bias=True, dtype=dtype)
    for which in (0, 1):
        for place in (0, 450, -1):
            pair = operands(case)
            pair[which][1, 5, min(place, pair[which].shape[2] - 1)] = float(special)
            weight, bias = expect(*pair, case, "fp32")
            for expected, got in zip((weight, bias), wgrad(*pair, case, "fp32")):
                number = to_numpy(got)
                assert np.array_equal(np.isnan(number), np.isnan(expected.y))
                assert np.array_equal(np.isinf(number), np.isinf(expected.y))


@pytest.mark.parametrize("special", ["huge", "tiny", "subnormal", "wide", "quiet"])
@pytest.mark.parametrize("which", [0, 1])
def test_fp32_special_values(special: str, which: int) -> None:
    skip_unless_supported("float32", "fp32")
    case = Case(2, 64, 96, 4000, 3, 3, 0, 4)
    pair = operands(case)
    v = pair[which]
    if special == "huge":
        v[1, 7, 123] = 1e30
    elif special == "tiny":
        v *= 1e-30
    elif special == "subnormal":
        v *= 1e-39
    elif special == "wide":
        v *= torch.exp(8 * torch.randn(v.shape, generator=torch.Generator().manual_seed(1)))
    else:
        v[..., 300:600] *= 1e-13
    check(*pair, case, "fp32")


@arithmetic
def test_same_bits_on_every_run(dtype: str, precision: str) -> None:
    skip_unless_supported(dtype, precision)
    case = Case(3, 33, 70, 5000, 5, 2, 3, bias=True, dtype=dtype)
    pair = operands(case)
    first = wgrad(*pair, case, precision)
    for _ in range(3):
        for a, b in zip(first, wgrad(*pair, case, precision)):
            assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_float32_gradients_of_16_bit_operands(dtype: str) -> None:
    """They are rounded once less."""
    skip_unless_supported(dtype, "fp32")
    case = Case(2, 32, 72, 1500, 3, 1, 1, bias=True, dtype=dtype)
    pair = operands(case)
    weight, bias = expect(pair[0].float(), pair[1].float(), case, "fp32")
    for expected, got in zip((weight, bias), wgrad(*pair, case, "fp32", torch.float32)):
        assert got.dtype == torch.float32
        worst, where = expected.worst(got)
        assert worst <= 1, f"{worst:.3g} times the bound at {where}"
    with pytest.raises(RuntimeError, match="grad_dtype"):
        wgrad(*pair, case, "fp32", torch.float64)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_empty_batch_gives_zeros(dtype: str) -> None:
    case = Case(0, 4, 6, 20, 3, bias=True, dtype=dtype)
    for grad in wgrad(*operands(case), case, "fp32"):
        assert torch.equal(grad.cpu(), torch.zeros_like(grad.cpu()))
        assert grad.numel() > 0


def test_gradcheck_of_the_weight() -> None:
    x = torch.randn(2, 4, 25, dtype=torch.float64, device=DEVICE)
    weight = torch.randn(6, 2, 3, dtype=torch.float64, device=DEVICE, requires_grad=True)
    bias = torch.randn(6, dtype=torch.float64, device=DEVICE, requires_grad=True)
    for mode in ("zeros", "reflect", "replicate", "circular"):

        def f(w: torch.Tensor, b: torch.Tensor, mode: str = mode) -> torch.Tensor:
            return functional.conv1d(x, w, b, stride=2, padding=3, dilation=2, groups=2, padding_mode=mode)

        assert torch.autograd.gradcheck(f, (weight, bias))
        assert torch.autograd.gradgradcheck(f, (weight, bias))


@pytest.mark.real_gpu
def test_a_layer_learns_as_pytorchs_does() -> None:
    ours = longconv.Conv1d(16, 24, 5, stride=2, padding=2, device=DEVICE)
    x, target = torch.randn(4, 16, 999, device=DEVICE), torch.randn(4, 24, 500, device=DEVICE)
    theirs = torch.nn.Conv1d(16, 24, 5, stride=2, padding=2, device=DEVICE)
    theirs.load_state_dict(ours.state_dict())
    for layer in (ours, theirs):
        torch.nn.functional.mse_loss(layer(x), target).backward()
    for name in ("weight", "bias"):
        mine, other = getattr(ours, name).grad, getattr(theirs, name).grad
        assert torch.allclose(mine, other, rtol=1e-2, atol=1e-5), name


@pytest.mark.real_gpu
@pytest.mark.skipif(bool(FORCED), reason="forces kernels itself")
@pytest.mark.parametrize("candidate", range(8))
@pytest.mark.parametrize(
    ("kernel", "dtype", "precision"), [(k, d, p) for k in WGRAD_KERNELS for d, p in ARITHMETICS if multiplies(k, d, p)]
)
def test_every_config(kernel: str, dtype: str, precision: str, candidate: int) -> None:
    for case in (Case(2, 64, 128, 3001, 3, 3, 0, 4, bias=True), Case(1, 136, 264, 1100, 5, 1, 2)):
        case = dataclasses.replace(case, dtype=dtype)
        pair = operands(case)
        with forced(kernel, candidate):
            try:
                check(*pair, case, precision)
            except ValueError as error:
                if f"no candidate {candidate}:" in str(error):
                    pytest.skip("fewer configs")
                raise
