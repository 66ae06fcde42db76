# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""ConvTranspose1d under opcheck, torch.compile, torch.export, torch.jit.trace and on Meta: lengths left symbolic."""

from __future__ import annotations

import os
import shutil

import pytest
import torch

import longconv
from longconv.functional import conv_transpose1d

pytestmark = pytest.mark.skipif(not hasattr(torch, "export"), reason="PyTorch 2 traces")
has_opcheck = pytest.mark.skipif(not hasattr(torch.library, "opcheck"), reason="opcheck came with PyTorch 2.4")
has_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="Inductor needs a C++ compiler"
)
FORMS = {
    "plain": {},
    "strided": {"stride": 2, "padding": 1, "output_padding": 1},
    "dilated": {"dilation": 3, "padding": 2, "output_padding": 2},
    "unreached": {"dilation": 3, "output_padding": 2, "bias": False},
    "complex": {"stride": 2, "dtype": torch.complex64},
    "grouped": {"groups": 2, "stride": (3,), "padding": [1]},
}


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()


def layer(form):
    return longconv.ConvTranspose1d(4, 6, 3, **FORMS[form])


def signal(module, *shape):
    return torch.randn(*shape, dtype=module.weight.dtype)


@has_opcheck
@pytest.mark.parametrize("geometry", [(1, 0, 0, "zeros", 1, 1), (3, 2, 1, "zeros", 2, 2), (2, 1, 3, "reflect", 1, 1)])
@pytest.mark.parametrize("added", [(True, False), (False, True), (True, True)])
def test_opcheck(geometry, added):
    x, weight = torch.randn(2, 4, 20), torch.randn(6, 4 // geometry[-1], 3).requires_grad_()
    grad_y = torch.randn_like(torch.ops.longconv.fprop(x, weight, None, None, *geometry, "none", 0.0, "follow"))
    bias = torch.randn(4).requires_grad_() if added[0] else None
    residual = torch.randn_like(x).requires_grad_() if added[1] else None
    arguments = (grad_y.requires_grad_(), weight, 20, *geometry, "follow", bias, residual)
    torch.library.opcheck(torch.ops.longconv.dgrad.default, arguments)


@has_opcheck
@pytest.mark.parametrize("output_padding", [0, 2])
def test_opcheck_of_the_composition(output_padding):
    x, weight, bias = (torch.randn(*shape).requires_grad_() for shape in ((2, 4, 9), (4, 6, 3), (6,)))
    arguments = (x, weight, bias, None, 1, 0, output_padding, 1, 3, "follow")
    torch.library.opcheck(torch.ops.longconv.conv_transpose1d.default, arguments)


@has_opcheck
def test_opcheck_out():
    arguments = (
        torch.randn(2, 6, 18),
        torch.randn(6, 4, 3),
        20,
        1,
        0,
        0,
        "zeros",
        1,
        1,
        "follow",
        torch.randn(4),
        None,
    )
    # Functionalization of out= operators that return their argument is not PyTorch's to check.
    torch.library.opcheck(
        torch.ops.longconv.dgrad.out,
        arguments,
        {"out": torch.empty(2, 4, 20)},
        test_utils=("test_schema", "test_faketensor"),
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("unbatched", [False, True])
def test_compiles_to_one_graph_for_every_length(form, unbatched):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    module = layer(form)
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend=backend)
    for batch, length in ((2, 40), (3, 41), (5, 97)):
        x = signal(module, 4, length) if unbatched else signal(module, batch, 4, length)
        torch.testing.assert_close(compiled(x), module(x), rtol=0, atol=0)
    assert len(graphs) == 1


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=[has_compiler, pytest.mark.slow])])
@pytest.mark.parametrize("form", ["strided", "dilated", "unreached", "complex"])
def test_training_step_compiles_for_every_batch_and_length(form, backend):
    module = layer(form)
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend=backend)

    def train(f, x):
        x = x.detach().requires_grad_()
        loss = f(x).abs().square().sum()
        return loss, *torch.autograd.grad(loss, [x, *module.parameters()])

    for batch, length in ((2, 40), (3, 57), (5, 96)):
        x = signal(module, batch, 4, length)
        for got, expected in zip(train(compiled, x), train(module, x)):
            torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("strict", [False, True])
