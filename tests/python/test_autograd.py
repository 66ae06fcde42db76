# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Derivatives of any order, reverse and forward, against finite differences; what is saved; what is computed."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import longconv  # noqa: F401  (registers the operators)
from longconv.functional import conv1d

# Strides, dilations, groups and paddings in turn; every padding mode with unequal pads.
GEOMETRIES = {
    "plain": {},
    "strided": {"stride": 2, "padding": (2, 1)},
    "dilated": {"dilation": 3, "padding": "same"},
    "grouped": {"groups": 2, "stride": 3},
    "depthwise": {"groups": 4, "padding": "causal", "dilation": 2},
    "reflect": {"padding": (3, 2), "padding_mode": "reflect"},
    "replicate": {"padding": (1, 4), "padding_mode": "replicate", "stride": 2},
    "circular": {"padding": (2, 3), "padding_mode": "circular", "groups": 2},
}
ACTIVATIONS = ("relu", "leaky_relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid")
FAST = {"fast_mode": True}


def operands(form, dtype=torch.float64, residual=False):
    """Small leaves: (x, weight, bias, residual or None)."""
    options = GEOMETRIES[form]

    def leaf(*shape):
        return torch.randn(*shape, dtype=dtype).requires_grad_()

    x, weight, bias = leaf(2, 4, 9), leaf(4, 4 // options.get("groups", 1), 3), leaf(4)
    if not residual:
        return x, weight, bias, None
    return x, weight, bias, leaf(*conv1d(x, weight, **options).shape)


@pytest.mark.parametrize(
    ("form", "dtype"),
    [(form, torch.float64) for form in GEOMETRIES]
    + [(form, torch.complex128) for form in ("strided", "depthwise", "reflect")],
)
def test_first_and_second_order(form, dtype):
    inputs = operands(form, dtype, residual=True)

    def f(x, weight, bias, residual):
        return conv1d(x, weight, bias, residual=residual, **GEOMETRIES[form])

    assert gradcheck(f, inputs, check_forward_ad=True, **FAST)
    assert gradgradcheck(f, inputs, check_fwd_over_rev=True, check_rev_over_rev=True, **FAST)


@pytest.mark.parametrize(("form", "dtype"), [("strided", torch.complex128), ("circular", torch.float64)])
def test_gradient_operators_to_second_order(form, dtype):
    """dgrad and wgrad as functions of their own, the bias gradient included."""
    options = GEOMETRIES[form]
    left, right = options["padding"]
    geometry = (
        options.get("stride", 1),
        left,
        right,
        options.get("padding_mode", "zeros"),
        1,
        options.get("groups", 1),
    )
    x, weight, _, _ = operands(form, dtype)
    grad_y = torch.randn_like(conv1d(x, weight, **options)).requires_grad_()

    def dgrad(grad_y, weight):
        return torch.ops.longconv.dgrad(grad_y, weight, 9, *geometry, "follow")

    def wgrad(x, grad_y):
        return torch.ops.longconv.wgrad(x, grad_y, 3, *geometry, True, "follow")

    for f, inputs in ((dgrad, (grad_y, weight)), (wgrad, (x, grad_y))):
        assert gradcheck(f, inputs, check_forward_ad=True, **FAST)
        assert gradgradcheck(f, inputs, check_fwd_over_rev=True, check_rev_over_rev=True, **FAST)


@pytest.mark.parametrize(
    ("activation", "slope"), [(name, 0.2) for name in ACTIVATIONS] + [("leaky_relu", 0.0), ("leaky_relu", -0.5)]
)
def test_fused_activations(activation, slope):
    inputs = operands("strided", residual=True)

    def f(x, weight, bias, residual):
        return conv1d(
            x, weight, bias, residual=residual, activation=activation, negative_slope=slope, **GEOMETRIES["strided"]
        )

    assert gradcheck(f, inputs, check_forward_ad=True, **FAST)
    assert gradgradcheck(f, inputs, check_fwd_over_rev=True, **FAST)


def test_third_order():
    x, weight, bias, _ = operands("strided")

    def second(x, weight):
        y = conv1d(x, weight, bias, activation="tanh", **GEOMETRIES["strided"])
        (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), weight, create_graph=True)[0]

    assert gradcheck(second, (x, weight), **FAST)


PARTS = ("x", "weight", "bias", "residual")


@pytest.mark.parametrize("wanted", [c for n in (1, 2, 3) for c in itertools.combinations(PARTS, n)])
def test_any_subset_of_gradients(wanted):
    """Each gradient is the same bits whichever others are wanted."""
    inputs = dict(zip(PARTS, operands("strided", residual=True)))
    everything = conv1d(**_named(inputs), activation="tanh", **GEOMETRIES["strided"])
    direction = torch.randn_like(everything)
    full = dict(zip(PARTS, torch.autograd.grad(everything, list(inputs.values()), direction)))
    some = {name: t.detach().requires_grad_(name in wanted) for name, t in inputs.items()}
    y = conv1d(**_named(some), activation="tanh", **GEOMETRIES["strided"])
    for name, grad in zip(wanted, torch.autograd.grad(y, [some[name] for name in wanted], direction)):
        torch.testing.assert_close(grad, full[name], rtol=1e-13, atol=1e-13)


