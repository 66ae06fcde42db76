# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Bad input of conv_transpose1d and ConvTranspose1d: what PyTorch raises for the same call, before any work."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import longconv
from error_check import check_exception, check_same_exception, t
from longconv.functional import conv_transpose1d

# name: (arguments, keywords, words of the message). x is (2, 4, 10), w (4, 6, 3) where nothing else is said.
X, W = (2, 4, 10), (4, 6, 3)
LIKE_PYTORCH = {
    # ranks and sizes
    "input of rank 0": ([t(), t(*W)], {}, ["2D (unbatched) or 3D (batched)", "[]"]),
    "input of rank 1": ([t(10), t(*W)], {}, ["2D (unbatched) or 3D (batched)", "[10]"]),
    "input of rank 4": ([t(1, 2, 4, 10), t(*W)], {}, ["2D (unbatched) or 3D (batched)", "[1, 2, 4, 10]"]),
    "weight of rank 2": ([t(*X), t(4, 3)], {}, ["3D weight", "[4, 3]"]),
    "channels differ": ([t(2, 3, 10), t(*W)], {}, ["[4, 6, 3]", "[2, 3, 10]", "4 channels", "3 channels"]),
    "channels differ, unbatched": ([t(3, 10), t(*W)], {}, ["[4, 6, 3]", "[3, 10]", "4 channels", "3 channels"]),
    "groups do not divide": ([t(*X), t(*W)], {"groups": 3}, ["groups=3", "divisible by 3", "[4, 6, 3]"]),
    "groups 0": ([t(*X), t(*W)], {"groups": 0}, ["groups=0"]),
    "groups negative": ([t(*X), t(*W)], {"groups": -1}, ["groups=-1"]),
    "stride 0": ([t(*X), t(*W)], {"stride": 0}, ["stride=0"]),
    "stride negative": ([t(*X), t(*W)], {"stride": -2}, ["stride=-2"]),
    "dilation 0": ([t(*X), t(*W)], {"dilation": 0}, ["dilation=0"]),
    "dilation negative": ([t(*X), t(*W)], {"dilation": -1}, ["dilation=-1"]),
    "padding negative": ([t(*X), t(*W)], {"padding": -1}, ["padding=-1"]),
    "padding negative in a tuple": ([t(*X), t(*W)], {"padding": (-1,)}, ["padding=-1"]),
    "output_padding negative": ([t(*X), t(*W)], {"output_padding": -1}, ["output_padding=-1"]),
    "output_padding too large": ([t(*X), t(*W)], {"output_padding": 1}, ["output_padding=1", "stride=1", "dilation=1"]),
    "output_padding far too large": ([t(*X), t(*W)], {"output_padding": 7, "stride": 3}, ["output_padding=7"]),
    "two strides": ([t(*X), t(*W)], {"stride": (1, 2)}, ["stride", "[1, 2]"]),
    "no stride": ([t(*X), t(*W)], {"stride": ()}, ["stride", "[]"]),
    "two dilations": ([t(*X), t(*W)], {"dilation": [1, 1]}, ["dilation", "[1, 1]"]),
    "two paddings": ([t(*X), t(*W)], {"padding": (1, 2)}, ["padding", "[1, 2]"]),
    "two output_paddings": ([t(*X), t(*W)], {"output_padding": (0, 0)}, ["output_padding", "[0, 0]"]),
    "nothing left": ([t(*X, dtype=torch.float64), t(*W, dtype=torch.float64)], {"padding": 6}, ["(10)", "(0)"]),
    "less than nothing left": ([t(*X), t(*W)], {"padding": 7}, ["(10)", "(-2)", "too small"]),
    "no samples": ([t(2, 4, 0), t(*W)], {}, ["[2, 4, 0]"]),
    "no taps": ([t(*X), t(4, 6, 0)], {}, ["[4, 6, 0]"]),
    "no output channels": ([t(*X), t(4, 0, 3)], {}, ["[4, 0, 3]"]),
    "no input channels": ([t(2, 0, 10), t(0, 6, 3)], {}, ["[0, 6, 3]"]),
    "bias of another size": ([t(*X), t(*W), t(5)], {}, ["bias", "6", "5"]),
    "bias of rank 2": ([t(*X), t(*W), t(6, 1)], {}, ["bias", "1"]),
    "bias of rank 0": ([t(*X), t(*W), t()], {}, ["bias", "1"]),
    "stride beyond memory": ([t(*X), t(*W)], {"stride": 2**60}, []),
    # dtypes
    "weight of another dtype": ([t(*X), t(*W, dtype=torch.float64)], {}, ["input", "weight", "ouble"]),
    "input of another dtype": ([t(*X, dtype=torch.bfloat16), t(*W)], {}, ["input", "weight", "BFloat16"]),
    "bias of another dtype": ([t(*X), t(*W), t(6, dtype=torch.float16)], {}, ["bias", "Half"]),
    "complex input, real weight": ([t(*X, dtype=torch.complex64), t(*W)], {}, ["input", "weight"]),
    "real input, complex weight": ([t(*X), t(*W, dtype=torch.complex64)], {}, ["input", "weight"]),
    "bool": ([t(*X, dtype=torch.bool), t(*W, dtype=torch.bool)], {}, ["Bool"]),
    "int32": ([t(*X, dtype=torch.int32), t(*W, dtype=torch.int32)], {}, ["Int"]),
    # Python types
    "input None": ([None, t(*W)], {}, ["conv_transpose1d", "input", "NoneType"]),
    "input a list": ([[1.0, 2.0], t(*W)], {}, ["input", "list"]),
    "weight None": ([t(*X), None], {}, ["weight", "NoneType"]),
    "bias a number": ([t(*X), t(*W), 1.0], {}, ["bias", "float"]),
    "stride a float": ([t(*X), t(*W)], {"stride": 1.0}, ["stride", "float"]),
    "stride a string": ([t(*X), t(*W)], {"stride": "1"}, ["stride", "str"]),
    "stride None": ([t(*X), t(*W)], {"stride": None}, ["stride", "NoneType"]),
    "stride a bool": ([t(*X), t(*W)], {"stride": True}, ["stride", "bool"]),
    "padding a name": ([t(*X), t(*W)], {"padding": "same"}, ["padding", "str"]),
    "padding a float": ([t(*X), t(*W)], {"padding": 1.0}, ["padding", "float"]),
    "output_padding a float": ([t(*X), t(*W)], {"output_padding": 1.0}, ["output_padding", "float"]),
    "output_padding None": ([t(*X), t(*W)], {"output_padding": None}, ["output_padding", "NoneType"]),
    "dilation a float in a tuple": ([t(*X), t(*W)], {"dilation": (2.0,)}, ["dilation", "float"]),
    "groups a float": ([t(*X), t(*W)], {"groups": 1.0}, ["groups", "float"]),
    "groups a tuple": ([t(*X), t(*W)], {"groups": (1,)}, ["groups", "tuple"]),
    "groups a bool": ([t(*X), t(*W)], {"groups": True}, ["groups", "bool"]),
    "unknown keyword": ([t(*X), t(*W)], {"strides": 1}, ["strides"]),
    "no weight": ([t(*X)], {}, ["weight"]),
}


