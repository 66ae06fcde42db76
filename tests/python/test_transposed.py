# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""conv_transpose1d against the definition, and against PyTorch where that says what a call means."""

from __future__ import annotations

import json
import math

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("hypothesis")
from hypothesis import given, settings

from call_check import check_call
from longconv.bench import case_files
from longconv.functional import conv1d, conv_transpose1d
from reference import relative_rms
from strategies import DTYPES, values
from transposed_cases import Case, cases, expected_conv_transpose1d


def check(case: Case) -> None:
    check_call(conv_transpose1d, case)


@settings(max_examples=500)
@given(cases())
def test_matches_the_definition(case):
    check(case)


def test_replay(request):
    text = request.config.getoption("--replay")
    fields = {"batch": 2, "in_channels": 3, "out_channels": 5, "length": 40, "kernel_size": 4, "bias": True}
    check(Case(**(fields if text is None else json.loads(text))))


# Inputs around vectors, register blocks and time tiles, with just enough channels to leave remainders.
EDGE_SAMPLES = (1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 239, 240, 241, 479, 480, 481, 961)


@pytest.mark.parametrize("samples", EDGE_SAMPLES)
@pytest.mark.parametrize(
    "family",
    [
        {"in_channels": 7, "out_channels": 5, "kernel_size": 3},
        {"in_channels": 7, "out_channels": 5, "kernel_size": 3, "stride": 3, "dilation": 4, "output_padding": 3},
        {"in_channels": 13, "out_channels": 1, "kernel_size": 10, "stride": 5, "padding": 3, "output_padding": 4},
        {"in_channels": 6, "out_channels": 6, "kernel_size": 4, "groups": 6, "stride": 2, "padding": 1},
        {"in_channels": 12, "out_channels": 8, "kernel_size": 3, "groups": 4, "stride": 4, "output_padding": 3},
    ],
    ids=["dense", "strided", "few_outputs", "depthwise", "grouped"],
)
def test_edges_of_vectors_and_tiles(family, samples):
    check(Case(batch=2, length=samples, seed=samples, bias=True, **family))
    check(Case(batch=1, length=samples, seed=samples, dtype="float64", residual=True, **family))
    check(Case(batch=1, length=samples, seed=samples, input_layout="unaligned", output_layout="rows", **family))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("output_layout", ["fresh", "every_third"])
def test_every_output_padding(dtype, residual, output_layout):
    """Below the stride; whole strides, which pad less at the end; samples that no tap reaches."""
    for stride, dilation in ((1, 5), (2, 5), (3, 5), (5, 2), (5, 5)):
        for output_padding in range(max(stride, dilation)):
            for padding in (0, 1, 2, 4):
                check(
                    Case(
                        batch=2,
                        in_channels=3,
                        out_channels=2,
                        length=6,
                        kernel_size=3,
                        stride=stride,
                        dilation=dilation,
                        padding=padding,
                        output_padding=output_padding,
                        dtype=dtype,
                        bias=padding != 1,
                        residual=residual,
                        output_layout=output_layout,
                    )
                )


