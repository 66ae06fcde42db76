# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""One function of an ejected file's host C++, and what the functions of all passes have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["FUNCTIONS", "Path", "launch"]

FUNCTIONS = {"fprop": "forward", "dgrad": "backward_input", "wgrad": "backward_weight"}

_ALIAS = {"main": "conv"}  # `main` is no name for a namespace
_PRECISION = {"fp32": "fp32", "tf32": "float32 in TF32", "bf16": "bfloat16", "f16": "float16"}


@dataclass(frozen=True)
class Path:
    """One way to compute a pass of the layer: a precision on an architecture."""

    precision: str  # fp32, tf32, bf16, f16
    hopper: bool
    layer: dict[str, Any]  # what longconv::layer_source describes
    namespaces: dict[str, str]  # of each step's kernel

    @property
    def kind(self) -> str:
        """Which pass: fprop, dgrad, wgrad."""
        return str(self.layer["problem"]["pass"])

    @property
    def function(self) -> str:
        """Name of the C++ function."""
        return f"{FUNCTIONS[self.kind]}_{self.precision}_{'sm90a' if self.hopper else 'sm80'}"

    @property
    def steps(self) -> dict[str, Any]:
        """The kernels in the order of use, by role."""
        return dict(self.layer["steps"])

    @property
    def multiple(self) -> int:
        """The layer must be so long (or its output, in fprop) that the main kernel stores whole vectors; 1: any length.

        A gradient of x is computed with longer rows instead, but for kernel size 1, whose kernel reads no zeros behind y.
        """
        padded = self.kind == "dgrad" and self.layer["problem"]["kernel_size"] > 1
        return 1 if padded else int(self.layer["out_length_multiple"])

    def head(self) -> list[str]:
        """The function's first lines."""
        where = "Hopper" if self.hopper else "sm_80 and newer"
        return [
            f"// {_PRECISION[self.precision]} on {where}: {self.layer['kernel']}.",
            f"// Its configuration: {self.layer['config']}.",
            f"void {self.function}(const Call& call) {{",
            *(f"  namespace {_ALIAS.get(role, role)} = conv1d::{name};" for role, name in self.namespaces.items()),
        ]


def launch(role: str, step: dict[str, Any], params: str, rows: str, length: str) -> list[str]:
    """A kernel's launch on so many rows of so many steps."""
    if step["fixed_blocks"]:
        grid = f"/*blocks=*/{step['fixed_blocks']}, 0, 0, 0"
    else:
        grid = "0, " + ", ".join(f"/*{key}=*/{step[key]}" for key in ("tile_steps", "items_per_tile", "blocks_per_sm"))
    block = ", ".join(f"/*{key}=*/{step[key]}" for key in ("cluster_blocks", "threads", "shared_bytes"))
    shape = f"k{role.capitalize()}Shape"
    return [
        f"  constexpr Shape {shape} = {{{grid},",
        f"{' ' * (len(shape) + 22)}{block}}};",
        f"  launch({role}::{step['entry']}, {params}, {shape}, {rows}, {length}, call);",
    ]
