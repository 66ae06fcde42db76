# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The C++ functions that launch the weight gradient: partial sums of splits, what repairs them, and their sum."""

from __future__ import annotations

from typing import Any

from longconv.eject.path import Path, launch

__all__ = ["wgrad_function"]


def wgrad_function(path: Path) -> str:
    """A function of wgrad."""
    steps, sums = path.steps, path.layer["sums"]
    repair, reduce = steps.get("repair"), steps.get("reduce")
    out = path.head()
    for name, length, key, bytes_ in (
        ("x", "length", "length_multiple", 4),
        ("y", "out_length", "out_length_multiple", 16),
    ):
        if (multiple := path.layer[key]) > 1:
            out += [
                f"  // Rows of {name} begin on {bytes_} bytes.",
                f"  const int64_t {name}_pitch = ceil_div(call.{length}, {multiple}) * {multiple};",
                f"  const torch::Tensor {name} = {name}_pitch == call.{length} ? call.{name}",
                f"      : torch::constant_pad_nd(call.{name}, {{0, {name}_pitch - call.{length}}});",
            ]
    out.append(f"  const Splits splits(call, {', '.join(f'/*{key}=*/{sums[key]}' for key in _DEALT)});")
    if reduce:
        out += _workspace(path)
    condition = _repairs(sums) if repair else ""
    if repair:
        out += _flags(sums, condition)
    out += _sums("conv", "p", steps["main"], path)
    if sums["carry_bytes"]:
        out.append("  point(p.carry, memory + carry_offset);")
    if not reduce:
        out += _result("p")
        if path.layer["problem"]["bias"]:
            out += ["  point(p.db, call.bias.data_ptr());", "  p.db_stride = 1;"]
    out += launch("conv", steps["main"], "p", "splits.count", "1")
    if repair:
        again = [*_sums("repair", "r", repair, path), *launch("repair", repair, "r", "splits.count", "1")]
        if condition:
            again = [f"  if ({condition}) {{", *(f"  {line}" for line in again), "  }"]
        out += [
            "  // Splits whose flag is set hold what the tensor cores cannot sum exactly: again, in plain f32.",
            *again,
        ]
    if reduce:
        out += _reduction(reduce, path)
    return "\n".join([*out, "}", ""])


_DEALT = ("chunk_steps", "splits", "most_chunks")


def _workspace(path: Path) -> list[str]:
    sums, bias = path.layer["sums"], path.layer["problem"]["bias"]
    contents = ["flags", "partial sums", *(["those of the bias"] if bias else [])]
    out = [
        "  const int64_t weight_offset = align(splits.count * 4);",
        f"  const int64_t {'bias' if bias else 'end'}_offset = weight_offset + align(splits.count * kWeights * 4);",
    ]
    if bias:
        out.append("  const int64_t end_offset = bias_offset + align(splits.count * kOutChannels * 4);")
    size = "end_offset"
    if sums["carry_bytes"]:
        contents.append("sums that blocks of many chunks carry")
        out += [
            "  const int64_t carry_offset = end_offset;",
            f"  const int64_t carry_bytes = splits.longest() > {sums['carry_chunks']} ? splits.count * "
            f"{sums['carry_bytes']} : 0;",
        ]
        size = "carry_offset + carry_bytes"
    return [
        f"  // Workspace: {', '.join(contents)}.",
        *out,
        f"  const torch::Tensor workspace = torch::empty({{{size}}}, call.x.options().dtype(torch::kUInt8));",
        "  uint8_t* const memory = workspace.data_ptr<uint8_t>();",
    ]


def _repairs(sums: dict[str, Any]) -> str:
    """Where the repair has work; nothing: everywhere."""
    return "" if sums["repair"] == "always" else str(sums["repair"])


def _flags(sums: dict[str, Any], condition: str) -> list[str]:
    """What the flags are before the main kernel sets them."""
    out = []
    value = "0"
    if sums["fewest_products"]:
        value = "few ? 0xff : 0"
        out += [
            "  // So few products are not exact enough on tensor cores: every split is computed again.",
            f"  const bool few = call.batch * call.out_length < {sums['fewest_products']};",
        ]
    if condition == "ragged":
        out += [
            "  // Zeros stand for steps behind the end of y, and 0 * Inf is NaN.",
            f"  const bool ragged = call.out_length % {sums['chunk_steps']} != 0;",
        ]
    clear = f"C10_CUDA_CHECK(cudaMemsetAsync(memory, {value}, splits.count * 4, call.stream));"
    return [*out, f"  if ({condition}) {clear}" if condition else f"  {clear}"]


def _sums(role: str, p: str, step: dict[str, Any], path: Path) -> list[str]:
    """The parameters of a kernel that computes partial sums."""
    x, x_pitch = ("x", "x_pitch") if path.layer["length_multiple"] > 1 else ("call.x", "call.length")
    y, y_pitch = ("y", "y_pitch") if path.layer["out_length_multiple"] > 1 else ("call.y", "call.out_length")
    out = [
        f"  {role}::Params {p}{{}};",
        f"  point({p}.x, {x}.data_ptr());",
        f"  point({p}.dy, {y}.data_ptr());",
        f"  {p}.x_batch = kInChannels * {x_pitch}, {p}.x_channel = {x_pitch}, {p}.x_time = 1;",
        f"  {p}.dy_batch = kOutChannels * {y_pitch}, {p}.dy_channel = {y_pitch}, {p}.dy_time = 1;",
        f"  {p}.length = call.length, {p}.out_length = call.out_length;",
        f"  splits.put({p}.ranges);",
    ]
    if "LC_GROUPS" not in step["defines"]:
        out.append(f"  {p}.groups = 1;")
    if "reduce" in path.steps:
        out += [f"  point({p}.partials.flags, memory);", f"  point({p}.partials.weight, memory + weight_offset);"]
        if path.layer["problem"]["bias"]:
            out.append(f"  point({p}.partials.bias, memory + bias_offset);")
    return out


def _result(p: str) -> list[str]:
    return [
        f"  point({p}.dw, call.weight.data_ptr());",
        f"  {p}.dw_out = kInChannels * kKernelSize, {p}.dw_in = kKernelSize, {p}.dw_tap = 1;",
    ]


def _reduction(reduce: dict[str, Any], path: Path) -> list[str]:
    out = [
        "  // The splits in order, rounded once.",
        "  reduce::Params s{};",
        "  point(s.partial, memory + weight_offset);",
        "  point(s.w, call.weight.data_ptr());",
        "  s.splits = splits.count, s.weight_elements = kWeights;",
        "  s.row_elements = kInChannels * kKernelSize, s.kernel_size = kKernelSize;",
        "  s.w_out = kInChannels * kKernelSize, s.w_in = kKernelSize, s.w_tap = 1;",
    ]
    if path.layer["problem"]["bias"]:
        out += [
            "  point(s.bias_partial, memory + bias_offset);",
            "  point(s.bias, call.bias.data_ptr());",
            "  s.bias_elements = kOutChannels, s.bias_stride = 1;",
        ]
    return [*out, *launch("reduce", reduce, "s", "1", "1")]
