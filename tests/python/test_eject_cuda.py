# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The checked-in ejected files on a GPU, as KernelBench runs them, and in training. Needs nvcc; skipped where there is no
GPU."""

from __future__ import annotations

import pathlib
import shutil

import pytest
import torch
from torch import nn

import longconv
from gradient_reference import expected_dgrad, expected_wgrad
from longconv.bench.planner import candidates
from longconv.eject import eject
from reference import expected_conv1d, relative_rms

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
    pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc"),
    pytest.mark.slow,
]

FOLDER = pathlib.Path(__file__).parents[2] / "examples"
TRIALS = 5


def load(text: str) -> dict:
    names = {"__name__": "ejected"}
    exec(compile(text, "<string>", "exec"), names)
    return names


@pytest.fixture(scope="module", params=["kernelbench_76.py", "kernelbench_67.py"])
def example(request):
    """The names that an example defines; compiled."""
    return load((FOLDER / request.param).read_text(encoding="utf-8"))


def models(names):
    sizes = names["get_init_inputs"]()
    torch.manual_seed(42)
    reference = nn.Conv1d(*sizes[:3], stride=sizes[3], dilation=sizes[4], bias=False).cuda()
    torch.manual_seed(42)
    return reference, names["ModelNew"](*sizes).cuda()


def milliseconds(function, *arguments):
    """Median time, with the second-level cache flushed before each run."""
    flush = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")
    times = []
    for _ in range(10):
        flush.zero_()
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        function(*arguments)
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return sorted(times)[len(times) // 2]


def test_kernelbench_protocol(example, capsys):
    """Five trials at full size with PyTorch's default settings; times are printed, and decide nothing."""
    reference, ours = models(example)
    sizes = example["get_init_inputs"]()
    with torch.no_grad():
        for trial in range(TRIALS):
            torch.manual_seed(trial)
            (x,) = (value.cuda() for value in example["get_inputs"]())
            for mine, theirs in zip(ours(x), reference(x)):  # by item: the comparison takes several times the memory
                torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
        library = longconv.Conv1d(*sizes[:3], stride=sizes[3], dilation=sizes[4], bias=False).cuda()
        with capsys.disabled():
            print(
                f"\nms: ejected {milliseconds(ours, x):.3f}, longconv {milliseconds(library, x):.3f}, "
                f"PyTorch {milliseconds(reference, x):.3f}"
            )


@pytest.mark.parametrize("allowed", [False, True])
def test_follows_tf32(example, allowed, monkeypatch):
    """Other batches and lengths than the file's, in both precisions, as near as the library."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    _, ours = models(example)
    weight = ours.conv1d.weight.detach()
    for batch, length in ((1, 4001), (3, 1000), (2, 65539)):
        x = torch.randn(batch, example["in_channels"], length, device="cuda")
        stride, dilation = example["stride"], example["dilation"]
        y = ours(x).detach()
        theirs = longconv.functional.conv1d(x, weight, stride=stride, dilation=dilation)
        expected = expected_conv1d(x.cpu(), weight.cpu(), None, stride, 0, dilation)
        assert relative_rms(y.cpu(), expected.y) <= 1.1 * relative_rms(theirs.cpu(), expected.y)
        if not allowed:
            assert relative_rms(y.cpu(), expected.y) < 1e-6


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e-40, 3e38])
def test_repairs_what_tensor_cores_cannot_do(example, value, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    _, ours = models(example)
    x = torch.randn(2, example["in_channels"], 5000, device="cuda")
    x[1, 7, 2500] = value
    y = ours(x).detach()
    theirs = longconv.functional.conv1d(
        x, ours.conv1d.weight.detach(), stride=example["stride"], dilation=example["dilation"]
    )
    torch.testing.assert_close(y, theirs, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_bias_and_bfloat16():
    names = load(eject("n4 c64->128 l20000 k3 s3 d4 bias", precision="bf16"))
    layer = names["ModelNew"](*names["get_init_inputs"]()).cuda()
    (x,) = (value.cuda() for value in names["get_inputs"]())
    expected = nn.functional.conv1d(
        x.float(), layer.conv1d.weight.float(), layer.conv1d.bias.float(), stride=3, dilation=4
    )
    torch.testing.assert_close(layer(x).float(), expected, rtol=1e-2, atol=1e-2)


def gradients(layer, x, grad_y):
    """Of a function of x and weights: those of x, then of the weights."""
    x = x.detach().requires_grad_()
    weights = [weight for weight in layer.parameters() if weight.requires_grad]
    return torch.autograd.grad(layer(x), [x, *weights], grad_y)


def library_layer(names, ours):
    """The library's layer with the same weights."""
    in_channels, out_channels, kernel_size, stride, dilation, *bias = names["get_init_inputs"]()
    layer = longconv.Conv1d(in_channels, out_channels, kernel_size, stride=stride, dilation=dilation, bias=bool(bias))
    layer.load_state_dict(ours.conv1d.state_dict())
    return layer.to(device="cuda", dtype=ours.conv1d.weight.dtype)


