# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""torch.func: vmap in every combination of batched operands, grad, jvp, jacobians and their compositions."""

from __future__ import annotations

import itertools

import pytest
import torch

import longconv
from longconv.functional import conv1d

func = pytest.importorskip("torch.func")
vmap = func.vmap
has_rules = pytest.mark.skipif(not hasattr(torch.library, "register_vmap"), reason="before PyTorch 2.5 vmap loops")

B = 3  # the vmapped dimension
N, C, OUT, K, L = 2, 4, 6, 3, 12
GEOMETRY = (2, 2, 1, "reflect", 2)  # stride, pads, mode, dilation
T = (L + 3 - 2 * (K - 1) - 1) // 2 + 1
GROUPS = (1, 2)


def subsets(names):
    return [c for n in range(1, len(names) + 1) for c in itertools.combinations(names, n)]


def draw(batched, **shapes):
    """Tensors, those named in `batched` with B as one of their dimensions; and in_dims."""
    tensors, dims = [], []
    for position, (name, shape) in enumerate(shapes.items()):
        dim = position % (len(shape) + 1) if name in batched else None  # B at the front, inside, at the end
        full = shape if dim is None else (*shape[:dim], B, *shape[dim:])
        tensors.append(torch.randn(full, dtype=torch.float64))
        dims.append(dim)
    return tensors, tuple(dims)


def loop(f, tensors, dims):
    """What vmap means."""
    results = [f(*(t if d is None else t.select(d, b) for t, d in zip(tensors, dims))) for b in range(B)]
    return [torch.stack(parts) for parts in zip(*results)]


def check(f, tensors, dims):
    got = vmap(f, in_dims=dims)(*tensors)
    for a, b in zip(got, loop(f, tensors, dims)):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("error:There is a performance drop")
