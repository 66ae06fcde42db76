# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Convolutions to try: `Case` makes the tensors of one, `cases` is a hypothesis strategy for them."""

from __future__ import annotations

import dataclasses
import json
import math

import torch
from hypothesis import strategies as st

from reference import Expected, expected_conv1d, out_length, pads

ACTIVATIONS = ("none", "relu", "leaky_relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid")
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
DTYPES = ("float32", "float64", "bfloat16", "float16", "complex64", "complex128", "int64")
INPUT_LAYOUTS = (
    "contiguous",
    "nwc",  # channels-last memory
    "unaligned",  # starts one element behind an aligned address
    "rows",  # a slice of longer rows
    "every_third",  # time stride 3
    "channels",  # a slice of more channels
    "batch_expanded",  # batch stride 0
    "channels_expanded",  # channel stride 0
    "time_expanded",  # time stride 0
)
WEIGHT_LAYOUTS = ("contiguous", "taps_outer", "rows", "expanded")
OUTPUT_LAYOUTS = ("fresh", "contiguous", "nwc", "rows", "every_third")


@dataclasses.dataclass(frozen=True)
class Case:
    """One call of conv1d, written in numbers and names; the same case always makes the same tensors."""

    batch: int | None = 1  # None: unbatched
    in_channels: int = 1
    out_channels: int = 1
    length: int = 1
    kernel_size: int = 1
    stride: int = 1
    padding: object = 0  # int, [left, right] or a name
    dilation: int = 1
    groups: int = 1
    padding_mode: str = "zeros"
    dtype: str = "float32"
    bias: bool = False
    residual: bool = False
    activation: str = "none"
    negative_slope: float = 0.01
    input_layout: str = "contiguous"
    weight_layout: str = "contiguous"
    output_layout: str = "fresh"
    seed: int = 0

    def replay(self) -> str:
        """A command that runs this case again."""
        default = Case()
        fields = {k: v for k, v in dataclasses.asdict(self).items() if v != getattr(default, k)}
        return f"replay: python -m pytest tests/python/test_functional.py -k replay --replay '{json.dumps(fields)}'"

    @staticmethod
    def parse(text: str) -> Case:
        """Reads what `replay` printed between the quotes."""
        return Case(**json.loads(text))

    @property
    def pads(self) -> tuple[int, int]:
        """(left, right) in samples."""
        return pads(self.padding, self.kernel_size, self.dilation)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        samples = out_length(self.length, self.kernel_size, self.stride, self.dilation, *self.pads)
        shape = (self.out_channels, samples)
        return shape if self.batch is None else (self.batch, *shape)

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """(input, weight, bias, residual)."""
        generator = torch.Generator().manual_seed(self.seed)
        dtype = getattr(torch, self.dtype)
        weight_shape = (self.out_channels, self.in_channels // self.groups, self.kernel_size)
        shape = (1 if self.batch is None else self.batch, self.in_channels, self.length)
        x = lay_out(values(shape, dtype, generator), self.input_layout)
        w = lay_out(values(weight_shape, dtype, generator), self.weight_layout)
        bias = values((self.out_channels,), dtype, generator) if self.bias else None
        if not self.residual:
            return (x[0] if self.batch is None else x), w, bias, None
        residual = values((shape[0], *self.out_shape[-2:]), dtype, generator)
        residual = lay_out(residual, self.output_layout)
        return (x[0], w, bias, residual[0]) if self.batch is None else (x, w, bias, residual)

    def options(self) -> dict[str, object]:
        """Keyword arguments that go with the tensors, but for `residual` and `out`."""
        return {
            "stride": self.stride,
            "padding": tuple(self.padding) if isinstance(self.padding, (list, tuple)) else self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
            "padding_mode": self.padding_mode,
            "activation": self.activation,
            "negative_slope": self.negative_slope,
        }

    def expected(self) -> Expected:
        """Result and bound."""
        x, w, bias, residual = self.tensors()
        return expected_conv1d(x, w, bias, residual=residual, **self.options())  # type: ignore[arg-type]


def values(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
    """Normal numbers times powers of two (float16: about 1, it has few exponents); any 64 bits for int64."""
    if dtype == torch.int64:
        return torch.randint(-(2**62), 2**62, shape, generator=generator)
    if dtype.is_complex:
        real = torch.float32 if dtype == torch.complex64 else torch.float64
        return torch.complex(values(shape, real, generator), values(shape, real, generator))
    exponents = torch.randint(-6, 7, shape, generator=generator) if dtype != torch.float16 else torch.zeros(shape)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * torch.exp2(exponents.double())).to(dtype)


def lay_out(tensor: torch.Tensor, layout: str) -> torch.Tensor:
    """The same values (expanded layouts: the first of them, repeated) in other memory, with NaN between them."""

    def around(*shape: int) -> torch.Tensor:
        poison = math.nan if tensor.is_floating_point() or tensor.is_complex() else -(2**61) + 12345
        return torch.full(shape, poison, dtype=tensor.dtype)

    a, b, c = tensor.shape
    if layout in ("contiguous", "fresh"):
        return tensor.contiguous()
    if layout == "nwc":
        view = around(a, c, b).transpose(1, 2)
    elif layout == "taps_outer":
        view = around(c, a, b).permute(1, 2, 0)
    elif layout == "unaligned":
        view = around(a * b * c + 1)[1:].view(a, b, c)
    elif layout == "rows":
        view = around(a, b, c + 7)[:, :, 3 : 3 + c]
    elif layout == "every_third":
        view = around(a, b, 3 * c + 2)[:, :, 2::3][:, :, :c]
    elif layout == "channels":
        view = around(a, b + 3, c)[:, 2 : 2 + b]
    elif layout == "batch_expanded":
        return tensor[:1].contiguous().expand(a, b, c) if a else tensor
    elif layout in ("channels_expanded", "expanded"):
        return tensor[:, :1].contiguous().expand(a, b, c)
    elif layout == "time_expanded":
        return tensor[:, :, :1].contiguous().expand(a, b, c)
    else:
        raise AssertionError(layout)
    return view.copy_(tensor)


@st.composite
def cases(draw: st.DrawFn, dtypes: tuple[str, ...] = DTYPES) -> Case:
    """Small convolutions of every kind, with output lengths around the edges of vectors and tiles."""
    dtype = draw(st.sampled_from(dtypes))
    groups = draw(st.sampled_from((1, 1, 1, 2, 3, 8)))
    group_inputs = draw(st.sampled_from((1, 1, 2, 3, 4, 7, 16)))
    group_outputs = draw(st.sampled_from((1, 1, 2, 3, 5, 6, 7, 13)))
    kernel_size = draw(st.sampled_from((1, 2, 3, 4, 5, 8, 15, 33)))
    stride = draw(st.sampled_from((1, 1, 2, 3, 4, 5, 9)))
    dilation = draw(st.sampled_from((1, 1, 2, 3, 4, 17)))
    padding_mode = draw(st.sampled_from(("zeros", *PADDING_MODES)))
    padding: object = draw(
        st.one_of(
            st.sampled_from(("valid", "same", "causal", 0)),
            st.integers(0, 40),
            st.tuples(st.integers(0, 70), st.integers(0, 70)).map(list),
        )
    )
    left, right = pads(padding, kernel_size, dilation)
    samples = draw(st.sampled_from((1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 127, 241)))
    slack = draw(st.integers(0, stride - 1))
    length = dilation * (kernel_size - 1) + 1 + (samples - 1) * stride + slack - left - right
    needed = {"zeros": 1, "replicate": 1, "reflect": max(left, right) + 1, "circular": max(left, right, 1)}
    real = dtype.startswith(("float", "bfloat"))
    return Case(
        batch=draw(st.sampled_from((None, 0, 1, 1, 2, 3))),
        in_channels=groups * group_inputs,
        out_channels=groups * group_outputs,
        length=max(length, needed[padding_mode]),
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
        dtype=dtype,
        bias=draw(st.booleans()),
        residual=draw(st.sampled_from((False, False, True))),
        activation=draw(st.sampled_from(ACTIVATIONS)) if real else "none",
        negative_slope=draw(st.sampled_from((0.01, 0.2, -0.5))),
        input_layout=draw(st.sampled_from(INPUT_LAYOUTS)),
        weight_layout=draw(st.sampled_from(WEIGHT_LAYOUTS)),
        output_layout=draw(st.sampled_from(OUTPUT_LAYOUTS)),
        seed=draw(st.integers(0, 2**16)),
    )
