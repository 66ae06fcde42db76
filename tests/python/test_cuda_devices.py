# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Several GPUs in one process: tensors say where a call runs, whatever device is current."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from cuda_support import arithmetic, skip_unless_supported
from longconv import Conv1d, functional
from reference import expected_conv1d

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.real_gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU only"),
]
PADDING = 2


def operands(dtype: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x, weight and the gradient of y, on the CPU."""
    random = torch.Generator().manual_seed(1)
    x = torch.randn(2, 33, 5000, generator=random)
    weight = torch.randn(70, 33, 5, generator=random)
    return tuple(t.to(getattr(torch, dtype)) for t in (x, weight, torch.randn(2, 70, 5000, generator=random)))  # type: ignore[return-value]


def passes_on(device: str, dtype: str, precision: str) -> list[torch.Tensor]:
    """The result and both gradients."""
    x, weight, grad = (t.to(device) for t in operands(dtype))
    x.requires_grad_()
    weight.requires_grad_()
    y = functional.conv1d(x, weight, padding=PADDING, precision=precision)
    return [y, *torch.autograd.grad(y, (x, weight), grad)]


def devices() -> list[str]:
    return [f"cuda:{index}" for index in range(torch.cuda.device_count())]


def alike(a: str, b: str) -> bool:
    return torch.cuda.get_device_properties(a).name == torch.cuda.get_device_properties(b).name


@arithmetic
def test_each_device_gives_the_same_bits_while_another_is_current(dtype: str, precision: str) -> None:
    skip_unless_supported(dtype, precision)
    expected = passes_on("cuda:0", dtype, precision)
    for device in devices()[1:]:
        results = passes_on(device, dtype, precision)
        assert torch.cuda.current_device() == 0
        for result, other in zip(results, expected):
            assert result.device == torch.device(device)
            if alike(device, "cuda:0"):
                assert torch.equal(result.cpu(), other.cpu())


def test_devices_at_once_from_threads() -> None:
    expected = [t.cpu() for t in passes_on("cuda:0", "float32", "fp32")]
    places = [device for device in devices() if alike(device, "cuda:0")] * 4
    with ThreadPoolExecutor(len(places)) as pool:
        for results in pool.map(lambda device: passes_on(device, "float32", "fp32"), places):
            assert all(torch.equal(result.cpu(), other) for result, other in zip(results, expected))


def test_streams_are_those_of_the_tensors_device() -> None:
    """A signal that is still being made on its device's current stream is waited for there."""
    device = torch.device("cuda:1")
    x, weight, _ = (t.to(device) for t in operands("float32"))
    expected = functional.conv1d(x, weight, padding=PADDING)
    stream = torch.cuda.Stream(device)
    torch.cuda.synchronize(device)
    with torch.cuda.stream(stream), torch.cuda.device(0):  # the stream stays current on its device
        late = torch.zeros_like(x)
        with torch.cuda.device(device):
            torch.cuda._sleep(20_000_000)
        late.copy_(x)
        y = functional.conv1d(late, weight, padding=PADDING)
    stream.synchronize()
    assert torch.equal(y, expected)


def test_a_model_moves_from_device_to_device() -> None:
    conv = Conv1d(33, 70, 5, padding=PADDING, precision="fp32")
    x, _, _ = operands("float32")
    expected = expected_conv1d(x, conv.weight, conv.bias, padding=PADDING)
    for device in [*devices()[:2], *devices()[:2], "cpu"]:
        conv.to(device)
        y = conv(x.to(device))
        assert y.device == torch.device(device)
        worst, where = expected.worst(y.cpu())
        assert worst <= 1, f"{worst:.2f} of the bound at {where} on {device}"


def test_operands_on_two_devices_are_refused() -> None:
    x, weight, _ = operands("float32")
    with pytest.raises(RuntimeError, match="device"):
        functional.conv1d(x.to("cuda:0"), weight.to("cuda:1"), padding=PADDING)
    with pytest.raises(RuntimeError, match="device"):
        functional.conv1d(x.to("cuda:0"), weight.to("cuda:0"), torch.zeros(70, device="cuda:1"), padding=PADDING)
