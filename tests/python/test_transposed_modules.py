# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""ConvTranspose1d and LazyConvTranspose1d take the place of PyTorch's: weights, state, copies, parametrizations."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

pytest.importorskip("hypothesis")
import longconv
from transposed_cases import expected_conv_transpose1d

SHARED = {
    "plain": ((4, 6, 3), {}),
    "all by position": ((4, 6, 3, 2, 1, 1, 2, False, 2), {}),
    "tuples": ((4, 6, (3,)), {"stride": (2,), "padding": (1,), "output_padding": (1,), "dilation": (2,)}),
    "whole strides of output_padding": ((4, 6, 3), {"padding": 1, "output_padding": 2, "dilation": 3}),
    "unreached samples": ((4, 6, 3), {"output_padding": 2, "dilation": 3}),
    "depthwise": ((4, 8, 3), {"groups": 4, "bias": False, "stride": 3}),
    "float64": ((4, 6, 3), {"dtype": torch.float64}),
}


def both(name):
    arguments, keywords = SHARED[name]
    torch.manual_seed(7)
    theirs = nn.ConvTranspose1d(*arguments, **keywords)
    torch.manual_seed(7)
    return theirs, longconv.ConvTranspose1d(*arguments, **keywords)


def expected_of(layer, x, residual=None):
    geometry = (layer.stride[0], layer.padding[0], layer.output_padding[0], layer.groups, layer.dilation[0])
    return expected_conv_transpose1d(x, layer.weight, layer.bias, *geometry, residual)


@pytest.mark.parametrize("name", SHARED)
def test_draws_the_weights_that_pytorch_draws(name):
    theirs, ours = both(name)
    after = torch.rand(3)
    torch.manual_seed(7)
    type(theirs)(*SHARED[name][0], **SHARED[name][1])
    assert torch.equal(after, torch.rand(3)), "the generator is not where PyTorch leaves it"
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        assert torch.equal(value, ours.state_dict()[key])
    ours.reset_parameters()
    assert not torch.equal(ours.weight, theirs.weight)


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("batched", [True, False])
def test_computes_what_pytorch_computes(name, batched):
    theirs, ours = both(name)
    x = torch.randn(2, 4, 33, dtype=ours.weight.dtype)
    x = x if batched else x[0]
    expected = expected_of(ours, x)
    assert expected.worst(ours(x))[0] <= 1
    assert expected.worst(theirs(x))[0] <= 1, "the reference does not mean what PyTorch means"
    residual = torch.randn_like(ours(x))
    assert expected_of(ours, x, residual).worst(ours(x, residual=residual))[0] <= 1


@pytest.mark.parametrize("name", SHARED)
def test_prints_itself_as_pytorchs(name):
    theirs, ours = both(name)
    assert repr(ours) == repr(theirs)
    assert isinstance(ours, nn.ConvTranspose1d)


def test_prints_what_pytorchs_has_not():
    layer = longconv.ConvTranspose1d(4, 6, 3, output_padding=1, stride=2, precision="fp32")
    assert repr(layer) == ("ConvTranspose1d(4, 6, kernel_size=(3,), stride=(2,), output_padding=(1,), precision=fp32)")


@pytest.mark.parametrize("batched", [True, False])
def test_output_size(batched):
    theirs, ours = (
        cls(4, 6, 5, stride=4, padding=1, dilation=2) for cls in (nn.ConvTranspose1d, longconv.ConvTranspose1d)
    )
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 4, 9) if batched else torch.randn(4, 9)
    shortest = ours(x).shape[-1]
    for samples in range(shortest, shortest + 4):
        front = (2, 6) if batched else (6,)
        for output_size in ([samples], torch.Size([*front, samples])):
            y = ours(x, output_size)
            assert y.shape[-1] == samples
            torch.testing.assert_close(y, theirs(x, output_size))
            assert torch.equal(ours(x, output_size=output_size), y)


@pytest.mark.parametrize("name", SHARED)
def test_state_goes_both_ways(name):
    theirs, ours = both(name)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(1)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert torch.equal(theirs.weight, ours.weight)
    ours.reset_parameters()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert torch.equal(theirs.weight, ours.weight)


def _torch_save(layer):
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    return torch.load(buffer, **({"weights_only": False} if torch.__version__ >= "2" else {}))


@pytest.mark.parametrize(
    "copier",
    [copy.deepcopy, copy.copy, lambda m: pickle.loads(pickle.dumps(m)), _torch_save],
    ids=["deepcopy", "copy", "pickle", "torch.save"],
)
def test_copies(copier):
    layer = longconv.ConvTranspose1d(3, 5, 4, stride=2, output_padding=1, precision="fp32").eval()
    twin = copier(layer)
    assert type(twin) is longconv.ConvTranspose1d
    assert repr(twin) == repr(layer)
    assert not twin.training
    x = torch.randn(1, 3, 20)
    assert torch.equal(twin(x), layer(x))


