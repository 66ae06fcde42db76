# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""A call of conv1d or conv_transpose1d against its definition, in a fresh tensor or in the caller's."""

from __future__ import annotations

from typing import Callable, Union

import torch

from strategies import Case as ConvCase
from strategies import lay_out
from transposed_cases import Case as TransposedCase

Case = Union[ConvCase, TransposedCase]


def check_call(function: Callable[..., torch.Tensor], case: Case) -> None:
    """Every element of the case's result is within its bound."""
    x, w, bias, residual = case.tensors()
    arguments = {"bias": bias, "residual": residual, **case.options()}
    expected = case.expected()
    if case.output_layout == "fresh":
        got = function(x, w, **arguments)
        assert got.is_contiguous(), case.replay()
    else:
        got = call_with_out(function, case, x, w, arguments)
    assert got.dtype == x.dtype
    assert tuple(got.shape) == case.out_shape, case.replay()
    worst, where = expected.worst(got)
    assert worst <= 1, (
        f"element {where} is {got[where]}, expected {expected.y[where]} +- {expected.bound[where]} "
        f"({worst:.3g} of the bound)\n{case}\n{case.replay()}"
    )


def call_with_out(
    function: Callable[..., torch.Tensor], case: Case, x: torch.Tensor, w: torch.Tensor, arguments: dict[str, object]
) -> torch.Tensor:
    """The result in a tensor of the case's layout; nothing around it is written."""
    shape = (1, *case.out_shape) if case.batch is None else case.out_shape
    out = lay_out(torch.zeros(shape, dtype=x.dtype), case.output_layout)
    out = out[0] if case.batch is None else out
    # The whole allocation, to see whether anything around the result is written.
    memory = torch.empty(0, dtype=out.dtype).set_(out.untyped_storage())
    written = torch.zeros(memory.numel(), dtype=torch.bool)
    written.as_strided(out.shape, out.stride(), out.storage_offset()).fill_(True)
    before = memory.clone()
    got = function(x, w, out=out, **arguments)
    assert got is out, case.replay()
    same = (memory == before) | (memory.isnan() & before.isnan())
    assert bool((same | written).all()), f"wrote outside of `out`\n{case.replay()}"
    return out
