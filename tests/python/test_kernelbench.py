# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""KernelBench level 1, problem 76: the interface, and the problem's own check on a shorter signal."""

from __future__ import annotations

import math

import torch
from torch import nn

from longconv import kernelbench
from reference import expected_conv1d, relative_rms


class Model(nn.Module):
    """The problem's model."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, dilation=1, bias=False):
        super().__init__()
        self.conv1d = nn.Conv1d(in_channels, out_channels, kernel_size, stride=stride, dilation=dilation, bias=bias)

    def forward(self, x):
        return self.conv1d(x)


def test_sizes_are_the_problems():
    assert kernelbench.get_init_inputs() == [64, 128, 3, 3, 4]
    sizes = (kernelbench.batch_size, kernelbench.in_channels, kernelbench.length)
    assert sizes == (64, 64, 524280)


def test_inputs_are_the_problems(monkeypatch):
    monkeypatch.setattr(kernelbench, "batch_size", 2)
    monkeypatch.setattr(kernelbench, "length", 1000)
    torch.manual_seed(1)
    (x,) = kernelbench.get_inputs()
    torch.manual_seed(1)
    assert torch.equal(x, torch.rand(2, 64, 1000))


def test_agrees_with_the_problems_model():
    """Seed 42 before each, the default tolerances of the benchmark, and our own bound."""
    torch.manual_seed(42)
    theirs = Model(*kernelbench.get_init_inputs())
    torch.manual_seed(42)
    ours = kernelbench.ModelNew(*kernelbench.get_init_inputs())
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["conv1d.weight"]
    assert torch.equal(ours.conv1d.weight, theirs.conv1d.weight)
    for _ in range(5):
        x = torch.rand(2, 64, 5242)
        y, y_theirs = ours(x), theirs(x)
        torch.testing.assert_close(y, y_theirs, rtol=1e-4, atol=1e-4)
        expected = expected_conv1d(x, ours.conv1d.weight, None, 3, 0, 4)
        assert expected.worst(y)[0] <= 1
        # With AVX-512 oneDNN sums in the same chains, so both errors are drawn alike: the ratio of two root mean squares of
        # so many has a standard deviation of 1 / sqrt(count).
        sampling = 4 / math.sqrt(y.numel())
        assert relative_rms(y, expected.y) <= relative_rms(y_theirs, expected.y) * (1 + sampling)


def test_from_scratch_has_the_problems_arguments():
    layer = kernelbench.Conv1dFromScratch(3, 5, 7)
    assert (layer.stride, layer.dilation, layer.bias) == ((1,), (1,), None)
    layer = kernelbench.Conv1dFromScratch(3, 5, 7, 2, 3, True)
    assert (layer.stride, layer.dilation, layer.bias.shape) == ((2,), (3,), (5,))
    assert kernelbench.ModelNew(3, 5, 7, stride=2, dilation=3, bias=True)(torch.rand(1, 3, 40)).shape == (1, 5, 11)
