# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""`longconv.reuse_packed_weights`: results are those of the weights as they are. What may be kept when is tested in C++
(tests/binding)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

import longconv
from longconv.functional import conv1d

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.fixture
def reuse():
    before = longconv.reuse_packed_weights(True)
    yield
    longconv.reuse_packed_weights(before)


def test_off_until_asked_for():
    assert longconv.reuse_packed_weights(True) is False
    assert longconv.reuse_packed_weights(False) is True
    assert longconv.reuse_packed_weights(False) is False
    run = subprocess.run(
        [sys.executable, "-c", "import longconv; print(longconv.reuse_packed_weights(False))"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LONGCONV_REUSE_PACKED_WEIGHTS": "1"},
    )
    assert run.stdout == "True\n"


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.usefixtures("reuse")
def test_every_counted_change_is_seen(dtype):
    x = torch.randn(2, 64, 30000, device="cuda", dtype=dtype)
    w = torch.nn.Parameter(torch.randn(128, 64, 3, device="cuda", dtype=dtype))

    def check():
        with torch.no_grad():
            assert torch.equal(conv1d(x, w), conv1d(x, w.clone()))
            assert torch.equal(conv1d(x, w), conv1d(x, w.clone())), "the second call, with kept weights"

    check()
    for change in (lambda: w.mul_(-1), lambda: w[3].zero_(), lambda: w.copy_(torch.randn_like(w))):
        with torch.no_grad():
            change()
        check()
    w.data = torch.randn_like(w)
    check()


@needs_gpu
@pytest.mark.usefixtures("reuse")
def test_streams_and_graphs_keep_their_own():
    x, w = torch.randn(2, 64, 30000, device="cuda"), torch.randn(128, 64, 3, device="cuda")
    y = conv1d(x, w)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        other = conv1d(x, w)
    torch.cuda.synchronize()
    assert torch.equal(y, other)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = conv1d(x, w)
    w.copy_(torch.randn_like(w))
    graph.replay()
    assert torch.equal(captured, conv1d(x, w)), "a replay packs the weights as they are"


@needs_gpu
@pytest.mark.usefixtures("reuse")
def test_memory_goes_with_the_tensor():
    x = torch.randn(1, 64, 30000, device="cuda")
    for _ in range(3):  # the streams' own workspaces and the plan are there
        conv1d(x, torch.randn(128, 64, 3, device="cuda"))
    before = torch.cuda.memory_allocated()
    for _ in range(50):
        conv1d(x, torch.randn(128, 64, 3, device="cuda"))
    assert torch.cuda.memory_allocated() <= before