GEOMETRIES = [  # stride, padding, output_padding, groups, dilation
    (1, 0, 0, 1, 1),
    (2, 1, 1, 2, 1),
    (3, 2, 2, 1, 2),
    (1, 0, 2, 1, 3),
    (2, 3, 4, 2, 5),
    (4, 0, 0, 2, 1),
]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128, torch.int64])
def test_is_what_pytorch_computes(geometry, batched, dtype):
    """The same call by position, the same shape and values; gradients too."""

    def draw(*shape):
        return torch.randint(-99, 99, shape) if dtype == torch.int64 else torch.randn(*shape, dtype=dtype)

    groups = geometry[3]
    x, w, b = draw(2, 6, 11), draw(6, 4 // groups, 5), draw(4)
    x = x if batched else x[0]
    got, theirs = conv_transpose1d(x, w, b, *geometry), F.conv_transpose1d(x, w, b, *geometry)
    torch.testing.assert_close(got, theirs, rtol=1e-13, atol=1e-13)
    lists = [[g] if i != 3 else g for i, g in enumerate(geometry)]
    assert torch.equal(conv_transpose1d(x, w, b, *lists), got)
    if dtype == torch.int64:
        return
    operands = [t.requires_grad_() for t in (x, w, b)]
    grad = torch.randn_like(theirs)
    for mine, other in zip(
        torch.autograd.grad(conv_transpose1d(*operands, *geometry), operands, grad),
        torch.autograd.grad(F.conv_transpose1d(*operands, *geometry), operands, grad),
    ):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


def test_undoes_the_length_of_conv1d():
    """The length that conv1d had is one of those that output_padding gives, and the two are adjoint."""
    for length in range(20, 30):
        x, w = torch.randn(1, 3, length, dtype=torch.float64), torch.randn(5, 3, 4, dtype=torch.float64)
        y = conv1d(x, w, stride=4, padding=2, dilation=2)
        shortest = conv_transpose1d(y, w, stride=4, padding=2, dilation=2).shape[2]
        back = conv_transpose1d(y, w, None, 4, 2, length - shortest, 1, 2)
        assert back.shape == x.shape
        torch.testing.assert_close((back * x).sum(), y.square().sum(), rtol=1e-12, atol=1e-12)


def test_integers_of_other_types_are_sizes():
    np = pytest.importorskip("numpy")
    x, w = torch.randn(1, 2, 20), torch.randn(2, 3, 3)
    got = conv_transpose1d(
        x, w, stride=np.int64(2), padding=np.int32(1), output_padding=np.int8(1), dilation=torch.tensor(2)
    )
    assert torch.equal(got, conv_transpose1d(x, w, stride=2, padding=1, output_padding=1, dilation=2))


def test_nothing_beside_the_signal_is_multiplied():
    """An infinite tap reaches one sample of each input; between inputs and beyond them nothing is made of it."""
    x, w = torch.ones(1, 1, 2), torch.tensor([[[1.0, math.inf]]])
    got = conv_transpose1d(x, w, stride=3, output_padding=2)[0, 0].tolist()
    assert got == [1.0, math.inf, 0.0, 1.0, math.inf, 0.0, 0.0]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64", "complex64"])
def test_non_finite_inputs_stay_where_they_reach(dtype):
    torch_dtype = getattr(torch, dtype)
    x = values((2, 9, 100), torch_dtype, torch.Generator().manual_seed(1))
    w = values((9, 7, 3), torch_dtype, torch.Generator().manual_seed(2))
    clean = conv_transpose1d(x, w, stride=2, dilation=4)
    x[1, 3, 40] = math.nan
    got = conv_transpose1d(x, w, stride=2, dilation=4)
    touched = torch.zeros(clean.shape[2], dtype=torch.bool)
    touched[[80, 84, 88]] = True
    assert bool(got[1][:, touched].isnan().all())
    assert torch.equal(got[1][:, ~touched], clean[1][:, ~touched])
    assert torch.equal(got[0], clean[0])


def test_conjugate_views_are_read_as_what_they_mean():
    x, w = torch.randn(1, 2, 30, dtype=torch.complex128), torch.randn(2, 3, 4, dtype=torch.complex128)
    for a, b in ((x.conj(), w), (x, w.conj()), (x.conj(), w.conj())):
        assert expected_conv_transpose1d(a, b, stride=2).worst(conv_transpose1d(a, b, stride=2))[0] <= 1


@pytest.mark.parametrize("unbatched", [False, True])
@pytest.mark.parametrize("output_padding", [0, 2])
def test_out_of_another_shape_is_resized_as_pytorch_does(unbatched, output_padding):
    x, w = torch.randn(2, 4, 20), torch.randn(4, 6, 3)
    x = x[0] if unbatched else x
    options = {"output_padding": output_padding, "dilation": 3}
    expected = conv_transpose1d(x, w, **options)
    for shape in ((0,), (6, 30), (2, 6, 17), (3,)):
        out = torch.empty(shape)
        assert conv_transpose1d(x, w, out=out, **options) is out
        assert torch.equal(out, expected)


@pytest.mark.parametrize("output_padding", [0, 2])
def test_residual_may_be_the_result(output_padding):
    x, w = torch.randn(2, 4, 10), torch.randn(4, 6, 3)
    options = {"output_padding": output_padding, "dilation": 3}
    y = torch.randn_like(conv_transpose1d(x, w, **options))
    expected = conv_transpose1d(x, w, residual=y, **options)
    assert torch.equal(conv_transpose1d(x, w, residual=y, out=y, **options), expected)


def test_out_refuses_gradients():
    x, w = torch.randn(1, 2, 9), torch.randn(2, 3, 3, requires_grad=True)
    out = torch.zeros(1, 3, 11)
    with pytest.raises(RuntimeError, match="out"):
        conv_transpose1d(x, w, out=out)
    assert not out.any()
    with torch.no_grad():
        assert conv_transpose1d(x, w, out=out) is out
    assert out.any()


JUDGED = [case for case in case_files.load("judged_cpu") if "transposed" in case.passes]


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize("case", JUDGED, ids=lambda case: case.name)
def test_rms_error_is_not_above_pytorchs(case, distribution):
    """Relative RMS error against the exact result. "uniform" (all positive) is where sums grow longest."""
    p = case.problem
    draw = torch.randn if distribution == "normal" else torch.rand
    x, w = draw(1, p.out_channels, 500), draw(p.out_channels, p.in_channels, p.kernel_size)
    geometry = (p.stride, p.pad_left, 0, p.groups, p.dilation)
    expected = expected_conv_transpose1d(x, w, None, *geometry)
    got = conv_transpose1d(x, w, None, *geometry)
    ours, theirs = (relative_rms(y, expected.y) for y in (got, F.conv_transpose1d(x, w, None, *geometry)))
    # The RMS of that many errors scatters by 1 / sqrt(2 count) from draw to draw: five times that is no difference.
    assert ours <= theirs * (1 + 5 / math.sqrt(2 * expected.y.size)), f"{ours:.3g} above PyTorch's {theirs:.3g}"
    assert expected.worst(got)[0] <= 1
