# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Conv1d and LazyConv1d take the place of PyTorch's: weights, state, copies, parametrizations, tools."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import longconv
from reference import expected_conv1d

# Arguments that both PyTorch's layer and ours take.
SHARED = {
    "plain": ((4, 6, 3), {}),
    "all by position": ((4, 6, 3, 2, 1, 2, 2, False), {}),
    "tuples": ((4, 6, (3,)), {"stride": (2,), "padding": (1,), "dilation": (2,)}),
    "same": ((4, 6, 4), {"padding": "same", "dilation": 3}),
    "valid": ((4, 6, 4), {"padding": "valid"}),
    "depthwise": ((4, 8, 3), {"groups": 4, "bias": False}),
    "reflect": ((4, 6, 3), {"padding": 5, "padding_mode": "reflect"}),
    "replicate": ((4, 6, 3), {"padding": 5, "padding_mode": "replicate", "stride": 2}),
    "circular": ((4, 6, 3), {"padding": "same", "padding_mode": "circular"}),
    "float64": ((4, 6, 3), {"dtype": torch.float64}),
}


def both(name):
    arguments, keywords = SHARED[name]
    torch.manual_seed(7)
    theirs = nn.Conv1d(*arguments, **keywords)
    torch.manual_seed(7)
    return theirs, longconv.Conv1d(*arguments, **keywords)


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
    expected = expected_conv1d(
        x,
        ours.weight,
        ours.bias,
        ours.stride[0],
        ours.padding,
        ours.dilation[0],
        ours.groups,
        padding_mode=ours.padding_mode,
    )
    assert expected.worst(ours(x))[0] <= 1
    theirs_y = theirs(x) if batched else theirs(x[None])[0]  # PyTorch 1.13 cannot pad unbatched input circularly
    assert expected.worst(theirs_y)[0] <= 1, "the reference does not mean what PyTorch means"


@pytest.mark.parametrize("name", SHARED)
def test_prints_itself_as_pytorchs(name):
    theirs, ours = both(name)
    assert repr(ours) == repr(theirs)
    assert isinstance(ours, nn.Conv1d)


def test_prints_what_pytorchs_has_not():
    layer = longconv.Conv1d(4, 6, 3, padding="causal", activation="leaky_relu", negative_slope=0.2, precision="fp32")
    assert repr(layer) == (
        "Conv1d(4, 6, kernel_size=(3,), stride=(1,), padding=causal, activation=leaky_relu, negative_slope=0.2, "
        "precision=fp32)"
    )
    assert "padding=(2, 0)" in repr(longconv.Conv1d(4, 6, 3, padding=(2, 0)))


@pytest.mark.parametrize("padding", ["causal", "same", (3, 1), [3, 1]])
@pytest.mark.parametrize("padding_mode", ["zeros", "replicate"])
def test_paddings_of_our_own(padding, padding_mode):
    layer = longconv.Conv1d(3, 5, 4, stride=3, padding=padding, dilation=2, padding_mode=padding_mode)
    x = torch.randn(2, 3, 40)
    expected = expected_conv1d(x, layer.weight, layer.bias, 3, padding=padding, dilation=2, padding_mode=padding_mode)
    assert expected.worst(layer(x))[0] <= 1
    # PyTorch's own forward, for whoever calls it on a subclass, pads as much.
    if padding_mode != "zeros":
        left, right = layer._reversed_padding_repeated_twice
        assert (left, right) == {"causal": (6, 0), "same": (3, 3)}.get(str(padding), (3, 1))


def test_epilogue():
    layer = longconv.Conv1d(3, 5, 4, activation="leaky_relu", negative_slope=0.3)
    x, residual = torch.randn(2, 3, 40), torch.randn(2, 5, 37)
    expected = expected_conv1d(
        x, layer.weight, layer.bias, activation="leaky_relu", negative_slope=0.3, residual=residual
    )
    assert expected.worst(layer(x, residual))[0] <= 1
    assert expected.worst(layer(x, residual=residual))[0] <= 1


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
    layer = longconv.Conv1d(3, 5, 4, padding="causal", activation="silu", negative_slope=0.3, precision="fp32").eval()
    twin = copier(layer)
    assert type(twin) is longconv.Conv1d
    assert repr(twin) == repr(layer)
    assert not twin.training
    x = torch.randn(1, 3, 20)
    assert torch.equal(twin(x), layer(x))


def test_unpickles_state_of_older_layers():
    """A state without the attributes that this class adds to PyTorch's."""
    layer = longconv.Conv1d(3, 5, 4)
    state = {k: v for k, v in vars(layer).items() if k not in ("activation", "negative_slope", "precision")}
    twin = longconv.Conv1d.__new__(longconv.Conv1d)
    twin.__setstate__(state)
    x = torch.randn(1, 3, 20)
    assert torch.equal(twin(x), layer(x))


def _train_once(layer, x):
    layer(x).square().sum().backward()
    return {name: parameter.grad for name, parameter in layer.named_parameters()}


