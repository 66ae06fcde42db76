# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""KernelBench level 1, problem 76 (a 1-D convolution with stride and dilation), with the problem's own interface.

`ModelNew` takes the place of the problem's ``Model``: same arguments, same initial weights for the same seed, same
state dict. The sizes below are the problem's; ``get_inputs()`` makes a batch of 8.6 GB.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from longconv.modules import Conv1d

__all__ = ["Conv1dFromScratch", "ModelNew", "get_init_inputs", "get_inputs"]

batch_size = 64
in_channels = 64
out_channels = 128
kernel_size = 3
length = 524280
stride = 3
dilation = 4


class Conv1dFromScratch(Conv1d):
    """:class:`longconv.Conv1d` with the arguments of the problem."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, dilation=dilation, bias=bias)


class ModelNew(nn.Module):
    """The problem's model: one convolution."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.conv1d = Conv1dFromScratch(in_channels, out_channels, kernel_size, stride, dilation, bias)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, length) to (batch, out_channels, length_out)."""
        y: Tensor = self.conv1d(x)
        return y


def get_inputs() -> list[Tensor]:
    """One batch of the problem's size, uniform in [0, 1)."""
    return [torch.rand(batch_size, in_channels, length)]


def get_init_inputs() -> list[int]:
    """Arguments of :class:`ModelNew`: [in_channels, out_channels, kernel_size, stride, dilation]."""
    return [in_channels, out_channels, kernel_size, stride, dilation]
