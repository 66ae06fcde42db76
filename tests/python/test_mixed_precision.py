# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""16-bit signals with float32 parameters: gradients of weight and bias come straight from the float32 sums, under
autocast and by ``grad_weight_dtype``, for conv1d and conv_transpose1d, on the CPU and on a GPU."""

from __future__ import annotations

import pytest
import torch

import longconv
from cuda_support import DEVICE
from gradient_reference import expected_wgrad
from longconv.functional import conv1d, conv_transpose1d

on_every_device = pytest.mark.parametrize("device", ["cpu", pytest.param(DEVICE, marks=pytest.mark.cuda, id="cuda")])


def lower_dtypes():
    """Those that this PyTorch's CPU autocast knows."""
    if tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 1):
        return [torch.bfloat16, torch.float16]
    return [torch.bfloat16]


lower_dtype = pytest.mark.parametrize("lower", lower_dtypes())
GEOMETRY = {"stride": 2, "padding": 3, "dilation": 2, "groups": 2}
FUNCTIONS = {"conv1d": conv1d, "conv_transpose1d": conv_transpose1d}
both_functions = pytest.mark.parametrize("name", FUNCTIONS)


def by_autocast(function, lower):
    def f(x, weight, bias):
        with torch.autocast(x.device.type, lower):
            return function(x, weight, bias, **GEOMETRY)

    return f


def by_argument(function, lower):
    return lambda x, weight, bias: function(x.to(lower), weight, bias, grad_weight_dtype=torch.float32, **GEOMETRY)


ways = pytest.mark.parametrize("way", [by_autocast, by_argument])


def operands(name, device="cpu", samples=20):
    """Float32 (x, weight, bias); parameters are leaves. So short that a bound is far below a rounding to 16 bits."""
    x = torch.randn(2, 4, samples).to(device)
    weight = torch.randn((6, 2, 5) if name == "conv1d" else (4, 3, 5)).to(device).requires_grad_()
    return x, weight, torch.randn(6).to(device).requires_grad_()


def expected(name, x, grad_y):
    """Of weight and bias, from 16-bit operands, with the bound of float32 sums that are rounded no further."""
    x, grad_y = x.float().cpu(), grad_y.float().cpu()
    geometry = (5, GEOMETRY["stride"], 3, 3, "zeros", GEOMETRY["dilation"], GEOMETRY["groups"])
    if name == "conv1d":
        return expected_wgrad(x, grad_y, *geometry)
    # The transposed convolution is the data gradient: signal and gradient change places.
    weight, _ = expected_wgrad(grad_y, x, *geometry)
    _, bias = expected_wgrad(grad_y, grad_y, 1, 1, 0, 0, "zeros", 1, 1)
    return weight, bias


@on_every_device
@both_functions
@lower_dtype
@ways
def test_gradients_are_not_rounded_to_16_bits(way, lower, name, device):
    x, weight, bias = operands(name, device)
    y = way(FUNCTIONS[name], lower)(x, weight, bias)
    assert y.dtype == lower
    grad_y = torch.randn(y.shape).to(y)
    y.backward(grad_y)
    for parameter, bounded in zip((weight, bias), expected(name, x.to(lower), grad_y)):
        assert parameter.grad.dtype == torch.float32
        worst, where = bounded.worst(parameter.grad)
        assert worst <= 1, f"{worst:.3g} times the bound at {where}"
        # A rounding to 16 bits would have been seen, or the test would say nothing.
        assert bounded.worst(parameter.grad.to(lower).float())[0] > 1


def test_float16_gradients_do_not_overflow():
    """A sum above float16's 65504, as a loss scale makes it."""
    x, weight, bias = torch.ones(1, 1, 5000), torch.ones(1, 1, 1).requires_grad_(), torch.ones(1).requires_grad_()
    y = conv1d(x.half(), weight, bias, grad_weight_dtype=torch.float32)
    y.backward(torch.full_like(y, 100.0))
    assert weight.grad.item() == bias.grad.item() == 500_000


@both_functions
def test_parameters_of_two_types_under_autocast(name):
    """A 16-bit bias beside a float32 weight, and the other way round: each gradient has its tensor's type."""
    for lowered in (1, 2):
        inputs = list(operands(name))
        inputs[lowered] = inputs[lowered].detach().bfloat16().requires_grad_()
        y = by_autocast(FUNCTIONS[name], torch.bfloat16)(*inputs)
        grad_y = torch.randn(y.shape).to(y)
        y.backward(grad_y)
        wide, narrow = inputs[3 - lowered], inputs[lowered]
        assert (wide.grad.dtype, narrow.grad.dtype) == (torch.float32, torch.bfloat16)
        bounded = expected(name, inputs[0].bfloat16(), grad_y)[2 - lowered]
        assert bounded.worst(wide.grad)[0] <= 1


