# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The layers and their lazy forms take the place of PyTorch's: weights, state, copies, parametrizations, tools. First what both layers share, then what each has of its own."""

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
from reference import Expected, expected_conv1d
from transposed_cases import expected_conv_transpose1d

both_kinds = pytest.mark.parametrize("kind", ["Conv1d", "ConvTranspose1d"])
# Arguments that both PyTorch's layer and ours take.
FORMS = {
    ("Conv1d", "plain"): ((4, 6, 3), {}),
    ("Conv1d", "all by position"): ((4, 6, 3, 2, 1, 2, 2, False), {}),
    ("Conv1d", "tuples"): ((4, 6, (3,)), {"stride": (2,), "padding": (1,), "dilation": (2,)}),
    ("Conv1d", "same"): ((4, 6, 4), {"padding": "same", "dilation": 3}),
    ("Conv1d", "valid"): ((4, 6, 4), {"padding": "valid"}),
    ("Conv1d", "depthwise"): ((4, 8, 3), {"groups": 4, "bias": False}),
    ("Conv1d", "reflect"): ((4, 6, 3), {"padding": 5, "padding_mode": "reflect"}),
    ("Conv1d", "replicate"): ((4, 6, 3), {"padding": 5, "padding_mode": "replicate", "stride": 2}),
    ("Conv1d", "circular"): ((4, 6, 3), {"padding": "same", "padding_mode": "circular"}),
    ("Conv1d", "float64"): ((4, 6, 3), {"dtype": torch.float64}),
    ("ConvTranspose1d", "plain"): ((4, 6, 3), {}),
    ("ConvTranspose1d", "all by position"): ((4, 6, 3, 2, 1, 1, 2, False, 2), {}),
    ("ConvTranspose1d", "tuples"): (
        (4, 6, (3,)),
        {"stride": (2,), "padding": (1,), "output_padding": (1,), "dilation": (2,)},
    ),
    ("ConvTranspose1d", "whole strides of output_padding"): (
        (4, 6, 3),
        {"padding": 1, "output_padding": 2, "dilation": 3},
    ),
    ("ConvTranspose1d", "unreached samples"): ((4, 6, 3), {"output_padding": 2, "dilation": 3}),
    ("ConvTranspose1d", "depthwise"): ((4, 8, 3), {"groups": 4, "bias": False, "stride": 3}),
    ("ConvTranspose1d", "float64"): ((4, 6, 3), {"dtype": torch.float64}),
}
every_form = pytest.mark.parametrize("form", FORMS, ids=" ".join)


def both(form):
    """(PyTorch's layer, ours), made with the same seed."""
    arguments, keywords = FORMS[form]
    layers = []
    for package in (nn, longconv):
        torch.manual_seed(7)
        layers.append(getattr(package, form[0])(*arguments, **keywords))
    return layers


def expected_of(layer: nn.Module, x: torch.Tensor, **options: object) -> Expected:
    """What a layer of either kind must make of x."""
    options = {"groups": layer.groups, "stride": layer.stride[0], "dilation": layer.dilation[0], **options}
    if isinstance(layer, nn.ConvTranspose1d):
        sizes = {"padding": layer.padding[0], "output_padding": layer.output_padding[0]}
        return expected_conv_transpose1d(x, layer.weight, layer.bias, **sizes, **options)
    pads = {"padding": layer.padding, "padding_mode": layer.padding_mode}
    return expected_conv1d(x, layer.weight, layer.bias, **pads, **options)


@every_form
def test_draws_the_weights_that_pytorch_draws(form):
    theirs, ours = both(form)
    after = torch.rand(3)
    torch.manual_seed(7)
    type(theirs)(*FORMS[form][0], **FORMS[form][1])
    assert torch.equal(after, torch.rand(3)), "the generator is not where PyTorch leaves it"
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        assert torch.equal(value, ours.state_dict()[key])
    ours.reset_parameters()
    assert not torch.equal(ours.weight, theirs.weight)