@pytest.mark.parametrize("name", LIKE_PYTORCH)
def test_same_exception_as_pytorch(name):
    arguments, keywords, words = LIKE_PYTORCH[name]
    check_same_exception(
        F.conv_transpose1d, conv_transpose1d, arguments, keywords, words, no_kernel=name in ("bool", "int32")
    )


# What PyTorch's function does not have, or not as an error.
OF_OUR_OWN = {
    "unknown precision": (ValueError, {"precision": "fp8"}, ["'fp8'", "tf32"]),
    "precision a number": (TypeError, {"precision": 32}, ["precision", "int"]),
    "residual of another length": (RuntimeError, {"residual": t(2, 6, 9)}, ["residual", "12", "9"]),
    "residual of other channels": (RuntimeError, {"residual": t(2, 5, 12)}, ["residual", "6", "5"]),
    "residual of another batch": (RuntimeError, {"residual": t(1, 6, 12)}, ["residual", "2", "1"]),
    "residual of rank 2": (RuntimeError, {"residual": t(6, 12)}, ["residual", "3"]),
    "residual of another dtype": (RuntimeError, {"residual": t(2, 6, 12, dtype=torch.float64)}, ["residual"]),
    "residual a number": (TypeError, {"residual": 1.0}, ["residual", "float"]),
    "out of another dtype": (RuntimeError, {"out": t(2, 6, 12, dtype=torch.float64)}, ["out"]),
    "out expanded": (RuntimeError, {"out": t(1, 6, 12).expand(2, 6, 12)}, ["single memory location"]),
    "out a number": (TypeError, {"out": 1}, ["out", "int"]),
    "nothing left": (RuntimeError, {"padding": 6}, ["(10)", "(0)"]),  # oneDNN returns an empty tensor
}
UNREACHED = {"output_padding": 2, "dilation": 3}  # a result of 18 samples, put together from two parts


