# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Every operator that reaches a kernel, recorded: PyTorch's own convolution is never among them."""

from __future__ import annotations

import re

import pytest
import torch

import longconv
from longconv.functional import conv1d, conv_transpose1d

python_dispatch = pytest.importorskip("torch.utils._python_dispatch")

FORBIDDEN = re.compile(
    r"aten::(_?conv|_?slow_conv|thnn_conv|mkldnn|_?cudnn|_?nnpack|_?mps_conv|miopen|unfold|im2col|col2im|as_strided"
    r"|_?mm\b|_?addmm|bmm|baddbmm|addbmm|matmul|linear|einsum|dot|mv\b|addmv|tensordot|inner|fft|_fft|pad\b|constant_pad"
    r"|reflection_pad|replication_pad|_pad_circular)"
)


class Record(python_dispatch.TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        self.names.append(op._schema.name)
        return op(*args, **(kwargs or {}))

    def check(self, *expected):
        found = [name for name in self.names if FORBIDDEN.match(name)]
        assert not found, f"{found} among {self.names}"
        for name in expected:
            assert f"longconv::{name}" in self.names, f"no {name} among {self.names}"


FORMS = {
    "plain": {},
    "strided": {"stride": 3, "padding": "same", "dilation": 2},
    "grouped": {"groups": 2, "padding": (3, 1)},
    "depthwise": {"groups": 4, "padding": "causal"},
    "reflect": {"padding": 2, "padding_mode": "reflect"},
    "replicate": {"padding": 2, "padding_mode": "replicate"},
    "circular": {"padding": 2, "padding_mode": "circular"},
    "fused": {"activation": "gelu", "padding": "same"},
    "pointwise": {"kernel_size": 1},
}


def module_and_input(form, dtype=torch.float32):
    options = {"kernel_size": 3, **FORMS[form]}
    return longconv.Conv1d(4, 8, **options, dtype=dtype), torch.randn(2, 4, 20, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("unbatched", [False, True])
def test_forward_backward_and_double_backward(form, unbatched):
    module, x = module_and_input(form)
    x = x[0] if unbatched else x
    with Record() as forward:
        y = module(x)
    forward.check("fprop")
    with Record() as backward:
        grads = torch.autograd.grad(y.square().sum(), (x, *module.parameters()), create_graph=True)
    backward.check("dgrad", "wgrad")
    with Record() as double_backward:
        torch.autograd.grad(sum(g.square().sum() for g in grads), (x, *module.parameters()))
    double_backward.check("fprop", "dgrad", "wgrad")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16, torch.complex64, torch.int64])
def test_every_dtype(dtype):
    x, weight = torch.ones(2, 4, 20).to(dtype), torch.ones(8, 4, 3).to(dtype)
    with Record() as record:
        conv1d(x, weight, padding="same")
    record.check("fprop")


@pytest.mark.parametrize("form", FORMS)
def test_jvp(form):
    forward_ad = torch.autograd.forward_ad
    module, x = module_and_input(form)
    with Record() as record, forward_ad.dual_level():
        forward_ad.unpack_dual(module(forward_ad.make_dual(x, torch.randn_like(x))))
    record.check("fprop")


@pytest.mark.skipif(not hasattr(torch.library, "register_vmap"), reason="before PyTorch 2.5 vmap loops")
@pytest.mark.parametrize("form", FORMS)
def test_vmap_and_its_gradients(form):
    module, x = module_and_input(form)
    parameters = dict(module.named_parameters())

    def loss(parameters, x):
        return torch.func.functional_call(module, parameters, (x,)).square().sum()

    with Record() as record:
        torch.vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims=(None, 0))(parameters, x.detach())
    record.check("fprop", "dgrad", "wgrad")
    assert record.names.count("longconv::fprop") == 1  # one convolution for the whole batch
    assert record.names.count("longconv::wgrad") == 1


def test_only_the_gradients_that_are_wanted_are_computed():
    module, x = module_and_input("plain")
    with Record() as record:
        torch.autograd.grad(module(x).sum(), x)
    assert "longconv::wgrad" not in record.names
    with Record() as record:
        torch.autograd.grad(module(x).sum(), module.weight)
    assert "longconv::dgrad" not in record.names
    with Record() as record:
        torch.autograd.grad(module(x).sum(), module.bias)
    assert not {"longconv::dgrad", "longconv::wgrad"} & set(record.names)