@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("batched", subsets(("x", "weight", "bias", "residual")))
@has_rules
def test_vmap_fprop(batched, groups):
    tensors, dims = draw(batched, x=(N, C, L), weight=(OUT, C // groups, K), bias=(OUT,), residual=(N, OUT, T))

    def f(x, weight, bias, residual):
        return (torch.ops.longconv.fprop(x, weight, bias, residual, *GEOMETRY, groups, "tanh", 0.0, "follow"),)

    check(f, tensors, dims)


@pytest.mark.filterwarnings("error:There is a performance drop")
@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("batched", subsets(("grad_y", "weight")))
@has_rules
def test_vmap_dgrad(batched, groups):
    tensors, dims = draw(batched, grad_y=(N, OUT, T), weight=(OUT, C // groups, K))
    check(lambda *t: (torch.ops.longconv.dgrad(*t, L, *GEOMETRY, groups, "follow"),), tensors, dims)


@pytest.mark.filterwarnings("error:There is a performance drop")
@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("batched", subsets(("grad_y", "weight", "bias", "residual")))
@has_rules
def test_vmap_dgrad_with_epilogue(batched, groups):
    tensors, dims = draw(batched, grad_y=(N, OUT, T), weight=(OUT, C // groups, K), bias=(C,), residual=(N, C, L))

    def f(grad_y, weight, bias, residual):
        return (torch.ops.longconv.dgrad(grad_y, weight, L, *GEOMETRY, groups, "follow", bias, residual),)

    check(f, tensors, dims)


@pytest.mark.filterwarnings("error:There is a performance drop")
@pytest.mark.parametrize("bias_grad", [False, True])
@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("batched", subsets(("x", "grad_y")))
@has_rules
def test_vmap_wgrad(batched, groups, bias_grad):
    tensors, dims = draw(batched, x=(N, C, L), grad_y=(N, OUT, T))
    check(lambda *t: torch.ops.longconv.wgrad(*t, K, *GEOMETRY, groups, bias_grad, "follow"), tensors, dims)


@has_rules
def test_nested_vmap():
    x, weight = torch.randn(2, 3, N, C, L, dtype=torch.float64), torch.randn(3, 2, OUT, C, K, dtype=torch.float64)
    got = vmap(vmap(conv1d), in_dims=(0, 1))(x, weight)
    for i, j in itertools.product(range(2), range(3)):
        torch.testing.assert_close(got[i, j], conv1d(x[i, j], weight[j, i]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("groups", GROUPS)
def test_per_sample_gradients(groups):
    x = torch.randn(B, C, L, dtype=torch.float64)
    parameters = {"weight": torch.randn(OUT, C // groups, K).double(), "bias": torch.randn(OUT).double()}

    def loss(parameters, x):
        return conv1d(x, **parameters, stride=2, padding="same", groups=groups, activation="tanh").square().sum()

    got = vmap(func.grad(loss), in_dims=(None, 0))(parameters, x)
    for b in range(B):
        one = func.grad(loss)(parameters, x[b])
        for name, grad in one.items():
            torch.testing.assert_close(got[name][b], grad, rtol=1e-12, atol=1e-12)


@has_rules
def test_ensemble_of_modules():
    modules = [longconv.Conv1d(C, OUT, K, groups=2, padding="same").double() for _ in range(B)]
    parameters, buffers = func.stack_module_state(modules)
    x = torch.randn(N, C, L, dtype=torch.float64)
    got = vmap(lambda p, b, x: func.functional_call(modules[0], (p, b), (x,)), in_dims=(0, 0, None))(
        parameters, buffers, x
    )
    for b, module in enumerate(modules):
        torch.testing.assert_close(got[b], module(x), rtol=1e-12, atol=1e-12)


def scalar(x, weight, bias):
    return conv1d(x, weight, bias, stride=2, padding=(2, 1), dilation=2, activation="silu").sin().sum()


OPERANDS = {"x": (N, C, 8), "weight": (3, C, K), "bias": (3,)}


def test_grad_and_jvp_agree():
    tensors, _ = draw((), **OPERANDS)
    tangents, _ = draw((), **OPERANDS)
    grads = func.grad(scalar, argnums=(0, 1, 2))(*tensors)
    _, tangent = func.jvp(scalar, tuple(tensors), tuple(tangents))
    expected = sum((g * t).sum() for g, t in zip(grads, tangents))
    torch.testing.assert_close(tangent, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("argnum", [0, 1, 2])
def test_jacobians_and_hessians_agree(argnum):
    tensors, _ = draw((), **OPERANDS)
    torch.testing.assert_close(
        func.jacfwd(scalar, argnum)(*tensors), func.jacrev(scalar, argnum)(*tensors), rtol=1e-11, atol=1e-11
    )
    hessian = func.hessian(scalar, argnum)(*tensors)  # forward over reverse
    other = func.jacrev(func.jacrev(scalar, argnum), argnum)(*tensors)
    torch.testing.assert_close(hessian, other, rtol=1e-11, atol=1e-11)


def test_forward_over_forward():
    tensors, _ = draw((), **OPERANDS)
    v, _ = draw((), **OPERANDS)

    def directional(x):
        return func.jvp(lambda x: scalar(x, *tensors[1:]), (x,), (v[0],))[1]

    _, twice = func.jvp(directional, (tensors[0],), (v[0],))
    hessian = func.hessian(scalar)(*tensors)
    torch.testing.assert_close(twice, torch.einsum("abcdef,abc,def->", hessian, v[0], v[0]), rtol=1e-10, atol=1e-10)


def test_linearize_and_vjp():
    tensors, _ = draw((), **OPERANDS)
    tangents, _ = draw((), **OPERANDS)
    y, pullback = func.vjp(conv1d, *tensors)
    cotangent = torch.randn_like(y)
    _, push = func.jvp(conv1d, tuple(tensors), tuple(tangents))
    expected = (push * cotangent).sum()
    got = sum((g * t).sum() for g, t in zip(pullback(cotangent), tangents))
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11)
    if hasattr(func, "linearize"):
        _, linear = func.linearize(conv1d, *tensors)
        torch.testing.assert_close(linear(*tangents), push, rtol=1e-11, atol=1e-11)


def test_functionalize():
    tensors, _ = draw((), **OPERANDS)
    torch.testing.assert_close(func.functionalize(scalar)(*tensors), scalar(*tensors), rtol=0, atol=0)
