# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""A convolution problem in its one-line form, with the FLOPs and compulsory bytes that a benchmark declares.

The form is that of ``longconv::ConvProblem`` (include/longconv/problem.h). It is read here a second time on purpose:
the numbers that the library is judged by must not come from the library.
"""

from __future__ import annotations

import dataclasses
import math
import re

CONV1D_PASSES = ("fprop", "dgrad", "wgrad")
# "transposed" is dgrad as a user's forward pass: y is the input, x the result of a transposed convolution.
PASSES = (*CONV1D_PASSES, "transposed")
DTYPE_BYTES = {"f32": 4, "f64": 8, "bf16": 2, "f16": 2, "c64": 8, "c128": 16, "i64": 8}
PAD_MODES = ("zeros", "reflect", "replicate", "circular")
PRECISIONS = ("fp32", "tf32")
ACTIVATIONS = ("none", "relu", "leaky_relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid")

_SIZES = {
    "n": "batch",
    "l": "length",
    "k": "kernel_size",
    "s": "stride",
    "d": "dilation",
    "g": "groups",
}
_SIZE_WORD = re.compile(r"([nlksdg])(\d+)")
_CHANNELS_WORD = re.compile(r"c(\d+)->(\d+)")
_PAD_WORD = re.compile(r"p(\d+)|p\((\d+),(\d+)\)")
_LEAKY_WORD = re.compile(r"leaky_relu\(([^)]+)\)")


@dataclasses.dataclass(frozen=True)
class Problem:
    """Sizes are those of the forward convolution in every pass; lengths in samples, strides and dilation too."""

    pass_name: str = "fprop"
    dtype: str = "f32"
    precision: str = "fp32"
    batch: int = 1
    in_channels: int = 1
    out_channels: int = 1
    length: int = 1
    kernel_size: int = 1
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    pad_left: int = 0
    pad_right: int = 0
    pad_mode: str = "zeros"
    has_bias: bool = False
    has_residual: bool = False
    activation: str = "none"
    negative_slope: float = 0.01

    @staticmethod
    def parse(text: str) -> Problem:
        """Reads ``"fprop n64 c64->128 l524280 k3 s3 d4 f32"``; words in any order, missing words take the defaults.

        Raises ValueError naming the word that was not understood or the size that describes no convolution.
        """
        fields: dict[str, object] = {}
        for word in text.split():
            fields.update(_read_word(word, text))
        problem = Problem(**fields)  # type: ignore[arg-type]
        problem._check()
        return problem

    def _check(self) -> None:
        if self.pass_name != "fprop" and (self.activation != "none" or self.has_residual):
            raise ValueError(f"only the forward pass is measured with residual or activation, got '{self}'")
        if self.pass_name == "dgrad" and self.has_bias:
            raise ValueError(f"dgrad is measured without bias, got '{self}'")
        if self.pass_name == "transposed" and not self.is_padded_symmetrically_with_zeros:
            raise ValueError(f"a transposed convolution is padded symmetrically with zeros, got '{self}'")
        for name in ("in_channels", "out_channels", "length", "kernel_size", "stride", "dilation", "groups"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)} in '{self}'")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(f"groups must divide both channel counts in '{self}'")
        if self.out_length < 1:
            raise ValueError(f"the output would be empty: out_length {self.out_length} in '{self}'")
        if self.precision == "tf32" and self.dtype != "f32":
            raise ValueError(f"tf32 is a precision of f32 tensors, got '{self}'")

    @property
    def out_length(self) -> int:
        """Samples of an output row."""
        window = (self.kernel_size - 1) * self.dilation + 1
        return (self.length + self.pad_left + self.pad_right - window) // self.stride + 1

    @property
    def is_padded_symmetrically_with_zeros(self) -> bool:
        """Whether PyTorch's convolution operator takes the padding as it is."""
        return self.pad_left == self.pad_right and (self.pad_mode == "zeros" or self.pad_left == 0)

    @property
    def result_sizes(self) -> tuple[int, int, int]:
        """(batch, channels, samples) of fprop's y, of dgrad's and the transposed convolution's x."""
        if self.pass_name == "fprop":
            return self.batch, self.out_channels, self.out_length
        return self.batch, self.in_channels, self.length

    @property
    def output_padding(self) -> int:
        """Of the transposed convolution: samples of x behind those that its shortest result has."""
        return (self.length + 2 * self.pad_left - (self.kernel_size - 1) * self.dilation - 1) % self.stride

    @property
    def flops(self) -> float:
        """Real operations of the pass as a direct convolution does them (a complex multiply-add counts 8)."""
        terms = self.in_channels // self.groups * self.kernel_size
        multiply_adds = float(self.batch) * self.out_channels * self.out_length * terms
        return multiply_adds * (8.0 if self.dtype in ("c64", "c128") else 2.0)

    @property
    def signal_elements(self) -> int:
        """Elements of x and y together: what "time per element" is divided by."""
        return self.batch * (self.in_channels * self.length + self.out_channels * self.out_length)

    @property
    def compulsory_bytes(self) -> float:
        """Each operand read once, each result written once."""
        weights = self.out_channels * (self.in_channels // self.groups) * self.kernel_size
        elements = self.signal_elements + weights
        if self.has_bias:
            elements += self.out_channels if self.pass_name == "wgrad" else self.result_sizes[1]
        if self.has_residual:
            elements += math.prod(self.result_sizes)
        return float(elements) * DTYPE_BYTES[self.dtype]

    @property
    def result_bytes(self) -> int:
        """Bytes of the tensors that the pass returns."""
        if self.pass_name != "wgrad":
            return math.prod(self.result_sizes) * DTYPE_BYTES[self.dtype]
        elements = self.out_channels * (self.in_channels // self.groups) * self.kernel_size
        elements += self.out_channels if self.has_bias else 0
        return elements * DTYPE_BYTES[self.dtype]

    def in_pass(self, pass_name: str) -> Problem:
        """The problem in another pass, without the epilogue that this pass does not have."""
        if pass_name == "fprop":
            return self.replace(pass_name=pass_name)
        has_bias = self.has_bias and pass_name != "dgrad"
        return self.replace(pass_name=pass_name, has_bias=has_bias, has_residual=False, activation="none")

    def replace(self, **changes: object) -> Problem:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    @property
    def library_form(self) -> str:
        """The line that the library reads: a transposed convolution is its dgrad."""
        return str(self.replace(pass_name="dgrad") if self.pass_name == "transposed" else self)

    def __str__(self) -> str:
        """The form that ``longconv::ConvProblem::to_string`` writes; defaults are left out."""
        precision = [] if self.precision == "fp32" else [self.precision]
        return " ".join([self.pass_name, *self._sizes(), self.dtype, *precision, *self._epilogue()])

    @property
    def shape(self) -> str:
        """The same without pass, dtype and precision: what the passes of a case share."""
        return " ".join([*self._sizes(), *self._epilogue()])

    def _sizes(self) -> list[str]:
        words = [f"n{self.batch}", f"c{self.in_channels}->{self.out_channels}", f"l{self.length}"]
        words.append(f"k{self.kernel_size}")
        for letter, value in (("s", self.stride), ("d", self.dilation), ("g", self.groups)):
            if value != 1:
                words.append(f"{letter}{value}")
        if self.pad_left != self.pad_right:
            words.append(f"p({self.pad_left},{self.pad_right})")
        elif self.pad_left:
            words.append(f"p{self.pad_left}")
        return words if self.pad_mode == "zeros" else [*words, self.pad_mode]

    def _epilogue(self) -> list[str]:
        words = ["bias"] * self.has_bias + ["residual"] * self.has_residual
        if self.activation == "leaky_relu":
            words.append(f"leaky_relu({self.negative_slope!r})")
        elif self.activation != "none":
            words.append(self.activation)
        return words


def _read_word(word: str, text: str) -> dict[str, object]:
    for names, field in (
        (PASSES, "pass_name"),
        (tuple(DTYPE_BYTES), "dtype"),
        (PRECISIONS, "precision"),
        (PAD_MODES, "pad_mode"),
        (ACTIVATIONS, "activation"),
    ):
        if word in names:
            return {field: word}
    if word in ("bias", "residual"):
        return {f"has_{word}": True}
    size = _SIZE_WORD.fullmatch(word)
    if size:
        return {_SIZES[size.group(1)]: int(size.group(2))}
    channels = _CHANNELS_WORD.fullmatch(word)
    if channels:
        return {"in_channels": int(channels.group(1)), "out_channels": int(channels.group(2))}
    pad = _PAD_WORD.fullmatch(word)
    if pad:
        left = pad.group(1) or pad.group(2)
        return {"pad_left": int(left), "pad_right": int(pad.group(1) or pad.group(3))}
    leaky = _LEAKY_WORD.fullmatch(word)
    if leaky:
        return {"activation": "leaky_relu", "negative_slope": float(leaky.group(1))}
    raise ValueError(f"word '{word}' not understood in problem '{text}'")
