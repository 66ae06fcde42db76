# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The host side of an ejected file: C++ that allocates, fills parameters and launches.

A function for each path (launcher_text.py, wgrad_text.py), one for each pass that chooses among them, and the three that
Python calls.
"""

from __future__ import annotations

from collections.abc import Sequence

from longconv.eject.launcher_text import signal_function
from longconv.eject.path import FUNCTIONS, Path
from longconv.eject.wgrad_text import wgrad_function

__all__ = ["declarations", "host_text"]

_HEAD = """\
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace {

constexpr int64_t kInChannels = %(in_channels)s, kOutChannels = %(out_channels)s, kKernelSize = %(kernel_size)s;
constexpr int64_t kStride = %(stride)s, kDilation = %(dilation)s, kWeights = kOutChannels * kInChannels * kKernelSize;

// What a function works on, contiguous: x (batch, kInChannels, length) and y (batch, kOutChannels, out_length). In the
// backward functions y is its gradient, and so is what they compute: x, or weight and bias.
struct Call {
  torch::Tensor x, weight, bias, y;
  int64_t batch, length, out_length;
  int sm_count = 0, major = 0, minor = 0;
  cudaStream_t stream = c10::cuda::getCurrentCUDAStream().stream();

  Call(torch::Tensor x_, torch::Tensor weight_, torch::Tensor bias_, torch::Tensor y_)
      : x(x_), weight(weight_), bias(bias_), y(y_), batch(x.size(0)), length(x.size(2)), out_length(y.size(2)) {
    C10_CUDA_CHECK(cudaDeviceGetAttribute(&sm_count, cudaDevAttrMultiProcessorCount, x.get_device()));
    C10_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, x.get_device()));
    C10_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, x.get_device()));
  }
};

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t align(int64_t bytes) { return ceil_div(bytes, 256) * 256; }

// How a kernel is launched: on `blocks`, or, where that is 0, on a block for each work item, or on as many as the GPU holds
// (blocks_per_sm, where that is not 0), which walk the items: tiles of tile_steps outputs times groups of output channels,
// or tiles of a weight gradient. Whole clusters.
struct Shape {
  int64_t blocks, tile_steps, items_per_tile, blocks_per_sm, cluster_blocks;
  int threads, shared_bytes;
};

int64_t grid(const Call& call, const Shape& shape, int64_t rows, int64_t steps) {
  if (shape.blocks != 0) return shape.blocks;
  const int64_t tiles = rows * ceil_div(steps, shape.tile_steps);
  TORCH_CHECK(tiles * shape.items_per_tile < (int64_t{1} << 31), "x: expected fewer than 2^31 tiles, but got ", tiles);
  if (shape.blocks_per_sm == 0) return tiles * shape.items_per_tile;
  const int64_t clusters = std::max<int64_t>(1, call.sm_count * shape.blocks_per_sm / shape.cluster_blocks);
  return shape.cluster_blocks * std::min(ceil_div(tiles, shape.cluster_blocks) * shape.items_per_tile, clusters);
}

