# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""1-D convolution over long signals: drop-ins for :class:`torch.nn.Conv1d` and
:class:`torch.nn.ConvTranspose1d` that never call PyTorch's own."""

from __future__ import annotations

from longconv import functional
from longconv._ops import build_info, plan, reuse_packed_weights
from longconv.modules import Conv1d, ConvTranspose1d, LazyConv1d, LazyConvTranspose1d
from longconv.patching import replace_conv1d
from longconv.tuning import tune
from longconv.warming import warmup

__version__: str = build_info().split(maxsplit=2)[1]  # the compiled library's: CMakeLists.txt has the one number
__all__ = [
    "Conv1d",
    "ConvTranspose1d",
    "LazyConv1d",
    "LazyConvTranspose1d",
    "__version__",
    "build_info",
    "functional",
    "plan",
    "replace_conv1d",
    "reuse_packed_weights",
    "tune",
    "warmup",
]
