# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The checked-in ejected files on a GPU, as KernelBench runs them. Needs nvcc; skipped where there is no GPU."""

from __future__ import annotations

import pathlib
import shutil

import pytest
import torch
from torch import nn

import longconv
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
            torch.testing.assert_close(ours(x), reference(x), rtol=1e-4, atol=1e-4)
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


def test_training_is_refused(example):
    _, ours = models(example)
    y = ours(torch.randn(1, example["in_channels"], 1000, device="cuda"))
    with pytest.raises(NotImplementedError, match="forward kernels only"):
        y.sum().backward()
