# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Functions without state: :func:`conv1d`, the counterpart of :func:`torch.nn.functional.conv1d`.

This layer resolves what callers may write (names, numbers, one-element sequences, unbatched input) into the numbers of
one operator call. What a convolution of these sizes and dtypes may be is decided by the operator, before it works.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, Union, cast

import torch
from torch import Tensor

from longconv import _ops  # noqa: F401  (registers the operators)

__all__ = ["conv1d", "pads"]

Size = Union[int, Sequence[int]]
"""An integer, or a sequence of one integer."""
Padding = Union[str, int, Sequence[int]]
"""An integer, a sequence of one or two integers, or 'valid', 'same', 'causal'."""

PADDING_NAMES = ("valid", "same", "causal")

# Sizes may be symbolic while a program is traced; PyTorch 1.13 has no such type.
_INTEGER_TYPES: tuple[type, ...] = (int, torch.SymInt) if hasattr(torch, "SymInt") else (int,)

_fprop: Callable[..., Tensor] = torch.ops.longconv.fprop.default
_fprop_out: Callable[..., Tensor] = torch.ops.longconv.fprop.out


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    activation: str | None = None,
    negative_slope: float = 0.01,
    residual: Tensor | None = None,
    precision: str | None = None,
    out: Tensor | None = None,
) -> Tensor:
    r"""Cross-correlate a signal with a bank of filters, as :func:`torch.nn.functional.conv1d` does, and more.

    .. math::
        y[n, o, t] = \mathrm{act}\Big(\sum_{i, k} w[o, i, k] \,
            \tilde x[n, g(o) C/G + i, t \cdot \mathrm{stride} + k \cdot \mathrm{dilation} - \mathrm{left}]
            + \mathrm{bias}[o] + \mathrm{residual}[n, o, t]\Big)

    where :math:`\tilde x` is the input, extended at both ends as ``padding_mode`` says, and :math:`g(o)` the group
    of output channel `o`. Nothing is materialised: neither a padded, nor an unfolded, nor a contiguous copy.

    Parameters
    ----------
    input : Tensor, (N, C, L) or (C, L)
        float32, float64, bfloat16, float16, complex64, complex128 or int64; any strides (expanded, sliced,
        channels-last, unaligned). N may be 0. L in samples.
    weight : Tensor, (O, C / groups, K)
        Of input's dtype, on input's device.
    bias : Tensor, (O,), optional
        Of input's dtype.
    stride : int or (int,)
        Input samples between neighbouring outputs, at least 1.
    padding : int, (int,), (int, int), 'valid', 'same' or 'causal'
        Samples by which the signal is extended: at both ends, or (left, right). With
        ``total = dilation * (K - 1)``: 'valid' is 0; 'same' is ``(total // 2, total - total // 2)``, for every
        stride, so that there are ``ceil(L / stride)`` outputs; 'causal' is ``(total, 0)``: no output depends on a
        later input.
    dilation : int or (int,)
        Input samples between neighbouring taps, at least 1.
    groups : int
        Divides C and O; group `g` of the outputs sees group `g` of the inputs only.
    padding_mode : 'zeros', 'reflect', 'replicate' or 'circular'
        What lies beyond the ends. 'reflect' needs pads smaller than L, 'circular' pads of at most L.
    activation : 'relu', 'leaky_relu', 'gelu', 'gelu_tanh', 'silu', 'tanh' or 'sigmoid', optional
        Applied last, before the result is rounded to its dtype. Not for complex64, complex128 and int64.
    negative_slope : float
        Of 'leaky_relu'.
    residual : Tensor, shaped as the result, optional
        Added before the activation.
    precision : 'follow', 'fp32' or 'tf32', optional
        How float32 is multiplied on CUDA: 'follow' (the default) asks PyTorch's own settings for convolutions. The
        CPU always computes in full float32.
    out : Tensor, shaped as the result, optional
        Is written and returned. Any strides without overlap; shares no memory with the operands, but may be the
        residual itself. Of another shape, it is resized as PyTorch does. No gradient flows through it.

    Returns
    -------
    Tensor, (N, O, T) or (O, T)
        ``T = (L + left + right - dilation * (K - 1) - 1) // stride + 1``, of input's dtype.

    Raises
    ------
    TypeError
        An argument is of a wrong type.
    RuntimeError
        Ranks, sizes, dtypes, devices, stride, padding or groups describe no convolution; sizes overflow 64 bits;
        an unknown name of a padding. (The types that PyTorch raises.)
    ValueError
        An unknown padding mode, activation or precision.
    NotImplementedError
        A dtype or device that longconv has no kernel for.

    Every error is raised before any work: nothing was written.

    Notes
    -----
    float32, bfloat16 and float16 accumulate in float32 in blocks, float64 in float64, int64 wraps modulo 2^64. With
    ``S = sum |w| |x| + |bias|``, ``n = C / groups * K`` and u the unit roundoff, float32 and float64 results lie within
    ``(n + 2) u S`` of the exact value (usually much closer), bfloat16 and float16 within one rounding of their own plus
    that of float32; `docs/design/numerics.md` derives the bounds. Results are bitwise reproducible, whatever the
    number of threads. Nothing outside the signal is multiplied: an infinite weight makes no NaN from a padding zero.

    On CUDA, tensor-core kernels first pack the weights into their own order, at every call unless
    :func:`longconv.reuse_packed_weights` allows to keep them.

    Differentiable in input, weight, bias and residual, any number of times, in reverse and forward mode.
    Where a gradient is wanted, gelu and silu are PyTorch's own, behind the convolution: their last bits may differ.

    Examples
    --------
    >>> x = torch.randn(8, 64, 1000)
    >>> w = torch.randn(128, 64, 3)
    >>> longconv.functional.conv1d(x, w, stride=3, padding="causal", dilation=4, activation="gelu").shape
    torch.Size([8, 128, 334])
    """
    _check_tensor("input", input)
    _check_tensor("weight", weight)
    if bias is not None:
        _check_tensor("bias", bias)
    if residual is not None:
        _check_tensor("residual", residual)
    rank = input.dim()
    if rank != 3 and rank != 2:
        raise RuntimeError(
            "conv1d: expected 2D (unbatched) or 3D (batched) input, (C, L) or (N, C, L), "
            f"but got input of size {list(input.shape)}"
        )
    if weight.dim() != 3:
        raise RuntimeError(
            f"conv1d: expected 3D weight, (O, C / groups, K), but got weight of size {list(weight.shape)}"
        )
    # The usual types are looked at in place: for short signals a call costs as much as all of the checks.
    stride_samples = stride if type(stride) is int else _size("stride", stride)
    dilation_samples = dilation if type(dilation) is int else _size("dilation", dilation)
    if type(padding) is int:
        pad_left = pad_right = padding
    else:
        pad_left, pad_right = pads(padding, dilation_samples, weight.shape[2] if isinstance(padding, str) else 0)
    arguments = (
        stride_samples,
        pad_left,
        pad_right,
        padding_mode if type(padding_mode) is str else _name("padding_mode", padding_mode),
        dilation_samples,
        groups if type(groups) is int else _integer("groups", groups),
        "none" if activation is None else _name("activation", activation),
        negative_slope if type(negative_slope) is float else _number("negative_slope", negative_slope),
        "follow" if precision is None else _name("precision", precision),
    )
    if rank == 3:
        if out is None:
            return _fprop(input, weight, bias, residual, *arguments)
        _check_tensor("out", out)
        _fprop_out(input, weight, bias, residual, *arguments, out=out)
        return out
    if residual is not None:
        if residual.dim() != 2:
            raise RuntimeError(
                "conv1d: input is unbatched, expected 2D residual, (O, T), "
                f"but got residual of size {list(residual.shape)}"
            )
        residual = residual.unsqueeze(0)
    if out is None:
        return _fprop(input.unsqueeze(0), weight, bias, residual, *arguments).squeeze(0)
    _check_tensor("out", out)
    view = out.unsqueeze(0)
    _fprop_out(input.unsqueeze(0), weight, bias, residual, *arguments, out=view)
    if view.shape[1:] != out.shape:  # the operator resized the view of it, and the memory behind both
        out.resize_(view.shape[1:])
    return out


