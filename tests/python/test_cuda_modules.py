# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""What PyTorch does with the operator on a GPU: modules, autocast, compile, export, vmap, refusals."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import longconv
from cuda_support import DEVICE, FORCED, expect
from longconv import functional

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(bool(FORCED), reason="about the planner's own choice")]


def close(got: torch.Tensor, expected: torch.Tensor, tolerance: float) -> bool:
    """In the norm: accuracy is judged elsewhere."""
    return bool((got.double() - expected.double()).norm() <= tolerance * expected.double().norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_a_layer(dtype: torch.dtype) -> None:
    theirs = nn.Conv1d(33, 66, 5, stride=2, padding=3, dilation=2, groups=3, device=DEVICE, dtype=dtype)
    ours = longconv.Conv1d(33, 66, 5, 2, 3, 2, 3, device=DEVICE, dtype=dtype, precision="fp32")
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 33, 500, device=DEVICE).to(dtype)
    with torch.no_grad():
        y = ours(x)
    expected = expect(x, ours.weight.detach(), ours.bias.detach(), stride=2, padding=3, dilation=2, groups=3)  # type: ignore[union-attr]
    assert y.dtype == dtype
    assert expected.worst(y)[0] <= 1


def test_moving_a_layer_moves_its_work() -> None:
    layer = longconv.Conv1d(16, 32, 3, padding="same", precision="fp32")
    x = torch.randn(2, 16, 200)
    with torch.no_grad():
        assert close(layer.to(DEVICE)(x.to(DEVICE)).cpu(), layer.cpu()(x), 1e-5)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(1, 32, 10, stride=5),
            nn.GELU(),
            nn.Conv1d(32, 64, 3, padding=1, padding_mode="reflect"),
            nn.GELU(),
            nn.Conv1d(64, 64, 7, padding=3, groups=64),
            nn.Conv1d(64, 16, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)  # type: ignore[no-any-return]


def both() -> tuple[nn.Module, nn.Module, torch.Tensor]:
    theirs = Model().to(DEVICE).eval()
    ours = copy.deepcopy(theirs)
    report = longconv.replace_conv1d(ours)
    assert "4" in str(report) or report is not None
    assert sum(isinstance(module, longconv.Conv1d) for module in ours.modules()) == 4
    return theirs, ours, torch.randn(2, 1, 4000, device=DEVICE)


def test_a_model_whose_convolutions_were_replaced() -> None:
    theirs, ours, x = both()
    with torch.no_grad():
        assert close(ours(x), theirs(x), 2e-3)
    with torch.inference_mode():
        assert close(ours(x), theirs(x), 2e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype: torch.dtype) -> None:
    if DEVICE == "cpu" and dtype == torch.float16:
        pytest.skip("of the GPU")
    theirs, ours, x = both()
    with torch.no_grad(), torch.autocast(DEVICE, dtype=dtype):
        y, expected = ours(x), theirs(x)
    assert y.dtype == expected.dtype == dtype
    assert close(y, expected, 3e-2)


def test_compiled() -> None:
    _, ours, x = both()
    try:
        compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
        with torch.no_grad():
            y = compiled(x)
    except ImportError as error:
        pytest.skip(f"torch.compile does not work here: {error}")
    with torch.no_grad():
        assert torch.equal(y, ours(x))


def test_exported() -> None:
    _, ours, x = both()
    with torch.no_grad():
        program = torch.export.export(ours, (x,))
        assert torch.equal(program.module()(x), ours(x))


def test_vmap() -> None:
    x, w = torch.randn(3, 2, 16, 100, device=DEVICE), torch.randn(32, 16, 3, device=DEVICE)
    got = torch.func.vmap(lambda signal: functional.conv1d(signal, w, precision="fp32"))(x)
    one_by_one = torch.stack([functional.conv1d(signal, w, precision="fp32") for signal in x])
    assert close(got, one_by_one, 1e-6)


def test_kernelbench_model() -> None:
    from longconv import kernelbench

    torch.manual_seed(0)
    ours = kernelbench.ModelNew(*kernelbench.get_init_inputs()).to(DEVICE)
    x = torch.rand(2, 64, 30000, device=DEVICE)
    with torch.no_grad():
        expected = F.conv1d(x, ours.conv1d.weight, None, 3, 0, 4)
        assert torch.allclose(ours(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.real_gpu
def test_opcheck() -> None:
    arguments = (1, 2, 2, "reflect", 2, 1, "gelu", 0.0, "fp32")
    x, w = torch.randn(2, 16, 50, device=DEVICE), torch.randn(8, 16, 3, device=DEVICE)
    torch.library.opcheck(torch.ops.longconv.fprop.default, (x, w, None, None, *arguments))


@pytest.mark.real_gpu
@pytest.mark.parametrize("dtype", [torch.complex64, torch.int64])
def test_other_types_are_refused(dtype: torch.dtype) -> None:
    x, w = torch.ones(1, 4, 50, device=DEVICE, dtype=dtype), torch.ones(4, 4, 3, device=DEVICE, dtype=dtype)
    with pytest.raises(NotImplementedError):
        functional.conv1d(x, w)


@pytest.mark.real_gpu
def test_devices_must_agree() -> None:
    with pytest.raises(RuntimeError, match="same device"):
        functional.conv1d(torch.ones(1, 4, 50, device=DEVICE), torch.ones(4, 4, 3))
