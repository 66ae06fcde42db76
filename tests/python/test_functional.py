# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""conv1d against the definition: every size, layout, dtype, padding and epilogue that the strategies can think of."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings

from call_check import check_call
from longconv.functional import conv1d
from reference import expected_conv1d, to_numpy
from strategies import ACTIVATIONS, DTYPES, PADDING_MODES, Case, cases, values


def check(case: Case) -> None:
    check_call(conv1d, case)


@settings(max_examples=700)
@given(cases())
def test_matches_the_definition(case):
    check(case)


def test_replay(request):
    text = request.config.getoption("--replay")
    if text is None:
        text = Case(batch=2, in_channels=3, out_channels=5, length=40, kernel_size=4, padding=[3, 1]).replay()
        text = text.split("'")[1]
    check(Case.parse(text))


# Output lengths around vectors, register blocks and time tiles, with just enough channels to leave remainders.
EDGE_SAMPLES = (1, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 239, 240, 241, 479, 480, 481, 959, 960, 961, 1921)


@pytest.mark.parametrize("samples", EDGE_SAMPLES)
@pytest.mark.parametrize(
    "family",
    [
        {"in_channels": 5, "out_channels": 7, "kernel_size": 3},
        {"in_channels": 5, "out_channels": 7, "kernel_size": 3, "stride": 3, "dilation": 4},
        {"in_channels": 1, "out_channels": 13, "kernel_size": 10, "stride": 5},
        {"in_channels": 6, "out_channels": 6, "kernel_size": 4, "groups": 6},
        {"in_channels": 8, "out_channels": 12, "kernel_size": 3, "groups": 4, "stride": 2},
    ],
    ids=["dense", "strided", "few_inputs", "depthwise", "grouped"],
)
def test_edges_of_vectors_and_tiles(family, samples):
    window = family.get("dilation", 1) * (family["kernel_size"] - 1) + 1
    length = window + (samples - 1) * family.get("stride", 1)
    check(Case(batch=2, length=length, seed=samples, bias=True, **family))
    check(Case(batch=1, length=length, seed=samples, padding="same", dtype="float64", **family))
    check(Case(batch=1, length=length, seed=samples, input_layout="unaligned", output_layout="rows", **family))


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 6, 11, 12, 31, 32, 33, 63, 64, 65, 127, 130])
def test_edges_of_channel_blocks(channels):
    for dtype in ("float32", "bfloat16", "float64"):
        check(
            Case(in_channels=channels, out_channels=7, length=70, kernel_size=3, padding=1, dtype=dtype, seed=channels)
        )
        check(
            Case(in_channels=5, out_channels=channels, length=70, kernel_size=3, padding=1, dtype=dtype, seed=channels)
        )
    check(Case(in_channels=channels, out_channels=2 * channels, groups=channels, length=70, kernel_size=5, bias=True))


