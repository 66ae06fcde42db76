# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Every kernel in every config of its list, also where the planner would pick another."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from cuda_support import (
    ARITHMETICS,
    DEVICE,
    FORCED,
    KERNELS,
    assert_untouched_around,
    expect_case,
    forced,
    multiplies,
    surrounded,
)
from longconv import functional
from strategies import Case

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(bool(FORCED), reason="forces kernels itself")]

CASES = {
    "headline": Case(3, 64, 128, 3001, 3, 3, 0, 4),
    "wide": Case(1, 136, 264, 1100, 5, 1, 2, bias=True, residual=True, activation="silu"),
    "long": Case(2, 40, 72, 1500, 19, 1, [20, 19], 2),
    "pointwise": Case(2, 200, 130, 777, 1),
}
MOST_CONFIGS = 16
LISTED = [
    (kernel, dtype, precision)
    for kernel in KERNELS
    for dtype, precision in ARITHMETICS
    if multiplies(kernel, dtype, precision) and not (kernel == "direct_fprop" and dtype == "float16")
]


@pytest.mark.parametrize("candidate", range(MOST_CONFIGS))
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("kernel", "dtype", "precision"), LISTED)
def test_every_config(kernel: str, dtype: str, precision: str, name: str, candidate: int) -> None:
    case = dataclasses.replace(CASES[name], dtype=dtype)
    x, weight, bias, residual = (None if t is None else t.to(DEVICE) for t in case.tensors())
    y, memory = surrounded(*case.out_shape, x.dtype, offset=candidate % 8, gap=candidate % 3)  # type: ignore[union-attr, misc]
    with forced(kernel, candidate):
        try:
            functional.conv1d(
                x,
                weight,
                bias,
                residual=residual,
                precision=precision,
                out=y,
                **case.options(),  # type: ignore[arg-type]
            )
        except (RuntimeError, ValueError, NotImplementedError) as error:
            if f"no candidate {candidate}:" in str(error):
                pytest.skip("fewer configs")
            raise
    assert_untouched_around(y, memory)
    worst, where = expect_case(case, precision).worst(y)
    assert worst <= 1, f"{worst:.3g} times the bound at {where}, {kernel}, config {candidate}\n{case.replay()}"
    assert torch.isfinite(y).all()
