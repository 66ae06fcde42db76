# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""What the tests on a GPU share: cases, bounds, the kernel they run on, memory with canaries.

``LONGCONV_CUDA_KERNEL=dense_fprop_sm80`` (or another kernel's name) runs them on that kernel. Without a GPU they are
skipped (tests/python/conftest.py); ``LONGCONV_TEST_DEVICE=cpu`` rehearses what can be rehearsed on the CPU.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from longconv import functional
from reference import Expected, accumulation_factor, expected_conv1d
from strategies import Case

DEVICE = os.environ.get("LONGCONV_TEST_DEVICE", "cuda")
FORCED = os.environ.get("LONGCONV_CUDA_KERNEL", "")
KERNELS = ("dense_fprop_sm90", "dense_fprop_split_sm90", "dense_fprop_sm80", "direct_fprop")
WGRAD_KERNELS = ("dense_wgrad_sm90", "dense_wgrad_sm80", "direct_wgrad")
# Of stride 1 and aligned rows only.
TMA_WGRAD = "dense_wgrad_tma_sm90"
DGRAD_KERNELS = ("dense_dgrad_sm90", "dense_dgrad_split_sm90", "dense_dgrad_sm80", "direct_dgrad")
# What a tensor may be multiplied in: (dtype, precision).
ARITHMETICS = [("float32", "fp32"), ("float32", "tf32"), ("bfloat16", "fp32"), ("float16", "fp32"), ("float64", "fp32")]
arithmetic = pytest.mark.parametrize(("dtype", "precision"), ARITHMETICS, ids=["fp32", "tf32", "bf16", "f16", "f64"])


def multiplies(kernel: str, dtype: str, precision: str) -> bool:
    """Whether a kernel has this arithmetic; '' is the planner's choice, which has all."""
    kernel = kernel.replace("dgrad", "fprop")  # each has a counterpart
    if kernel in ("dense_fprop_sm90", TMA_WGRAD):
        return dtype in ("bfloat16", "float16") or (dtype, precision) == ("float32", "tf32")
    if kernel == "dense_fprop_split_sm90":
        return (dtype, precision) == ("float32", "fp32")
    return kernel not in ("dense_fprop_sm80", "dense_wgrad_sm90", "dense_wgrad_sm80") or dtype != "float64"


def skip_unless_supported(dtype: str, precision: str) -> None:
    """Skips the test where the forced kernel has no such arithmetic."""
    if not multiplies(FORCED, dtype, precision):
        pytest.skip(f"{FORCED} does not multiply {dtype} in {precision}")


@contextlib.contextmanager
def forced(kernel: str, candidate: int) -> Iterator[None]:
    """CUDA convolutions run on this kernel in its config of this number; afterwards as before."""
    torch.ops.longconv.force_cuda_plan(kernel, candidate)
    try:
        yield
    finally:
        torch.ops.longconv.force_cuda_plan(FORCED, 0)


def synchronize() -> None:
    """Waits for the GPU, and so raises what went wrong there."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def to_tf32(t: torch.Tensor) -> torch.Tensor:
    """Rounds to 10 bits, to nearest, ties away."""
    return ((t.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def chained(expected: Expected, terms: int) -> Expected:
    """Tensor cores add in one chain for TF32, bf16 and f16: c(n) is n + 2 (docs/design/numerics.md)."""
    ratio = float((terms + 2) / accumulation_factor("float32", np.asarray(terms)))
    return Expected(expected.y, expected.bound * max(1.0, ratio))


def expect(
    x: torch.Tensor,
    w: torch.Tensor,
    bias: torch.Tensor | None = None,
    precision: str = "fp32",
    **options: object,
) -> Expected:
    """Result and bound of what a kernel may do with the tensors, wherever they lie."""
    x, w = x.cpu(), w.cpu()
    rounds = precision == "tf32" and DEVICE == "cuda"
    if rounds:
        x, w = to_tf32(x), to_tf32(w)
    expected = expected_conv1d(x, w, None if bias is None else bias.cpu(), **options)  # type: ignore[arg-type]
    if rounds or x.dtype in (torch.bfloat16, torch.float16):
        return chained(expected, w.shape[1] * w.shape[2])
    return expected


def expect_case(case: Case, precision: str) -> Expected:
    """The same for a case."""
    x, w, bias, residual = case.tensors()
    return expect(x, w, bias, precision, residual=residual, **case.options())


def run(case: Case, precision: str) -> torch.Tensor:
    """The case on the GPU."""
    x, w, bias, residual = (None if t is None else t.to(DEVICE) for t in case.tensors())
    out = functional.conv1d(x, w, bias, residual=residual, precision=precision, **case.options())  # type: ignore[arg-type]
    synchronize()
    return out


def check(case: Case, precision: str) -> None:
    """Every element is within its bound."""
    worst, where = expect_case(case, precision).worst(run(case, precision))
    assert worst <= 1, f"{worst:.3g} times the bound at {where}\n{precision} {FORCED} {case.replay()}"


def surrounded(
    batch: int, channels: int, samples: int, dtype: torch.dtype, offset: int = 0, gap: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """(view, memory): a tensor inside a larger one full of NaN, `gap` elements between rows, `offset` into a row's
    alignment."""
    around = 4096
    row = samples + gap
    memory = torch.full((2 * around + offset + batch * channels * row,), float("nan"), dtype=dtype, device=DEVICE)
    view = memory[around + offset :][: batch * channels * row].view(batch, channels, row)[..., :samples]
    return view, memory


def assert_untouched_around(view: torch.Tensor, memory: torch.Tensor) -> None:
    """Nothing but the view's elements was written, and each of these was."""
    synchronize()
    assert not torch.isnan(view).any(), "an element was not written"
    kept = view.clone()
    view.fill_(float("nan"))
    assert torch.isnan(memory).all(), "something was written outside"
    view.copy_(kept)
