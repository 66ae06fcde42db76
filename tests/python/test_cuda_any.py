# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Convolutions that no one would think of, on a GPU: the property test of the CPU with the GPU's types."""

from __future__ import annotations

import pytest
from hypothesis import given, seed, settings

from cuda_support import check, skip_unless_supported
from strategies import Case, cases

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize("number", range(8))
def test_any_convolution(number: int) -> None:
    @seed(number)
    @settings(max_examples=30, derandomize=False, database=None)
    @given(case=cases(("float32", "bfloat16", "float16", "float64")))
    def holds(case: Case) -> None:
        check(case, "fp32")

    skip_unless_supported("float64", "fp32")
    holds()


@pytest.mark.parametrize("number", range(4))
def test_any_convolution_in_tf32(number: int) -> None:
    @seed(number)
    @settings(max_examples=20, derandomize=False, database=None)
    @given(case=cases(("float32",)))
    def holds(case: Case) -> None:
        check(case, "tf32")

    skip_unless_supported("float64", "fp32")
    holds()