@every_form
@pytest.mark.parametrize("batched", [True, False])
def test_computes_what_pytorch_computes(form, batched):
    theirs, ours = both(form)
    x = torch.randn(2, 4, 33, dtype=ours.weight.dtype)
    x = x if batched else x[0]
    expected = expected_of(ours, x)
    assert expected.worst(ours(x))[0] <= 1
    theirs_y = theirs(x) if batched else theirs(x[None])[0]  # PyTorch 1.13 cannot pad unbatched input circularly
    assert expected.worst(theirs_y)[0] <= 1, "the reference does not mean what PyTorch means"
    residual = torch.randn_like(ours(x))
    assert expected_of(ours, x, residual=residual).worst(ours(x, residual=residual))[0] <= 1


@every_form
def test_prints_itself_as_pytorchs(form):
    theirs, ours = both(form)
    assert repr(ours) == repr(theirs)
    assert isinstance(ours, type(theirs))


@every_form
def test_state_goes_both_ways(form):
    theirs, ours = both(form)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(1)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert torch.equal(theirs.weight, ours.weight)
    ours.reset_parameters()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert torch.equal(theirs.weight, ours.weight)


# Options of our own, for tests that these survive.
OWN = {
    "Conv1d": {"padding": "causal", "activation": "silu", "negative_slope": 0.3, "precision": "fp32"},
    "ConvTranspose1d": {"stride": 2, "output_padding": 1, "precision": "fp32"},
}


def _torch_save(layer):
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    return torch.load(buffer, **({"weights_only": False} if torch.__version__ >= "2" else {}))


@both_kinds
@pytest.mark.parametrize(
    "copier",
    [copy.deepcopy, copy.copy, lambda m: pickle.loads(pickle.dumps(m)), _torch_save],
    ids=["deepcopy", "copy", "pickle", "torch.save"],
)
def test_copies(copier, kind):
    layer = getattr(longconv, kind)(3, 5, 4, **OWN[kind]).eval()
    twin = copier(layer)
    assert type(twin) is type(layer)
    assert repr(twin) == repr(layer)
    assert not twin.training
    x = torch.randn(1, 3, 20)
    assert torch.equal(twin(x), layer(x))


@both_kinds
def test_unpickles_state_of_older_layers(kind):
    """A state without the attributes that these classes add to PyTorch's."""
    cls = getattr(longconv, kind)
    layer = cls(3, 5, 4)
    added = ("activation", "negative_slope", "precision", "grad_weight_dtype")
    twin = cls.__new__(cls)
    twin.__setstate__({k: v for k, v in vars(layer).items() if k not in added})
    x = torch.randn(1, 3, 20)
    assert torch.equal(twin(x), layer(x))


PARAMETRIZATIONS = {
    "weight_norm": lambda m: nn.utils.parametrizations.weight_norm(m, dim=1),
    "spectral_norm": nn.utils.parametrizations.spectral_norm,
    "orthogonal": nn.utils.parametrizations.orthogonal,
    "old weight_norm": nn.utils.weight_norm,
    "old spectral_norm": nn.utils.spectral_norm,
}


@both_kinds
@pytest.mark.parametrize("name", PARAMETRIZATIONS)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_parametrizations(name, kind):
    if name == "weight_norm" and not hasattr(nn.utils.parametrizations, "weight_norm"):
        pytest.skip("PyTorch 2.1 brought it")
    layers, gradients = [], []
    x = torch.randn(2, 4, 20, dtype=torch.float64)
    for package in (nn, longconv):
        torch.manual_seed(3)
        layer = PARAMETRIZATIONS[name](getattr(package, kind)(4, 6, 3, stride=2, dtype=torch.float64))
        layer(x).square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in layer.named_parameters()})
        layers.append(layer.eval())
    theirs, ours = gradients
    assert list(ours) == list(theirs)
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key])
    torch.testing.assert_close(layers[1](x), layers[0](x))
    if not name.startswith("old"):  # those cannot be copied once they have a graph
        torch.testing.assert_close(copy.deepcopy(layers[1])(x), layers[0](x))


