# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The operators dgrad and wgrad against the reference, each element within its bound."""

from __future__ import annotations

import json

import pytest
import torch

pytest.importorskip("hypothesis")
from hypothesis import example, given
from hypothesis import strategies as st

import longconv  # noqa: F401  (registers the operators)
from gradient_reference import expected_dgrad, expected_wgrad
from strategies import INPUT_LAYOUTS, Case, cases, lay_out, values


def geometry(case: Case) -> tuple[int, int, int, str, int, int]:
    return case.stride, *case.pads, case.padding_mode, case.dilation, case.groups


def operands(case: Case, layout: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(x, w, grad_y) with a batch dimension."""
    x, w, _, _ = case.tensors()
    x = x if x.dim() == 3 else x[None]
    shape = (x.shape[0], case.out_channels, case.out_shape[-1])
    grad_y = values(shape, x.dtype, torch.Generator().manual_seed(case.seed + 1))
    return x, w, lay_out(grad_y, layout)


def check(what: str, expected, got: torch.Tensor, case: Case, layout: str) -> None:
    worst, where = expected.worst(got)
    assert worst <= 1, (
        f"{what}{where} is {worst:.3g} times its bound away\nreplay: python -m pytest tests/python/test_ops_gradients.py "
        f"-k replay --replay '{case_json(case, layout)}'"
    )


def case_json(case: Case, layout: str) -> str:
    return json.dumps({**json.loads(case.replay().split("--replay ")[1].strip("'")), "output_layout": layout})


def check_dgrad(case: Case, layout: str) -> None:
    _, w, grad_y = operands(case, layout)
    grad_x = torch.ops.longconv.dgrad(grad_y, w, case.length, *geometry(case), "follow")
    assert grad_x.is_contiguous()
    check("dgrad", expected_dgrad(grad_y, w, case.length, *geometry(case)), grad_x, case, layout)


def check_wgrad(case: Case, layout: str) -> None:
    x, _, grad_y = operands(case, layout)
    arguments = (x, grad_y, case.kernel_size, *geometry(case))
    grad_w, grad_b = torch.ops.longconv.wgrad(*arguments, case.bias, "follow")
    weight, bias = expected_wgrad(*arguments)
    check("wgrad", weight, grad_w, case, layout)
    if case.bias:
        check("bias gradient", bias, grad_b, case, layout)
    else:
        assert grad_b.shape == (0,)


@given(cases(), st.sampled_from(INPUT_LAYOUTS))
@example(Case(batch=0, length=9, kernel_size=3, bias=True), "contiguous")
@example(Case(in_channels=64, out_channels=128, length=1000, kernel_size=3, stride=3, dilation=4), "contiguous")
def test_dgrad(case, layout):
    check_dgrad(case, layout)


@given(cases(), st.sampled_from(INPUT_LAYOUTS))
@example(Case(batch=0, length=9, kernel_size=3, bias=True), "contiguous")
@example(Case(in_channels=64, out_channels=128, length=1000, kernel_size=3, stride=3, dilation=4), "contiguous")
def test_wgrad(case, layout):
    check_wgrad(case, layout)


def test_replay(request):
    text = request.config.getoption("--replay", default=None)
    if text is None:
        pytest.skip("runs the case given by --replay")
    fields = json.loads(text)
    layout = fields.pop("output_layout", "contiguous")
    case = Case(**fields)
    check_dgrad(case, layout)
    check_wgrad(case, layout)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_padding_multiplies_nothing(poison):
    """The last tap lies outside of the signal for both outputs: at samples 4 and 8 of 4."""
    geometry = (4, 4, 5, "zeros", 4, 1)
    w = torch.tensor([[[2.0, 3.0, poison]]])
    grad_x = torch.ops.longconv.dgrad(torch.tensor([[[5.0, 7.0]]]), w, 4, *geometry, "follow")
    assert torch.equal(grad_x, torch.tensor([[[5.0 * 3 + 7 * 2, 0, 0, 0]]]))
    grad_y = torch.tensor([[[5.0, poison]]])  # output 1 meets the first tap only
    grad_w, _ = torch.ops.longconv.wgrad(torch.ones(1, 1, 4), grad_y, 3, *geometry, False, "follow")
    assert torch.equal(grad_w[0, 0, 1:], torch.tensor([5.0, 0.0]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_gradients_of_16_bit_operands(dtype):
    """They are those of the same numbers in float32, and differentiable back into the operands' type."""
    generator = torch.Generator().manual_seed(1)
    x, grad_y = (values(shape, dtype, generator) for shape in ((2, 4, 40), (2, 6, 40)))
    arguments = (3, 1, 1, 1, "zeros", 1, 2, True, "follow")
    wgrad = torch.ops.longconv.wgrad.default
    grads = wgrad(x, grad_y, *arguments, torch.float32)
    for got, wide in zip(grads, wgrad(x.float(), grad_y.float(), *arguments)):
        assert got.dtype == torch.float32
        assert torch.allclose(got, wide, rtol=1e-6, atol=1e-6)
    meta = wgrad(x.to("meta"), grad_y.to("meta"), *arguments, torch.float32)
    assert [(g.shape, g.dtype) for g in meta] == [(g.shape, g.dtype) for g in grads]
    x.requires_grad_()
    sum(g.sum() for g in wgrad(x, grad_y, *arguments, torch.float32)).backward()
    assert x.grad.dtype == dtype
    with pytest.raises(RuntimeError, match="grad_dtype"):
        wgrad(x, grad_y, *arguments, torch.float64)
    with pytest.raises(RuntimeError, match="grad_dtype"):
        wgrad(x.float(), grad_y.float(), *arguments, torch.bfloat16)