def random_case(names, batch, length, dtype=torch.float32):
    """x, and a gradient of y in rows of another layout."""
    out_length = (length - (names["kernel_size"] - 1) * names["dilation"] - 1) // names["stride"] + 1
    x = torch.randn(batch, names["in_channels"], length, device="cuda", dtype=dtype)
    grad_y = torch.randn(batch, out_length, names["out_channels"], device="cuda", dtype=dtype).transpose(1, 2)
    return x, grad_y


@pytest.mark.parametrize("allowed", [False, True])
def test_gradients_follow_tf32(example, allowed, monkeypatch):
    """Other batches and lengths than the file's: as near as the library, and the same bits every time."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    _, ours = models(example)
    stride, dilation = example["stride"], example["dilation"]
    for batch, length in ((1, 4001), (3, 1000), (2, 65539), (1, 11)):
        x, grad_y = random_case(example, batch, length)
        found = gradients(ours, x, grad_y)
        again = gradients(ours, x, grad_y)
        theirs = gradients(library_layer(example, ours), x, grad_y)
        weight = ours.conv1d.weight.detach()
        dx = expected_dgrad(grad_y.cpu(), weight.cpu(), length, stride, 0, 0, "zeros", dilation, 1).y
        dw = expected_wgrad(x.cpu(), grad_y.cpu(), example["kernel_size"], stride, 0, 0, "zeros", dilation, 1)[0].y
        for mine, second, reference, exact in zip(found, again, theirs, (dx, dw)):
            assert torch.equal(mine, second)
            error = relative_rms(mine.cpu(), exact)
            assert error <= 1.1 * relative_rms(reference.cpu(), exact) + (0 if allowed else 1e-7)
            assert allowed or error < 1e-6


def chosen(names, kind, allowed, device):
    """Kernel and config that the library plans for a pass of the file's problem."""
    sizes = "n{batch_size} c{in_channels}->{out_channels} l{length} k{kernel_size} s{stride} d{dilation}".format(
        **names
    )
    return candidates(longconv.plan(f"{kind} {sizes}{' tf32' if allowed else ''}", device=device))[0].text


@pytest.mark.parametrize("kind", ["dgrad", "wgrad"])
@pytest.mark.parametrize("allowed", [False, True])
def test_gradients_are_the_librarys_bits(example, kind, allowed, monkeypatch):
    """At the file's own size both launch the same, where the library plans what the file was written with: an H100's."""
    if torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("the file has other kernels for this GPU")
    here, written = (chosen(example, kind, allowed, device) for device in ("cuda:0", "h100"))
    if here != written:
        pytest.skip(f"the file has {written}, and the library plans {here} on this GPU")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    _, ours = models(example)
    x, grad_y = random_case(example, example["batch_size"], example["length"])
    grad_y = grad_y.contiguous()
    which = ("dgrad", "wgrad").index(kind)
    mine, reference = (gradients(layer, x, grad_y)[which] for layer in (ours, library_layer(example, ours)))
    assert torch.equal(mine, reference)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e-40, 3e38])
@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("where", ["x", "grad_y", "weight"])
def test_gradients_repair_what_tensor_cores_cannot_do(example, value, allowed, where, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    _, ours = models(example)
    x, grad_y = random_case(example, 2, 5000)
    if where == "x":
        x[1, 7, 2500] = value
    elif where == "grad_y":
        grad_y[1, 5, -1] = value
    else:
        with torch.no_grad():
            ours.conv1d.weight[3, 2, 0] = value
    tolerance = 1e-5 if not allowed else 1e-3
    for mine, reference in zip(gradients(ours, x, grad_y), gradients(library_layer(example, ours), x, grad_y)):
        torch.testing.assert_close(mine, reference, rtol=tolerance, atol=tolerance * 100, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training(dtype):
    """Some steps with a bias, next to the library's layer: the same losses but for rounding."""
    precision = "follow" if dtype == torch.float32 else "bf16"
    names = load(eject("n4 c64->96 l5001 k3 s2 d2 bias", precision=precision))
    ours = names["ModelNew"](*names["get_init_inputs"]()).cuda()
    theirs = library_layer(names, ours)
    x, _ = random_case(names, 4, 5001, dtype)
    losses = []
    for layer in (ours, theirs):
        optimizer = torch.optim.SGD(layer.parameters(), lr=10)
        steps = []
        for _ in range(5):
            optimizer.zero_grad()
            loss = layer(x).float().square().mean()
            loss.backward()
            optimizer.step()
            steps.append(float(loss))
        losses.append(torch.tensor(steps))
    assert losses[0][-1] < 0.5 * losses[0][0]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-3 if dtype == torch.float32 else 2e-2, atol=0)


def test_frozen_and_empty(example):
    _, ours = models(example)
    x, grad_y = random_case(example, 2, 500)
    ours.conv1d.weight.requires_grad_(False)
    (grad_x,) = gradients(ours, x, grad_y)
    assert grad_x.shape == x.shape
    ours.conv1d.weight.requires_grad_(True)
    grad_x, grad_weight = gradients(ours, x[:0], grad_y[:0])
    assert grad_x.shape == (0, *x.shape[1:])
    assert not grad_weight.any()