@pytest.mark.parametrize("padding_mode", PADDING_MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_padding_modes_at_their_limits(padding_mode, dtype):
    length = 20
    limit = {"zeros": 300, "reflect": length - 1, "replicate": 300, "circular": length}[padding_mode]
    for pads in ([limit, limit], [limit, 0], [0, limit]):
        check(
            Case(
                in_channels=3,
                out_channels=4,
                length=length,
                kernel_size=3,
                dilation=2,
                padding=pads,
                padding_mode=padding_mode,
                dtype=dtype,
            )
        )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_epilogue_over_the_whole_range(activation, dtype):
    """Activations of numbers from -40 to 40, past every cut-off: a convolution with 1 hands them through."""
    torch_dtype = getattr(torch, dtype)
    x = torch.linspace(-40, 40, 4001, dtype=torch.float64).to(torch_dtype).view(1, 1, -1)
    one = torch.ones(1, 1, 1, dtype=torch_dtype)
    bias, residual = torch.full((1,), 0.25, dtype=torch_dtype), x.flip(2) / 8
    for b, r in ((None, None), (bias, residual)):
        got = conv1d(x, one, b, residual=r, activation=activation, negative_slope=0.2)
        expected = expected_conv1d(x, one, b, residual=r, activation=activation, negative_slope=0.2)
        worst, where = expected.worst(got)
        assert worst <= 1, f"{activation} at {where}: {got[where]}, expected {expected.y[where]}"


def test_same_with_a_stride_samples_the_unstrided_result():
    x, w = torch.randn(2, 3, 50, dtype=torch.float64), torch.randn(4, 3, 6, dtype=torch.float64)
    whole = expected_conv1d(x, w, padding="same", dilation=3).y
    for stride in (2, 3, 7, 60):
        got = conv1d(x, w, padding="same", dilation=3, stride=stride)
        assert got.shape[2] == math.ceil(50 / stride)
        torch.testing.assert_close(got, torch.from_numpy(whole[:, :, ::stride].astype("float64")))


def test_causal_does_not_look_ahead():
    x, w = torch.randn(1, 2, 64), torch.randn(3, 2, 5)
    later = x.clone()
    later[:, :, 40:] = math.nan
    a, b = conv1d(x, w, padding="causal", dilation=2), conv1d(later, w, padding="causal", dilation=2)
    assert a.shape == (1, 3, 64)
    assert torch.equal(a[:, :, :40], b[:, :, :40])
    assert bool(b[:, :, 40:].isnan().all())


@pytest.mark.parametrize("padding", [0, 3, (3,), [3], "valid", "same"])
@pytest.mark.parametrize("batched", [True, False])
def test_is_what_pytorch_computes(padding, batched):
    """The same call, the same shape and values: arguments by position, as lists and as tuples."""
    x, w, b = (torch.randn(s, dtype=torch.float64) for s in ((2, 6, 40), (8, 3, 5), (8,)))
    x = x if batched else x[0]
    got = conv1d(x, w, b, 1, padding, 2, 2)
    torch.testing.assert_close(got, F.conv1d(x, w, b, 1, padding, 2, 2), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(conv1d(x, w, b, [2], 1, (2,), 2), F.conv1d(x, w, b, [2], 1, (2,), 2))


def test_integers_of_other_types_are_sizes():
    np = pytest.importorskip("numpy")
    x, w = torch.randn(1, 2, 20), torch.randn(3, 2, 3)
    got = conv1d(x, w, stride=np.int64(2), padding=np.int32(1), dilation=torch.tensor(2), groups=np.int8(1))
    assert torch.equal(got, conv1d(x, w, stride=2, padding=1, dilation=2))


def test_nothing_beside_the_signal_is_multiplied():
    """Inf in the weights must not meet a padding zero: each output sees its own Inf or none."""
    x = torch.ones(1, 1, 5)
    w = torch.tensor([[[math.inf, 1.0, -math.inf]]])
    got = conv1d(x, w, padding=4)[0, 0].tolist()
    # Outputs see taps 2; 1,2; 0..2 (Inf - Inf); 0,1; 0 of the signal, and nothing at the far ends.
    expected = [0, 0, -math.inf, -math.inf] + [math.nan] * 3 + [math.inf, math.inf, 0, 0]
    assert [str(g) for g in got] == [str(float(e)) for e in expected]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64", "complex64"])
def test_non_finite_inputs_stay_in_their_windows(dtype):
    torch_dtype = getattr(torch, dtype)
    x = values((2, 9, 300), torch_dtype, torch.Generator().manual_seed(1))
    w = values((7, 9, 3), torch_dtype, torch.Generator().manual_seed(2))
    clean = conv1d(x, w, dilation=4, padding=4)
    x[1, 3, 100] = math.nan
    got = conv1d(x, w, dilation=4, padding=4)
    touched = torch.zeros(300, dtype=torch.bool)
    touched[[96, 100, 104]] = True
    assert bool(got[1][:, touched].isnan().all())
    assert torch.equal(got[1][:, ~touched], clean[1][:, ~touched])
    assert torch.equal(got[0], clean[0])


def test_operands_are_left_alone():
    case = Case(batch=2, in_channels=4, out_channels=6, length=50, kernel_size=3, bias=True, residual=True)
    tensors = case.tensors()
    copies = [t.clone() for t in tensors if t is not None]
    conv1d(*tensors[:3], residual=tensors[3], **case.options())
    assert all(torch.equal(a, b) for a, b in zip(tensors, copies))


def test_conjugate_views_are_read_as_what_they_mean():
    x = torch.randn(1, 2, 30, dtype=torch.complex128)
    w = torch.randn(3, 2, 4, dtype=torch.complex128)
    worst, _ = expected_conv1d(x.conj(), w.conj()).worst(conv1d(x.conj(), w.conj()))
    assert worst <= 1
    imaginary = x.conj().imag  # a view with the negative bit
    worst, _ = expected_conv1d(imaginary, w.real).worst(conv1d(imaginary, w.real))
    assert worst <= 1


def test_gradients_reach_every_operand():
    case = Case(batch=None, in_channels=4, out_channels=6, length=30, kernel_size=3, stride=2, groups=2)
    x, w, _, _ = (None if t is None else t.double().requires_grad_() for t in case.tensors())
    b = torch.randn(6, dtype=torch.float64, requires_grad=True)
    r = torch.randn(6, 15, dtype=torch.float64, requires_grad=True)

    def ours(x, w, b, r):
        return conv1d(x, w, b, 2, (1, 0), 1, 2, padding_mode="replicate", activation="gelu", residual=r)

    def composed(x, w, b, r):
        return F.gelu(F.conv1d(F.pad(x, (1, 0), mode="replicate"), w, b, 2, 0, 1, 2) + r)

    grad = torch.randn_like(ours(x, w, b, r))
    for mine, theirs in zip(
        torch.autograd.grad(ours(x, w, b, r), (x, w, b, r), grad),
        torch.autograd.grad(composed(x, w, b, r), (x, w, b, r), grad),
    ):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("unbatched", [False, True])
def test_out_of_another_shape_is_resized_as_pytorch_does(unbatched):
    x, w = torch.randn(2, 4, 20), torch.randn(6, 4, 3)
    x = x[0] if unbatched else x
    expected = conv1d(x, w)
    out = torch.empty(0)
    assert conv1d(x, w, out=out) is out
    assert torch.equal(out, expected)
    for shape in ((6, 30), (2, 6, 17), (3,)):
        out = torch.empty(shape)
        assert conv1d(x, w, out=out) is out
        assert torch.equal(out, expected)


def test_out_refuses_gradients():
    x, w = torch.randn(1, 2, 9), torch.randn(3, 2, 3, requires_grad=True)
    out = torch.zeros(1, 3, 7)
    with pytest.raises(RuntimeError, match="out"):
        conv1d(x, w, out=out)
    assert not out.any()
    with torch.no_grad():
        assert conv1d(x, w, out=out) is out
    assert to_numpy(out).any()