@both_kinds
def test_pruning(kind):
    layer = getattr(longconv, kind)(4, 6, 3)
    prune.l1_unstructured(layer, "weight", amount=0.5)
    x = torch.randn(1, 4, 20)
    assert expected_of(layer, x).worst(layer(x))[0] <= 1
    assert int((layer.weight == 0).sum()) == 36


@both_kinds
def test_stateless_calls(kind):
    if not hasattr(torch, "func"):
        pytest.skip("PyTorch 2 brought torch.func")
    layer = getattr(longconv, kind)(4, 6, 3)
    other = {name: torch.randn_like(p) for name, p in layer.named_parameters()}
    x = torch.randn(1, 4, 20)
    got = torch.func.functional_call(layer, other, (x,))
    layer.load_state_dict(other)
    assert torch.equal(got, layer(x))
    assert expected_of(layer, x).worst(got)[0] <= 1


@both_kinds
def test_moves_between_dtypes(kind):
    layer = getattr(longconv, kind)(4, 6, 3, stride=2)
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        x = torch.randn(1, 4, 20).to(dtype)
        layer = layer.to(dtype)
        assert expected_of(layer, x).worst(layer(x))[0] <= 1


LAZY = {
    "Conv1d": ({"padding": 1, "groups": 2}, {"activation": "relu"}),
    "ConvTranspose1d": ({"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}, {}),
}


@both_kinds
@pytest.mark.parametrize("unbatched", [False, True])
def test_lazy(unbatched, kind):
    shared, own = LAZY[kind]
    torch.manual_seed(5)
    theirs = getattr(nn, f"Lazy{kind}")(6, 3, **shared)
    torch.manual_seed(5)
    ours = getattr(longconv, f"Lazy{kind}")(6, 3, **shared, **own, precision="fp32")
    assert isinstance(ours, type(theirs))
    assert "precision=fp32" in repr(ours)
    assert all(f"{name}={value}" in repr(ours) for name, value in own.items())
    x = torch.randn(4, 20) if unbatched else torch.randn(2, 4, 20)
    torch.manual_seed(6)
    theirs(x)
    torch.manual_seed(6)
    y = ours(x)
    assert type(ours) is getattr(longconv, kind)
    assert ours.in_channels == 4
    assert torch.equal(ours.weight, theirs.weight)
    assert expected_of(ours, x, **own).worst(y)[0] <= 1


@both_kinds
def test_lazy_loads_state_before_its_first_call(kind):
    lazy = getattr(longconv, f"Lazy{kind}")
    layer, source = lazy(6, 3), getattr(nn, kind)(4, 6, 3)
    layer.load_state_dict(source.state_dict())
    x = torch.randn(1, 4, 20)
    assert expected_of(source, x).worst(layer(x))[0] <= 1
    twin = pickle.loads(pickle.dumps(lazy(6, 3, padding=1)))
    assert twin(x).shape == (1, 6, 20)


# --- Conv1d -----------------------------------------------------------------------------------------------------------


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


def test_lazy_takes_a_residual_in_its_first_call():
    layer = longconv.LazyConv1d(6, 3, padding="causal")
    assert layer(torch.randn(2, 4, 20), torch.randn(2, 6, 20)).shape == (2, 6, 20)


# --- ConvTranspose1d --------------------------------------------------------------------------------------------------


def test_a_transposed_layer_prints_what_pytorchs_has_not():
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


def test_attributes_of_a_transposed_layer_changed_later_count():
    layer, x = longconv.ConvTranspose1d(4, 6, 3), torch.randn(1, 4, 20)
    layer.stride, layer.dilation, layer.output_padding = (2,), (3,), (1,)
    expected = longconv.functional.conv_transpose1d(x, layer.weight, layer.bias, 2, 0, 1, 1, 3)
    assert torch.equal(layer(x), expected)


def test_a_lazy_transposed_layer_takes_the_other_arguments_in_its_first_call():
    layer = longconv.LazyConvTranspose1d(6, 3, stride=2)
    assert layer(torch.randn(2, 4, 20), [42], torch.randn(2, 6, 42)).shape == (2, 6, 42)
