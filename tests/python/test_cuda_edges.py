# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Edges on a GPU: lengths around tiles, alignments of every kind, repeated batches, empty ones; canaries everywhere."""

from __future__ import annotations

import pytest
import torch

from cuda_support import DEVICE, arithmetic, assert_untouched_around, expect, skip_unless_supported, surrounded
from longconv import functional

pytestmark = pytest.mark.cuda

# (in_channels, out_channels, kernel_size, stride, dilation)
GEOMETRIES = {
    "plain": (32, 72, 3, 1, 1),
    "pointwise": (48, 64, 1, 1, 1),
    "strided": (16, 130, 3, 3, 4),
    "even stride": (32, 64, 4, 2, 1),
    "one channel": (1, 40, 9, 1, 2),
}
TILE_EDGES = [1, 2, 7, 8, 9, 15, 31, 33, 63, 64, 65, 121, 127, 128, 129, 240, 248, 255, 256, 257, 260, 511, 512, 513]


def outer_samples(out_length: int, kernel_size: int, stride: int, dilation: int) -> int:
    return (out_length - 1) * stride + dilation * (kernel_size - 1) + 1


@pytest.mark.parametrize("name", GEOMETRIES)
@arithmetic
def test_every_length_around_a_tile(name: str, dtype: str, precision: str) -> None:
    """Signal and result lie in NaN, rows one after another without a gap: neighbours are real numbers or NaN."""
    skip_unless_supported(dtype, precision)
    channels, filters, taps, stride, dilation = GEOMETRIES[name]
    kind = getattr(torch, dtype)
    weight = torch.randn(filters, channels, taps, device=DEVICE).to(kind)
    for out_length in TILE_EDGES:
        samples = outer_samples(out_length, taps, stride, dilation) + out_length % stride
        x, _ = surrounded(2, channels, samples, kind, offset=out_length % 8)
        x.copy_(torch.randn(x.shape))
        y, memory = surrounded(2, filters, out_length, kind, offset=(out_length // 2) % 8, gap=out_length % 3)
        functional.conv1d(x, weight, None, stride, 0, dilation, precision=precision, out=y)
        assert_untouched_around(y, memory)
        worst, where = expect(x, weight, None, precision, stride=stride, dilation=dilation).worst(y)
        assert worst <= 1, f"{worst:.3g} times the bound at {where} of {out_length} samples"


@pytest.mark.parametrize("x_offset", range(8))
@pytest.mark.parametrize("y_offset", [0, 1, 3, 7])
@arithmetic
def test_every_alignment(x_offset: int, y_offset: int, dtype: str, precision: str) -> None:
    """Base pointers, row lengths and so every row's beginning, on any element."""
    skip_unless_supported(dtype, precision)
    kind = getattr(torch, dtype)
    weight = torch.randn(72, 32, 5, device=DEVICE).to(kind)
    for samples in (700, 701, 703):
        x, _ = surrounded(2, 32, samples, kind, x_offset, gap=x_offset % 3)
        x.copy_(torch.randn(x.shape))
        y, memory = surrounded(2, 72, samples, kind, y_offset, gap=y_offset % 2)
        functional.conv1d(x, weight, padding=2, precision=precision, out=y)
        assert_untouched_around(y, memory)
        worst, where = expect(x, weight, None, precision, padding=2).worst(y)
        assert worst <= 1, f"{worst:.3g} times the bound at {where}, {samples} samples"


@pytest.mark.parametrize("padding", [0, 3, (7, 0), (0, 9)])
@arithmetic
def test_both_ends_of_each_row(padding: int | tuple[int, int], dtype: str, precision: str) -> None:
    """Only the first and the last samples of each row are there: what a tile takes from a neighbouring row shows."""
    skip_unless_supported(dtype, precision)
    kind = getattr(torch, dtype)
    for samples in (257, 1030):
        x = torch.zeros(3, 24, samples)
        x[..., :3], x[..., -3:] = torch.randn(3, 24, 3), torch.randn(3, 24, 3)
        x, weight = x.to(DEVICE, kind), torch.randn(80, 24, 7, device=DEVICE).to(kind)
        got = functional.conv1d(x, weight, padding=padding, precision=precision)
        worst, where = expect(x, weight, None, precision, padding=padding).worst(got)
        assert worst <= 1, f"{worst:.3g} times the bound at {where}, {samples} samples"


@arithmetic
def test_a_repeated_batch(dtype: str, precision: str) -> None:
    skip_unless_supported(dtype, precision)
    kind = getattr(torch, dtype)
    one, weight = torch.randn(1, 40, 900, device=DEVICE).to(kind), torch.randn(64, 40, 3, device=DEVICE).to(kind)
    repeated = one.expand(5, -1, -1)
    got = functional.conv1d(repeated, weight, precision=precision)
    assert torch.equal(got, functional.conv1d(repeated.contiguous(), weight, precision=precision))


@arithmetic
def test_an_empty_batch_and_one_signal_without_batch(dtype: str, precision: str) -> None:
    skip_unless_supported(dtype, precision)
    kind = getattr(torch, dtype)
    x, weight = torch.randn(1, 32, 300, device=DEVICE).to(kind), torch.randn(64, 32, 3, device=DEVICE).to(kind)
    assert functional.conv1d(x[:0], weight, precision=precision).shape == (0, 64, 298)
    assert torch.equal(
        functional.conv1d(x[0], weight, precision=precision), functional.conv1d(x, weight, precision=precision)[0]
    )


@arithmetic
def test_into_any_layout(dtype: str, precision: str) -> None:
    """`out` that the kernels cannot write in place gets the same numbers."""
    skip_unless_supported(dtype, precision)
    kind = getattr(torch, dtype)
    x, weight = torch.randn(2, 32, 500, device=DEVICE).to(kind), torch.randn(64, 32, 3, device=DEVICE).to(kind)
    fresh = functional.conv1d(x, weight, precision=precision)
    channels_last = torch.empty(2, 498, 64, device=DEVICE, dtype=kind).transpose(1, 2)
    every_second = torch.empty(2, 64, 2 * 498, device=DEVICE, dtype=kind)[..., ::2]
    for out in (channels_last, every_second):
        functional.conv1d(x, weight, precision=precision, out=out)
        assert torch.equal(out, fresh)


@arithmetic
def test_residual_that_is_the_result(dtype: str, precision: str) -> None:
    skip_unless_supported(dtype, precision)
    kind = getattr(torch, dtype)
    x, weight = torch.randn(2, 32, 500, device=DEVICE).to(kind), torch.randn(64, 32, 3, device=DEVICE).to(kind)
    residual = torch.randn(2, 64, 498, device=DEVICE).to(kind)
    apart = functional.conv1d(x, weight, residual=residual, activation="relu", precision=precision)
    functional.conv1d(x, weight, residual=residual, activation="relu", precision=precision, out=residual)
    assert torch.equal(residual, apart)
