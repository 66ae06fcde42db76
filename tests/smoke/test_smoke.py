# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Does the installed package work? Needs torch and pytest only, and runs with PyTorch 1.13 as well as with the newest.

The environment variable LONGCONV_EXPECTED_PREFIX names the folder that longconv must have been imported from.
"""

import copy
import os
import pickle

import pytest
import torch

import longconv

CASES = {
    "plain": {"channels": (5, 7), "kernel_size": 3},
    "strided": {"channels": (8, 12), "kernel_size": 4, "stride": 3, "dilation": 2},
    "grouped": {"channels": (6, 9), "kernel_size": 5, "groups": 3, "padding": 2},
    "depthwise": {"channels": (6, 6), "kernel_size": 4, "groups": 6, "padding": 3},
    "one channel": {"channels": (1, 10), "kernel_size": 31, "stride": 5},
    "reflect": {"channels": (3, 4), "kernel_size": 5, "padding": 2, "padding_mode": "reflect"},
    "circular": {"channels": (3, 4), "kernel_size": 5, "padding": 2, "padding_mode": "circular"},
}
UNIT_ROUNDOFF = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}


def layers(case, dtype):
    """longconv's layer and PyTorch's, with the same weights."""
    options = dict(case)
    in_channels, out_channels = options.pop("channels")
    torch.manual_seed(0)
    theirs = torch.nn.Conv1d(in_channels, out_channels, **options).to(dtype)
    torch.manual_seed(0)
    ours = longconv.Conv1d(in_channels, out_channels, **options).to(dtype)
    return ours, theirs


def in_float64(layer, x):
    """(exact result up to float64's rounding, S = sum |w||x| + |bias|)."""
    exact = copy.deepcopy(layer).double()
    absolute = copy.deepcopy(exact)
    for parameter in absolute.parameters():
        parameter.data.abs_()
    return exact(x.double()), absolute(x.double().abs())


def test_where_from():
    prefix = os.environ.get("LONGCONV_EXPECTED_PREFIX")
    if prefix is None:
        pytest.skip("LONGCONV_EXPECTED_PREFIX is not set")
    assert os.path.realpath(longconv.__file__).startswith(os.path.realpath(prefix) + os.sep)


def test_version():
    assert longconv.__version__.count(".") == 2


@pytest.mark.parametrize("dtype", UNIT_ROUNDOFF, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_forward(name, dtype):
    ours, theirs = layers(CASES[name], dtype)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters()))
    x = torch.randn(2, CASES[name]["channels"][0], 1001, dtype=dtype)
    y = ours(x)
    exact, absolute = in_float64(theirs, x)
    terms = ours.weight[0].numel()
    assert y.dtype == dtype
    assert y.shape == exact.shape
    # The reference has float64's own rounding error: for float64 twice the bound.
    bound = (terms + 2) * UNIT_ROUNDOFF[dtype] * absolute * (2 if dtype == torch.float64 else 1)
    assert bool(((y.double() - exact).abs() <= bound).all())


@pytest.mark.parametrize("name", CASES)
def test_backward(name):
    ours, theirs = layers(CASES[name], torch.float64)
    inputs = [torch.randn(2, CASES[name]["channels"][0], 101, dtype=torch.float64, requires_grad=True)]
    inputs.append(inputs[0].detach().clone().requires_grad_())
    for layer, x in zip((ours, theirs), inputs):
        layer(x).square().sum().backward()
    pairs = [(inputs[0].grad, inputs[1].grad)]
    pairs += [(a.grad, b.grad) for a, b in zip(ours.parameters(), theirs.parameters())]
    for ours_grad, theirs_grad in pairs:
        torch.testing.assert_close(ours_grad, theirs_grad)


def test_gradcheck():
    x = torch.randn(1, 4, 7, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)

    def convolve(x, weight, bias):
        return longconv.functional.conv1d(x, weight, bias, stride=2, padding="causal", groups=2, activation="gelu")

    assert torch.autograd.gradcheck(convolve, (x, weight, bias))
    assert torch.autograd.gradgradcheck(convolve, (x, weight, bias))


def test_replace_conv1d():
    model = torch.nn.Sequential(torch.nn.Conv1d(3, 8, 5, padding=2), torch.nn.ReLU(), torch.nn.Conv1d(8, 2, 1))
    x = torch.randn(2, 3, 50)
    before = model(x)
    longconv.replace_conv1d(model)
    assert [type(layer) for layer in model] == [longconv.Conv1d, torch.nn.ReLU, longconv.Conv1d]
    torch.testing.assert_close(model(x), before)


def test_state_dict_copy_and_pickle():
    ours, theirs = layers(CASES["strided"], torch.float32)
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 8, 64)
    expected = ours(x)
    assert torch.equal(copy.deepcopy(ours)(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(ours))(x), expected)


def test_errors_are_pytorchs():
    with pytest.raises(RuntimeError, match=r"groups|channels"):
        longconv.functional.conv1d(torch.randn(1, 4, 10), torch.randn(2, 3, 3))
    with pytest.raises(RuntimeError):
        longconv.functional.conv1d(torch.randn(1, 4, 2), torch.randn(2, 4, 3))
