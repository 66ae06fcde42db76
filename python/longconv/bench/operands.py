# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Tensors of a problem, and the call that each side makes on them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Callable, Protocol

import torch
import torch.nn.functional as F

from longconv.bench.clocks import Call
from longconv.bench.problem import Problem

TORCH_DTYPES = {
    "f32": torch.float32,
    "f64": torch.float64,
    "bf16": torch.bfloat16,
    "f16": torch.float16,
    "c64": torch.complex64,
    "c128": torch.complex128,
    "i64": torch.int64,
}

# Largest ||ours - PyTorch's|| / ||PyTorch's|| at which a timing is still worth printing. Both sides round, so these sit
# an order above the errors of either; accuracy itself is judged by the tests, against float64 and element by element.
AGREEMENT = {"f32": 1e-5, "f64": 1e-13, "bf16": 2e-2, "f16": 3e-3, "c64": 1e-5, "c128": 1e-13, "i64": 0.0, "tf32": 3e-3}


@dataclasses.dataclass(frozen=True)
class Operands:
    """x (batch, in_channels, length), w (out_channels, in_channels/groups, kernel_size), y-shaped grad_y. What the pass
    does not read has a batch of 0."""

    x: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor | None
    residual: torch.Tensor | None
    grad_y: torch.Tensor


class Engine(Protocol):
    """Makes the call to be timed. Everything that is not part of the operator happens here, before the timing."""

    def __call__(self, problem: Problem, operands: Operands) -> Call: ...


def make_operands(problem: Problem, device: torch.device, seed: int = 0) -> Operands:
    """Normal deviates (integers for i64), weights scaled as nn.Conv1d's."""
    generator = torch.Generator(device=device).manual_seed(seed)
    dtype = TORCH_DTYPES[problem.dtype]

    def draw(*shape: int, scale: float = 1.0) -> torch.Tensor:
        if problem.dtype == "i64":
            return torch.randint(-9, 10, shape, generator=generator, device=device)
        return torch.randn(*shape, generator=generator, device=device, dtype=dtype).mul_(scale)

    terms = problem.in_channels // problem.groups * problem.kernel_size
    is_forward, is_transposed = problem.pass_name == "fprop", problem.pass_name == "transposed"
    return Operands(
        x=draw(0 if is_transposed else problem.batch, problem.in_channels, problem.length),
        weight=draw(
            problem.out_channels, problem.in_channels // problem.groups, problem.kernel_size, scale=terms**-0.5
        ),
        bias=draw(problem.result_sizes[1]) if problem.has_bias and problem.pass_name != "wgrad" else None,
        residual=draw(*problem.result_sizes) if problem.has_residual else None,
        grad_y=draw(0 if is_forward else problem.batch, problem.out_channels, problem.out_length),
    )


def longconv_engine(problem: Problem, operands: Operands) -> Call:
    """The operators of this library. Forward passes go through the public functions, as a user's call does."""
    import longconv.functional

    p, o = problem, operands
    sizes = (p.stride, p.pad_left, p.pad_right, p.pad_mode, p.dilation, p.groups)
    if p.pass_name == "dgrad":
        return lambda: torch.ops.longconv.dgrad(o.grad_y, o.weight, p.length, *sizes, p.precision)
    if p.pass_name == "wgrad":
        wgrad = torch.ops.longconv.wgrad
        return lambda: wgrad(o.x, o.grad_y, p.kernel_size, *sizes, p.has_bias, p.precision)
    options: dict[str, Any] = {"precision": p.precision} if p.dtype == "f32" and o.x.is_cuda else {}
    if p.pass_name == "transposed":
        transpose: Callable[..., torch.Tensor] = longconv.functional.conv_transpose1d
        return lambda: transpose(o.grad_y, o.weight, o.bias, *_transposed_sizes(p), **options)
    if p.activation != "none":
        options["activation"] = p.activation
        if p.activation == "leaky_relu":
            options["negative_slope"] = p.negative_slope
    if o.residual is not None:
        options["residual"] = o.residual
    if p.pad_mode != "zeros":
        options["padding_mode"] = p.pad_mode
    padding = (p.pad_left, p.pad_right) if p.pad_left != p.pad_right else p.pad_left
    conv1d: Callable[..., torch.Tensor] = longconv.functional.conv1d
    return lambda: conv1d(o.x, o.weight, o.bias, p.stride, padding, p.dilation, p.groups, **options)


