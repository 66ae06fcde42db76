# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Memory on a GPU: nothing outside the result is written, what the workspace held before plays no part, and there is
no scratch of the input's or the output's size."""

from __future__ import annotations

import pytest
import torch

from cuda_support import DEVICE, arithmetic, assert_untouched_around, skip_unless_supported, surrounded
from longconv import functional

pytestmark = pytest.mark.cuda

GEOMETRIES = {
    "headline": {"channels": 64, "filters": 128, "taps": 3, "stride": 3, "dilation": 4},
    "many channels": {"channels": 256, "filters": 256, "taps": 3, "stride": 1, "dilation": 8},
    "odd": {"channels": 65, "filters": 100, "taps": 5, "stride": 2, "dilation": 1},
    "pointwise": {"channels": 128, "filters": 72, "taps": 1, "stride": 1, "dilation": 1},
    "few": {"channels": 3, "filters": 7, "taps": 9, "stride": 1, "dilation": 1},
}
PACKED = 1 << 20  # beside packed weights


def operands(name: str, dtype: str, samples: int, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, dict[str, int]]:
    g = GEOMETRIES[name]
    kind = getattr(torch, dtype)
    x = torch.randn(batch, g["channels"], samples, device=DEVICE).to(kind)
    weight = torch.randn(g["filters"], g["channels"], g["taps"], device=DEVICE).to(kind)
    return x, weight, {"stride": g["stride"], "dilation": g["dilation"]}


@pytest.mark.parametrize("name", GEOMETRIES)
@arithmetic
def test_canaries_around_rows_and_tensor(name: str, dtype: str, precision: str) -> None:
    skip_unless_supported(dtype, precision)
    x, weight, options = operands(name, dtype, 3001)
    expected = functional.conv1d(x, weight, precision=precision, **options)
    for offset, gap in ((0, 0), (1, 0), (3, 5), (7, 16), (0, 33)):
        y, memory = surrounded(*expected.shape, expected.dtype, offset, gap)  # type: ignore[misc]
        functional.conv1d(x, weight, precision=precision, out=y, **options)
        assert_untouched_around(y, memory)
        assert torch.equal(y, expected), f"offset {offset}, gap {gap}"


@pytest.mark.real_gpu
@pytest.mark.parametrize("name", GEOMETRIES)
@arithmetic
def test_recycled_memory_full_of_nan(name: str, dtype: str, precision: str) -> None:
    """The allocator hands out what was freed last: workspace and result begin as NaN, and in other runs as zeros."""
    skip_unless_supported(dtype, precision)
    x, weight, options = operands(name, dtype, 3001)
    results = []
    for fill in (0x00, 0xFF, 0x7F):
        torch.cuda.empty_cache()
        sizes = [1 << power for power in range(9, 25)] * 2
        blocks = [torch.full((size,), fill, dtype=torch.uint8, device=DEVICE) for size in sizes]
        del blocks
        results.append(functional.conv1d(x, weight, precision=precision, **options))
        torch.cuda.synchronize()
    assert not torch.isnan(results[0]).any()
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.real_gpu
@pytest.mark.parametrize("name", GEOMETRIES)
@arithmetic
def test_no_memory_but_packed_weights(name: str, dtype: str, precision: str) -> None:
    skip_unless_supported(dtype, precision)
    x, weight, options = operands(name, dtype, 1 << 18, batch=1)
    y = functional.conv1d(x, weight, precision=precision, **options)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    functional.conv1d(x, weight, precision=precision, out=y, **options)
    torch.cuda.synchronize()
    extra = torch.cuda.max_memory_allocated() - before
    filters, channels, taps = weight.shape
    # Both sides rounded up to what a tile takes; fp32 is kept as two f16 planes.
    packed = 4 * taps * (-(-filters // 256) * 256) * (-(-channels // 64) * 64)
    assert extra <= packed + PACKED, f"{extra} bytes"
    if name != "few":  # whose signal is as small as packed weights
        assert extra < min(x.nbytes, y.nbytes) / 4
