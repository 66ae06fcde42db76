# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Layers: subclasses of PyTorch's :class:`torch.nn.Conv1d` and :class:`torch.nn.ConvTranspose1d`, and of their lazy
forms, that never reach PyTorch's convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from longconv._arguments import PADDING_NAMES, pads
from longconv.functional import conv1d, conv_transpose1d

__all__ = ["ACTIVATIONS", "PRECISIONS", "Conv1d", "ConvTranspose1d", "LazyConv1d", "LazyConvTranspose1d"]

ACTIVATIONS = ("none", "relu", "leaky_relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid")
PRECISIONS = ("follow", "fp32", "tf32")


class _Options:
    """What both layers have beside PyTorch's arguments.

    On the class, so that a module of PyTorch's that becomes one of these (replace_conv1d, old pickles) has them too.
    """

    precision: str | None = None
    grad_weight_dtype: torch.dtype | None = None

    def _set_options(self, precision: str | None, grad_weight_dtype: torch.dtype | None) -> None:
        self.precision = precision
        self.grad_weight_dtype = grad_weight_dtype

    def _options_repr(self) -> str:
        text = "" if self.precision in (None, "follow") else f", precision={self.precision}"
        return text if self.grad_weight_dtype is None else f"{text}, grad_weight_dtype={self.grad_weight_dtype}"


class _Lazy:
    """What both lazy forms do otherwise than PyTorch's."""

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        """Make the parameters for `input`'s channels; the other arguments of forward do not matter."""
        super().initialize_parameters(input)  # type: ignore[misc]


class Conv1d(_Options, nn.Conv1d):
    """A 1-D convolution over (N, C, L) or (C, L), in place of :class:`torch.nn.Conv1d`.

    Arguments, parameters, initial weights (the same draws from the same generator), state dicts, errors and results
    are :class:`torch.nn.Conv1d`'s; added are ``padding`` 'causal', ``(left, right)`` and 'same' with a stride, the
    fused epilogue ``activation(conv + bias + residual)``, and ``precision``. No ``padding_mode`` makes a padded copy.
    :func:`longconv.functional.conv1d` says what each argument means, which dtypes there are, and what the results are
    worth.

    Parameters
    ----------
    in_channels, out_channels : int
        C and O.
    kernel_size : int or (int,)
        K, in taps.
    stride, dilation : int or (int,)
        In samples.
    padding : int, (int,), (int, int), 'valid', 'same' or 'causal'
        In samples.
    groups : int
        Divides both channel counts.
    bias : bool
        Whether to learn an additive bias of shape (O,).
    padding_mode : 'zeros', 'reflect', 'replicate' or 'circular'
    device, dtype
        Of the parameters.
    activation : 'relu', 'leaky_relu', 'gelu', 'gelu_tanh', 'silu', 'tanh' or 'sigmoid', optional
        Keyword only. Applied to the result inside the kernel.
    negative_slope : float
        Keyword only. Of 'leaky_relu'.
    precision : 'follow', 'fp32' or 'tf32', optional
        Keyword only. How float32 is multiplied on CUDA; 'follow' (the default) asks PyTorch's settings.
    grad_weight_dtype : torch.float32, optional
        Keyword only. Parameters stay float32, with float32 gradients, while bfloat16 and float16 input is convolved in
        its own dtype. (Under :func:`torch.autocast` float32 parameters have such gradients without this.)

    Raises
    ------
    ValueError
        groups is not positive or divides not both channel counts; an unknown padding, padding mode, activation,
        precision or grad_weight_dtype. (The type that :class:`torch.nn.Conv1d` raises.)

    Examples
    --------
    >>> layer = longconv.Conv1d(64, 128, 3, stride=3, dilation=4, padding="causal", activation="silu")
    >>> layer(torch.randn(8, 64, 1000)).shape
    torch.Size([8, 128, 334])
    """

    activation: str | None = None
    negative_slope: float = 0.01

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int],
        stride: int | tuple[int] = 1,
        padding: str | int | Sequence[int] = 0,
        dilation: int | tuple[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        activation: str | None = None,
        negative_slope: float = 0.01,
        precision: str | None = None,
        grad_weight_dtype: torch.dtype | None = None,
    ) -> None:
        _check_name("padding", padding, PADDING_NAMES)
        _check_name("activation", activation, ACTIVATIONS)
        _check_options(precision, grad_weight_dtype)
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            0 if isinstance(padding, str) else padding,  # type: ignore[arg-type]
            dilation,
            groups,
            bias,
            padding_mode,  # type: ignore[arg-type]
            device,
            dtype,
        )
        if isinstance(padding, str) or len(self.padding) == 2:
            if isinstance(padding, str):
                self.padding = padding
            # What PyTorch's own code would hand to F.pad.
            self._reversed_padding_repeated_twice = list(pads(padding, self.dilation[0], self.kernel_size[0]))
        self.activation = activation
        self.negative_slope = negative_slope
        self._set_options(precision, grad_weight_dtype)

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        """Convolve; `residual`, shaped as the result, is added before the activation."""
        return self._conv_forward(input, self.weight, self.bias, residual)

    def _conv_forward(
        self, input: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None = None
    ) -> Tensor:
        return conv1d(
            input,
            weight,
            bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            padding_mode=self.padding_mode,
            activation=self.activation,
            negative_slope=self.negative_slope,
            residual=residual,
            precision=self.precision,
            grad_weight_dtype=self.grad_weight_dtype,
        )

    def extra_repr(self) -> str:
        """Arguments as the constructor takes them; defaults are left out."""
        text: str = super().extra_repr()  # type: ignore[no-untyped-call]
        if self.activation not in (None, "none"):
            text += f", activation={self.activation}"
            if self.activation == "leaky_relu":
                text += f", negative_slope={self.negative_slope}"
        return text + self._options_repr()


