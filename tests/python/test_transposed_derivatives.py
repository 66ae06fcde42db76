# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Derivatives of conv_transpose1d of any order, reverse and forward, torch.func, autocast; what is saved."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

import longconv
from longconv.functional import conv_transpose1d

has_func = pytest.mark.skipif(not hasattr(torch, "func"), reason="PyTorch 2 brought torch.func")
GEOMETRIES = {
    "plain": {},
    "strided": {"stride": 2, "padding": 1, "output_padding": 1},
    "dilated": {"dilation": 3, "padding": 2, "output_padding": 2},
    "unreached": {"dilation": 3, "output_padding": 2},
    "grouped": {"groups": 2, "stride": 3},
    "depthwise": {"groups": 4, "dilation": 2, "stride": 2},
}
PARTS = ("x", "weight", "bias", "residual")
FAST = {"fast_mode": True}


def operands(form, dtype=torch.float64):
    """Small leaves: (x, weight, bias, residual)."""
    options = GEOMETRIES[form]

    def leaf(*shape):
        return torch.randn(*shape, dtype=dtype).requires_grad_()

    x, weight, bias = leaf(2, 4, 7), leaf(4, 4 // options.get("groups", 1), 3), leaf(4)
    return x, weight, bias, leaf(*conv_transpose1d(x, weight, **options).shape)


def named(tensors):
    return {("input" if name == "x" else name): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("form", "dtype"),
    [(form, torch.float64) for form in GEOMETRIES] + [(form, torch.complex128) for form in ("strided", "depthwise")],
)
def test_first_and_second_order(form, dtype):
    def f(x, weight, bias, residual):
        return conv_transpose1d(x, weight, bias, residual=residual, **GEOMETRIES[form])

    inputs = operands(form, dtype)
    assert gradcheck(f, inputs, check_forward_ad=True, **FAST)
    assert gradgradcheck(f, inputs, check_fwd_over_rev=True, check_rev_over_rev=True, **FAST)


def test_third_order():
    x, weight, bias, _ = operands("strided")

    def second(x, weight):
        y = conv_transpose1d(x, weight, bias, **GEOMETRIES["strided"]).tanh()
        (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), weight, create_graph=True)[0]

    assert gradcheck(second, (x, weight), **FAST)


@pytest.mark.parametrize("wanted", [c for n in (1, 2, 3) for c in itertools.combinations(PARTS, n)])
def test_any_subset_of_gradients(wanted):
    """Each gradient is the same bits whichever others are wanted."""
    inputs = dict(zip(PARTS, operands("strided")))
    everything = conv_transpose1d(**named(inputs), **GEOMETRIES["strided"])
    direction = torch.randn_like(everything)
    full = dict(zip(PARTS, torch.autograd.grad(everything, list(inputs.values()), direction)))
    some = {name: t.detach().requires_grad_(name in wanted) for name, t in inputs.items()}
    y = conv_transpose1d(**named(some), **GEOMETRIES["strided"])
    for name, grad in zip(wanted, torch.autograd.grad(y, [some[name] for name in wanted], direction)):
        assert torch.equal(grad, full[name])


@pytest.mark.parametrize(
    ("wanted", "saved"),
    [
        (("weight",), {"x"}),
        (("x",), {"weight"}),
        (("bias",), set()),
        (("residual",), set()),
        (("x", "weight", "bias", "residual"), {"x", "weight"}),
    ],
)
def test_saves_nothing_that_no_gradient_needs(wanted, saved):
    inputs = {n: t.detach().requires_grad_(n in wanted) for n, t in zip(PARTS, operands("strided"))}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        conv_transpose1d(**named(inputs), **GEOMETRIES["strided"])
    owners = {t.data_ptr(): n for n, t in inputs.items()}
    assert {owners[t.data_ptr()] for t in kept} == saved
    assert len(kept) == len(saved)