@pytest.mark.skipif(not hasattr(torch.Tensor, "grad_dtype"), reason="Tensor.grad_dtype is newer")
@both_functions
def test_grad_dtype_of_a_16_bit_leaf(name):
    x, weight, bias = (t.detach().bfloat16() for t in operands(name))
    for parameter in (weight, bias):
        parameter.requires_grad_()
        parameter.grad_dtype = torch.float32
    y = FUNCTIONS[name](x, weight, bias, **GEOMETRY)
    grad_y = torch.randn_like(y)
    y.backward(grad_y)
    for parameter, bounded in zip((weight, bias), expected(name, x, grad_y)):
        assert parameter.grad.dtype == torch.float32
        assert bounded.worst(parameter.grad)[0] <= 1


@both_functions
@ways
def test_any_subset_of_gradients(way, name):
    """The same bits, whichever others are wanted; the bias alone is summed by PyTorch."""
    function = way(FUNCTIONS[name], torch.bfloat16)
    x, weight, bias = operands(name)
    y = function(x, weight, bias)
    grad_y = torch.randn(y.shape).to(y)
    full = torch.autograd.grad(y, (weight, bias), grad_y)
    (alone,) = torch.autograd.grad(function(x, weight, bias.detach()), weight, grad_y)
    assert torch.equal(alone, full[0])
    (alone,) = torch.autograd.grad(function(x, weight.detach(), bias), bias, grad_y)
    assert alone.dtype == torch.float32
    assert expected(name, x.bfloat16(), grad_y)[1].worst(alone)[0] <= 1


@both_functions
@ways
def test_double_backward(way, name):
    """Against the same numbers in float64: only roundings of 16-bit intermediates apart."""
    function = way(FUNCTIONS[name], torch.bfloat16)
    x, weight, bias = operands(name, samples=50)
    rounded = [t.detach().bfloat16().double().requires_grad_() for t in (x, weight, bias)]

    def second(f, x, weight, bias):
        y = f(x, weight, bias).double()
        first = torch.autograd.grad(y.square().sum(), weight, create_graph=True)[0]
        return torch.autograd.grad(first.double().square().sum(), (weight, bias))

    got = second(function, x, weight, bias)
    exact = second(lambda *operands: FUNCTIONS[name](*operands, **GEOMETRY), *rounded)
    for a, b in zip(got, exact):
        assert a.dtype == torch.float32
        assert (a - b).norm() <= 0.02 * b.norm()


@pytest.mark.skipif(not hasattr(torch, "func"), reason="torch.func came with PyTorch 2.0")
@both_functions
@ways
def test_functional_transformations(way, name):
    """grad is backward's bits; per-sample gradients add up to it; a tangent is the gradient's scalar product."""
    function = way(FUNCTIONS[name], torch.bfloat16)
    x, weight, bias = operands(name, samples=300)
    y = function(x, weight, bias)
    direction = torch.randn(y.shape).to(y)
    expected_grads = torch.autograd.grad(y, (weight, bias), direction)
    weight, bias = weight.detach(), bias.detach()

    def loss(weight, bias, x, direction):
        return (function(x, weight, bias).float() * direction.float()).sum()

    gradient = torch.func.grad(loss, (0, 1))
    for a, b in zip(gradient(weight, bias, x, direction), expected_grads):
        assert torch.equal(a, b)
    if hasattr(torch.library, "register_vmap"):
        signals = (x[:, None], direction[:, None])
        per_sample = torch.vmap(gradient, (None, None, 0, 0))(weight, bias, *signals)
        of_sum = torch.func.grad(
            lambda weight, bias: torch.vmap(loss, (None, None, 0, 0))(weight, bias, *signals).sum(), (0, 1)
        )(weight, bias)
        for a, b, c in zip(per_sample, of_sum, expected_grads):
            assert a.dtype == b.dtype == torch.float32
            torch.testing.assert_close(a.sum(0), c, rtol=1e-5, atol=1e-4)
            torch.testing.assert_close(b, c, rtol=1e-5, atol=1e-4)
    tangents = (torch.randn_like(weight), torch.randn_like(bias))
    _, tangent = torch.func.jvp(lambda *p: loss(*p, x, direction), (weight, bias), tangents)
    product = sum((a * b).sum() for a, b in zip(expected_grads, tangents))
    assert abs(tangent - product) <= 2.0**-6 * sum((a * b).norm() for a, b in zip(expected_grads, tangents))


