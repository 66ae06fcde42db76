# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Time on a GPU: the same bits on every run, on every stream, from every thread, inside graphs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from cuda_support import DEVICE, arithmetic, skip_unless_supported
from longconv import functional

pytestmark = pytest.mark.cuda


def headline(dtype: str, samples: int = 20000, batch: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(batch, 64, samples, device=DEVICE).to(getattr(torch, dtype))
    return x, torch.randn(128, 64, 3, device=DEVICE).to(x.dtype)


def conv(x: torch.Tensor, weight: torch.Tensor, precision: str) -> torch.Tensor:
    return functional.conv1d(x, weight, stride=3, dilation=4, precision=precision)


@arithmetic
def test_bitwise_the_same_in_twenty_runs(dtype: str, precision: str) -> None:
    skip_unless_supported(dtype, precision)
    x, weight = headline(dtype)
    first = conv(x, weight, precision)
    assert all(torch.equal(first, conv(x, weight, precision)) for _ in range(20))


@pytest.mark.real_gpu
@arithmetic
def test_two_streams_at_once(dtype: str, precision: str) -> None:
    """Each has its own signal and its own workspace, and nothing orders one after the other."""
    skip_unless_supported(dtype, precision)
    pairs = [headline(dtype) for _ in range(2)]
    expected = [conv(*pair, precision) for pair in pairs]
    streams = [torch.cuda.Stream() for _ in range(2)]
    torch.cuda.synchronize()
    results: list[list[torch.Tensor]] = [[], []]
    for _ in range(20):
        for index, stream in enumerate(streams):
            with torch.cuda.stream(stream):
                results[index].append(conv(*pairs[index], precision))
    torch.cuda.synchronize()
    for index in range(2):
        assert all(torch.equal(expected[index], other) for other in results[index])


@pytest.mark.real_gpu
def test_waits_for_nobody_but_its_own_stream() -> None:
    """A signal that is still being made on the same stream is waited for."""
    skip_unless_supported("float32", "fp32")
    x, weight = headline("float32")
    conv(x, weight, "fp32")
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # type: ignore[no-untyped-call]
        doubled = x * 2
        got = conv(doubled, weight, "fp32")
    stream.synchronize()
    assert torch.equal(got, conv(x * 2, weight, "fp32"))


@pytest.mark.real_gpu
@arithmetic
def test_captured_into_a_graph_and_replayed_with_other_input(dtype: str, precision: str) -> None:
    skip_unless_supported(dtype, precision)
    x, weight = headline(dtype, 3000)
    conv(x, weight, precision)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = conv(x, weight, precision)
    for _ in range(3):
        x.copy_(torch.randn(x.shape))
        weight.copy_(torch.randn(weight.shape))
        y.fill_(float("nan"))
        graph.replay()
        torch.cuda.synchronize()
        assert torch.equal(y, conv(x, weight, precision))


@pytest.mark.real_gpu
@arithmetic
def test_two_convolutions_in_one_graph(dtype: str, precision: str) -> None:
    """Of equal weights' size: what one packs must not be what the other reads."""
    skip_unless_supported(dtype, precision)
    x, first = headline(dtype, 3000)
    second = torch.randn(first.shape, device=DEVICE).to(first.dtype)
    conv(x, first, precision)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        a, b = conv(x, first, precision), conv(x, second, precision)
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(a, conv(x, first, precision))
    assert torch.equal(b, conv(x, second, precision))


@arithmetic
def test_changed_weights_are_seen(dtype: str, precision: str) -> None:
    """In place, through a detached alias, and in memory that was freed and handed out again."""
    skip_unless_supported(dtype, precision)
    x, weight = headline(dtype, 3000)
    conv(x, weight, precision)
    other = torch.randn(weight.shape, device=DEVICE).to(weight.dtype)
    weight.copy_(other)
    assert torch.equal(conv(x, weight, precision), conv(x, other, precision))
    weight.data.mul_(2)
    assert torch.equal(conv(x, weight, precision), conv(x, other * 2, precision))
    weight.detach().zero_()
    assert not conv(x, weight, precision).any()
    for _ in range(5):
        fresh = torch.randn(weight.shape, device=DEVICE).to(weight.dtype)
        assert torch.equal(conv(x, fresh, precision), conv(x, fresh.clone(), precision))
        del fresh


@arithmetic
def test_many_threads_at_once(dtype: str, precision: str) -> None:
    """The first calls too: kernels of shapes that nobody has used before are compiled once for all."""
    skip_unless_supported(dtype, precision)
    cases = [(torch.randn(2, 16 + 16 * (i % 3), 900 + i).to(getattr(torch, dtype)), 3 + 2 * (i % 2)) for i in range(12)]

    def call(case: tuple[torch.Tensor, int]) -> torch.Tensor:
        x, taps = case
        weight = torch.linspace(-1, 1, 72 * x.shape[1] * taps).view(72, -1, taps)
        y = functional.conv1d(x.to(DEVICE), weight.to(DEVICE, x.dtype), precision=precision)
        return y.cpu()

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(call, cases))
    for mine, case in zip(together, cases):
        assert torch.equal(mine, call(case))