def test_exports_with_symbolic_batch_and_length(form, strict):
    dim = torch.export.Dim
    shapes = ({0: dim("batch"), 2: dim("length", min=16)},)
    module = layer(form)
    program = torch.export.export(module, (signal(module, 2, 4, 40),), dynamic_shapes=shapes, strict=strict)
    assert targets(program) == {"longconv.conv_transpose1d.default"}
    decomposed = program.run_decompositions()
    assert "longconv.dgrad.default" in targets(decomposed)
    for batch, length in ((1, 16), (3, 1000)):
        x = signal(module, batch, 4, length)
        assert torch.equal(program.module()(x), module(x))
        assert torch.equal(decomposed.module()(x), module(x))


def targets(program):
    """The operators that an exported program calls, but for assertions and arithmetic of sizes."""
    names = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    return {name for name in names if not name.startswith(("<", "aten.sym_", "aten._assert"))}


def test_exported_program_is_saved(tmp_path):
    dim = torch.export.Dim
    module = layer("strided")
    program = torch.export.export(module, (signal(module, 2, 4, 40),), dynamic_shapes=({2: dim("length", min=16)},))
    torch.export.save(program, tmp_path / "layer.pt2")
    x = signal(module, 2, 4, 57)
    assert torch.equal(torch.export.load(tmp_path / "layer.pt2").module()(x), module(x))


def test_output_size_is_traced():
    module = longconv.ConvTranspose1d(4, 6, 3, stride=2)
    compiled = torch.compile(
        lambda x: module(x, [2 * x.shape[2] + 2]), fullgraph=True, dynamic=True, backend="aot_eager"
    )
    for length in (20, 33):
        x = torch.randn(2, 4, length)
        assert torch.equal(compiled(x), module(x, [2 * length + 2]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.filterwarnings("error::torch.jit.TracerWarning")
def test_jit_traces(form):
    module = layer(form)
    traced = torch.jit.trace(module, (signal(module, 2, 4, 40),))
    x = signal(module, 3, 4, 77)
    assert torch.equal(traced(x), module(x))


def test_symbolic_shapes_are_checked_like_numbers():
    x, weight = torch.randn(2, 4, 20), torch.randn(3, 6, 3)
    with pytest.raises(Exception, match="channels"):
        torch.compile(conv_transpose1d, fullgraph=True, dynamic=True, backend="aot_eager")(x, weight)
    with pytest.raises(Exception, match="too small"):
        torch.compile(
            lambda x, w: conv_transpose1d(x, w, padding=12), fullgraph=True, dynamic=True, backend="aot_eager"
        )(x, torch.randn(4, 6, 3))


@pytest.mark.parametrize("options", [{}, FORMS["dilated"]])
def test_out_is_written_by_a_compiled_function(options):
    def f(x, weight, out):
        conv_transpose1d(x, weight, out=out, **options)
        conv_transpose1d(x, weight, residual=out, out=out, **options)
        return out.sum()

    x, weight = torch.randn(2, 4, 20), torch.randn(4, 6, 3)
    out = torch.randn_like(conv_transpose1d(x, weight, **options))
    expected, written = out.clone(), out.clone()
    total = f(x, weight, expected)
    torch.testing.assert_close(torch.compile(f, fullgraph=True, backend="aot_eager")(x, weight, written), total)
    assert torch.equal(written, expected)


def test_meta_tensors_have_shapes_and_no_work():
    module = longconv.ConvTranspose1d(64, 128, 3, stride=3, dilation=4, output_padding=2, device="meta")
    y = module(torch.empty(1 << 20, 64, 174758, device="meta"))
    assert y.shape == (1 << 20, 128, 524282)
    assert y.is_meta
    x, bias = torch.randn(2, 4, 9), torch.randn(6)
    real = conv_transpose1d(x, torch.ones(4, 6, 3), bias)
    meta = conv_transpose1d(x.to("meta"), torch.ones(4, 6, 3, device="meta"), bias.to("meta"))
    assert (real.shape, real.stride(), real.dtype) == (meta.shape, meta.stride(), meta.dtype)
