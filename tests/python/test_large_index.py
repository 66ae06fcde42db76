# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""More than 2^31 elements without the memory: overlapping and expanded views, address space that is never touched."""

from __future__ import annotations

import math

import pytest
import torch

from longconv.functional import conv1d

HUGE = 2**31 + 4099


def untouched(elements, dtype=torch.float32):
    """Address space; only pages that are written (or read) take memory."""
    try:
        return torch.empty(elements, dtype=dtype)
    except RuntimeError:
        pytest.skip(f"no address space for {elements} elements")


def test_expanded_signal():
    """Ones, 2^31 of them, all at one address: each output counts the taps that fall into the signal."""
    x = torch.ones(1).expand(1, 1, HUGE)
    y = conv1d(x, torch.ones(1, 1, 5), stride=2**30, padding=2)
    assert y.tolist() == [[[3.0, 5.0, 5.0]]]
    # The last window hangs over the end by one tap.
    y = conv1d(x, torch.ones(1, 1, 5), stride=HUGE - 3, padding=(0, 2))
    assert y.tolist() == [[[5.0, 3.0]]]


@pytest.mark.parametrize("padding_mode", ["reflect", "replicate", "circular"])
def test_huge_pads(padding_mode):
    """A pad of 2^31 samples around a short signal costs nothing but the outputs asked for."""
    length = HUGE + 2 if padding_mode != "replicate" else 3
    x = torch.ones(1).expand(1, 1, length)
    y = conv1d(x, torch.ones(1, 1, 3), stride=2**30, padding=HUGE, padding_mode=padding_mode)
    assert y.shape[2] == (length + 2 * HUGE - 3) // 2**30 + 1
    assert bool((y == 3).all())


def test_windows_beyond_2_31_read_the_right_samples():
    """A signal in address space that is never touched but for the windows; NaN on both sides of each."""
    taps, dilation, stride = 3, 2, 2**29 + 1
    x = untouched(HUGE).view(1, 1, -1)
    starts = range(0, HUGE - 4, stride)
    for number, start in enumerate(starts):
        around = slice(max(start - 8, 0), start + 13)
        x[0, 0, around] = math.nan
        for k in range(taps):
            x[0, 0, start + k * dilation] = 10.0 * number + k
    y = conv1d(x, torch.tensor([[[1.0, 100.0, 10000.0]]]), stride=stride, dilation=dilation)
    expected = [(10 * n) * 10101 + 100 + 20000 for n in range(len(starts))]
    assert y.flatten().tolist() == expected


def test_overlapping_channels():
    """2^16 channels of 2^16 samples, x[c, l] = c + l (mod 251), depthwise and dense."""
    channels = length = 2**16
    values = (torch.arange(channels + length) % 251).float()
    x = values.as_strided((1, channels, length), (0, 1, 1))
    assert x.numel() > 2**31
    w = torch.tensor([1.0, 2.0, 4.0]).expand(channels, 1, 3)
    y = conv1d(x, w, stride=length - 3, groups=channels)
    c = torch.arange(channels)
    for t, start in enumerate((0, length - 3)):
        expected = sum(f * ((c + start + k) % 251) for k, f in enumerate((1, 2, 4)))
        assert torch.equal(y[0, :, t], expected.float())
    chosen = torch.zeros(2, channels, 1, dtype=torch.float64)
    chosen[0, 7], chosen[1, channels - 1] = 1, 1
    y = conv1d(values.double().as_strided(x.shape, x.stride()), chosen, stride=length - 1)
    last = channels - 1
    assert y.tolist() == [[[7 % 251, (7 + last) % 251], [last % 251, (2 * last) % 251]]]


def test_results_beyond_2_31():
    """`out` whose channels and samples lie 2^29 and 2^31 elements apart."""
    memory = untouched(2**32 + 4096)
    out = memory.as_strided((1, 2, 4), (0, 2**31 + 11, 2**29 + 3))
    x, w = torch.arange(12.0).view(1, 1, 12), torch.tensor([[[1.0]], [[-1.0]]])
    before = [memory[2**29 + 2].item(), memory[2**29 + 4].item()]
    assert conv1d(x, w, stride=3, out=out) is out
    assert out.tolist() == [[[0.0, 3.0, 6.0, 9.0], [0.0, -3.0, -6.0, -9.0]]]
    after = [memory[2**29 + 2].item(), memory[2**29 + 4].item()]
    assert str(before) == str(after)


def test_batches_beyond_2_31():
    """2^20 signals of 4096 samples, all the same, one output each."""
    x = torch.arange(4096.0).expand(2**20, 1, 4096)
    y = conv1d(x, torch.tensor([[[0.5, 0.25]]]), stride=4096, dilation=4095)
    assert y.shape == (2**20, 1, 1)
    assert bool((y == 0.25 * 4095).all())


def test_weight_gradient_over_2_31_samples():
    x = torch.ones(1).expand(1, 1, HUGE)
    w = torch.ones(1, 1, 3, requires_grad=True)
    y = conv1d(x, w, stride=2**30, padding=1)
    y.backward(torch.tensor([[[1.0, 10.0, 100.0]]]))
    # The first tap of the first window lies before the signal.
    assert w.grad.flatten().tolist() == [110.0, 111.0, 111.0]


@pytest.mark.parametrize(
    "sizes",
    [
        {"padding": 2**62},
        {"padding": (2**63 - 1, 0)},
        {"padding": 2**62, "padding_mode": "replicate", "stride": 2**60},
        {"dilation": 2**62, "padding": 2**62},
        {"padding": 2**40},
    ],
    ids=str,
)
def test_sizes_beyond_64_bits_are_refused(sizes):
    with pytest.raises(RuntimeError):
        conv1d(torch.ones(1, 1, 10), torch.ones(1, 1, 5), **sizes)


def test_sizes_that_python_cannot_hand_over_are_refused():
    for name in ("stride", "dilation", "padding", "groups"):
        with pytest.raises((RuntimeError, ValueError, OverflowError, TypeError)):
            conv1d(torch.ones(1, 1, 10), torch.ones(1, 1, 5), **{name: 2**63})