template <class Params>
void launch(void (*kernel)(Params), const Params& params, const Shape& shape, int64_t rows, int64_t steps,
            const Call& call) {
  const dim3 blocks(static_cast<unsigned>(grid(call, shape, rows, steps))), threads(shape.threads);
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

const void* last_tap(const torch::Tensor& weight) {
  return static_cast<const char*>(weight.data_ptr()) + (kKernelSize - 1) * weight.element_size();
}

// A sum over batch and time: each signal's outputs are cut into chunks of chunk_steps, which are dealt to `count` splits.
// Their partial sums are added in order, so that gradients are the same bits every time. Of more than most_chunks a split
// would not be exact enough (0: any number is).
struct Splits {
  int64_t chunk_steps, chunks_per_signal, chunks, count;

  Splits(const Call& call, int64_t steps, int64_t most, int64_t most_chunks)
      : chunk_steps(steps), chunks_per_signal(ceil_div(call.out_length, steps)), chunks(call.batch * chunks_per_signal) {
    TORCH_CHECK(chunks < (int64_t{1} << 31), "x: expected fewer than 2^31 chunks of time, but got ", chunks);
    if (most_chunks > 0) most = std::max(most, ceil_div(chunks, most_chunks));
    count = std::min(chunks, most);
  }
  int64_t longest() const { return ceil_div(chunks, count); }
  template <class Ranges>
  void put(Ranges& ranges) const {
    ranges.chunk_steps = chunk_steps, ranges.chunks_per_signal = chunks_per_signal;
    ranges.chunks = chunks, ranges.splits = count;
  }
};

"""

_FORWARD = """\
{declaration} {{
  const c10::cuda::CUDAGuard guard(x.device());
  const int64_t out_length = (x.size(2) - (kKernelSize - 1) * kDilation - 1) / kStride + 1;
  const torch::Tensor y = torch::empty({{x.size(0), kOutChannels, out_length}}, x.options());
  if (x.size(0) > 0) forward({{x.contiguous(), weight.contiguous(), {bias}, y}}{tf32});
  return y;
}}
"""

_BACKWARD_INPUT = """\
{declaration} {{
  const c10::cuda::CUDAGuard guard(grad_y.device());
{longer}  const torch::Tensor grad_x = torch::empty({{grad_y.size(0), kInChannels, {row}}}, grad_y.options());
  if (grad_y.size(0) > 0) backward_input({{grad_x, weight.contiguous(), {{}}, grad_y.contiguous()}}{tf32});
  return {cut};
}}
"""

_BACKWARD_WEIGHT = """\
{declaration} {{
  const c10::cuda::CUDAGuard guard(x.device());
  torch::Tensor grad_weight = torch::empty({{kOutChannels, kInChannels, kKernelSize}}, x.options());
{new_bias}  if (x.size(0) == 0) return {zeros};
  backward_weight({{x.contiguous(), grad_weight, {bias}, grad_y.contiguous()}}{tf32});
  return {result};
}}
"""


def declarations(paths: Sequence[Path]) -> list[str]:
    """The C++ declarations of ``conv1d_forward`` and its gradients, for the binding that load_inline writes."""
    bias = paths[0].layer["problem"]["bias"]
    tf32 = ", bool tf32" if _has_choice(paths) else ""
    return [
        f"torch::Tensor conv1d_forward(torch::Tensor x, torch::Tensor weight{', torch::Tensor bias' if bias else ''}{tf32})",
        f"torch::Tensor conv1d_backward_input(torch::Tensor grad_y, torch::Tensor weight, int64_t length{tf32})",
        f"{'std::vector<torch::Tensor>' if bias else 'torch::Tensor'} "
        f"conv1d_backward_weight(torch::Tensor x, torch::Tensor grad_y{tf32})",
    ]


def host_text(paths: Sequence[Path]) -> str:
    """The C++ text."""
    problem = paths[0].layer["problem"]
    functions = []
    for path in paths:
        text = wgrad_function(path) if path.kind == "wgrad" else signal_function(path)
        if path.hopper:
            text = f"#if CUDART_VERSION >= 12000\n{text}#endif\n"
        functions.append(text)
    functions += [_choice(kind, [path for path in paths if path.kind == kind]) for kind in FUNCTIONS]
    head: str = _HEAD % problem
    return head + "\n".join(functions) + "\n}  // namespace\n\n" + _entries(paths)


def _has_choice(paths: Sequence[Path]) -> bool:
    return len({path.precision for path in paths}) > 1


def _choice(kind: str, paths: Sequence[Path]) -> str:
    """The function that chooses a path of a pass."""
    tf32 = ", bool tf32" if _has_choice(paths) else ""
    out = [f"void {FUNCTIONS[kind]}(const Call& call{tf32}) {{"]
    hopper = [path for path in paths if path.hopper]
    others = [path for path in paths if not path.hopper]
    if hopper:
        out += [
            "#if CUDART_VERSION >= 12000",
            f"  if (call.major == 9 && call.minor == 0) return {_chosen(hopper)};",
            "#endif",
        ]
    if others:
        out += [
            '  TORCH_CHECK(call.major >= 8, "expected a GPU of compute capability 8.0 or newer, but got ", call.major, ".",\n'
            "              call.minor);",
            f"  {_chosen(others)};",
        ]
    else:
        out.append(
            '  TORCH_CHECK(false, "expected a GPU of compute capability 9.0 and CUDA 12.0 or newer, but got ", call.major,\n'
            '              ".", call.minor, " and CUDA ", CUDART_VERSION / 1000);'
        )
    return "\n".join([*out, "}", ""])


def _chosen(paths: Sequence[Path]) -> str:
    if len(paths) == 1:
        return f"{paths[0].function}(call)"
    tf32, fp32 = (next(path for path in paths if path.precision == name) for name in ("tf32", "fp32"))
    return f"tf32 ? {tf32.function}(call) : {fp32.function}(call)"


def _rows(paths: Sequence[Path]) -> dict[str, str]:
    """How long the rows of x's gradient are: where a kernel stores whole vectors, a whole number of these."""
    multiple = max(path.layer["out_length_multiple"] for path in paths if path.kind == "dgrad")
    if multiple == 1 or any(path.multiple > 1 for path in paths if path.kind == "dgrad"):
        return {"longer": "", "row": "length", "cut": "grad_x"}
    longer = (
        "  // Rows of whole vectors of 16 bytes: what no window reaches is zero, and cut off.\n"
        f"  const int64_t row = ceil_div(length, {multiple}) * {multiple};\n"
    )
    return {"longer": longer, "row": "row", "cut": "row == length ? grad_x : grad_x.narrow(2, 0, length)"}


def _entries(paths: Sequence[Path]) -> str:
    forward, backward_input, backward_weight = declarations(paths)
    bias = paths[0].layer["problem"]["bias"]
    tf32 = ", tf32" if _has_choice(paths) else ""
    return "\n".join(
        [
            _FORWARD.format(declaration=forward, bias="bias.contiguous()" if bias else "{}", tf32=tf32),
            _BACKWARD_INPUT.format(declaration=backward_input, tf32=tf32, **_rows(paths)),
            _BACKWARD_WEIGHT.format(
                declaration=backward_weight,
                new_bias="  torch::Tensor grad_bias = torch::empty({kOutChannels}, x.options());\n" if bias else "",
                zeros="{grad_weight.zero_(), grad_bias.zero_()}" if bias else "grad_weight.zero_()",
                bias="grad_bias" if bias else "{}",
                result="{grad_weight, grad_bias}" if bias else "grad_weight",
                tf32=tf32,
            ),
        ]
    )
