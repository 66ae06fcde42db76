# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""fp32 and TF32 on a GPU: who decides which, and how both stand against cuDNN."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F

import longconv
from cuda_support import DEVICE, FORCED, skip_unless_supported
from longconv import functional
from longconv.bench import accuracy, case_files
from longconv.bench.operands import make_operands

pytestmark = [pytest.mark.cuda, pytest.mark.real_gpu]


@contextlib.contextmanager
def cudnn_tf32(allowed: bool) -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@pytest.mark.skipif(bool(FORCED), reason="about the planner's own choice")
def test_follows_pytorchs_switch_unless_told() -> None:
    x, w = torch.randn(1, 64, 3000, device=DEVICE), torch.randn(128, 64, 3, device=DEVICE)
    exact, rounded = (functional.conv1d(x, w, precision=precision) for precision in ("fp32", "tf32"))
    assert not torch.equal(exact, rounded)
    for allowed, expected in ((True, rounded), (False, exact)):
        with cudnn_tf32(allowed):
            assert torch.equal(functional.conv1d(x, w), expected)
            assert torch.equal(functional.conv1d(x, w, precision="follow"), expected)
            assert torch.equal(functional.conv1d(x, w, precision="fp32"), exact)
            assert torch.equal(functional.conv1d(x, w, precision="tf32"), rounded)


@pytest.mark.skipif(bool(FORCED), reason="about the planner's own choice")
def test_follows_the_newer_switch() -> None:
    conv = getattr(torch.backends.cudnn, "conv", None)
    if conv is None or not hasattr(conv, "fp32_precision"):
        pytest.skip("this PyTorch has no torch.backends.cudnn.conv.fp32_precision")
    x, w = torch.randn(1, 64, 3000, device=DEVICE), torch.randn(128, 64, 3, device=DEVICE)
    before = conv.fp32_precision
    try:
        for setting, precision in (("tf32", "tf32"), ("ieee", "fp32")):
            conv.fp32_precision = setting
            assert torch.equal(functional.conv1d(x, w), functional.conv1d(x, w, precision=precision)), setting
    finally:
        conv.fp32_precision = before


@pytest.mark.skipif(bool(FORCED), reason="about the planner's own choice")
def test_a_layers_own_precision_wins() -> None:
    x = torch.randn(1, 64, 3000, device=DEVICE)
    layer = longconv.Conv1d(64, 128, 3, device=DEVICE, precision="fp32")
    with torch.no_grad(), cudnn_tf32(True):
        assert torch.equal(layer(x), functional.conv1d(x, layer.weight, layer.bias, precision="fp32"))


@pytest.mark.parametrize("draw", [torch.rand, torch.randn], ids=["uniform", "normal"])
def test_headline_tf32_is_cudnns(draw: object) -> None:
    """No element further than 1e-4, absolute plus relative."""
    skip_unless_supported("float32", "tf32")
    x = draw(4, 64, 524280, device=DEVICE)  # type: ignore[operator]
    layer = torch.nn.Conv1d(64, 128, 3, stride=3, dilation=4, bias=False, device=DEVICE)
    with torch.no_grad(), cudnn_tf32(True):
        theirs = layer(x)
        ours = functional.conv1d(x, layer.weight, None, 3, 0, 4, precision="tf32")
    excess = ((ours - theirs).abs() - 1e-4 * theirs.abs()).max().item()
    print(f"largest |ours - cuDNN| - 1e-4 |cuDNN|: {excess:.3g}")
    assert excess <= 1e-4


@pytest.mark.parametrize(
    "case", [case for case in case_files.load("judged_gpu") if "fprop" in case.passes], ids=lambda case: case.name
)
def test_rms_error_is_not_above_cudnns(case: case_files.Case) -> None:
    """fp32 on slices of the judged shapes, whose batch is cut to what fits beside other tests."""
    skip_unless_supported("float32", "fp32")
    p = case.problem
    signals = (3 << 28) // (p.signal_elements // p.batch)
    p = p.replace(batch=max(1, min(p.batch, signals)))
    o = make_operands(p, torch.device(DEVICE))
    geometry = (p.stride, p.pad_left, p.dilation, p.groups)
    ours = accuracy.relative_rms_error(p, o, functional.conv1d(o.x, o.weight, None, *geometry, precision="fp32"))
    with cudnn_tf32(False):
        theirs = accuracy.relative_rms_error(p, o, F.conv1d(o.x, o.weight, None, *geometry))
    assert ours is not None
    assert theirs is not None
    count = sum(samples for _, _, samples in accuracy.slices(p)) * p.out_channels
    print(f"{case.name}: relative RMS error {ours:.3g}, cuDNN's {theirs:.3g}")
    # The RMS of that many errors scatters by 1 / sqrt(2 count) from draw to draw: five times that is no difference.
    assert ours <= theirs * (1 + 5 / math.sqrt(2 * count)), f"{ours:.3g} above cuDNN's {theirs:.3g}"
