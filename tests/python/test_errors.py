# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Bad input: the exception type that PyTorch raises for the same call, a message that names what was wrong, no work."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import longconv
from error_check import check_exception, check_same_exception, t
from longconv.functional import conv1d

# name: (arguments, keywords, words of the message). x is (2, 4, 10), w (6, 4, 3) where nothing else is said.
X, W = (2, 4, 10), (6, 4, 3)
LIKE_PYTORCH = {
    # ranks and sizes
    "input of rank 0": ([t(), t(*W)], {}, ["2D (unbatched) or 3D (batched)", "[]"]),
    "input of rank 1": ([t(10), t(*W)], {}, ["2D (unbatched) or 3D (batched)", "[10]"]),
    "input of rank 4": ([t(1, 2, 4, 10), t(*W)], {}, ["2D (unbatched) or 3D (batched)", "[1, 2, 4, 10]"]),
    "weight of rank 2": ([t(*X), t(4, 3)], {}, ["3D weight", "[4, 3]"]),
    "weight of rank 4": ([t(*X), t(1, 6, 4, 3)], {}, ["3D weight", "[1, 6, 4, 3]"]),
    "channels differ": ([t(2, 3, 10), t(*W)], {}, ["[6, 4, 3]", "4", "3 channels"]),
    "channels differ, unbatched": ([t(3, 10), t(*W)], {}, ["[6, 4, 3]", "4", "3 channels"]),
    "channels differ by groups": ([t(*X), t(*W)], {"groups": 3}, ["groups=3", "4 channels"]),
    "groups do not divide outputs": ([t(*X), t(6, 1, 3)], {"groups": 4}, ["4", "6"]),
    "more groups than outputs": ([t(8, 8, 10), t(6, 1, 3)], {"groups": 8}, ["8", "6"]),
    "groups 0": ([t(*X), t(*W)], {"groups": 0}, ["groups", "0"]),
    "groups negative": ([t(*X), t(*W)], {"groups": -1}, ["groups", "-1"]),
    "stride 0": ([t(*X), t(*W)], {"stride": 0}, ["stride", "0"]),
    "stride negative": ([t(*X), t(*W)], {"stride": -2}, ["stride", "-2"]),
    "dilation 0": ([t(*X), t(*W)], {"dilation": 0}, ["dilation", "0"]),
    "dilation negative": ([t(*X), t(*W)], {"dilation": -1}, ["dilation", "-1"]),
    "padding negative": ([t(*X), t(*W)], {"padding": -1}, ["pad", "-1"]),
    "padding negative in a tuple": ([t(*X), t(*W)], {"padding": (-1,)}, ["pad", "-1"]),
    "two strides": ([t(*X), t(*W)], {"stride": (1, 2)}, ["stride", "[1, 2]"]),
    "no stride": ([t(*X), t(*W)], {"stride": ()}, ["stride", "[]"]),
    "two dilations": ([t(*X), t(*W)], {"dilation": [1, 1]}, ["dilation", "[1, 1]"]),
    "three paddings": ([t(*X), t(*W)], {"padding": (1, 2, 3)}, ["padding", "[1, 2, 3]"]),
    "no padding": ([t(*X), t(*W)], {"padding": ()}, ["padding", "[]"]),
    "unknown padding": ([t(*X), t(*W)], {"padding": "SAME"}, ["padding", "'SAME'", "'same'"]),
    "window longer than input": ([t(2, 4, 2), t(*W)], {}, ["2", "3"]),
    "dilated window longer than input": ([t(*X), t(*W)], {"dilation": 5}, ["10", "11"]),
    "window longer than padded input": ([t(*X), t(*W)], {"dilation": 9, "padding": 4}, ["18", "19"]),
    "no samples": ([t(2, 4, 0), t(*W)], {}, ["0"]),
    "no samples, enough padding": ([t(2, 4, 0), t(*W)], {"padding": 2}, ["0"]),
    "no taps": ([t(*X), t(6, 4, 0)], {}, ["0"]),
    "no output channels": ([t(*X), t(0, 4, 3)], {}, ["0"]),
    "bias of another size": ([t(*X), t(*W), t(5)], {}, ["bias", "6", "5"]),
    "bias of rank 2": ([t(*X), t(*W), t(6, 1)], {}, ["bias", "1"]),
    "bias of rank 0": ([t(*X), t(*W), t()], {}, ["bias", "1"]),
    "dilation beyond memory": ([t(*X), t(*W)], {"dilation": 2**62}, []),
    "padding beyond 63 bits": ([t(*X), t(*W)], {"padding": 2**62}, []),
    # dtypes
    "weight of another dtype": ([t(*X), t(*W, dtype=torch.float64)], {}, ["input", "weight", "ouble"]),
    "input of another dtype": ([t(*X, dtype=torch.bfloat16), t(*W)], {}, ["input", "weight", "BFloat16"]),
    "bias of another dtype": ([t(*X), t(*W), t(6, dtype=torch.float16)], {}, ["bias", "Half"]),
    "complex input, real weight": ([t(*X, dtype=torch.complex64), t(*W)], {}, ["input", "weight"]),
    "complex operands, real bias": ([t(*X).to(torch.cfloat), t(*W).to(torch.cfloat), t(6)], {}, ["bias"]),
    "bool": ([t(*X, dtype=torch.bool), t(*W, dtype=torch.bool)], {}, ["Bool"]),
    # Python types
    "input None": ([None, t(*W)], {}, ["input", "NoneType"]),
    "input a list": ([[1.0, 2.0], t(*W)], {}, ["input", "list"]),
    "weight None": ([t(*X), None], {}, ["weight", "NoneType"]),
    "bias a number": ([t(*X), t(*W), 1.0], {}, ["bias", "float"]),
    "stride a float": ([t(*X), t(*W)], {"stride": 1.0}, ["stride", "float"]),
    "stride a float in a tuple": ([t(*X), t(*W)], {"stride": (2.0,)}, ["stride", "float"]),
    "stride a string": ([t(*X), t(*W)], {"stride": "1"}, ["stride", "str"]),
    "stride None": ([t(*X), t(*W)], {"stride": None}, ["stride", "NoneType"]),
    "stride a bool": ([t(*X), t(*W)], {"stride": True}, ["stride", "bool"]),
    "dilation a float": ([t(*X), t(*W)], {"dilation": 2.0}, ["dilation", "float"]),
    "dilation None": ([t(*X), t(*W)], {"dilation": None}, ["dilation", "NoneType"]),
    "padding a float": ([t(*X), t(*W)], {"padding": 1.0}, ["padding", "float"]),
    "padding None": ([t(*X), t(*W)], {"padding": None}, ["padding", "NoneType"]),
    "padding a bool": ([t(*X), t(*W)], {"padding": True}, ["padding", "bool"]),
    "padding a name in a tuple": ([t(*X), t(*W)], {"padding": ("same",)}, ["padding", "str"]),
    "groups a float": ([t(*X), t(*W)], {"groups": 1.0}, ["groups", "float"]),
    "groups a tuple": ([t(*X), t(*W)], {"groups": (1,)}, ["groups", "tuple"]),
    "groups a bool": ([t(*X), t(*W)], {"groups": True}, ["groups", "bool"]),
    "groups None": ([t(*X), t(*W)], {"groups": None}, ["groups", "NoneType"]),
    "unknown keyword": ([t(*X), t(*W)], {"strides": 1}, ["strides"]),
    "no weight": ([t(*X)], {}, ["weight"]),
}