def _named(tensors):
    return {("input" if name == "x" else name): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("wanted", "activation", "saved"),
    [
        (("weight",), None, {"x"}),
        (("x",), None, {"weight"}),
        (("bias",), None, set()),
        (("residual",), None, set()),
        (("x", "weight", "bias"), None, {"x", "weight"}),
        (("bias",), "relu", {"y"}),
        (("x", "weight"), "sigmoid", {"x", "weight", "y"}),
    ],
)
def test_saves_nothing_that_no_gradient_needs(wanted, activation, saved):
    inputs = {n: t.detach().requires_grad_(n in wanted) for n, t in zip(PARTS, operands("strided", residual=True))}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = conv1d(**_named(inputs), activation=activation, **GEOMETRIES["strided"])
    owners = {t.data_ptr(): n for n, t in {**inputs, "y": y}.items()}
    assert {owners[t.data_ptr()] for t in kept} == saved
    assert len(kept) == len(saved)


def test_inputs_changed_after_the_forward_pass_are_noticed():
    x, weight, _, _ = operands("plain")
    inner = x * 1
    y = conv1d(inner, weight)
    inner.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_graph_is_freed_once_used():
    x, weight, _, _ = operands("plain")
    y = conv1d(x, weight).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_no_graph_where_none_is_wanted():
    x, weight, bias, _ = operands("plain")
    with torch.no_grad():
        assert conv1d(x, weight, bias).grad_fn is None
    assert conv1d(x.detach(), weight.detach()).grad_fn is None
    with torch.inference_mode():
        assert conv1d(x, weight, bias, activation="gelu").is_inference()
    assert conv1d(x, weight).grad_fn.name() == "LongconvFpropBackward"


def test_gradients_of_an_empty_batch_are_zero():
    x = torch.zeros(0, 4, 9, requires_grad=True)
    weight, bias = torch.randn(6, 4, 3, requires_grad=True), torch.randn(6, requires_grad=True)
    conv1d(x, weight, bias).sum().backward()
    assert x.grad.shape == (0, 4, 9)
    assert torch.equal(weight.grad, torch.zeros(6, 4, 3))
    assert torch.equal(bias.grad, torch.zeros(6))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("activation", ["relu", "tanh", "silu"])
def test_fused_gradient_equals_the_unfused_composition(dtype, activation):
    try:
        getattr(torch.nn.functional, activation)(torch.zeros(1, dtype=dtype))
    except RuntimeError:
        pytest.skip(f"this PyTorch has no {activation} of {dtype}")
    x, weight, bias, _ = (t if t is None else t.detach().to(dtype).requires_grad_() for t in operands("strided"))
    fused = conv1d(x, weight, bias, activation=activation, **GEOMETRIES["strided"])
    act = getattr(torch.nn.functional, activation)
    unfused = act(conv1d(x, weight, bias, **GEOMETRIES["strided"]))
    direction = torch.randn_like(fused)
    got = torch.autograd.grad(fused, (x, weight, bias), direction)
    expected = torch.autograd.grad(unfused, (x, weight, bias), direction)
    unit = torch.finfo(dtype).eps
    for a, b in zip(got, expected):
        # Two roundings of the pre-activation's gradient, summed over at most 2 * 9 products of size about 4.
        torch.testing.assert_close(a, b, rtol=4 * unit, atol=4 * 18 * 4 * unit)


def test_forward_mode_tangent_of_each_operand_alone():
    import torch.autograd.forward_ad as forward_ad

    inputs = dict(zip(PARTS, operands("strided", residual=True)))
    for name in PARTS:
        tangent = torch.randn_like(inputs[name])
        with forward_ad.dual_level():
            dual = {n: forward_ad.make_dual(t, tangent) if n == name else t for n, t in inputs.items()}
            got = forward_ad.unpack_dual(conv1d(**_named(dual), **GEOMETRIES["strided"])).tangent
        changed = {n: t + tangent if n == name else t for n, t in inputs.items()}
        exact = conv1d(**_named(changed), **GEOMETRIES["strided"]) - conv1d(**_named(inputs), **GEOMETRIES["strided"])
        torch.testing.assert_close(got, exact, rtol=1e-12, atol=1e-12)


def test_backward_in_many_threads():
    """The same graph, many threads: nodes are locked as PyTorch's own."""
    from concurrent.futures import ThreadPoolExecutor

    x, weight, bias, _ = operands("strided")
    y = conv1d(x, weight, bias, activation="tanh", **GEOMETRIES["strided"]).sum()
    expected = torch.autograd.grad(y, (x, weight, bias), retain_graph=True)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: torch.autograd.grad(y, (x, weight, bias), retain_graph=True), range(32)):
            assert all(torch.equal(a, b) for a, b in zip(result, expected))