@pytest.mark.parametrize("name", OF_OUR_OWN)
def test_exceptions_of_our_own(name):
    expected, keywords, words = OF_OUR_OWN[name]
    check_exception(conv_transpose1d, expected, [t(*X), t(*W)], keywords, words)


@pytest.mark.parametrize("name", [n for n, (e, k, _) in OF_OUR_OWN.items() if "out" not in k and e is not TypeError])
def test_nothing_is_written_before_an_error(name):
    expected, keywords, _ = OF_OUR_OWN[name]
    out = torch.full((2, 6, 12), 7.0)
    with pytest.raises(expected):
        conv_transpose1d(t(*X), t(*W), out=out, **keywords)
    assert bool((out == 7).all())


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"residual": t(2, 6, 17)}, "18 samples, but got 17"),
        ({"residual": t(2, 6, 19)}, "18 samples, but got 19"),
        ({"residual": t(2, 5, 18)}, "6 channels, but got 5"),
        ({"out": t(2, 6, 18, dtype=torch.float64)}, "out tensor to have dtype"),
        ({"out": t(1, 6, 18).expand(2, 6, 18)}, "memory"),
    ],
)
def test_results_of_two_parts_are_checked_too(keywords, message):
    with pytest.raises(RuntimeError, match=message):
        conv_transpose1d(t(*X), t(*W), **UNREACHED, **keywords)


def test_out_must_not_share_memory_with_an_operand():
    memory, sizes = torch.ones(96), {"input": (2, 4, 8), "weight": (4, 4, 1), "bias": (4,)}
    for operand in sizes:
        tensors = {name: t(*size) for name, size in sizes.items()}
        tensors[operand] = memory[: tensors[operand].numel()].view(sizes[operand])
        with pytest.raises(RuntimeError, match=r"overlap|share|memory"):
            conv_transpose1d(**tensors, out=memory[1:65].view(2, 4, 8))
    assert bool((memory == 1).all())


def test_unbatched_residual_is_unbatched():
    with pytest.raises(RuntimeError, match="expected 2D residual"):
        conv_transpose1d(t(4, 10), t(*W), residual=t(1, 6, 12))


def test_devices_must_agree():
    with pytest.raises(RuntimeError, match="device"):
        conv_transpose1d(t(*X), torch.ones(W, device="meta"))


@pytest.mark.parametrize("layer", [longconv.ConvTranspose1d, longconv.LazyConvTranspose1d])
def test_layers_check_names_when_made(layer):
    sizes = (6, 3) if layer is longconv.LazyConvTranspose1d else (4, 6, 3)
    with pytest.raises(ValueError, match="'fp8'"):
        layer(*sizes, precision="fp8")


@pytest.mark.parametrize("output_size", [(29,), (33,), (2, 30), (2, 6, 30, 1), 30])
def test_output_sizes_that_no_output_padding_gives(output_size):
    theirs, ours = torch.nn.ConvTranspose1d(4, 6, 3, stride=3), longconv.ConvTranspose1d(4, 6, 3, stride=3)
    with pytest.raises((ValueError, TypeError)) as expected:
        theirs(t(*X), output_size)
    with pytest.raises(expected.type, match=str(expected.value)[:20].replace("(", r"\(")):
        ours(t(*X), output_size)


def test_padding_mode_changed_later_is_refused_as_pytorch_does():
    for module in (torch.nn.ConvTranspose1d(4, 6, 3), longconv.ConvTranspose1d(4, 6, 3)):
        module.padding_mode = "reflect"
        with pytest.raises(ValueError, match="padding mode"):
            module(t(*X))