@pytest.mark.parametrize("name", LIKE_PYTORCH)
def test_same_exception_as_pytorch(name):
    arguments, keywords, words = LIKE_PYTORCH[name]
    check_same_exception(F.conv1d, conv1d, arguments, keywords, words, no_kernel=name == "bool")


# What PyTorch's function does not have, or not as an error.
OF_OUR_OWN = {
    "unknown padding mode": (ValueError, {"padding_mode": "wrap"}, ["'wrap'", "circular"]),
    "padding mode None": (TypeError, {"padding_mode": None}, ["padding_mode", "NoneType"]),
    "unknown activation": (ValueError, {"activation": "swish"}, ["'swish'", "silu"]),
    "activation a function": (TypeError, {"activation": F.relu}, ["activation", "function"]),
    "unknown precision": (ValueError, {"precision": "fp8"}, ["'fp8'", "tf32"]),
    "slope a string": (TypeError, {"activation": "leaky_relu", "negative_slope": "a"}, ["negative_slope", "str"]),
    "residual of another length": (RuntimeError, {"residual": t(2, 6, 9)}, ["residual", "8", "9"]),
    "residual of other channels": (RuntimeError, {"residual": t(2, 5, 8)}, ["residual", "6", "5"]),
    "residual of another batch": (RuntimeError, {"residual": t(1, 6, 8)}, ["residual", "2", "1"]),
    "residual of rank 2": (RuntimeError, {"residual": t(6, 8)}, ["residual", "3"]),
    "residual of another dtype": (RuntimeError, {"residual": t(2, 6, 8, dtype=torch.float64)}, ["residual"]),
    "residual a number": (TypeError, {"residual": 1.0}, ["residual", "float"]),
    "out of another dtype": (RuntimeError, {"out": t(2, 6, 8, dtype=torch.float64)}, ["out"]),
    "out expanded": (RuntimeError, {"out": t(1, 6, 8).expand(2, 6, 8)}, ["single memory location"]),
    "out a number": (TypeError, {"out": 1}, ["out", "int"]),
    "left padding negative": (RuntimeError, {"padding": (-1, 2)}, ["-1"]),
    "right padding negative": (RuntimeError, {"padding": (2, -1)}, ["-1"]),
    "padding pair of floats": (TypeError, {"padding": (1.0, 2)}, ["padding", "float"]),
    "reflect as long as the signal": (RuntimeError, {"padding": 10, "padding_mode": "reflect"}, ["10"]),
    "circular longer than the signal": (RuntimeError, {"padding": 11, "padding_mode": "circular"}, ["10", "11"]),
    "same with dilation 0": (RuntimeError, {"padding": "same", "dilation": 0}, ["dilation", "0"]),
}


