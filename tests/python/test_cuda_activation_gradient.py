# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Backward of a fused activation on a GPU: dgrad and wgrad read the result of the forward pass beside dL/dy and form dL/dz
themselves, against the float64 reference; and where they do not, the pass that writes dL/dz takes their place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

import longconv
from cuda_support import (
    DEVICE,
    DGRAD_KERNELS,
    FORCED,
    WGRAD_KERNELS,
    arithmetic,
    forced,
    multiplies,
    skip_unless_supported,
    synchronize,
    to_tf32,
)
from gradient_reference import expected_dgrad, expected_wgrad
from longconv import functional
from reference import Expected
from strategies import Case, lay_out, values

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(bool(FORCED), reason="forces kernels itself")]

ACTIVATIONS = {"relu": 0.0, "leaky_relu": 0.2, "tanh": 0.0, "sigmoid": 0.0}
THROUGH = {"longconv::dgrad_through_activation", "longconv::wgrad_through_activation"}
CASES = {
    "headline": Case(2, 64, 128, 3001, 3, 3, 0, 4, bias=True),
    "same": Case(2, 40, 72, 1536, 5, 1, 2, bias=True),
    "grouped": Case(2, 12, 18, 700, 3, 2, 1, 1, 3, bias=True),
    "reflect": Case(2, 33, 70, 515, 4, 1, [3, 2], 2, 1, "reflect", bias=True),
    "depthwise": Case(2, 6, 6, 500, 5, 1, 2, 1, 6),
}


def gradient_through(grad_y: torch.Tensor, y: torch.Tensor, activation: str) -> torch.Tensor:
    """dL/dz: float32 (float64) arithmetic, rounded once."""
    slope = ACTIVATIONS[activation]
    wide = torch.float64 if y.dtype == torch.float64 else torch.float32
    dy, v = grad_y.to(wide), y.to(wide)
    if activation == "relu":
        g = torch.where(v <= 0, torch.zeros_like(dy), dy)
    elif activation == "leaky_relu":
        g = torch.where(v > 0, dy, dy * torch.tensor(slope, dtype=wide, device=dy.device))
    elif activation == "tanh":
        exact = v.cpu().numpy().astype(np.longdouble)  # as a fused multiply-add: one rounding
        g = dy * torch.from_numpy((1 - exact * exact).astype(np.float64)).to(dy.device, wide)
    else:
        g = dy * (1 - v) * v
    return g.to(y.dtype)


def geometry_of(case: Case) -> tuple[int, int, int, str, int, int]:
    return case.stride, *case.pads, case.padding_mode, case.dilation, case.groups


def within(expected: Expected, got: torch.Tensor, what: str) -> None:
    worst, where = expected.worst(got)
    assert worst <= 1, f"{what}: {worst:.3g} times the bound at {where}"


def check(case: Case, precision: str, x: torch.Tensor, g: torch.Tensor, weight: torch.Tensor, grads: dict) -> None:
    """Gradients against those of dL/dz."""
    x, g, weight = x.detach().cpu(), g.detach().cpu(), weight.detach().cpu()
    rounded = (lambda t: to_tf32(t)) if precision == "tf32" and DEVICE == "cuda" else (lambda t: t)
    geometry = geometry_of(case)
    if "x" in grads:
        within(expected_dgrad(rounded(g), rounded(weight), case.length, *geometry), grads["x"], "dL/dx")
    if "weight" in grads:
        expected = expected_wgrad(rounded(x), rounded(g), case.kernel_size, *geometry)[0]
        within(expected, grads["weight"], "dL/dw")
    if "bias" in grads:
        within(expected_wgrad(x, g, case.kernel_size, *geometry)[1], grads["bias"], "dL/db")


def tensors_of(case: Case) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    x, weight, bias, _ = case.tensors()
    # Results near the middle of the activation, where its derivative says something.
    scale = 0.5 / (weight.shape[1] * weight.shape[2]) ** 0.5
    x, weight = x.clamp(-2, 2), (weight.clamp(-2, 2).double() * scale).to(weight.dtype)
    bias = None if bias is None else bias.clamp(-1, 1)
    leaves = [None if t is None else t.to(DEVICE).requires_grad_() for t in (x, weight, bias)]
    return leaves[0], leaves[1], leaves[2]  # type: ignore[return-value]