TRANSPOSED_FORMS = {
    "plain": {},
    "strided": {"stride": 3, "padding": 2, "output_padding": 1, "dilation": 2},
    "whole strides": {"padding": 2, "output_padding": 2, "dilation": 3},
    "unreached": {"output_padding": 2, "dilation": 3},
    "grouped": {"groups": 2, "padding": 1},
    "depthwise": {"groups": 4, "stride": 2},
    "pointwise": {"kernel_size": 1},
}


def transposed_module_and_input(form):
    options = {"kernel_size": 3, **TRANSPOSED_FORMS[form]}
    return longconv.ConvTranspose1d(4, 8, **options), torch.randn(2, 4, 20, requires_grad=True)


@pytest.mark.parametrize("form", TRANSPOSED_FORMS)
@pytest.mark.parametrize("unbatched", [False, True])
def test_transposed_forward_backward_and_double_backward(form, unbatched):
    module, x = transposed_module_and_input(form)
    x = x[0] if unbatched else x
    with Record() as forward:
        y = module(x)
    forward.check("dgrad")
    with Record() as backward:
        grads = torch.autograd.grad(y.square().sum(), (x, *module.parameters()), create_graph=True)
    backward.check("fprop", "wgrad")
    with Record() as double_backward:
        torch.autograd.grad(sum(g.square().sum() for g in grads), (x, *module.parameters()))
    double_backward.check("fprop", "dgrad", "wgrad")


@pytest.mark.parametrize("form", TRANSPOSED_FORMS)
def test_transposed_jvp(form):
    forward_ad = torch.autograd.forward_ad
    module, x = transposed_module_and_input(form)
    with Record() as record, forward_ad.dual_level():
        forward_ad.unpack_dual(module(forward_ad.make_dual(x, torch.randn_like(x))))
    record.check("dgrad")


@pytest.mark.skipif(not hasattr(torch.library, "register_vmap"), reason="before PyTorch 2.5 vmap loops")
@pytest.mark.parametrize("form", TRANSPOSED_FORMS)
def test_transposed_vmap_and_its_gradients(form):
    module, x = transposed_module_and_input(form)

    def loss(parameters, x):
        return torch.func.functional_call(module, parameters, (x,)).square().sum()

    with Record() as record:
        gradients = torch.vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims=(None, 0))
        gradients(dict(module.named_parameters()), x.detach())
    record.check("fprop", "dgrad", "wgrad")
    assert record.names.count("longconv::dgrad") == 1  # one convolution for the whole batch
    assert record.names.count("longconv::wgrad") == 1


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64, torch.int64]
)
def test_transposed_every_dtype(dtype):
    x, weight = torch.ones(2, 4, 20).to(dtype), torch.ones(4, 8, 3).to(dtype)
    with Record() as record:
        conv_transpose1d(x, weight, torch.ones(8).to(dtype))
    record.check("dgrad")


def test_transposed_no_copy_of_strided_operands():
    """Nothing but the operator itself: bias and residual are its own."""
    x = torch.randn(2, 20, 4).transpose(1, 2)
    weight = torch.randn(3, 8, 4).permute(2, 1, 0)
    bias, residual = torch.randn(8), torch.randn(8, 1).expand(2, 8, 40)
    with Record() as record:
        conv_transpose1d(x, weight, bias, 2, 1, 1, residual=residual)
    assert record.names == ["longconv::dgrad"]


def test_no_copy_of_strided_operands():
    """Nothing but the operator itself: no contiguous(), no clone, no fill."""
    x = torch.randn(2, 20, 4).transpose(1, 2)
    weight = torch.randn(3, 4, 8).permute(2, 1, 0)
    residual = torch.randn(8, 1).expand(2, 8, 18)
    with Record() as record:
        conv1d(x, weight, residual=residual, activation="relu")
    assert record.names == ["longconv::fprop"]


def test_the_record_can_fail():
    with Record() as record:
        torch.nn.functional.conv1d(torch.randn(1, 4, 9), torch.randn(2, 4, 3))
    with pytest.raises(AssertionError):
        record.check()
