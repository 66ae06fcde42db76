# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Accuracy beyond the per-element bound: no worse than PyTorch's, the whole range of float32, special values."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import longconv
from longconv.bench.problem import Problem
from longconv.functional import conv1d
from reference import expected_conv1d, relative_rms
from strategies import Case

JUDGED = json.loads((Path(longconv.__file__).parent / "bench/cases/judged_cpu.json").read_text())["cases"]
JUDGED = [case for case in JUDGED if "fprop" in case.get("passes", ["fprop"])]


def shrunk(problem: Problem) -> Problem:
    """As many terms in each sum, but fewer sums: the reference takes its time."""
    terms = problem.in_channels // problem.groups * problem.kernel_size
    samples = min(problem.out_length, 60000 // problem.out_channels, 20_000_000 // (terms * problem.out_channels))
    length = problem.dilation * (problem.kernel_size - 1) + 1 + (samples - 1) * problem.stride
    return dataclasses.replace(problem, batch=1, length=length)


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize("text", [pytest.param(case["problem"], id=case["name"]) for case in JUDGED])
def test_rms_error_is_not_above_pytorchs(text, distribution):
    """Relative RMS error against the exact result. "uniform" (all positive) is where sums grow longest."""
    p = shrunk(Problem.parse(text))
    draw = torch.randn if distribution == "normal" else torch.rand
    x = draw(p.batch, p.in_channels, p.length)
    w = draw(p.out_channels, p.in_channels // p.groups, p.kernel_size)
    geometry = (p.stride, 0, p.dilation, p.groups)
    expected = expected_conv1d(x, w, None, *geometry)
    ours = relative_rms(conv1d(x, w, None, *geometry), expected.y)
    theirs = relative_rms(F.conv1d(x, w, None, *geometry), expected.y)
    # The RMS of that many errors scatters by 1 / sqrt(2 count) from draw to draw: five times that is no difference.
    assert ours <= theirs * (1 + 5 / math.sqrt(2 * expected.y.size)), f"{ours:.3g} above PyTorch's {theirs:.3g}"
    assert expected.worst(conv1d(x, w, None, *geometry))[0] <= 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("groups", [1, 12])
def test_the_whole_range_of_exponents(dtype, groups):
    """Neighbours that differ by up to 2^60: each element keeps its own bound."""
    for exponent in (-50, 0, 50):
        x, w, _, _ = Case(
            batch=2, in_channels=12, out_channels=12, groups=groups, length=400, kernel_size=5, dtype=dtype, seed=5
        ).tensors()
        scale = torch.exp2(torch.randint(-30, 31, (400,)).double() + exponent).to(x.dtype)
        expected = expected_conv1d(x * scale, w, dilation=3, groups=groups)
        worst, where = expected.worst(conv1d(x * scale, w, dilation=3, groups=groups))
        assert worst <= 1, where


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_subnormals_are_kept(dtype):
    tiny = torch.finfo(dtype).tiny
    # Operands that are subnormal themselves, and normal ones with subnormal products and sums.
    x = torch.full((1, 2, 33), tiny / 4, dtype=dtype)
    assert bool((conv1d(x, torch.ones(3, 2, 1, dtype=dtype)) == tiny / 2).all())
    x = torch.full((1, 2, 33), tiny, dtype=dtype)
    w = torch.full((3, 2, 2), 2.0**-10, dtype=dtype)
    assert bool((conv1d(x, w) == tiny * 2.0**-8).all())
    assert bool((conv1d(x, w, groups=1, activation="relu") == tiny * 2.0**-8).all())
    depthwise = torch.full((2, 1, 4), 2.0**-10, dtype=dtype)
    assert bool((conv1d(x, depthwise, groups=2) == tiny * 2.0**-8).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_the_largest_numbers(dtype):
    largest = torch.finfo(dtype).max
    x = torch.full((1, 1, 40), largest, dtype=dtype)
    assert bool((conv1d(x, torch.ones(2, 1, 1, dtype=dtype)) == largest).all())
    assert bool((conv1d(x, torch.full((2, 1, 2), 0.5, dtype=dtype)) == largest).all())
    assert bool((conv1d(x, torch.full((2, 1, 1), 2.0, dtype=dtype)) == math.inf).all())
    assert bool((conv1d(x, torch.full((2, 1, 1), -2.0, dtype=dtype)) == -math.inf).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("groups", [1, 4])
def test_infinities_are_infinities(dtype, groups):
    """Inf in, Inf out; NaN only from Inf - Inf and 0 * Inf."""
    x = torch.ones(1, 4, 60, dtype=dtype)
    w = torch.full((4, 4 // groups, 3), 0.5, dtype=dtype)
    x[0, 2, 30] = math.inf
    y = conv1d(x, w, groups=groups)
    infinite = y == math.inf
    assert not y.isnan().any()
    assert infinite.sum().item() == (12 if groups == 1 else 3)
    assert infinite[0, 2, 28:31].all()
    x[0, 2, 31] = -math.inf
    assert bool(conv1d(x, w, groups=groups)[0, 2, 29:31].isnan().all())
    x[0, 2, 31] = 1
    w[2, 2 if groups == 1 else 0, 1] = 0
    y = conv1d(x, w, groups=groups)
    assert y[0, 2].isnan().nonzero().flatten().tolist() == [29]


def test_error_does_not_grow_with_the_number_of_channels():
    """Blocked sums: relative RMS of 16 times as many terms stays within a factor 2, a chain's would grow by 16."""
    errors = []
    for channels in (64, 1024):
        x, w = torch.rand(1, channels, 200), torch.rand(8, channels, 4)
        errors.append(relative_rms(conv1d(x, w), expected_conv1d(x, w).y))
    assert errors[1] <= 2 * errors[0]


def test_integers_wrap():
    x = torch.tensor([[[2**62, 2**62, 2**62, 2**62 + 1]]])
    w = torch.tensor([[[1, 1, 1, 1]], [[3, 5, 7, 9]]])
    expected = [[4 * 2**62 + 1], [24 * 2**62 + 9]]
    wrapped = [[(v + 2**63) % 2**64 - 2**63 for v in row] for row in expected]
    assert conv1d(x, w).tolist() == [wrapped]
