# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The Python of an ejected file, around its CUDA source."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from longconv.eject.host_text import declarations
from longconv.eject.path import Path

__all__ = ["model_text"]

_DTYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}

_TEXT = '''\
# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""A 1-D convolution as CUDA source in one file: (batch, %(in_channels)s, length) to (batch, %(out_channels)s, length_out).

    y[n, o, t] = sum over i, k of weight[o, i, k] * x[n, i, t * %(stride)s + k * %(dilation)s]%(plus_bias)s

Written by ``%(command)s``.
%(precision_text)s
%(lengths)s; all other sizes are compiled in.
Gradients are the same bits every time%(grad_lengths)s.
"""

import functools
import math

import torch
from torch import nn
from torch.utils.cpp_extension import load_inline

batch_size = %(batch_size)s
in_channels = %(in_channels)s
out_channels = %(out_channels)s
kernel_size = %(kernel_size)s
length = %(length)s
stride = %(stride)s
dilation = %(dilation)s

# --- The kernels -----------------------------------------------------------------------------------------------------

device_source = r"""
%(device)s"""

# --- Launching them --------------------------------------------------------------------------------------------------

declarations = """
%(declarations)s
"""

launcher_source = r"""
%(launcher)s"""


@functools.cache
def _extension():
    """Compile the source, once for a machine: some minutes."""
    cuda = tuple(map(int, (torch.version.cuda or "0").split(".")))
%(gencode)s
    standard = ["-std=c++17"] if torch.__version__.startswith("1.") else []  # newer ones ask for theirs
    return load_inline(
        name="longconv_conv1d_%(digest)s",
        cpp_sources=declarations,
        cuda_sources=device_source + launcher_source,
        functions=["conv1d_forward", "conv1d_backward_input", "conv1d_backward_weight"],
        extra_cflags=["-O3", *standard],
        extra_cuda_cflags=["-O3", "-diag-suppress=177", "-t=0", *standard, *targets],  # -t: targets side by side
    )


# --- The model -------------------------------------------------------------------------------------------------------


class _Conv1d(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight%(bias_parameter)s):
        ctx.length = x.size(2)
        wants = ctx.needs_input_grad
        ctx.save_for_backward(x if wants[1] else None, weight if wants[0] else None)
        return _extension().conv1d_forward(x, weight%(bias_parameter)s%(tf32)s)

    @staticmethod
    def backward(ctx, grad_y):
        if torch.is_grad_enabled():
            raise NotImplementedError("gradients of this file have no derivative: for create_graph use longconv")
        x, weight = ctx.saved_tensors
%(backward)s

class Conv1dFromScratch(nn.Module):
    """The layer, with PyTorch's arguments and initial values for the same seed."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, dilation=1, bias=%(bias)s):
        super().__init__()
        sizes = (in_channels, out_channels, kernel_size, stride, dilation, bool(bias))
        if sizes != %(sizes)s:
            raise ValueError(
                "(in_channels, out_channels, kernel_size, stride, dilation, bias): this file is compiled for "
                f"%(sizes)s, but got {sizes}: make another with longconv eject"
            )
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size%(dtype_argument)s))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
%(bias_text)s
    def forward(self, x):
        """(batch, in_channels, length) to (batch, out_channels, length_out)."""
        if not x.is_cuda:
            raise RuntimeError(f"x: expected a CUDA tensor, but got one on {x.device}: the kernels need an NVIDIA GPU")
        if x.dim() != 3 or x.size(1) != in_channels or x.size(2) <= (kernel_size - 1) * dilation:
            raise ValueError(
                f"x: expected the shape (batch, {in_channels}, more than {(kernel_size - 1) * dilation}), "
                f"but got {tuple(x.shape)}"
            )
        if x.dtype != torch.%(dtype)s or self.weight.dtype != x.dtype or self.weight.device != x.device:
            raise TypeError(
                "x and weight: expected torch.%(dtype)s on one device, but got "
                f"{x.dtype} on {x.device} and {self.weight.dtype} on {self.weight.device}"
            )
        return _Conv1d.apply(x, self.weight%(bias_argument)s)


class ModelNew(nn.Module):
    """One convolution."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, dilation=1, bias=%(bias)s):
        super().__init__()
        self.conv1d = Conv1dFromScratch(in_channels, out_channels, kernel_size, stride, dilation, bias)

    def forward(self, x):
        """(batch, in_channels, length) to (batch, out_channels, length_out)."""
        return self.conv1d(x)


def get_inputs():
    """One batch, uniform in [0, 1)."""
    return [torch.rand(batch_size, in_channels, length%(dtype_argument)s)]


def get_init_inputs():
    """Arguments of ModelNew."""
    return [in_channels, out_channels, kernel_size, stride, dilation%(init_bias)s]


if torch.cuda.is_available():
    _extension()
'''

