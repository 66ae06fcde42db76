# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""replace_conv1d: what is swapped, what is left and why, and that a model stays the model it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import longconv
from longconv import replace_conv1d


class Own(nn.Conv1d):
    """A subclass with a forward of its own."""

    def forward(self, x):
        return 2 * super().forward(x)


class OwnTransposed(nn.ConvTranspose1d):
    """A subclass of the transposed layer."""


def reasons(report):
    return {entry.names[0]: entry.reason for entry in report.left}


def test_swaps_in_place_and_shares_everything():
    model = nn.Sequential(nn.Conv1d(4, 6, 3), nn.ReLU(), nn.Sequential(nn.Conv1d(6, 6, 3, groups=2, bias=False))).eval()
    model[0].weight.requires_grad_(False)
    model[0].register_buffer("seen", torch.zeros(3))
    modules, parameters = list(model.modules()), dict(model.named_parameters())
    state = copy.deepcopy(model.state_dict())
    x = torch.randn(2, 4, 30)
    before = model(x)

    report = replace_conv1d(model)

    assert [entry.names for entry in report.swapped] == [("0",), ("2.0",)]
    assert report.left == ()
    assert [a is b for a, b in zip(modules, model.modules())] == [True] * len(modules)
    assert all(parameters[name] is p for name, p in model.named_parameters())
    assert type(model[0]) is type(model[2][0]) is longconv.Conv1d
    assert not model[0].training
    assert not model[0].weight.requires_grad
    assert list(model.state_dict()) == list(state)
    torch.testing.assert_close(model(x), before, rtol=1e-5, atol=1e-6)
    model.load_state_dict(state)
    assert str(report) == (
        "replace_conv1d: 2 swapped, 0 left\n"
        "  swapped  0: Conv1d(4, 6, kernel_size=(3,), stride=(1,))\n"
        "  swapped  2.0: Conv1d(6, 6, kernel_size=(3,), stride=(1,), groups=2, bias=False)"
    )


def test_a_model_that_is_a_convolution():
    model = nn.Conv1d(4, 6, 3, padding=1, padding_mode="circular")
    x = torch.randn(1, 4, 20)
    before = model(x)
    report = replace_conv1d(model)
    assert type(model) is longconv.Conv1d
    assert "(the model itself)" in str(report)
    torch.testing.assert_close(model(x), before, rtol=1e-5, atol=1e-6)


def test_transposed_modules_are_swapped_and_share_everything():
    model = nn.Sequential(
        nn.Conv1d(4, 6, 3, stride=2),
        nn.utils.parametrizations.spectral_norm(nn.ConvTranspose1d(6, 4, 3, stride=2, output_padding=1)),
        nn.LazyConvTranspose1d(2, 3),
    ).double()
    parameters, x = dict(model.named_parameters()), torch.randn(2, 4, 30, dtype=torch.float64)
    model(x)  # the lazy one becomes a ConvTranspose1d
    model.append(nn.LazyConvTranspose1d(3, 2, dtype=torch.float64)).eval()
    with torch.no_grad():
        before = model[:3](x)
    report = replace_conv1d(model)
    assert [entry.names for entry in report.swapped] == [("0",), ("1",), ("2",), ("3",)]
    assert "  swapped  2: ConvTranspose1d(4, 2, kernel_size=(3,), stride=(1,))" in str(report)
    assert report.left == ()
    assert all(parameters[name] is p for name, p in model.named_parameters() if name in parameters)
    assert isinstance(model[1], longconv.ConvTranspose1d)
    assert type(model[2]) is longconv.ConvTranspose1d
    assert isinstance(model[3], longconv.LazyConvTranspose1d)
    torch.testing.assert_close(model[:3](x), before)
    y, foreign, _ = convolutions_called(lambda: model(x))
    assert y.shape[1] == 3
    assert foreign == []
    assert type(model[3]) is longconv.ConvTranspose1d