@pytest.mark.parametrize("name", OF_OUR_OWN)
def test_exceptions_of_our_own(name):
    expected, keywords, words = OF_OUR_OWN[name]
    check_exception(conv1d, expected, [t(*X), t(*W)], keywords, words)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.int8, torch.uint8])
def test_narrow_integers_are_refused(dtype):
    with pytest.raises(NotImplementedError, match="Long"):
        conv1d(t(*X, dtype=dtype), t(*W, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int64])
def test_activations_need_real_floating_numbers(dtype):
    with pytest.raises((RuntimeError, NotImplementedError), match="relu"):
        conv1d(t(*X, dtype=dtype), t(*W, dtype=dtype), activation="relu")


def test_out_must_not_share_memory_with_an_operand():
    memory = torch.ones(2, 4, 10)
    for operand in ("input", "weight", "bias", "residual"):
        tensors = {"input": t(2, 4, 8), "weight": t(4, 4, 1), "bias": t(4), "residual": t(2, 4, 8)}
        tensors[operand] = memory.view(-1)[: tensors[operand].numel()].view(tensors[operand].shape)
        out = memory.view(-1)[1:65].view(2, 4, 8)
        if operand == "residual":
            continue  # has a test of its own
        with pytest.raises(RuntimeError, match=r"overlap|share|memory"):
            conv1d(**tensors, out=out)
    assert bool((memory == 1).all())


def test_residual_may_be_the_result():
    x, w, y = torch.randn(2, 4, 10), torch.randn(6, 4, 3), torch.randn(2, 6, 8)
    expected = conv1d(x, w, residual=y)
    assert torch.equal(conv1d(x, w, residual=y, out=y), expected)
    shifted = torch.zeros(97)
    with pytest.raises(RuntimeError, match=r"overlap|share|memory"):
        conv1d(x, w, residual=shifted[:96].view(2, 6, 8), out=shifted[1:].view(2, 6, 8))