def pytorch_engine(problem: Problem, operands: Operands) -> Call:
    """PyTorch's own convolution; where it has no single operator for the problem, what a user would compose."""
    p, o = problem, operands
    if p.pass_name == "fprop":
        return _pytorch_fprop(p, o)
    if p.pass_name == "transposed":
        return lambda: F.conv_transpose1d(o.grad_y, o.weight, o.bias, *_transposed_sizes(p))
    if not p.is_padded_symmetrically_with_zeros:
        return _pytorch_composed_backward(p, o)
    backward = torch.ops.aten.convolution_backward.default
    bias_sizes = [p.out_channels] if p.pass_name == "wgrad" and p.has_bias else None
    mask = [p.pass_name == "dgrad", p.pass_name == "wgrad", bias_sizes is not None]
    return lambda: backward(
        o.grad_y, o.x, o.weight, bias_sizes, [p.stride], [p.pad_left], [p.dilation], False, [0], p.groups, mask
    )


def _transposed_sizes(p: Problem) -> tuple[int, int, int, int, int]:
    """stride, padding, output_padding, groups, dilation: PyTorch's order."""
    return p.stride, p.pad_left, p.output_padding, p.groups, p.dilation


def _pytorch_fprop(p: Problem, o: Operands) -> Call:
    activation = pytorch_activation(p)

    def call() -> torch.Tensor:
        y = _pytorch_conv1d(p, o.x, o.weight, o.bias)
        if o.residual is not None:
            y = y + o.residual
        return y if activation is None else activation(y)

    return call


def _pytorch_conv1d(p: Problem, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    if p.is_padded_symmetrically_with_zeros:
        return F.conv1d(x, weight, bias, p.stride, p.pad_left, p.dilation, p.groups)
    mode = "constant" if p.pad_mode == "zeros" else p.pad_mode
    padded = F.pad(x, (p.pad_left, p.pad_right), mode=mode)
    return F.conv1d(padded, weight, bias, p.stride, 0, p.dilation, p.groups)


def pytorch_activation(p: Problem) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """What a user writes behind the convolution; None without activation."""
    return {
        "none": None,
        "relu": F.relu,
        "leaky_relu": lambda y: F.leaky_relu(y, p.negative_slope),
        "gelu": F.gelu,
        "gelu_tanh": lambda y: F.gelu(y, approximate="tanh"),
        "silu": F.silu,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
    }[p.activation]


def _pytorch_composed_backward(p: Problem, o: Operands) -> Call:
    """Through autograd: pad and convolution were recorded once, before the timing."""
    is_dgrad = p.pass_name == "dgrad"
    x = o.x.detach().requires_grad_(is_dgrad)
    weight = o.weight.detach().requires_grad_(not is_dgrad)
    bias = None
    if p.has_bias and not is_dgrad:
        bias = torch.zeros(p.out_channels, dtype=weight.dtype, device=weight.device, requires_grad=True)
    with torch.enable_grad():
        y = _pytorch_conv1d(p, x, weight, bias)
    inputs = [x] if is_dgrad else [weight] if bias is None else [weight, bias]
    return lambda: torch.autograd.grad(y, inputs, o.grad_y, retain_graph=True)


def result_tensors(result: Any) -> list[torch.Tensor]:
    """The tensors of a result that hold anything: what was not asked for is None or of size 0."""
    results = result if isinstance(result, (tuple, list)) else [result]
    return [tensor for tensor in results if tensor is not None and tensor.numel()]


def relative_difference(ours: Any, theirs: Any) -> float:
    """||ours - theirs|| / ||theirs|| over all result tensors, in float64; inf if shapes differ or a NaN is found."""
    ours_tensors, their_tensors = result_tensors(ours), result_tensors(theirs)
    if [t.shape for t in ours_tensors] != [t.shape for t in their_tensors]:
        return math.inf
    difference = 0.0
    norm = 0.0
    for a, b in zip(ours_tensors, their_tensors):
        for row_a, row_b in zip(a.reshape(a.shape[0], -1), b.reshape(b.shape[0], -1)):  # bounded extra memory
            wide = torch.complex128 if row_a.is_complex() else torch.float64
            row_b = row_b.to(wide)
            difference += float((row_a.to(wide) - row_b).abs().square().sum())
            norm += float(row_b.abs().square().sum())
    if math.isnan(difference) or math.isnan(norm):
        return math.inf
    return math.sqrt(difference / norm) if norm else (0.0 if difference == 0 else math.inf)


def agreement_limit(problem: Problem) -> float:
    """The largest relative difference at which a timing is worth printing."""
    return AGREEMENT["tf32" if problem.precision == "tf32" else problem.dtype]
