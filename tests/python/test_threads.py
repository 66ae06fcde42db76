# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The same bits whatever the number of threads, and from many Python threads at once."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from longconv.functional import conv1d
from strategies import Case

CASES = {
    "dense": Case(batch=3, in_channels=20, out_channels=30, length=5003, kernel_size=3, dilation=8, bias=True),
    "strided": Case(batch=2, in_channels=33, out_channels=17, length=9001, kernel_size=3, stride=3, dilation=4),
    "many inputs": Case(batch=1, in_channels=300, out_channels=7, length=701, kernel_size=3),
    "few inputs": Case(batch=1, in_channels=1, out_channels=50, length=20011, kernel_size=10, stride=5),
    "long filter": Case(batch=1, in_channels=1, out_channels=3, length=20011, kernel_size=1025),
    "depthwise": Case(batch=2, in_channels=37, out_channels=37, groups=37, length=3001, kernel_size=4),
    "depthwise, one channel": Case(batch=1, length=100003, kernel_size=7, padding=3),
    "grouped": Case(batch=2, in_channels=24, out_channels=48, groups=4, length=2001, kernel_size=3, padding=1),
    "reflect": Case(
        batch=1, in_channels=9, out_channels=5, length=3001, kernel_size=5, padding=50, padding_mode="reflect"
    ),
    "pointwise": Case(batch=2, in_channels=100, out_channels=60, length=999, kernel_size=1, activation="gelu"),
}


def all_passes(case):
    """Result and every gradient."""
    x, w, bias, residual = case.tensors()
    operands = [t.requires_grad_() for t in (x, w, bias) if t is not None]
    y = conv1d(x, w, bias, residual=residual, **case.options())
    torch.manual_seed(3)
    grad = torch.randn_like(y)
    return [y.detach(), *torch.autograd.grad(y, operands, grad)]


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "complex64"])
@pytest.mark.parametrize("name", CASES)
def test_same_bits_for_any_number_of_threads(name, dtype):
    if dtype == "complex64" and CASES[name].activation != "none":
        pytest.skip("activations are real")
    case = dataclasses.replace(CASES[name], dtype=dtype)
    torch.set_num_threads(1)
    alone = all_passes(case)
    for threads in (2, 3, 4, 7):
        torch.set_num_threads(threads)
        for what, mine, theirs in zip(("y", "dx", "dw", "db"), alone, all_passes(case)):
            assert torch.equal(mine, theirs), f"{what} differs between 1 and {threads} threads\n{case.replay()}"


def test_same_bits_run_after_run():
    case = CASES["strided"]
    first = all_passes(case)
    for _ in range(20):
        assert all(torch.equal(a, b) for a, b in zip(first, all_passes(case)))


def test_many_python_threads_at_once():
    cases = [dataclasses.replace(case, seed=seed) for seed in range(4) for case in CASES.values()]
    alone = [conv_only(case) for case in cases]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(conv_only, cases))
    for case, mine, theirs in zip(cases, alone, together):
        assert torch.equal(mine, theirs), case.replay()


def conv_only(case):
    x, w, bias, residual = case.tensors()
    return conv1d(x, w, bias, residual=residual, **case.options())