def test_unbatched_residual_is_unbatched():
    with pytest.raises(RuntimeError, match="expected 2D residual"):
        conv1d(t(4, 10), t(*W), residual=t(1, 6, 8))


def test_sparse_input_is_refused():
    with pytest.raises(NotImplementedError, match="SparseCPU"):
        conv1d(t(*X).to_sparse(), t(*W))


@pytest.mark.parametrize("name", [n for n, (e, k, _) in OF_OUR_OWN.items() if "out" not in k and e is not TypeError])
def test_nothing_is_written_before_an_error(name):
    expected, keywords, _ = OF_OUR_OWN[name]
    out = torch.full((2, 6, 8), 7.0)
    with pytest.raises(expected):
        conv1d(t(*X), t(*W), out=out, **keywords)
    assert bool((out == 7).all())


# Arguments of constructors that PyTorch's layers refuse: of both kinds, but for the last two.
REFUSED = {
    "groups 0": ((4, 6, 3), {"groups": 0}),
    "groups do not divide inputs": ((4, 6, 3), {"groups": 3}),
    "groups do not divide outputs": ((4, 6, 3), {"groups": 4}),
    "unknown padding mode": ((4, 6, 3), {"padding_mode": "wrap"}),
    "negative taps": ((4, 6, -1), {}),
    "fractional taps": ((4, 6, 3.0), {}),
    "fractional channels": ((4.0, 6, 3), {}),
    "negative channels": ((-4, 6, 3), {}),
    "unknown device": ((4, 6, 3), {"device": "abacus"}),
    "dtype by name": ((4, 6, 3), {"dtype": "float32"}),
    "too few arguments": ((4, 6), {}),
    "unknown keyword": ((4, 6, 3), {"strides": 2}),
    "unknown padding": ((4, 6, 3), {"padding": "full"}),  # of Conv1d
    "another padding mode": ((4, 6, 3), {"padding_mode": "reflect"}),  # of ConvTranspose1d
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [("Conv1d", name) for name in REFUSED if name != "another padding mode"]
    + [("ConvTranspose1d", name) for name in REFUSED if name != "unknown padding"],
)
def test_constructors_raise_what_pytorchs_raise(kind, name):
    check_same_exception(getattr(torch.nn, kind), getattr(longconv, kind), *REFUSED[name])


BAD_NUMBERS = [
    ("Conv1d", {"stride": 0}),
    ("Conv1d", {"dilation": 0}),
    ("Conv1d", {"padding": -1}),
    ("Conv1d", {"stride": (1, 2)}),
    ("ConvTranspose1d", {"stride": 0}),
    ("ConvTranspose1d", {"padding": -1}),
    ("ConvTranspose1d", {"stride": (1, 2)}),
    ("ConvTranspose1d", {"output_padding": 1}),
    ("ConvTranspose1d", {"output_padding": -1}),
    ("ConvTranspose1d", {"padding": "same"}),
]


@pytest.mark.parametrize(("kind", "keywords"), BAD_NUMBERS)
def test_layers_find_bad_numbers_when_called(kind, keywords):
    """As PyTorch's do."""
    theirs, ours = (getattr(package, kind)(4, 6, 3, **keywords) for package in (torch.nn, longconv))
    check_same_exception(theirs, ours, [t(*X)], {})


@pytest.mark.parametrize("keywords", [{"activation": "swish"}, {"precision": "fp8"}, {"padding": "full"}])
@pytest.mark.parametrize("layer", [longconv.Conv1d, longconv.LazyConv1d])
def test_layers_check_names_when_made(layer, keywords):
    sizes = (6, 3) if layer is longconv.LazyConv1d else (4, 6, 3)
    with pytest.raises(ValueError, match=r"'(swish|fp8|full)'"):
        layer(*sizes, **keywords)


def test_devices_must_agree():
    with pytest.raises(RuntimeError, match="device"):
        conv1d(t(*X), torch.ones(W, device="meta"))
