# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The host side of an ejected file: C++ that allocates, fills parameters and launches.

Every number of a grid or a layout comes from the library's launchers (``longconv::layer_source``); the names of
parameters are the kernels' own, so that a compiler checks them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Path", "declaration", "launcher_text"]


@dataclass(frozen=True)
class Path:
    """One way to compute the layer: a precision on an architecture."""

    precision: str  # fp32, tf32, bf16, f16
    hopper: bool
    layer: dict[str, Any]  # what longconv::layer_source describes
    namespaces: dict[str, str]  # of each step's kernel

    @property
    def function(self) -> str:
        """Name of the C++ function."""
        return f"forward_{self.precision}_{'sm90a' if self.hopper else 'sm80'}"


_ALIAS = {"main": "conv"}  # `main` is no name for a namespace

_PRECISION = {
    "fp32": "fp32",
    "tf32": "float32 in TF32",
    "bf16": "bfloat16",
    "f16": "float16",
}

_HEAD = """\
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdint>

namespace {

constexpr int64_t kInChannels = %(in_channels)s, kOutChannels = %(out_channels)s, kKernelSize = %(kernel_size)s;
constexpr int64_t kStride = %(stride)s, kDilation = %(dilation)s;

// One forward: contiguous x (batch, kInChannels, length) and y (batch, kOutChannels, out_length).
struct Call {
  torch::Tensor x, weight, bias, y;
  int64_t batch, length, out_length, sm_count;
  cudaStream_t stream;
};

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How a kernel is launched: on `blocks`, or, where that is 0, on as many as the GPU holds (blocks_per_sm) of those that
// have work: items are tiles of tile_steps outputs times groups of output channels, and blocks walk them. Whole clusters.
struct Shape {
  int64_t blocks, tile_steps, items_per_tile, blocks_per_sm, cluster_blocks;
  int threads, shared_bytes;
};

int64_t grid(const Call& call, const Shape& shape) {
  if (shape.blocks != 0) return shape.blocks;
  const int64_t tiles = call.batch * ceil_div(call.out_length, shape.tile_steps);
  TORCH_CHECK(tiles * shape.items_per_tile < (int64_t{1} << 31), "x: expected fewer than 2^31 tiles, but got ", tiles);
  const int64_t clusters = std::max<int64_t>(1, call.sm_count * shape.blocks_per_sm / shape.cluster_blocks);
  return shape.cluster_blocks * std::min(ceil_div(tiles, shape.cluster_blocks) * shape.items_per_tile, clusters);
}

template <class Params>
void launch(void (*kernel)(Params), const Params& params, const Shape& shape, const Call& call) {
  const dim3 blocks(static_cast<unsigned>(grid(call, shape))), threads(shape.threads);
  if (shape.shared_bytes > 48 * 1024)
    C10_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shape.shared_bytes));
#if CUDART_VERSION >= 12000
  if (shape.cluster_blocks > 1) {
    cudaLaunchAttribute cluster{};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {static_cast<unsigned>(shape.cluster_blocks), 1, 1};
    cudaLaunchConfig_t config{};
    config.gridDim = blocks;
    config.blockDim = threads;
    config.dynamicSmemBytes = shape.shared_bytes;
    config.stream = call.stream;
    config.attrs = &cluster;
    config.numAttrs = 1;
    C10_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, params));
    return;
  }
#endif
  kernel<<<blocks, threads, shape.shared_bytes, call.stream>>>(params);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

template <class Pointer>
void point(Pointer& pointer, const void* memory) {
  pointer = reinterpret_cast<Pointer>(const_cast<void*>(memory));
}

"""


def declaration(paths: Sequence[Path]) -> str:
    """The C++ declaration of ``conv1d_forward``, for the binding that load_inline writes."""
    bias = ", torch::Tensor bias" if paths[0].layer["problem"]["bias"] else ""
    tf32 = ", bool tf32" if len({path.precision for path in paths}) > 1 else ""
    return f"torch::Tensor conv1d_forward(torch::Tensor x, torch::Tensor weight{bias}{tf32})"


def launcher_text(paths: Sequence[Path]) -> str:
    """The C++ text: a function for each path, and ``conv1d_forward``, which chooses among them."""
    problem = paths[0].layer["problem"]
    functions = []
    for path in paths:
        text = _function(path)
        if path.hopper:
            text = f"#if CUDART_VERSION >= 12000\n{text}#endif\n"
        functions.append(text)
    head: str = _HEAD % problem
    return head + "\n".join(functions) + "\n}  // namespace\n\n" + _forward(paths)