def forward(case: Case, precision: str, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, **more):
    options = {**case.options(), "negative_slope": ACTIVATIONS[case.activation], **more}
    return functional.conv1d(x, weight, bias, precision=precision, **options)


def backward(run: Callable[[], None]) -> set[str]:
    """The operators that it called."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as record:
        run()
    synchronize()
    return {event.name for event in record.events()}


def expect_through_passes(called: set[str], expected: set[str] = THROUGH) -> None:
    if DEVICE == "cuda":
        assert called & THROUGH == expected, sorted(name for name in called if "longconv" in name or "backward" in name)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", CASES)
@arithmetic
def test_gradients_within_the_bound(name: str, activation: str, dtype: str, precision: str) -> None:
    skip_unless_supported(dtype, precision)
    if DEVICE != "cuda" and activation in ("tanh", "sigmoid") and dtype != "float32":
        pytest.skip("PyTorch's pass rounds more often")
    case = dataclasses.replace(CASES[name], dtype=dtype, activation=activation)
    x, weight, bias = tensors_of(case)
    y = forward(case, precision, x, weight, bias)
    grad_y = values(tuple(y.shape), y.dtype, torch.Generator().manual_seed(1)).to(DEVICE)
    called = backward(lambda: y.backward(grad_y))
    expect_through_passes(called)
    assert "aten::threshold_backward" not in called or DEVICE != "cuda"
    grads = {"x": x.grad, "weight": weight.grad} | ({} if bias is None else {"bias": bias.grad})
    check(case, precision, x, gradient_through(grad_y, y.detach(), activation), weight, grads)


@pytest.mark.parametrize("wanted", ["x", "weight", "weight bias", "x bias", "bias"])
def test_each_gradient_by_itself(wanted: str) -> None:
    """The bias's alone is a sum of dL/dz, which is then made."""
    case = dataclasses.replace(CASES["same"], activation="relu")
    x, weight, bias = tensors_of(case)
    leaves = {"x": x, "weight": weight, "bias": bias}
    for leaf_name, leaf in leaves.items():
        leaf.requires_grad_(leaf_name in wanted.split())
    y = forward(case, "fp32", x, weight, bias)
    grad_y = torch.randn_like(y)
    called = backward(lambda: y.backward(grad_y))
    passes = {"x": {"longconv::dgrad_through_activation"}, "weight": {"longconv::wgrad_through_activation"}}
    expect_through_passes(called, passes.get(wanted.split()[0], set()) if wanted not in ("x bias", "bias") else set())
    g = gradient_through(grad_y, y.detach(), "relu")
    check(case, "fp32", x, g, weight, {leaf_name: leaves[leaf_name].grad for leaf_name in wanted.split()})


@pytest.mark.parametrize("layout", ["rows", "nwc", "unaligned", "every_third", "time_expanded"])
def test_gradients_that_do_not_lie_as_the_result(layout: str) -> None:
    case = dataclasses.replace(CASES["same"], activation="tanh")
    x, weight, bias = tensors_of(case)
    y = forward(case, "fp32", x, weight, bias)
    grad_y = values(tuple(y.shape), y.dtype, torch.Generator().manual_seed(1))
    moved = lay_out(grad_y, layout)
    strided = torch.empty_strided(moved.shape, moved.stride(), dtype=moved.dtype, device=DEVICE)
    if layout == "unaligned":
        strided = torch.empty(moved.numel() + 1, device=DEVICE)[1:].view(moved.shape)
    if layout == "time_expanded":
        strided = moved[..., :1].contiguous().to(DEVICE).expand(moved.shape)
    else:
        strided.copy_(moved)
    called = backward(lambda: y.backward(strided))
    expect_through_passes(called, set())
    grads = {"x": x.grad, "weight": weight.grad, "bias": bias.grad}
    check(case, "fp32", x, gradient_through(strided, y.detach(), "tanh"), weight, grads)