def test_hooks_stay():
    model, calls = nn.Sequential(nn.Conv1d(4, 6, 3)), []
    model[0].register_forward_pre_hook(lambda m, a: calls.append("before"))
    model[0].register_forward_hook(lambda m, a, y: y + 1)
    handle = model[0].register_full_backward_hook(lambda m, gi, go: calls.append("backward"))
    x = torch.randn(1, 4, 20)
    before = model(x)
    replace_conv1d(model)
    after = model(x)
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-6)
    after.sum().backward()
    assert calls == ["before", "before", "backward"]
    handle.remove()


def test_a_shared_module_is_swapped_once_and_named_by_all_its_names():
    shared = nn.Conv1d(4, 4, 3, padding=1)
    model = nn.ModuleDict({"a": shared, "b": nn.Sequential(shared, shared)})
    report = replace_conv1d(model)
    assert [entry.names for entry in report.swapped] == [("a", "b.0", "b.1")]
    assert model["a"] is model["b"][0] is shared


def test_what_is_left_is_told_why():
    instance = nn.Conv1d(4, 4, 3)
    instance.forward = lambda x: x
    model = nn.ModuleDict(
        {
            "own": Own(4, 4, 3),
            "own_transposed": OwnTransposed(4, 4, 3),
            "ours": longconv.Conv1d(4, 4, 3),
            "ours_transposed": longconv.ConvTranspose1d(4, 4, 3),
            "instance": instance,
            "two_d": nn.Conv2d(4, 4, 3),
            "scripted": torch.jit.script(nn.Conv1d(4, 4, 3)),
            "scripted_transposed": torch.jit.script(nn.ConvTranspose1d(4, 4, 3)),
            "good": nn.Conv1d(4, 4, 3),
            "good_transposed": nn.ConvTranspose1d(4, 4, 3),
        }
    )
    classes = {name: type(module) for name, module in model.items()}
    report = replace_conv1d(model)
    assert [entry.names for entry in report.swapped] == [("good",), ("good_transposed",)]
    why = reasons(report)
    assert sorted(why) == [
        *("instance", "ours", "ours_transposed", "own", "own_transposed"),
        *("scripted", "scripted_transposed"),
    ]
    assert "torch.nn.Conv1d with code of its own (test_patching.Own)" in why["own"]
    assert "torch.nn.ConvTranspose1d with code of its own (test_patching.OwnTransposed)" in why["own_transposed"]
    assert "already" in why["ours"]
    assert "already" in why["ours_transposed"]
    assert "forward was replaced" in why["instance"]
    assert "scripted" in why["scripted"]
    for name in why:
        assert type(model[name]) is classes[name]
        assert why[name] in str(report)
    again = replace_conv1d(model)
    assert again.swapped == ()
    assert len(again.left) == 9


def test_quantized_modules_are_left():
    quantized = pytest.importorskip("torch.ao.nn.quantized")
    if not torch.backends.quantized.supported_engines:
        pytest.skip("this PyTorch has no quantized engine")
    qat = pytest.importorskip("torch.ao.nn.intrinsic.qat")
    model = nn.ModuleDict({"q": quantized.Conv1d(4, 4, 3)})
    if hasattr(qat, "ConvBn1d"):
        model["qat"] = qat.ConvBn1d(4, 4, 3, qconfig=torch.ao.quantization.get_default_qat_qconfig())
    report = replace_conv1d(model)
    assert report.swapped == ()
    assert set(reasons(report)) == set(model)
    assert "quantized" in reasons(report)["q"]


@pytest.mark.parametrize("dtype", [torch.complex32, torch.int8])
def test_dtypes_without_kernels_are_left(dtype):
    model = nn.Conv1d(4, 4, 3, bias=False)
    model.weight = nn.Parameter(torch.zeros(4, 4, 3, dtype=dtype), requires_grad=False)
    (entry,) = replace_conv1d(model).left
    assert str(dtype) in entry.reason
    assert type(model) is nn.Conv1d


