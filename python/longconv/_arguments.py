# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""What callers may write for an argument, resolved into what an operator takes. `function` is the caller's name, for
messages; exception types are those that PyTorch's argument parser raises."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Union, cast

import torch
from torch import Tensor

__all__ = [
    "PADDING_NAMES",
    "Padding",
    "Size",
    "check_tensor",
    "integer",
    "lowered",
    "name_of",
    "number",
    "pads",
    "size",
]

Size = Union[int, Sequence[int]]
"""An integer, or a sequence of one integer."""
Padding = Union[str, int, Sequence[int]]
"""An integer, a sequence of one or two integers, or 'valid', 'same', 'causal'."""

PADDING_NAMES = ("valid", "same", "causal")

# Sizes may be symbolic while a program is traced; PyTorch 1.13 has no such type.
_INTEGER_TYPES: tuple[type, ...] = (int, torch.SymInt) if hasattr(torch, "SymInt") else (int,)


def pads(padding: Any, dilation: int, kernel_size: int) -> tuple[int, int]:
    """(left, right), in samples, that a `padding` of conv1d stands for. The kernel's size matters to names only."""
    function = "conv1d"
    if type(padding) is int:
        return padding, padding
    if isinstance(padding, str):
        if padding == "valid":
            return 0, 0
        if padding not in PADDING_NAMES:
            raise RuntimeError(
                f"{function}: expected padding to be a number or one of {PADDING_NAMES}, but got {padding!r}"
            )
        if dilation < 1:
            raise RuntimeError(f"{function}: expected dilation to be at least 1, but got {dilation}")
        total = dilation * (kernel_size - 1)
        return (total, 0) if padding == "causal" else (total // 2, total - total // 2)
    if isinstance(padding, (tuple, list)) and len(padding) != 1:
        if len(padding) != 2:
            raise RuntimeError(
                f"{function}: expected padding to be a single integer value, a list of 1 value or (left, right), "
                f"but got padding={list(padding)}"
            )
        return integer(function, "padding", padding[0]), integer(function, "padding", padding[1])
    both = size(function, "padding", padding)
    return both, both


def check_tensor(function: str, name: str, value: Any) -> None:
    """Raises TypeError if it is none."""
    if not isinstance(value, Tensor):
        raise _type_error(function, name, "Tensor", value)


def integer(function: str, name: str, value: Any) -> int:
    """An integer of any type; a bool is none."""
    if type(value) is int or (isinstance(value, _INTEGER_TYPES) and not isinstance(value, bool)):
        return cast(int, value)
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise _type_error(function, name, "int", value)


def number(function: str, name: str, value: Any) -> float:
    """A real number."""
    if isinstance(value, (int, float)):
        return value
    raise _type_error(function, name, "float", value)


def name_of(function: str, name: str, value: Any) -> str:
    """A string; the operators know which."""
    if isinstance(value, str):
        return value
    raise _type_error(function, name, "str", value)


def size(function: str, name: str, value: Any) -> int:
    """The one number in an int or a sequence of one."""
    if type(value) is int:
        return value
    if isinstance(value, (tuple, list)):
        if len(value) != 1:
            values = [integer(function, name, item) for item in value]
            raise RuntimeError(
                f"{function}: expected {name} to be a single integer value or a list of 1 value, "
                f"but got {name}={values}"
            )
        value = value[0]
    return integer(function, name, value)


def lowered(
    function: str, grad_weight_dtype: Any, input: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Float32 weight and bias in input's dtype; their gradients stay float32."""
    if not isinstance(grad_weight_dtype, torch.dtype):
        raise _type_error(function, "grad_weight_dtype", "torch.dtype", grad_weight_dtype)
    if grad_weight_dtype != torch.float32 or input.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise RuntimeError(
            f"{function}: expected grad_weight_dtype to be torch.float32, with float32, bfloat16 or float16 input, "
            f"but got {grad_weight_dtype} with {input.dtype} input"
        )
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.dtype != grad_weight_dtype:
            raise RuntimeError(
                f"{function}: expected {name} to be of grad_weight_dtype, {grad_weight_dtype}, but got {tensor.dtype}"
            )
    if input.dtype == torch.float32:
        return weight, bias
    cast = torch.ops.longconv.cast_parameter.default
    return cast(weight, input.dtype), None if bias is None else cast(bias, input.dtype)


def _type_error(function: str, name: str, expected: str, value: Any) -> TypeError:
    return TypeError(f"{function}(): argument '{name}' must be {expected}, not {type(value).__name__}")