def test_gradients_where_the_residual_wants_its_own() -> None:
    case = dataclasses.replace(CASES["same"], activation="sigmoid")
    x, weight, bias = tensors_of(case)
    residual = torch.randn(2, *case.out_shape[-2:], device=DEVICE, requires_grad=True)
    y = forward(case, "fp32", x, weight, bias, residual=residual)
    grad_y = torch.randn_like(y)
    expect_through_passes(backward(lambda: y.backward(grad_y)), set())
    g = gradient_through(grad_y, y.detach(), "sigmoid")
    torch.testing.assert_close(residual.grad, g)
    check(case, "fp32", x, g, weight, {"x": x.grad, "weight": weight.grad, "bias": bias.grad})


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_gradients(activation: str) -> None:
    """In float64, by finite differences."""
    w = torch.randn(3, 2, 3, dtype=torch.float64, device=DEVICE, requires_grad=True)
    x = torch.randn(2, 2, 17, dtype=torch.float64, device=DEVICE, requires_grad=True)

    def layer(signal: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return functional.conv1d(signal, weight, padding=1, activation=activation, negative_slope=0.3)

    assert torch.autograd.gradcheck(layer, (x, w))
    assert torch.autograd.gradgradcheck(layer, (x, w))


def test_results_in_lower_precision_give_parameters_f32_gradients() -> None:
    layer = longconv.Conv1d(24, 40, 5, padding=2, activation="relu", device=DEVICE)
    x = torch.randn(2, 24, 800, device=DEVICE, requires_grad=True)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        y = layer(x)
    grad_y = torch.randn_like(y)
    expect_through_passes(backward(lambda: y.backward(grad_y)))
    g = gradient_through(grad_y, y.detach(), "relu")
    rounded = x.detach().bfloat16()
    grads = torch.ops.longconv.wgrad(rounded, g, 5, 1, 2, 2, "zeros", 1, 1, True, "fp32", torch.float32)
    assert layer.weight.grad.dtype == torch.float32
    torch.testing.assert_close(layer.weight.grad, grads[0], rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(layer.bias.grad, grads[1], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("candidate", [0, 1, 5])
@pytest.mark.parametrize("kernel", DGRAD_KERNELS + WGRAD_KERNELS)
def test_every_kernel(kernel: str, candidate: int) -> None:
    if DEVICE != "cuda":
        pytest.skip("the CPU has no such operator")
    for name in ("headline", "reflect"):
        for dtype, precision in (("bfloat16", "fp32"), ("float32", "tf32"), ("float32", "fp32")):
            if not multiplies(kernel, dtype, precision):
                continue
            case = dataclasses.replace(CASES[name], dtype=dtype)
            x, weight, _ = (None if t is None else t.detach() for t in tensors_of(case))
            shape = (2, *case.out_shape[-2:])
            y = torch.randn(shape, device=DEVICE).to(x.dtype).relu()
            grad_y = torch.randn(shape, device=DEVICE).to(x.dtype)
            through = ("relu", 0.0, precision)
            with forced(kernel, candidate):
                try:
                    if "dgrad" in kernel:
                        arguments = (weight, case.length, *geometry_of(case), *through)
                        grads = {"x": torch.ops.longconv.dgrad_through_activation(grad_y, y, *arguments)}
                    else:
                        arguments = (case.kernel_size, *geometry_of(case), True, *through)
                        grads = dict(
                            zip(
                                ("weight", "bias"),
                                torch.ops.longconv.wgrad_through_activation(x, grad_y, y, *arguments),
                            )
                        )
                except ValueError as error:
                    if f"no candidate {candidate}:" not in str(error):
                        raise
                    continue
            synchronize()
            check(case, precision, x, gradient_through(grad_y, y, "relu"), weight, grads)


@pytest.mark.real_gpu
def test_no_memory_for_the_gradient_before_the_activation() -> None:
    layer = longconv.Conv1d(64, 128, 3, padding=1, activation="relu", device=DEVICE, precision="fp32")
    x = torch.randn(1, 64, 1 << 18, device=DEVICE, requires_grad=True)
    y = layer(x)
    grad_y = torch.randn_like(y)
    y.backward(grad_y, retain_graph=True)  # compiles
    layer.zero_grad()
    x.grad = None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    y.backward(grad_y)
    torch.cuda.synchronize()
    extra = torch.cuda.max_memory_allocated() - before - x.nbytes
    assert extra <= (64 << 20) + (8 << 20), f"{extra} bytes; dL/dz would be {y.nbytes}"