def _function(path: Path) -> str:
    layer = path.layer
    steps, problem = layer["steps"], layer["problem"]
    main, pack, repair = (steps.get(role) for role in ("main", "pack", "repair"))
    where = "Hopper" if path.hopper else "sm_80 and newer"
    out = [
        f"// {_PRECISION[path.precision]} on {where}: {layer['kernel']}.",
        f"// Its configuration: {layer['config']}.",
        f"void {path.function}(const Call& call) {{",
    ]
    for role, namespace in path.namespaces.items():
        out.append(f"  namespace {_ALIAS.get(role, role)} = conv1d::{namespace};")
    if layer["out_length_multiple"] > 1:
        multiple = layer["out_length_multiple"]
        out.append(
            f'  TORCH_CHECK(call.out_length % {multiple} == 0, "x: this file is for outputs whose length is a multiple of '
            f'{multiple}, but got ", call.out_length,\n              ": make one for this length with longconv eject");'
        )
    if pack:
        out += _packing(layer, pack, repair)
    out.append("  conv::Params p{};")
    out += _signal("p")
    if pack:
        out.append("  point(p.weights, memory + kWeightOffset);")
        if layer["inverse_bytes"]:
            out.append("  point(p.weight_inverse, memory + kInverseOffset);")
        if repair:
            out.append("  point(p.redo, memory + kPackedBytes);")
    else:
        out += _direct("p")
    if problem["bias"]:
        out += _bias("p", direct=not pack)
    out.append(_launch("conv", main, "p"))
    if repair:
        out += [
            "  // Tiles that set their bit hold what the tensor cores cannot multiply exactly: again, in plain f32.",
            "  repair::Params r{};",
            *_signal("r"),
            *_direct("r"),
            "  point(r.flags, memory);",
            "  point(r.redo, memory + kPackedBytes);",
            f"  r.redo_step = kTileSteps, r.redo_span = {layer['redo_span']}, r.redo_tiles = tiles_per_row;",
        ]
        if problem["bias"]:
            out += _bias("r", direct=True)
        out.append(_launch("repair", repair, "r"))
    return "\n".join([*out, "}", ""])


def _packing(layer: dict[str, Any], pack: dict[str, Any], repair: dict[str, Any] | None) -> list[str]:
    """The workspace, and the kernel that puts weights into the main kernel's order."""
    inverse = layer["inverse_bytes"]
    contents = [
        "flags",
        *(["scales"] if inverse else []),
        "packed weights",
        *(["one redo bit a tile"] if repair else []),
    ]
    sizes = [
        f"kFlagBytes = {layer['flag_bytes']}",
        *([f"kInverseOffset = {layer['inverse_offset']}"] if inverse else []),
        f"kWeightOffset = {layer['weight_offset']}",
        f"kPackedBytes = {layer['packed_bytes']}",
    ]
    out = [f"  // Workspace: {', '.join(contents)}.", f"  constexpr int64_t {', '.join(sizes)};"]
    total = "kPackedBytes"
    if repair:
        total += " + redo_bytes"
        out += [
            f"  constexpr int64_t kTileSteps = {layer['steps']['main']['tile_steps']};",
            "  const int64_t tiles_per_row = ceil_div(call.out_length, kTileSteps);",
            "  const int64_t redo_bytes = ceil_div(call.batch * tiles_per_row, 32) * 4;",
        ]
    out += [
        f"  const torch::Tensor workspace = torch::empty({{{total}}}, call.x.options().dtype(torch::kUInt8));",
        "  uint8_t* const memory = workspace.data_ptr<uint8_t>();",
        "  C10_CUDA_CHECK(cudaMemsetAsync(memory, 0, kFlagBytes, call.stream));",
    ]
    if repair:
        out.append("  C10_CUDA_CHECK(cudaMemsetAsync(memory + kPackedBytes, 0, redo_bytes, call.stream));")
    out += [
        "  pack::Params w{};",
        "  point(w.w, call.weight.data_ptr());",
        "  point(w.packed, memory + kWeightOffset);",
        *(["  point(w.inverse, memory + kInverseOffset);"] if inverse else []),
        "  point(w.flags, memory);",
        "  w.w_out = kInChannels * kKernelSize, w.w_in = kKernelSize, w.w_tap = 1;",
        _launch("pack", pack, "w"),
    ]
    return out