def test_unpickles_state_of_older_layers():
    """A state without the attribute that this class adds to PyTorch's."""
    layer = longconv.ConvTranspose1d(3, 5, 4)
    twin = longconv.ConvTranspose1d.__new__(longconv.ConvTranspose1d)
    twin.__setstate__({k: v for k, v in vars(layer).items() if k != "precision"})
    x = torch.randn(1, 3, 20)
    assert torch.equal(twin(x), layer(x))


PARAMETRIZATIONS = {
    "weight_norm": lambda m: nn.utils.parametrizations.weight_norm(m, dim=1),
    "spectral_norm": nn.utils.parametrizations.spectral_norm,
    "orthogonal": nn.utils.parametrizations.orthogonal,
    "old weight_norm": nn.utils.weight_norm,
    "old spectral_norm": nn.utils.spectral_norm,
}


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_parametrizations(name):
    if name == "weight_norm" and not hasattr(nn.utils.parametrizations, "weight_norm"):
        pytest.skip("PyTorch 2.1 brought it")
    layers = []
    for cls in (nn.ConvTranspose1d, longconv.ConvTranspose1d):
        torch.manual_seed(3)
        layers.append(PARAMETRIZATIONS[name](cls(4, 6, 3, stride=2, dtype=torch.float64)))
    x, gradients = torch.randn(2, 4, 20, dtype=torch.float64), []
    for layer in layers:
        layer(x).square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in layer.named_parameters()})
        layer.eval()
    theirs, ours = gradients
    assert list(ours) == list(theirs)
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key])
    torch.testing.assert_close(layers[1](x), layers[0](x))
    if not name.startswith("old"):  # those cannot be copied once they have a graph
        torch.testing.assert_close(copy.deepcopy(layers[1])(x), layers[0](x))


def test_pruning():
    layer = longconv.ConvTranspose1d(4, 6, 3)
    prune.l1_unstructured(layer, "weight", amount=0.5)
    x = torch.randn(1, 4, 20)
    assert expected_of(layer, x).worst(layer(x))[0] <= 1
    assert int((layer.weight == 0).sum()) == 36


def test_stateless_calls():
    if not hasattr(torch, "func"):
        pytest.skip("PyTorch 2 brought torch.func")
    layer = longconv.ConvTranspose1d(4, 6, 3)
    other = {name: torch.randn_like(p) for name, p in layer.named_parameters()}
    x = torch.randn(1, 4, 20)
    got = torch.func.functional_call(layer, other, (x,))
    assert torch.equal(got, longconv.functional.conv_transpose1d(x, other["weight"], other["bias"]))


def test_moves_between_dtypes():
    layer = longconv.ConvTranspose1d(4, 6, 3, stride=2)
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        x = torch.randn(1, 4, 20).to(dtype)
        layer = layer.to(dtype)
        assert expected_of(layer, x).worst(layer(x))[0] <= 1


def test_attributes_changed_later_count():
    layer, x = longconv.ConvTranspose1d(4, 6, 3), torch.randn(1, 4, 20)
    layer.stride, layer.dilation, layer.output_padding = (2,), (3,), (1,)
    expected = longconv.functional.conv_transpose1d(x, layer.weight, layer.bias, 2, 0, 1, 1, 3)
    assert torch.equal(layer(x), expected)


@pytest.mark.parametrize("unbatched", [False, True])
def test_lazy(unbatched):
    torch.manual_seed(5)
    theirs = nn.LazyConvTranspose1d(6, 3, stride=2, padding=1, output_padding=1, groups=2)
    torch.manual_seed(5)
    ours = longconv.LazyConvTranspose1d(6, 3, stride=2, padding=1, output_padding=1, groups=2, precision="fp32")
    assert isinstance(ours, nn.LazyConvTranspose1d)
    assert "precision=fp32" in repr(ours)
    x = torch.randn(4, 20) if unbatched else torch.randn(2, 4, 20)
    torch.manual_seed(6)
    theirs(x)
    torch.manual_seed(6)
    y = ours(x)
    assert type(ours) is longconv.ConvTranspose1d
    assert ours.in_channels == 4
    assert torch.equal(ours.weight, theirs.weight)
    assert expected_of(ours, x).worst(y)[0] <= 1


def test_lazy_takes_the_other_arguments_in_its_first_call():
    layer = longconv.LazyConvTranspose1d(6, 3, stride=2)
    assert layer(torch.randn(2, 4, 20), [42], torch.randn(2, 6, 42)).shape == (2, 6, 42)


def test_lazy_loads_state_before_its_first_call():
    layer = longconv.LazyConvTranspose1d(6, 3)
    source = nn.ConvTranspose1d(4, 6, 3)
    layer.load_state_dict(source.state_dict())
    x = torch.randn(1, 4, 20)
    assert expected_of(source, x).worst(layer(x))[0] <= 1
    twin = pickle.loads(pickle.dumps(longconv.LazyConvTranspose1d(6, 3)))
    assert twin(x).shape == (1, 6, 22)