class LazyConv1d(_Lazy, nn.LazyConv1d, Conv1d):  # type: ignore[misc]
    """A :class:`Conv1d` that learns ``in_channels`` from its first input, and then becomes a :class:`Conv1d`.

    Takes :class:`Conv1d`'s parameters but ``in_channels``; see :class:`torch.nn.LazyConv1d`.
    """

    cls_to_become = Conv1d

    def __init__(
        self,
        *args: Any,
        activation: str | None = None,
        negative_slope: float = 0.01,
        precision: str | None = None,
        grad_weight_dtype: torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        _check_name("activation", activation, ACTIVATIONS)
        _check_options(precision, grad_weight_dtype)
        super().__init__(*args, **kwargs)  # passes on what PyTorch's constructor knows
        self.activation = activation
        self.negative_slope = negative_slope
        self._set_options(precision, grad_weight_dtype)


class ConvTranspose1d(_Options, nn.ConvTranspose1d):
    """A transposed 1-D convolution over (N, C, L) or (C, L), in place of :class:`torch.nn.ConvTranspose1d`.

    Arguments, parameters, initial weights (the same draws from the same generator), state dicts, errors and results
    are :class:`torch.nn.ConvTranspose1d`'s; added are the `residual` of :meth:`forward` and ``precision``.
    :func:`longconv.functional.conv_transpose1d` says what each argument means and which dtypes there are.

    Parameters
    ----------
    in_channels, out_channels : int
        C and O.
    kernel_size : int or (int,)
        K, in taps.
    stride, padding, output_padding, dilation : int or (int,)
        In samples.
    groups : int
        Divides both channel counts.
    bias : bool
        Whether to learn an additive bias of shape (O,).
    padding_mode : 'zeros'
    device, dtype
        Of the parameters.
    precision : 'follow', 'fp32' or 'tf32', optional
        Keyword only. How float32 is multiplied on CUDA; 'follow' (the default) asks PyTorch's settings.
    grad_weight_dtype : torch.float32, optional
        Keyword only. Parameters stay float32, with float32 gradients, while bfloat16 and float16 input is convolved in
        its own dtype. (Under :func:`torch.autocast` float32 parameters have such gradients without this.)

    Raises
    ------
    ValueError
        groups is not positive or divides not both channel counts; another padding mode; an unknown precision or
        grad_weight_dtype.

    Examples
    --------
    >>> layer = longconv.ConvTranspose1d(128, 64, 4, stride=2, padding=1)
    >>> layer(torch.randn(8, 128, 500)).shape
    torch.Size([8, 64, 1000])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int],
        stride: int | tuple[int] = 1,
        padding: int | tuple[int] = 0,
        output_padding: int | tuple[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int] = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        precision: str | None = None,
        grad_weight_dtype: torch.dtype | None = None,
    ) -> None:
        _check_options(precision, grad_weight_dtype)
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            output_padding,
            groups,
            bias,
            dilation,
            padding_mode,  # type: ignore[arg-type]
            device,
            dtype,
        )
        self._set_options(precision, grad_weight_dtype)

    def forward(self, input: Tensor, output_size: list[int] | None = None, residual: Tensor | None = None) -> Tensor:
        """Convolve; `residual`, shaped as the result, is added.

        `output_size` is the wanted length, (S,) or with the other dimensions in front, in place of output_padding.
        ValueError where no output_padding below the stride gives it.
        """
        if self.padding_mode != "zeros":
            raise ValueError(
                f'Only "zeros" padding mode is supported for ConvTranspose1d, but got {self.padding_mode!r}'
            )
        output_padding = self._output_padding(
            input,
            output_size,
            self.stride,  # type: ignore[arg-type]
            self.padding,  # type: ignore[arg-type]
            self.kernel_size,  # type: ignore[arg-type]
            1,
            self.dilation,  # type: ignore[arg-type]
        )
        return conv_transpose1d(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,  # type: ignore[arg-type]
            output_padding,
            self.groups,
            self.dilation,
            residual=residual,
            precision=self.precision,
            grad_weight_dtype=self.grad_weight_dtype,
        )

    def extra_repr(self) -> str:
        """Arguments as the constructor takes them; defaults are left out."""
        text: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return text + self._options_repr()


class LazyConvTranspose1d(_Lazy, nn.LazyConvTranspose1d, ConvTranspose1d):  # type: ignore[misc]
    """A :class:`ConvTranspose1d` that learns ``in_channels`` from its first input, and then becomes one.

    Takes :class:`ConvTranspose1d`'s parameters but ``in_channels``; see :class:`torch.nn.LazyConvTranspose1d`.
    """

    cls_to_become = ConvTranspose1d

    def __init__(
        self,
        *args: Any,
        precision: str | None = None,
        grad_weight_dtype: torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        _check_options(precision, grad_weight_dtype)
        super().__init__(*args, **kwargs)  # passes on what PyTorch's constructor knows
        self._set_options(precision, grad_weight_dtype)


def _check_name(name: str, value: Any, known: tuple[str, ...]) -> None:
    if isinstance(value, str) and value not in known:
        raise ValueError(f"invalid {name} string {value!r}, should be one of {known}")


def _check_options(precision: Any, grad_weight_dtype: Any) -> None:
    _check_name("precision", precision, PRECISIONS)
    if grad_weight_dtype not in (None, torch.float32):
        raise ValueError(f"grad_weight_dtype must be None or torch.float32, but got {grad_weight_dtype!r}")
