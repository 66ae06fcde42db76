# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Functions without state: :func:`conv1d` and :func:`conv_transpose1d`, the counterparts of
:func:`torch.nn.functional.conv1d` and :func:`torch.nn.functional.conv_transpose1d`.

This layer resolves what callers may write (names, numbers, one-element sequences, unbatched input) into the numbers of
one operator call. What a convolution of these sizes and dtypes may be is decided by the operator, before it works.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from longconv import _ops  # noqa: F401  (registers the operators)
from longconv._arguments import (
    Padding,
    Size,
    check_tensor,
    integer,
    lowered,
    name_of,
    number,
    pads,
    size,
)

__all__ = ["conv1d", "conv_transpose1d"]

_fprop: Callable[..., Tensor] = torch.ops.longconv.fprop.default
_fprop_out: Callable[..., Tensor] = torch.ops.longconv.fprop.out
_conv_transpose1d: Callable[..., Tensor] = torch.ops.longconv.conv_transpose1d.default
_conv_transpose1d_out: Callable[..., Tensor] = torch.ops.longconv.conv_transpose1d.out


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
    grad_weight_dtype: torch.dtype | None = None,
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
        Of input's dtype (but see ``grad_weight_dtype``), on input's device.
    bias : Tensor, (O,), optional
        Of weight's dtype.
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
    grad_weight_dtype : torch.float32, optional
        With bfloat16 or float16 input: weight and bias are float32, are rounded to input's dtype for the products,
        and get their gradients in float32, straight from the float32 sums. With float32 input nothing changes. What
        :func:`torch.autocast` does to float32 weights and biases here without being asked.
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
    check_tensor("conv1d", "input", input)
    check_tensor("conv1d", "weight", weight)
    if bias is not None:
        check_tensor("conv1d", "bias", bias)
    if residual is not None:
        check_tensor("conv1d", "residual", residual)
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
    stride_samples = stride if type(stride) is int else size("conv1d", "stride", stride)
    dilation_samples = dilation if type(dilation) is int else size("conv1d", "dilation", dilation)
    if type(padding) is int:
        pad_left = pad_right = padding
    else:
        pad_left, pad_right = pads(padding, dilation_samples, weight.shape[2] if isinstance(padding, str) else 0)
    arguments = (
        stride_samples,
        pad_left,
        pad_right,
        padding_mode if type(padding_mode) is str else name_of("conv1d", "padding_mode", padding_mode),
        dilation_samples,
        groups if type(groups) is int else integer("conv1d", "groups", groups),
    )
    rest: tuple[str, float, str] | tuple[()] = ()  # the operator's defaults: every argument costs, a name the most
    if activation is not None or precision is not None or type(negative_slope) is not float:
        rest = (
            "none" if activation is None else name_of("conv1d", "activation", activation),
            negative_slope if type(negative_slope) is float else number("conv1d", "negative_slope", negative_slope),
            "follow" if precision is None else name_of("conv1d", "precision", precision),
        )
    if grad_weight_dtype is not None:
        weight, bias = lowered("conv1d", grad_weight_dtype, input, weight, bias)
    if rank == 3:
        if out is None:
            return _fprop(input, weight, bias, residual, *arguments, *rest)
        check_tensor("conv1d", "out", out)
        _fprop_out(input, weight, bias, residual, *arguments, *rest, out=out)
        return out
    if residual is not None:
        if residual.dim() != 2:
            raise RuntimeError(
                "conv1d: input is unbatched, expected 2D residual, (O, T), "
                f"but got residual of size {list(residual.shape)}"
            )
        residual = residual.unsqueeze(0)
    if out is None:
        return _fprop(input.unsqueeze(0), weight, bias, residual, *arguments, *rest).squeeze(0)
    check_tensor("conv1d", "out", out)
    view = out.unsqueeze(0)
    _fprop_out(input.unsqueeze(0), weight, bias, residual, *arguments, *rest, out=view)
    if view.shape[1:] != out.shape:  # the operator resized the view of it, and the memory behind both
        out.resize_(view.shape[1:])
    return out


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    residual: Tensor | None = None,
    precision: str | None = None,
    grad_weight_dtype: torch.dtype | None = None,
    out: Tensor | None = None,
) -> Tensor:
    r"""Spread a signal through a bank of filters, as :func:`torch.nn.functional.conv_transpose1d` does, and more.

    .. math::
        y[n, o, s] = \sum_{i, k, t} w[i, o, k] \, x[n, g(o) C/G + i, t] + \mathrm{bias}[o] + \mathrm{residual}[n, o, s]
        \quad\text{over all } t, k \text{ with } t \cdot \mathrm{stride} + k \cdot \mathrm{dilation} = s + \mathrm{padding}

    where :math:`g(o)` is the group of output channel `o`. This is the map from :func:`conv1d`'s result back to its input
    (its data gradient), with the same stride, padding, dilation and groups. No zeros are inserted between samples and
    nothing is materialised beside the result.

    Parameters
    ----------
    input : Tensor, (N, C, L) or (C, L)
        float32, float64, bfloat16, float16, complex64, complex128 or int64; any strides. N may be 0. L in samples.
    weight : Tensor, (C, O / groups, K)
        Of input's dtype (but see ``grad_weight_dtype``), on input's device.
    bias : Tensor, (O,), optional
        Of weight's dtype.
    stride : int or (int,)
        Output samples between the places of neighbouring inputs, at least 1.
    padding : int or (int,)
        Samples that are left out at each end of the result.
    output_padding : int or (int,)
        Samples by which the result is longer at its end; less than stride or dilation.
    groups : int
        Divides C and O; group `g` of the outputs sees group `g` of the inputs only.
    dilation : int or (int,)
        Output samples between neighbouring taps, at least 1.
    residual : Tensor, shaped as the result, optional
        Added before the result is rounded to its dtype.
    precision, grad_weight_dtype, out
        As of :func:`conv1d`.

    Returns
    -------
    Tensor, (N, O, S) or (O, S)
        ``S = (L - 1) * stride - 2 * padding + dilation * (K - 1) + output_padding + 1``, of input's dtype.

    Raises
    ------
    TypeError, RuntimeError, ValueError, NotImplementedError
        As :func:`conv1d`, before any work.

    Notes
    -----
    Sums, bounds, reproducibility and special values are :func:`conv1d`'s, with ``n = C / groups * ceil(K * gcd(stride,
    dilation) / stride)`` products at most in each result. Differentiable in input, weight, bias and residual, any number
    of times, in reverse and forward mode.

    An `output_padding` of ``padding + stride`` or more (only a dilation above the stride allows it) adds samples that
    no tap reaches; the result is then put together from two parts, with one copy.

    Examples
    --------
    >>> x = torch.randn(8, 128, 334)
    >>> w = torch.randn(128, 64, 3)
    >>> longconv.functional.conv_transpose1d(x, w, stride=3, dilation=4, output_padding=2).shape
    torch.Size([8, 64, 1010])
    """
    function = "conv_transpose1d"
    check_tensor(function, "input", input)
    check_tensor(function, "weight", weight)
    if bias is not None:
        check_tensor(function, "bias", bias)
    if residual is not None:
        check_tensor(function, "residual", residual)
    if grad_weight_dtype is not None:
        weight, bias = lowered(function, grad_weight_dtype, input, weight, bias)
    arguments = (
        input,
        weight,
        bias,
        residual,
        stride if type(stride) is int else size(function, "stride", stride),
        padding if type(padding) is int else size(function, "padding", padding),
        output_padding if type(output_padding) is int else size(function, "output_padding", output_padding),
        groups if type(groups) is int else integer(function, "groups", groups),
        dilation if type(dilation) is int else size(function, "dilation", dilation),
        "follow" if precision is None else name_of(function, "precision", precision),
    )
    if out is None:
        return _conv_transpose1d(*arguments)
    check_tensor(function, "out", out)
    _conv_transpose1d_out(*arguments, out=out)
    return out