PARAMETRIZATIONS = {
    "weight_norm": lambda m: nn.utils.parametrizations.weight_norm(m, dim=2),
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
    for cls in (nn.Conv1d, longconv.Conv1d):
        torch.manual_seed(3)
        layers.append(PARAMETRIZATIONS[name](cls(4, 6, 3, dtype=torch.float64)))
    x = torch.randn(2, 4, 20, dtype=torch.float64)
    theirs, ours = (_train_once(layer, x) for layer in layers)
    assert list(ours) == list(theirs)
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key])
    for layer in layers:
        layer.eval()
    torch.testing.assert_close(layers[1](x), layers[0](x))
    if not name.startswith("old"):  # those cannot be copied once they have a graph
        torch.testing.assert_close(copy.deepcopy(layers[1])(x), layers[0](x))


def test_pruning():
    layer = longconv.Conv1d(4, 6, 3)
    prune.l1_unstructured(layer, "weight", amount=0.5)
    x = torch.randn(1, 4, 20)
    worst, _ = expected_conv1d(x, layer.weight, layer.bias).worst(layer(x))
    assert worst <= 1
    assert int((layer.weight == 0).sum()) == 36


def test_stateless_calls():
    if not hasattr(torch, "func"):
        pytest.skip("PyTorch 2 brought torch.func")
    layer = longconv.Conv1d(4, 6, 3)
    other = {name: torch.randn_like(p) for name, p in layer.named_parameters()}
    x = torch.randn(1, 4, 20)
    got = torch.func.functional_call(layer, other, (x,))
    assert torch.equal(got, longconv.functional.conv1d(x, other["weight"], other["bias"]))


def test_moves_between_dtypes():
    layer = longconv.Conv1d(4, 6, 3)
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        x = torch.randn(1, 4, 20).to(dtype)
        layer = layer.to(dtype)
        assert expected_conv1d(x, layer.weight, layer.bias).worst(layer(x))[0] <= 1


def test_autocast():
    theirs, ours = nn.Conv1d(4, 6, 3, padding=1), longconv.Conv1d(4, 6, 3, padding=1, activation="relu")
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 4, 20)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, y_theirs = ours(x), theirs(x).relu()
        with_residual = ours(x, torch.zeros(2, 6, 20))
    assert y.dtype == y_theirs.dtype == with_residual.dtype == torch.bfloat16
    rounded = [t.bfloat16() for t in (x, ours.weight, ours.bias)]
    assert expected_conv1d(*rounded, padding=1, activation="relu").worst(y)[0] <= 1
    assert torch.equal(with_residual, y)
    y.sum().backward()
    assert ours.weight.grad.dtype == torch.float32


def test_subclasses_may_bring_their_own_weight():
    """Through `_conv_forward`, as weight-standardising layers do with PyTorch's class."""

    class Standardised(longconv.Conv1d):
        def forward(self, x):
            return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)

    layer, x = Standardised(4, 6, 3, padding="causal"), torch.randn(1, 4, 20)
    assert expected_conv1d(x, layer.weight - layer.weight.mean(), layer.bias, padding="causal").worst(layer(x))[0] <= 1


def test_attributes_changed_later_count():
    layer, x = longconv.Conv1d(4, 6, 3), torch.randn(1, 4, 20)
    layer.stride, layer.dilation, layer.padding = (2,), (3,), "causal"
    assert torch.equal(layer(x), longconv.functional.conv1d(x, layer.weight, layer.bias, 2, "causal", 3))


@pytest.mark.parametrize("unbatched", [False, True])
def test_lazy(unbatched):
    torch.manual_seed(5)
    theirs = nn.LazyConv1d(6, 3, padding=1, groups=2)
    torch.manual_seed(5)
    ours = longconv.LazyConv1d(6, 3, padding=1, groups=2, activation="relu")
    assert isinstance(ours, nn.LazyConv1d)
    assert "activation=relu" in repr(ours)
    x = torch.randn(4, 20) if unbatched else torch.randn(2, 4, 20)
    torch.manual_seed(6)
    theirs(x)
    torch.manual_seed(6)
    y = ours(x)
    assert type(ours) is longconv.Conv1d
    assert ours.in_channels == 4
    assert torch.equal(ours.weight, theirs.weight)
    assert expected_conv1d(x, ours.weight, ours.bias, 1, 1, 1, 2, activation="relu").worst(y)[0] <= 1


def test_lazy_takes_a_residual_in_its_first_call():
    layer = longconv.LazyConv1d(6, 3, padding="causal")
    assert layer(torch.randn(2, 4, 20), torch.randn(2, 6, 20)).shape == (2, 6, 20)


def test_lazy_loads_state_before_its_first_call():
    layer = longconv.LazyConv1d(6, 3)
    source = nn.Conv1d(4, 6, 3)
    layer.load_state_dict(source.state_dict())
    x = torch.randn(1, 4, 20)
    assert expected_conv1d(x, source.weight, source.bias).worst(layer(x))[0] <= 1
    twin = pickle.loads(pickle.dumps(longconv.LazyConv1d(6, 3, padding="causal")))
    assert twin(x).shape == (1, 6, 20)