@pytest.mark.skipif(not hasattr(torch, "compile"), reason="torch.compile came with PyTorch 2.0")
@both_functions
@ways
def test_compiled(way, name):
    """One graph, the same bits; the cast in it is PyTorch's, which compilers fuse."""
    from torch._dynamo.backends.common import aot_autograd

    graphs = []

    def keep(graph, _):
        graphs.append(graph)
        return graph

    function = way(FUNCTIONS[name], torch.bfloat16)
    inputs = operands(name, samples=100)
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend=aot_autograd(fw_compiler=keep, bw_compiler=keep))
    y, y_compiled = function(*inputs), compiled(*inputs)
    assert torch.equal(y_compiled, y)
    grad_y = torch.randn(y.shape).to(y)
    for a, b in zip(torch.autograd.grad(y_compiled, inputs[1:], grad_y), torch.autograd.grad(y, inputs[1:], grad_y)):
        assert torch.equal(a, b)
    targets = {str(node.target) for graph in graphs for node in graph.graph.nodes if node.op == "call_function"}
    assert "longconv.cast_parameter.default" not in targets
    assert {"aten._to_copy.default", "longconv.wgrad.default"} <= targets


@pytest.mark.skipif(not hasattr(torch.library, "opcheck"), reason="opcheck came with PyTorch 2.4")
def test_opcheck():
    cast = torch.ops.longconv.cast_parameter.default
    torch.library.opcheck(cast, (torch.randn(6, 4, 3).requires_grad_(), torch.bfloat16))
    torch.library.opcheck(cast, (torch.randn(6), torch.float16))


@pytest.mark.skipif(not hasattr(torch, "export"), reason="PyTorch 2.1 exports")
def test_exported_layer_runs_without_gradients():
    layer = longconv.Conv1d(4, 6, 3, grad_weight_dtype=torch.float32)
    x = torch.randn(2, 4, 30).bfloat16()
    program = torch.export.export(layer, (x,)).module()
    with torch.inference_mode():
        assert torch.equal(program(x), layer(x))


@pytest.mark.parametrize("kind", [longconv.Conv1d, longconv.ConvTranspose1d])
def test_layers(kind):
    layer = kind(4, 6, 3, grad_weight_dtype=torch.float32)
    assert "grad_weight_dtype=torch.float32" in repr(layer)
    assert "grad_weight_dtype" not in repr(kind(4, 6, 3))
    x = torch.randn(2, 4, 500)
    rounded = kind(4, 6, 3).bfloat16()
    rounded.load_state_dict(layer.state_dict())
    y = layer(x.bfloat16())
    assert torch.equal(y, rounded(x.bfloat16()))
    y.float().square().sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad.dtype == torch.float32
        assert not torch.equal(parameter.grad.bfloat16().float(), parameter.grad)
    assert layer(x).dtype == torch.float32
    with pytest.raises(RuntimeError, match=r"weight.*float32.*bfloat16"):
        layer.bfloat16()(x.bfloat16())
    with pytest.raises(ValueError, match="float64"):
        kind(4, 6, 3, grad_weight_dtype=torch.float64)


@pytest.mark.parametrize("kind", [longconv.LazyConv1d, longconv.LazyConvTranspose1d])
def test_lazy_layers(kind):
    layer = kind(6, 3, grad_weight_dtype=torch.float32)
    layer(torch.randn(2, 4, 50))
    assert layer(torch.randn(2, 4, 50).bfloat16()).dtype == torch.bfloat16


def test_by_argument_without_a_gradient_and_with_out():
    x, weight, bias = operands("conv1d", samples=50)
    with torch.no_grad():
        y = conv1d(x.bfloat16(), weight, bias, grad_weight_dtype=torch.float32, groups=2)
        assert torch.equal(y, conv1d(x.bfloat16(), weight.bfloat16(), bias.bfloat16(), groups=2))
        out = torch.empty_like(y)
        conv1d(x.bfloat16(), weight, bias, grad_weight_dtype=torch.float32, out=out, groups=2)
        assert torch.equal(out, y)
        unchanged = conv1d(x, weight, bias, grad_weight_dtype=torch.float32, groups=2)
        assert torch.equal(unchanged, conv1d(x, weight, bias, groups=2))


@both_functions
def test_wrong_types_are_refused(name):
    function = FUNCTIONS[name]
    x, weight, bias = (t.detach() for t in operands(name, samples=50))
    with pytest.raises(TypeError, match="grad_weight_dtype"):
        function(x, weight, bias, grad_weight_dtype="float32", groups=2)
    with pytest.raises(RuntimeError, match=r"torch\.bfloat16 with torch\.float32 input"):
        function(x, weight, bias, grad_weight_dtype=torch.bfloat16, groups=2)
    with pytest.raises(RuntimeError, match=r"torch\.float32 with torch\.float64 input"):
        function(x.double(), weight, bias, grad_weight_dtype=torch.float32, groups=2)
    with pytest.raises(RuntimeError, match=r"bias.*float32.*bfloat16"):
        function(x.bfloat16(), weight, bias.bfloat16(), grad_weight_dtype=torch.float32, groups=2)
    with pytest.raises(RuntimeError, match="should be the same"):
        function(x.bfloat16(), weight, bias, groups=2)
    with pytest.raises(RuntimeError, match=r"Double.*BFloat16"):
        torch.ops.longconv.cast_parameter(weight.double(), torch.bfloat16)
