# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The C++ functions that launch the forward pass, and the input gradient: kernels that write rows of a signal.

Every number of a grid or a layout comes from the library's launchers (``longconv::layer_source``); the names of
parameters are the kernels' own, so that a compiler checks them. A kernel calls what it reads x, and what it writes y: in
the input gradient these are y's gradient and x's, and the weights are transposed, their last tap first.
"""

from __future__ import annotations

from longconv.eject.path import Path, launch

__all__ = ["signal_function"]


def signal_function(path: Path) -> str:
    """A function of fprop or dgrad."""
    layer, steps = path.layer, path.steps
    pack, repair, edges = (steps.get(role) for role in ("pack", "repair", "edges"))
    bias = layer["problem"]["bias"]
    rows = ("call.batch", _written(path))
    out = path.head()
    if (multiple := path.multiple) > 1:
        whose = "gradients of x whose length" if path.kind == "dgrad" else "outputs whose length"
        out.append(
            f'  TORCH_CHECK({_written(path)} % {multiple} == 0, "x: this file is for {whose} is a multiple of '
            f'{multiple}, but got ",\n              {_written(path)}, ": make one for this length with longconv eject");'
        )
    if pack:
        out += _packing(path)
    out += ["  conv::Params p{};", *_signal("p", path)]
    if pack:
        out.append("  point(p.weights, memory + kWeightOffset);")
        if layer["inverse_bytes"]:
            out.append("  point(p.weight_inverse, memory + kInverseOffset);")
        if repair:
            out.append("  point(p.redo, memory + kPackedBytes);")
        if layer["counters"]:
            out.append(f"  point(p.drawn, memory + kPackedBytes{' + redo_words * 4' if repair else ''});")
    else:
        out += [*_weights("p", path), "  p.y_time = 1;"]
    if bias:
        out += _bias("p", direct=not pack)
    out += launch("conv", steps["main"], "p", *rows)
    if repair:
        out += [
            "  // Tiles that set their bit hold what the tensor cores cannot multiply exactly: again, in plain f32.",
            *_again("repair", "r", path),
            "  point(r.redo, memory + kPackedBytes);",
            f"  r.redo_step = kTileSteps, r.redo_span = {layer['redo_span']}, r.redo_tiles = tiles_per_row;",
            *launch("repair", repair, "r", *rows),
        ]
    if edges:
        out += [
            "  // Zeros stood for what is outside of y, and 0 * Inf is NaN: the edges again where a weight is not finite.",
            *_again("edges", "e", path),
            *launch("edges", edges, "e", *rows),
        ]
    return "\n".join([*out, "}", ""])


def _written(path: Path) -> str:
    return "call.length" if path.kind == "dgrad" else "call.out_length"


def _again(role: str, params: str, path: Path) -> list[str]:
    """The parameters of the direct kernel after the main one."""
    return [
        f"  {role}::Params {params}{{}};",
        *_signal(params, path),
        *_weights(params, path),
        f"  {params}.y_time = 1;",
        f"  point({params}.flags, memory);",
        f"  {params}.flag_words = kFlagWords;",
        *(_bias(params, direct=True) if path.layer["problem"]["bias"] else []),
    ]


def _packing(path: Path) -> list[str]:
    """The workspace, and the kernel that puts weights into the main kernel's order."""
    layer, repair = path.layer, path.steps.get("repair")
    inverse = layer["inverse_bytes"]
    contents = [
        "flags",
        *(["scales"] if inverse else []),
        "packed weights",
        *(["one redo bit a tile"] if repair else []),
        *(["the counter of drawn tiles"] if layer["counters"] else []),
    ]
    sizes = [
        *([f"kFlagWords = {layer['flag_words']}"] if repair or "edges" in path.steps else []),
        *([f"kInverseOffset = {layer['inverse_offset']}"] if inverse else []),
        f"kWeightOffset = {layer['weight_offset']}",
        f"kPackedBytes = {layer['packed_bytes']}",
    ]
    out = [f"  // Workspace: {', '.join(contents)}.", f"  constexpr int64_t {', '.join(sizes)};"]
    words = " + ".join([*(["redo_words"] if repair else []), *([str(layer["counters"])] if layer["counters"] else [])])
    total = f"kPackedBytes + ({words}) * 4" if words else "kPackedBytes"
    if repair:
        out += [
            f"  constexpr int64_t kTileSteps = {layer['steps']['main']['tile_steps']};",
            f"  const int64_t tiles_per_row = ceil_div({_written(path)}, kTileSteps);",
            "  const int64_t redo_words = ceil_div(call.batch * tiles_per_row, 32);",
        ]
    out += [
        f"  const torch::Tensor workspace = torch::empty({{{total}}}, call.x.options().dtype(torch::kUInt8));",
        "  uint8_t* const memory = workspace.data_ptr<uint8_t>();",
        "  pack::Params w{};",
        *_weights("w", path),
        "  point(w.packed, memory + kWeightOffset);",
        *(["  point(w.inverse, memory + kInverseOffset);"] if inverse else []),
        "  point(w.flags, memory);",
        *(["  point(w.state, memory + kPackedBytes);", f"  w.state_words = {words};"] if words else []),
        *launch("pack", path.steps["pack"], "w", "1", "1"),
    ]
    return out


def _signal(p: str, path: Path) -> list[str]:
    """What a kernel reads and writes."""
    x = ("x", "kInChannels", "call.length")
    y = ("y", "kOutChannels", "call.out_length")
    (read, read_channels, read_length), (written, written_channels, written_length) = (
        (y, x) if path.kind == "dgrad" else (x, y)
    )
    return [
        f"  point({p}.x, call.{read}.data_ptr());",
        f"  point({p}.y, call.{written}.data_ptr());",
        f"  {p}.x_batch = {read_channels} * {read_length}, {p}.x_channel = {read_length}, {p}.x_time = 1;",
        f"  {p}.y_batch = {written_channels} * {written_length}, {p}.y_channel = {written_length};",
        f"  {p}.length = {read_length}, {p}.out_length = {written_length};",
        *([f"  {p}.pad_left = {path.layer['pad_left']};"] if path.kind == "dgrad" else []),
        f"  {p}.batch = static_cast<int>(call.batch), {p}.groups = 1;",
    ]


def _weights(p: str, path: Path) -> list[str]:
    """The weights as they are."""
    if path.kind == "dgrad":
        return [
            f"  point({p}.w, last_tap(call.weight));",
            f"  {p}.w_out = kKernelSize, {p}.w_in = kInChannels * kKernelSize, {p}.w_tap = -1;",
        ]
    return [
        f"  point({p}.w, call.weight.data_ptr());",
        f"  {p}.w_out = kInChannels * kKernelSize, {p}.w_in = kKernelSize, {p}.w_tap = 1;",
    ]


def _bias(p: str, direct: bool) -> list[str]:
    return [f"  point({p}.bias, call.bias.data_ptr());", *([f"  {p}.bias_channel = 1;"] if direct else [])]