def test_inputs_changed_after_the_forward_pass_are_noticed():
    x, weight, _, _ = operands("plain")
    inner = x * 1
    y = conv_transpose1d(inner, weight)
    inner.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_out_overwriting_a_saved_tensor_is_noticed_in_backward():
    x, weight = torch.randn(1, 4, 9), torch.randn(4, 4, 1, requires_grad=True)
    y = conv_transpose1d(x, weight)
    conv_transpose1d(torch.ones(1, 4, 9), torch.ones(4, 4, 1), out=x)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_no_graph_where_none_is_wanted():
    x, weight, bias, _ = operands("plain")
    with torch.no_grad():
        assert conv_transpose1d(x, weight, bias).grad_fn is None
    with torch.inference_mode():
        assert conv_transpose1d(x, weight, bias).is_inference()
    assert conv_transpose1d(x, weight).grad_fn.name() == "LongconvDgradBackward"


def test_gradients_of_an_empty_batch_are_zero():
    x = torch.zeros(0, 4, 9, requires_grad=True)
    weight, bias = torch.randn(4, 6, 3, requires_grad=True), torch.randn(6, requires_grad=True)
    conv_transpose1d(x, weight, bias).sum().backward()
    assert x.grad.shape == (0, 4, 9)
    assert torch.equal(weight.grad, torch.zeros(4, 6, 3))
    assert torch.equal(bias.grad, torch.zeros(6))


