# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Under autocast each call computes in the type in which torch.nn.functional.conv1d does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from longconv.functional import conv1d


def autocast_dtypes():
    """Those that this PyTorch's CPU autocast knows."""
    if tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 1):
        return [torch.bfloat16, torch.float16]
    return [torch.bfloat16]


TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.complex64, torch.int64)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("lower", autocast_dtypes())
def test_result_type_is_that_of_pytorch(lower, dtype):
    x, weight, bias = torch.ones(2, 3, 10).to(dtype), torch.ones(4, 3, 3).to(dtype), torch.ones(4).to(dtype)
    with torch.autocast("cpu", lower):
        assert conv1d(x, weight, bias).dtype == F.conv1d(x, weight, bias).dtype


@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
def test_casts_every_operand(activation):
    x, weight, bias, residual = torch.randn(2, 3, 10), torch.randn(4, 3, 3), torch.randn(4), torch.randn(2, 4, 8)
    with torch.autocast("cpu", torch.bfloat16):
        got = conv1d(x, weight, bias, residual=residual, activation=activation)
        mixed = conv1d(x.bfloat16(), weight, bias, residual=residual, activation=activation)
    lower = [t.bfloat16() for t in (x, weight, bias)]
    expected = conv1d(*lower, residual=residual.bfloat16(), activation=activation)
    assert torch.equal(got, expected)
    assert torch.equal(mixed, expected)


def test_mixed_types_that_pytorch_refuses_are_refused():
    x, weight, bias = torch.ones(2, 3, 10).double(), torch.ones(4, 3, 3), torch.ones(4)
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(RuntimeError):
            F.conv1d(x, weight, bias)
        with pytest.raises(RuntimeError, match="should be the same"):
            conv1d(x, weight, bias)


@pytest.mark.parametrize("inside", [False, True])
def test_gradients_have_the_parameters_type(inside):
    """backward() outside of the region, and inside it, as some training loops have it."""
    x = torch.randn(2, 3, 10, requires_grad=True)
    weight, bias = torch.randn(4, 3, 3, requires_grad=True), torch.randn(4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = conv1d(x, weight, bias, activation="relu").float().sum()
        if inside:
            loss.backward()
    if not inside:
        loss.backward()
    assert {t.grad.dtype for t in (x, weight, bias)} == {torch.float32}
    lower = [t.bfloat16() for t in (x, weight, bias)]
    expected = torch.autograd.grad(conv1d(*lower, activation="relu").float().sum(), (x, weight, bias))
    assert torch.equal(x.grad, expected[0])
    # Those of parameters are rounded once less (test_mixed_precision.py).
    assert torch.equal(weight.grad.bfloat16(), expected[1].bfloat16())
    assert torch.equal(bias.grad.bfloat16(), expected[2].bfloat16())


def test_double_backward_under_autocast_keeps_the_saved_type():
    x, weight = torch.randn(2, 3, 10, requires_grad=True), torch.randn(4, 3, 3, requires_grad=True)

    def second(context):
        (first,) = torch.autograd.grad(conv1d(x, weight).square().sum(), x, create_graph=True)
        with context:
            return torch.autograd.grad(first.square().sum(), weight)[0]

    import contextlib

    assert torch.equal(second(torch.autocast("cpu", torch.bfloat16)), second(contextlib.nullcontext()))


def test_disabled_autocast_changes_nothing():
    x, weight = torch.randn(2, 3, 10), torch.randn(4, 3, 3)
    with torch.autocast("cpu", torch.bfloat16), torch.autocast("cpu", enabled=False):
        assert torch.equal(conv1d(x, weight), conv1d(x.clone(), weight))
        assert conv1d(x, weight).dtype == torch.float32