def test_meta_models_are_swapped():
    model = nn.Sequential(nn.Conv1d(4, 6, 3, device="meta"))
    assert len(replace_conv1d(model).swapped) == 1
    model.to_empty(device="cpu")
    assert model(torch.randn(1, 4, 9)).shape == (1, 6, 7)


def test_lazy_modules_become_lazy_modules():
    model = nn.Sequential(nn.LazyConv1d(6, 3), nn.LazyConv1d(5, 3))
    assert len(replace_conv1d(model).swapped) == 2
    assert isinstance(model[0], longconv.LazyConv1d)
    assert model(torch.randn(1, 4, 20)).shape == (1, 5, 16)
    assert type(model[0]) is type(model[1]) is longconv.Conv1d


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("normalise", [nn.utils.weight_norm, nn.utils.parametrizations.spectral_norm])
def test_parametrized_modules(normalise):
    torch.manual_seed(1)
    model = nn.Sequential(normalise(nn.Conv1d(4, 6, 3)), nn.Conv1d(6, 4, 3)).double().eval()
    x = torch.randn(2, 4, 20, dtype=torch.float64)
    with torch.no_grad():  # the old weight_norm cannot be copied once it has a graph
        before = model(x)
    twin = copy.deepcopy(model)
    assert len(replace_conv1d(model).swapped) == 2
    assert isinstance(model[0], longconv.Conv1d)
    assert not isinstance(twin[0], longconv.Conv1d)
    torch.testing.assert_close(model(x), before)
    if normalise is nn.utils.weight_norm:
        nn.utils.remove_weight_norm(model[0])
    else:
        torch.testing.assert_close(copy.deepcopy(model)(x), before)
        nn.utils.parametrize.remove_parametrizations(model[0], "weight")
    assert type(model[0]) is longconv.Conv1d
    torch.testing.assert_close(model(x), before)


def test_only_modules():
    with pytest.raises(TypeError, match="list"):
        replace_conv1d([nn.Conv1d(1, 1, 1)])


def convolutions_called(function):
    """PyTorch's own convolutions among the operators that `function` dispatches."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            names.append(str(func))
            return func(*args, **(kwargs or {}))

    names: list[str] = []
    with Recorder():
        result = function()
    return result, [n for n in names if "conv" in n and not n.startswith("longconv")], names


def train(model, *inputs):
    """Output and gradients of one step."""
    for parameter in model.parameters():
        parameter.grad = None
    output = model(*inputs)
    output = output if isinstance(output, torch.Tensor) else output[0]
    torch.manual_seed(11)
    (output * torch.randn_like(output)).sum().backward()
    return output.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_wav2vec2(norm):
    """A real architecture with random weights: seven strided convolutions, a grouped one with weight_norm."""
    transformers = pytest.importorskip("transformers")
    config = transformers.Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(24, 24, 24, 24, 24, 24, 24),
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=4,
        feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer",
        apply_spec_augment=False,
        layerdrop=0.0,
    )
    torch.manual_seed(0)
    model = transformers.Wav2Vec2Model(config).double().eval()
    waveform = torch.randn(2, 8000, dtype=torch.float64)
    output, gradients = train(model, waveform)

    report = replace_conv1d(model)

    assert len(report.swapped) == 8, report
    assert report.left == ()
    (swapped_output, swapped_gradients), foreign, names = convolutions_called(lambda: train(model, waveform))
    assert foreign == []
    assert sum("longconv" in name for name in names) >= 8
    torch.testing.assert_close(swapped_output, output, rtol=1e-9, atol=1e-9)
    assert list(swapped_gradients) == list(gradients)
    for name, gradient in gradients.items():
        torch.testing.assert_close(swapped_gradients[name], gradient, rtol=1e-8, atol=1e-9)
