# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The operators under opcheck, torch.compile (forward and backward, symbolic sizes), torch.export and Inductor."""

from __future__ import annotations

import os
import shutil

import pytest
import torch

import longconv
from longconv.functional import conv1d

if not hasattr(torch, "export"):
    pytest.skip("PyTorch 2.1 exports", allow_module_level=True)

from torch._dynamo.testing import CompileCounterWithBackend

has_opcheck = pytest.mark.skipif(not hasattr(torch.library, "opcheck"), reason="opcheck came with PyTorch 2.4")
has_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="Inductor needs a C++ compiler"
)


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()


def leaves(*shapes, dtype=torch.float32):
    return [torch.randn(*shape, dtype=dtype).requires_grad_() for shape in shapes]


GEOMETRIES = {  # stride, pads, mode, dilation, groups
    "plain": (1, 0, 0, "zeros", 1, 1),
    "strided": (3, 2, 1, "zeros", 2, 2),
    "reflect": (2, 1, 3, "reflect", 1, 1),
}


@has_opcheck
@pytest.mark.parametrize("activation", ["none", "tanh", "gelu"])
@pytest.mark.parametrize("form", GEOMETRIES)
def test_opcheck_fprop(form, activation):
    geometry = GEOMETRIES[form]
    x, weight, bias = leaves((2, 4, 20), (6, 4 // geometry[-1], 3), (6,))
    residual = torch.randn_like(
        torch.ops.longconv.fprop(x, weight, bias, None, *geometry, "none", 0.0, "follow")
    ).requires_grad_()
    arguments = (x, weight, bias, residual, *geometry, activation, 0.0, "follow")
    torch.library.opcheck(torch.ops.longconv.fprop.default, arguments)


@has_opcheck
@pytest.mark.parametrize("form", GEOMETRIES)
def test_opcheck_gradients(form):
    geometry = GEOMETRIES[form]
    x, weight = leaves((2, 4, 20), (6, 4 // geometry[-1], 3))
    y = torch.ops.longconv.fprop(x, weight, None, None, *geometry, "none", 0.0, "follow")
    grad_y = torch.randn_like(y).requires_grad_()
    torch.library.opcheck(torch.ops.longconv.dgrad.default, (grad_y, weight, 20, *geometry, "follow"))
    for bias_grad in (False, True):
        torch.library.opcheck(torch.ops.longconv.wgrad.default, (x, grad_y, 3, *geometry, bias_grad, "follow"))


@has_opcheck
def test_opcheck_out():
    x, weight = torch.randn(2, 4, 20), torch.randn(6, 4, 3)
    arguments = (x, weight, None, None, *GEOMETRIES["plain"], "none", 0.0, "follow")
    # Functionalization of out= operators that return their argument is not PyTorch's to check.
    torch.library.opcheck(
        torch.ops.longconv.fprop.out,
        arguments,
        {"out": torch.empty(2, 6, 18)},
        test_utils=("test_schema", "test_faketensor"),
    )


class Block(torch.nn.Module):
    """Two layers with everything that a graph can see of them."""

    def __init__(self):
        super().__init__()
        self.first = longconv.Conv1d(4, 6, 3, stride=2, dilation=2, padding="same", activation="relu")
        self.second = longconv.Conv1d(6, 6, 5, groups=3, padding=(2, 2), padding_mode="reflect", activation="silu")

    def forward(self, x):
        y = self.first(x)
        return self.second(y, residual=y)


def train(f, x):
    x = x.detach().requires_grad_()
    loss = f(x).square().sum()
    return loss, *torch.autograd.grad(loss, [x, *train.module.parameters()])


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=[has_compiler, pytest.mark.slow])])
def test_training_step_compiles_once_for_every_batch_and_length(backend):
    module = train.module = Block()
    counter = CompileCounterWithBackend(backend)
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend=counter)
    for batch, length in ((2, 40), (3, 57), (5, 96)):
        x = torch.randn(batch, 4, length)
        for got, expected in zip(train(compiled, x), train(module, x)):
            torch.testing.assert_close(got, expected)
    working = [g for g in counter.graphs if any(node.op == "call_function" for node in g.graph.nodes)]
    assert len(working) == 1  # Dynamo may try an empty one first


def test_autocast_inside_a_compiled_function():
    module = longconv.Conv1d(4, 6, 3)

    def f(x):
        with torch.autocast("cpu", torch.bfloat16):
            return module(x)

    x = torch.randn(2, 4, 30)
    got = torch.compile(f, fullgraph=True, backend="aot_eager")(x)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, f(x))


def test_vmap_and_grad_inside_a_compiled_function():
    weight = torch.randn(6, 4, 3)

    def f(weight, x):
        return torch.vmap(torch.func.grad(lambda w, x: conv1d(x, w).square().sum()), in_dims=(None, 0))(weight, x)

    if not hasattr(torch.library, "register_vmap"):
        pytest.skip("before PyTorch 2.5 vmap loops")
    x = torch.randn(5, 4, 30)
    torch.testing.assert_close(torch.compile(f, backend="aot_eager")(weight, x), f(weight, x))


def test_exported_program_is_checked_and_saved(tmp_path):
    module = Block().eval()
    dim = torch.export.Dim
    shapes = ({0: dim("batch"), 2: dim("length", min=16)},)
    program = torch.export.export(module, (torch.randn(2, 4, 40),), dynamic_shapes=shapes)
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert "longconv.fprop.default" in targets
    assert not any(target.startswith("aten.conv") for target in targets)
    torch.export.save(program, tmp_path / "block.pt2")
    loaded = torch.export.load(tmp_path / "block.pt2")
    for batch, length in ((1, 16), (3, 1000)):
        x = torch.randn(batch, 4, length)
        torch.testing.assert_close(loaded.module()(x), module(x))


def test_symbolic_shapes_are_checked_like_numbers():
    """What numbers are refused is refused while tracing too, with the same exception type."""

    def too_long_a_pad(x, weight):
        return conv1d(x, weight, padding=30, padding_mode="reflect")

    x, weight = torch.randn(2, 4, 20), torch.randn(6, 4, 3)
    with pytest.raises(RuntimeError, match="reflect"):
        too_long_a_pad(x, weight)
    with pytest.raises(Exception, match="reflect"):
        torch.compile(too_long_a_pad, fullgraph=True, dynamic=True, backend="aot_eager")(x, weight)
    with pytest.raises(Exception, match="channels"):
        torch.compile(conv1d, fullgraph=True, dynamic=True, backend="aot_eager")(x, torch.randn(6, 3, 3))


def test_jit_script_and_freeze():
    @torch.jit.script
    def f(x: torch.Tensor, w: torch.Tensor):
        return torch.ops.longconv.fprop(x, w, None, None, 2, 1, 1, "zeros", 1, 1, "relu", 0.0, "follow")

    x, w = torch.randn(2, 4, 20), torch.randn(6, 4, 3)
    assert torch.equal(f(x, w), conv1d(x, w, stride=2, padding=1, activation="relu"))


def test_out_is_written_by_a_compiled_function():
    def f(x, weight, out):
        conv1d(x, weight, out=out)
        conv1d(x, weight, residual=out, out=out)
        return out.sum()

    x, weight, out = torch.randn(2, 4, 20), torch.randn(6, 4, 3), torch.randn(2, 6, 18)
    expected, written = out.clone(), out.clone()
    total = f(x, weight, expected)
    torch.testing.assert_close(torch.compile(f, fullgraph=True, backend="aot_eager")(x, weight, written), total)
    assert torch.equal(written, expected)
