# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""A few tiny convolutions, or their weight gradients, on the kernel that LONGCONV_CUDA_KERNEL names: the program for
compute-sanitizer.

No test by itself, and no GPU code but ours: signals come from the host and results go back to it. With
PYTORCH_NO_CUDA_MEMORY_CACHING=1 every tensor is an allocation of its own, so that its bounds are real.
"""

from __future__ import annotations

import sys

import torch

from cuda_support import ARITHMETICS, DEVICE, FORCED, TMA_WGRAD, expect_case, multiplies
from longconv import functional
from strategies import Case
from test_cuda_dgrad import expect_dgrad, geometry_of, gradient_of, run_dgrad

# Signals are whole 16 bytes: bulk copies read to the end of a row's last 16 bytes, which every allocation has, but memcheck
# counts what was asked for.
CASES = [
    Case(1, 16, 72, 301, 3, 1, 1),
    Case(2, 20, 40, 400, 3, 3, 0, 4, bias=True),
    Case(1, 36, 64, 270, 4, 2, 3, 1, 1, "reflect", residual=True, activation="gelu"),
    # More channels than a ring of slots holds: packers write where others have written.
    Case(1, 136, 136, 304, 3, 1, 1),
    Case(1, 64, 128, 700, 3, 3, 0, 4),  # TF32 on Hopper: weights in registers
]
# Of dense_wgrad_tma_sm90: alone and in clusters, with more chunks than slots.
ALIGNED_CASES = [
    Case(2, 128, 256, 1200, 3, 1, 8, 8, bias=True),
    Case(1, 256, 128, 904, 1, 1),
]


Worst = tuple[float, tuple[int, ...]]  # of the result, in bounds, and where


def worst_of_forward(case: Case, precision: str) -> Worst:
    x, w, bias, residual = (None if t is None else t.to(DEVICE) for t in case.tensors())
    y = functional.conv1d(x, w, bias, residual=residual, precision=precision, **case.options())  # type: ignore[arg-type]
    return expect_case(case, precision).worst(y.cpu())


def worst_of_dgrad(case: Case, precision: str) -> Worst:
    """Given dL/dz, and given dL/dy beside a result of relu that lets all of it pass."""
    plain = expect_dgrad(case, precision).worst(run_dgrad(case, precision).cpu())
    grad_y, weight = (t.to(DEVICE) for t in gradient_of(case))
    arguments = (weight, *geometry_of(case), "relu", 0.0, precision)
    grad_x = torch.ops.longconv.dgrad_through_activation(grad_y, torch.ones_like(grad_y), *arguments)
    return max(plain, expect_dgrad(case, precision).worst(grad_x.cpu()))


def worst_of_wgrad(case: Case, precision: str) -> Worst:
    """As dgrad, unless the kernel takes dL/dz only. The expectation is made on the host, without the kernels under test."""
    from test_cuda_wgrad import expect, geometry, operands

    x, grad_y = operands(case)
    arguments = (case.kernel_size, *geometry(case), case.bias, precision)
    grad_w, _ = torch.ops.longconv.wgrad(x.to(DEVICE), grad_y.to(DEVICE), *arguments)
    expected = expect(x, grad_y, case, precision)[0]
    if FORCED == TMA_WGRAD:
        return expected.worst(grad_w.cpu())
    x, grad_y, y = x.to(DEVICE), grad_y.to(DEVICE), torch.ones_like(grad_y).to(DEVICE)
    arguments = (case.kernel_size, *geometry(case), case.bias, "relu", 0.0, precision)
    through, _ = torch.ops.longconv.wgrad_through_activation(x, grad_y, y, *arguments)
    return max(expected.worst(grad_w.cpu()), expected.worst(through.cpu()))


def main() -> int:
    """0 when every result is within its bound; the sanitizer has an exit status of its own."""
    ran, bad = 0, 0
    for case in ALIGNED_CASES if FORCED == TMA_WGRAD else CASES:
        for dtype, precision in ARITHMETICS:
            if not multiplies(FORCED, dtype, precision):
                continue
            case = Case(**{**vars(case), "dtype": dtype})
            worst_of = (
                worst_of_dgrad if "dgrad" in FORCED else worst_of_wgrad if "wgrad" in FORCED else worst_of_forward
            )
            worst, where = worst_of(case, precision)
            ran, bad = ran + 1, bad + (worst > 1)
            print(f"{dtype} {precision} {case.replay()}: {worst:.2f} of the bound at {where}", flush=True)
    print(f"{ran} convolutions, {bad} beyond their bound")
    return 1 if bad or not ran else 0


if __name__ == "__main__":
    sys.exit(main())