_BACKWARD = """\
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = _extension().conv1d_backward_input(grad_y, weight, ctx.length%(tf32)s)
        if ctx.needs_input_grad[1]:
            grad_weight = _extension().conv1d_backward_weight(x, grad_y%(tf32)s)
        return grad_x, grad_weight
"""
_BACKWARD_BIAS = """\
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = _extension().conv1d_backward_input(grad_y, weight, ctx.length%(tf32)s)
        if ctx.needs_input_grad[1]:
            grad_weight, grad_bias = _extension().conv1d_backward_weight(x, grad_y%(tf32)s)
        elif ctx.needs_input_grad[2]:
            grad_bias = grad_y.sum((0, 2))
        return grad_x, grad_weight, grad_bias
"""

_BIAS = """\
        bound = 1 / math.sqrt(in_channels * kernel_size)
        self.bias = nn.Parameter(torch.empty(out_channels%(dtype_argument)s))
        nn.init.uniform_(self.bias, -bound, bound)
"""
_NO_BIAS = '        self.register_parameter("bias", None)\n'

_HOPPER = '"-gencode=arch=compute_90a,code=sm_90a"'
_AMPERE = '"-gencode=arch=compute_80,code=sm_80", "-gencode=arch=compute_80,code=compute_80"'
_GENCODE = {
    "sm_80": f"""\
    if cuda < (11, 7):
        raise RuntimeError(f"expected a PyTorch for CUDA 11.7 or newer, but got one for {{torch.version.cuda}}")
    targets = [{_AMPERE}]""",
    "sm_90a": f"""\
    if cuda < (12,):
        raise RuntimeError(f"expected a PyTorch for CUDA 12.0 or newer, but got one for {{torch.version.cuda}}")
    targets = [{_HOPPER}]""",
    "both": f"""\
    if cuda < (11, 7):
        raise RuntimeError(f"expected a PyTorch for CUDA 11.7 or newer, but got one for {{torch.version.cuda}}")
    targets = [{_AMPERE}]
    if cuda >= (12,):
        targets.append({_HOPPER})""",
}

_PRECISION = {
    "follow": "Tensors are float32, multiplied in TF32 while ``torch.backends.cudnn.allow_tf32`` is set, in fp32 while not.",
    "fp32": "Tensors are float32.",
    "tf32": "Tensors are float32, multiplied in TF32.",
    "bf16": "Tensors are bfloat16.",
    "f16": "Tensors are float16.",
}


def model_text(paths: Sequence[Path], arch: str, precision: str, command: str, device: str, launcher: str) -> str:
    """The whole file."""
    problem = paths[0].layer["problem"]
    bias = bool(problem["bias"])
    dtype = _DTYPES[problem["dtype"]]
    multiple = max(path.multiple for path in paths if path.kind == "fprop")
    grad_multiple = max(path.multiple for path in paths if path.kind == "dgrad")
    values = {
        **problem,
        "device": device,
        "launcher": launcher,
        "command": command,
        "declarations": "\n".join(f"{line};" for line in declarations(paths)),
        "digest": hashlib.sha256((device + launcher).encode()).hexdigest()[:12],
        "gencode": _GENCODE[arch],
        "precision_text": _PRECISION[precision],
        "lengths": "Any batch and length will do"
        if multiple == 1
        else f"Any batch will do, and any length that gives a multiple of {multiple} outputs",
        "grad_lengths": ""
        if grad_multiple == 1
        else f"; that of x, on Hopper, is for lengths that are a multiple of {grad_multiple}",
        "bias": bias,
        "plus_bias": " + bias[o]" if bias else "",
        "init_bias": ", True" if bias else "",
        "dtype": dtype,
        "dtype_argument": "" if dtype == "float32" else f", dtype=torch.{dtype}",
        "bias_parameter": ", bias" if bias else "",
        "bias_argument": ", self.bias" if bias else "",
        "tf32": ", torch.backends.cudnn.allow_tf32" if precision == "follow" else "",
    }
    sizes = (*(problem[key] for key in ("in_channels", "out_channels", "kernel_size", "stride", "dilation")), bias)
    values["sizes"] = sizes
    values["backward"] = (_BACKWARD_BIAS if bias else _BACKWARD) % values
    values["bias_text"] = (_BIAS if bias else _NO_BIAS) % values
    return _TEXT % values