@pytest.mark.parametrize("form", ["strided", "unreached"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_forward_mode_tangent_of_each_operand_alone(form, dtype):
    import torch.autograd.forward_ad as forward_ad

    inputs, options = dict(zip(PARTS, operands(form, dtype))), GEOMETRIES[form]
    for name in PARTS:
        tangent = torch.randn_like(inputs[name])
        with forward_ad.dual_level():
            dual = {n: forward_ad.make_dual(t, tangent) if n == name else t for n, t in inputs.items()}
            got = forward_ad.unpack_dual(conv_transpose1d(**named(dual), **options)).tangent
        changed = {n: t + tangent if n == name else t for n, t in inputs.items()}
        exact = conv_transpose1d(**named(changed), **options) - conv_transpose1d(**named(inputs), **options)
        torch.testing.assert_close(got, exact, rtol=1e-12, atol=1e-12)


# --- torch.func -------------------------------------------------------------------------------------------------------

B = 3


@has_func
@pytest.mark.parametrize("form", GEOMETRIES)
@pytest.mark.parametrize("batched", [c for n in (1, 2, 3, 4) for c in itertools.combinations(PARTS, n)])
def test_vmap(form, batched):
    tensors = [t.detach() for t in operands(form)]
    dims = [position % (t.dim() + 1) if n in batched else None for position, (n, t) in enumerate(zip(PARTS, tensors))]
    tensors = [
        t if d is None else torch.randn(*t.shape[:d], B, *t.shape[d:], dtype=t.dtype) for t, d in zip(tensors, dims)
    ]

    def f(x, weight, bias, residual):
        return conv_transpose1d(x, weight, bias, residual=residual, **GEOMETRIES[form])

    got = torch.vmap(f, in_dims=tuple(dims))(*tensors)
    for b in range(B):
        one = f(*(t if d is None else t.select(d, b) for t, d in zip(tensors, dims)))
        torch.testing.assert_close(got[b], one, rtol=1e-12, atol=1e-12)


@has_func
@pytest.mark.parametrize("groups", [1, 2])
def test_per_sample_gradients(groups):
    x = torch.randn(B, 4, 9, dtype=torch.float64)
    parameters = {"weight": torch.randn(4, 6 // groups, 3).double(), "bias": torch.randn(6).double()}

    def loss(parameters, x):
        return conv_transpose1d(x, **parameters, stride=2, groups=groups).tanh().square().sum()

    got = torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    for b in range(B):
        for name, grad in torch.func.grad(loss)(parameters, x[b]).items():
            torch.testing.assert_close(got[name][b], grad, rtol=1e-12, atol=1e-12)


@has_func
def test_grad_jvp_jacobians_and_hessians_agree():
    x, weight, bias, _ = (t.detach() for t in operands("strided"))
    func = torch.func

    def scalar(x, weight, bias):
        return conv_transpose1d(x, weight, bias, **GEOMETRIES["strided"]).sin().sum()

    tangents = [torch.randn_like(t) for t in (x, weight, bias)]
    grads = func.grad(scalar, argnums=(0, 1, 2))(x, weight, bias)
    _, tangent = func.jvp(scalar, (x, weight, bias), tuple(tangents))
    torch.testing.assert_close(tangent, sum((g * t).sum() for g, t in zip(grads, tangents)), rtol=1e-11, atol=1e-11)
    for argnum in range(3):
        hessian = func.hessian(scalar, argnum)(x, weight, bias)
        other = func.jacrev(func.jacrev(scalar, argnum), argnum)(x, weight, bias)
        torch.testing.assert_close(hessian, other, rtol=1e-11, atol=1e-11)
    functional = func.functionalize(scalar)(x, weight, bias)
    torch.testing.assert_close(functional, scalar(x, weight, bias), rtol=0, atol=0)


@has_func
def test_ensemble_of_modules():
    modules = [longconv.ConvTranspose1d(4, 6, 3, groups=2, stride=2).double() for _ in range(B)]
    parameters, buffers = torch.func.stack_module_state(modules)
    x = torch.randn(2, 4, 9, dtype=torch.float64)
    got = torch.vmap(lambda p, b, x: torch.func.functional_call(modules[0], (p, b), (x,)), in_dims=(0, 0, None))(
        parameters, buffers, x
    )
    for b, module in enumerate(modules):
        torch.testing.assert_close(got[b], module(x), rtol=1e-12, atol=1e-12)


# --- autocast ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.complex64, torch.int64])
def test_autocast_gives_the_type_of_pytorch(dtype):
    x, weight, bias = torch.ones(2, 3, 10).to(dtype), torch.ones(3, 4, 3).to(dtype), torch.ones(4).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        assert conv_transpose1d(x, weight, bias).dtype == F.conv_transpose1d(x, weight, bias).dtype


@pytest.mark.parametrize("options", [{}, GEOMETRIES["unreached"]])
def test_autocast_casts_every_operand(options):
    x, weight, bias = torch.randn(2, 3, 10), torch.randn(3, 4, 3), torch.randn(4)
    residual = torch.randn_like(conv_transpose1d(x, weight, **options))
    with torch.autocast("cpu", torch.bfloat16):
        got = conv_transpose1d(x, weight, bias, residual=residual, **options)
        mixed = conv_transpose1d(x.bfloat16(), weight, bias, residual=residual, **options)
    lower = [t.bfloat16() for t in (x, weight, bias)]
    expected = conv_transpose1d(*lower, residual=residual.bfloat16(), **options)
    assert torch.equal(got, expected)
    assert torch.equal(mixed, expected)


@pytest.mark.parametrize("inside", [False, True])
def test_gradients_under_autocast_have_the_parameters_type(inside):
    """backward() outside of the region, and inside it, as some training loops have it."""
    x = torch.randn(2, 3, 10, requires_grad=True)
    weight, bias = torch.randn(3, 4, 3, requires_grad=True), torch.randn(4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = conv_transpose1d(x, weight, bias, stride=2).float().sum()
        if inside:
            loss.backward()
    if not inside:
        loss.backward()
    lower = [t.bfloat16() for t in (x, weight, bias)]
    expected = torch.autograd.grad(conv_transpose1d(*lower, stride=2).float().sum(), (x, weight, bias))
    assert {t.grad.dtype for t in (x, weight, bias)} == {torch.float32}
    assert torch.equal(x.grad, expected[0])
    # Those of parameters are rounded once less (test_mixed_precision.py).
    assert torch.equal(weight.grad.bfloat16(), expected[1].bfloat16())
    assert torch.equal(bias.grad.bfloat16(), expected[2].bfloat16())


def test_gradients_of_conv1d_keep_their_type_under_autocast():
    """The operator that is conv_transpose1d's forward pass is conv1d's backward pass too."""
    x = torch.randn(2, 3, 10, requires_grad=True)
    y = longconv.functional.conv1d(x, torch.randn(4, 3, 3))
    with torch.autocast("cpu", torch.bfloat16):
        (inside,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
    (outside,) = torch.autograd.grad(y.sum(), x)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)
