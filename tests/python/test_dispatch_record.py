# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Every operator that reaches a kernel, recorded: PyTorch's own convolution is never among them."""

from __future__ import annotations

import re

import pytest
import torch

import longconv
from longconv.functional import conv1d

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