def _signal(p: str) -> list[str]:
    return [
        f"  point({p}.x, call.x.data_ptr());",
        f"  point({p}.y, call.y.data_ptr());",
        f"  {p}.x_batch = kInChannels * call.length, {p}.x_channel = call.length, {p}.x_time = 1;",
        f"  {p}.y_batch = kOutChannels * call.out_length, {p}.y_channel = call.out_length;",
        f"  {p}.length = call.length, {p}.out_length = call.out_length;",
        f"  {p}.batch = static_cast<int>(call.batch), {p}.groups = 1;",
    ]


def _direct(p: str) -> list[str]:
    """What conv/direct_fprop.cuh takes beside: weights as they are."""
    return [
        f"  point({p}.w, call.weight.data_ptr());",
        f"  {p}.w_out = kInChannels * kKernelSize, {p}.w_in = kKernelSize, {p}.w_tap = 1, {p}.y_time = 1;",
    ]


def _bias(p: str, direct: bool) -> list[str]:
    return [f"  point({p}.bias, call.bias.data_ptr());", *([f"  {p}.bias_channel = 1;"] if direct else [])]


def _launch(role: str, step: dict[str, Any], params: str) -> str:
    if step["fixed_blocks"]:
        grid = f"/*blocks=*/{step['fixed_blocks']}, 0, 0, 0"
    else:
        grid = "0, " + ", ".join(f"/*{key}=*/{step[key]}" for key in ("tile_steps", "items_per_tile", "blocks_per_sm"))
    block = ", ".join(f"/*{key}=*/{step[key]}" for key in ("cluster_blocks", "threads", "shared_bytes"))
    return (
        f"  constexpr Shape k{role.capitalize()}Shape = {{\n      {grid}, {block}}};\n"
        f"  launch({role}::{step['entry']}, {params}, k{role.capitalize()}Shape, call);"
    )


def _forward(paths: Sequence[Path]) -> str:
    bias = paths[0].layer["problem"]["bias"]
    out = [
        f"{declaration(paths)} {{",
        "  const c10::cuda::CUDAGuard guard(x.device());",
        "  int sm_count = 0, major = 0, minor = 0;",
        *(
            f"  C10_CUDA_CHECK(cudaDeviceGetAttribute(&{name}, {attribute}, x.get_device()));"
            for name, attribute in (
                ("sm_count", "cudaDevAttrMultiProcessorCount"),
                ("major", "cudaDevAttrComputeCapabilityMajor"),
                ("minor", "cudaDevAttrComputeCapabilityMinor"),
            )
        ),
        "  x = x.contiguous();",
        "  weight = weight.contiguous();",
        "  const int64_t batch = x.size(0), length = x.size(2);",
        "  const int64_t out_length = (length - (kKernelSize - 1) * kDilation - 1) / kStride + 1;",
        "  torch::Tensor y = torch::empty({batch, kOutChannels, out_length}, x.options());",
        "  if (batch == 0) return y;",
        f"  const Call call{{x, weight, {'bias.contiguous()' if bias else '{}'}, y, batch, length, out_length, sm_count,",
        "                  c10::cuda::getCurrentCUDAStream().stream()};",
    ]
    hopper = [path for path in paths if path.hopper]
    others = [path for path in paths if not path.hopper]
    if hopper:
        out += [
            "#if CUDART_VERSION >= 12000",
            "  if (major == 9 && minor == 0) {",
            *_choice(hopper, "    "),
            "    return y;",
            "  }",
            "#endif",
        ]
    if others:
        out += [
            '  TORCH_CHECK(major >= 8, "expected a GPU of compute capability 8.0 or newer, but got ", major, ".", minor);',
            *_choice(others, "  "),
            "  return y;",
        ]
    else:
        out.append(
            '  TORCH_CHECK(false, "expected a GPU of compute capability 9.0 and CUDA 12.0 or newer, but got ", major, ".", minor,\n'
            '              " and CUDA ", CUDART_VERSION / 1000);'
        )
    return "\n".join([*out, "}", ""])


def _choice(paths: Sequence[Path], indent: str) -> list[str]:
    if len(paths) == 1:
        return [f"{indent}{paths[0].function}(call);"]
    tf32, fp32 = (next(path for path in paths if path.precision == name) for name in ("tf32", "fp32"))
    return [f"{indent}tf32 ? {tf32.function}(call) : {fp32.function}(call);"]