def pads(padding: Any, dilation: int, kernel_size: int) -> tuple[int, int]:
    """(left, right), in samples, that a `padding` argument stands for. The kernel's size matters to names only."""
    if type(padding) is int:
        return padding, padding
    if isinstance(padding, str):
        if padding == "valid":
            return 0, 0
        if padding not in PADDING_NAMES:
            raise RuntimeError(
                f"conv1d: expected padding to be a number or one of {PADDING_NAMES}, but got {padding!r}"
            )
        if dilation < 1:
            raise RuntimeError(f"conv1d: expected dilation to be at least 1, but got {dilation}")
        total = dilation * (kernel_size - 1)
        return (total, 0) if padding == "causal" else (total // 2, total - total // 2)
    if isinstance(padding, (tuple, list)) and len(padding) != 1:
        if len(padding) != 2:
            raise RuntimeError(
                "conv1d: expected padding to be a single integer value, a list of 1 value or (left, right), "
                f"but got padding={list(padding)}"
            )
        return _integer("padding", padding[0]), _integer("padding", padding[1])
    both = _size("padding", padding)
    return both, both


def _check_tensor(name: str, value: Any) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"conv1d(): argument '{name}' must be Tensor, not {type(value).__name__}")


def _integer(name: str, value: Any) -> int:
    if type(value) is int or (isinstance(value, _INTEGER_TYPES) and not isinstance(value, bool)):
        return cast(int, value)
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise TypeError(f"conv1d(): argument '{name}' must be int, not {type(value).__name__}")


def _number(name: str, value: Any) -> float:
    if isinstance(value, (int, float)):
        return value
    raise TypeError(f"conv1d(): argument '{name}' must be float, not {type(value).__name__}")


def _name(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    raise TypeError(f"conv1d(): argument '{name}' must be str, not {type(value).__name__}")


def _size(name: str, value: Any) -> int:
    """The one number in an int or a sequence of one."""
    if type(value) is int:
        return value
    if isinstance(value, (tuple, list)):
        if len(value) != 1:
            raise RuntimeError(
                f"conv1d: expected {name} to be a single integer value or a list of 1 value, "
                f"but got {name}={list(value)}"
            )
        value = value[0]
    return _integer(name, value)
