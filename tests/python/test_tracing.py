# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The Python face under torch.compile, torch.export, torch.jit.trace and make_fx: one graph, lengths left symbolic."""

from __future__ import annotations

import pytest
import torch

import longconv
from longconv.functional import conv1d

pytestmark = pytest.mark.skipif(not hasattr(torch, "export"), reason="PyTorch 2 traces")


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()


FORMS = {
    "plain": {},
    "same": {"padding": "same", "stride": 2, "dilation": 3},
    "causal": {"padding": "causal", "padding_mode": "replicate"},
    "pair": {"padding": (3, 1), "padding_mode": "reflect", "activation": "gelu"},
    "sequences": {"padding": [1], "stride": (2,), "dilation": [2]},
}


def layer(form):
    return longconv.Conv1d(4, 6, 3, **FORMS[form])


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
        x = torch.randn(4, length) if unbatched else torch.randn(batch, 4, length)
        torch.testing.assert_close(compiled(x), module(x), rtol=0, atol=0)
    assert len(graphs) == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("strict", [False, True])
def test_exports_with_symbolic_batch_and_length(form, strict):
    dim = torch.export.Dim
    shapes = ({0: dim("batch"), 2: dim("length", min=16)},)
    module = layer(form)
    program = torch.export.export(module, (torch.randn(2, 4, 40),), dynamic_shapes=shapes, strict=strict)
    for batch, length in ((1, 16), (3, 1000)):
        x = torch.randn(batch, 4, length)
        assert torch.equal(program.module()(x), module(x))


@pytest.mark.parametrize("form", FORMS)
def test_jit_traces(form):
    module = layer(form)
    traced = torch.jit.trace(module, (torch.randn(2, 4, 40),))
    x = torch.randn(3, 4, 77)
    assert torch.equal(traced(x), module(x))


def test_padding_may_be_symbolic():
    """Half of the length, before and behind."""

    def halves(x, w):
        return conv1d(x, w, padding=(x.shape[-1] // 2, x.shape[-1] - x.shape[-1] // 2))

    w = torch.randn(3, 4, 5)
    compiled = torch.compile(halves, fullgraph=True, dynamic=True, backend="eager")
    for length in (20, 21, 50):
        x = torch.randn(1, 4, length)
        assert torch.equal(compiled(x, w), halves(x, w))
    traced = torch.fx.experimental.proxy_tensor.make_fx(halves, tracing_mode="symbolic")(torch.randn(1, 4, 20), w)
    x = torch.randn(1, 4, 33)
    assert torch.equal(traced(x, w), halves(x, w))


def test_meta_tensors_have_shapes_and_no_work():
    module = longconv.Conv1d(64, 128, 3, stride=3, dilation=4, device="meta")
    y = module(torch.empty(1 << 20, 64, 524280, device="meta"))
    assert y.shape == (1 << 20, 128, 174758)
    assert y.is_meta
