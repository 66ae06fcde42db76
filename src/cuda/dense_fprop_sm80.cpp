// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Launcher of kernels/conv/dense_fprop_sm80.cuh: bf16, f16, TF32 and fp32 on every tensor-core GPU from sm_80 on.
#include <algorithm>
#include <cmath>

#include "cuda/dense_fprop_common.h"
#include "cuda/layer_launch.h"
#include "cuda/packed_weights.h"
#include "plan/registry.h"

namespace longconv {
namespace cuda {
namespace {

constexpr std::int64_t kThreads = 256;

struct Tile {
  std::int64_t warps_out, stage_chunks, taps;
  static Tile read(const Config& c) { return {c.get("warps_out"), c.get("chunks"), c.get("taps")}; }
  Config config() const { return Config{{{"warps_out", warps_out}, {"chunks", stage_chunks}, {"taps", taps}}}; }
};

bool splits(const ConvProblem& problem) { return problem.dtype == DType::f32 && problem.precision == Precision::fp32; }

std::int64_t element_code(const ConvProblem& problem) {
  return splits(problem) ? 4 : problem.dtype == DType::f32 ? 0 : problem.dtype == DType::bf16 ? 1 : 2;
}

/// Mirrors struct C of the kernel.
struct Geometry {
  std::int64_t chunk, step, out_tile, channel_blocks, tap_groups, passes, shared_bytes;
  PackGeometry pack;
  Geometry(const ConvProblem& p, const Tile& t)
      : chunk(16 / size_bytes(p.dtype)),
        step(64 * (8 / t.warps_out)),
        out_tile(32 * t.warps_out),
        channel_blocks(ceil_div(p.in_channels_per_group(), t.stage_chunks * chunk)),
        tap_groups(ceil_div(p.kernel_size, t.taps)),
        passes(ceil_div(p.out_channels_per_group(), out_tile)),
        pack(step, t.taps, p.stride, p.dilation) {
    shared_bytes = t.stage_chunks * pack.chunk_rows() * 16 * (splits(p) ? 2 : 1);
  }
  std::int64_t padded_rows() const { return passes * out_tile; }
};

class DenseFpropSm80 final : public CudaKernel {
 public:
  std::string_view name() const override { return "dense_fprop_sm80"; }

  Support supports(const ConvProblem& problem, const Device& device) const override {
    Support support = supports_dense(problem, device);
    if (!support.ok) return support;
    if (device.compute_capability < 80) return Support::no("needs compute capability 8.0 or newer");
    if (problem.dtype == DType::f64) return Support::no("multiplies fp32, TF32, bf16 and f16 only");
    return Support::yes();
  }

  std::vector<Config> configs(const ConvProblem& problem, const Device& device) const override {
    std::vector<Config> configs;
    const std::int64_t chunk = 16 / size_bytes(problem.dtype), out = problem.out_channels_per_group();
    const std::int64_t all_chunks = round_up(ceil_div(problem.in_channels_per_group(), chunk), 2);
    const std::int64_t limit =
        std::min<std::int64_t>(device.shared_bytes_per_block > 0 ? device.shared_bytes_per_block : 98304, 98304);
    for (const std::int64_t warps_out : {1, 2, 4}) {
      if (warps_out > 1 && out <= 16 * warps_out) continue;
      for (const std::int64_t chunks : {2, 4}) {
        if (chunks > all_chunks) continue;
        // fp32: the products of a stage are one chain on the tensor core; 16 channels x 4 taps at most.
        Tile t{warps_out, chunks, std::min<std::int64_t>(problem.kernel_size, splits(problem) ? 8 / chunks * 2 : 16)};
        while (t.taps > 1 && Geometry(problem, t).shared_bytes > limit) t.taps /= 2;
        if (Geometry(problem, t).shared_bytes <= limit) configs.push_back(t.config());
      }
    }
    return configs;
  }

  Estimate estimate(const ConvProblem& problem, const Config& config, const Device& device) const override {
    const Tile t = Tile::read(config);
    const Geometry g(problem, t);
    const Rates rates(device);
    const double clock = device.clock_hz > 0 ? device.clock_hz : 1.5e9;
    const double tiles = static_cast<double>(problem.batch * problem.groups) *
                         static_cast<double>(ceil_div(problem.out_length(), g.step));
    const double passes = static_cast<double>(g.passes);
    const double items = tiles * passes / (device.sm_count * 2.0), waves = std::ceil(items) / items;
    Estimate e;
    e.bytes =
        tiles *
            static_cast<double>(problem.in_channels_per_group() * g.tap_groups * g.pack.raw_needed *
                                size_bytes(problem.dtype)) *
            (1 + (passes - 1) / 3) +
        static_cast<double>(problem.batch * problem.out_channels * problem.out_length() * size_bytes(problem.dtype));
    e.flops = (splits(problem) ? 6 : 2) * tiles * static_cast<double>(g.step * g.padded_rows()) *
              static_cast<double>(g.channel_blocks * t.stage_chunks * g.chunk * problem.kernel_size);
    const double rate = rates.tensor_flops_per_second * (problem.dtype == DType::f32 ? 0.5 : 1.0) *
                        (device.compute_capability >= 90 ? 0.35 : 0.6);
    // Loads and arithmetic of a block alternate; two blocks share a multiprocessor.
    const double pack = tiles * passes *
                        static_cast<double>(g.channel_blocks * g.tap_groups * t.stage_chunks * g.pack.chunk_rows()) /
                        32 * 40 / (clock * device.sm_count);
    e.seconds = (0.7 * e.bytes / rates.bytes_per_second + e.flops / rate + pack) * waves + 4e-6;
    return e;
  }

  std::int64_t workspace_bytes(const ConvProblem& problem, const Config& config, const Device&) const override {
    return layout(problem, Tile::read(config)).workspace_bytes();
  }
  std::int64_t packed_weights_bytes(const ConvProblem& problem, const Config& config, const Device&) const override {
    return layout(problem, Tile::read(config)).packed_bytes();
  }
  std::vector<KernelSpec> specs(const ConvProblem& problem, const Config& config, const Device&) const override {
    const Tile t = Tile::read(config);
    std::vector<KernelSpec> specs{pack_spec(problem, t), main_spec(problem, t)};
    if (splits(problem)) specs.push_back(direct_spec(problem, 1));
    if (pad_code(problem) == 1) specs.push_back(direct_spec(problem, 2));
    return specs;
  }

  void launch(const ConvProblem& problem, const Config& config, const Device& device, const ConvTensors& tensors,
              const LaunchContext& context) const override {
    const bool zero_padding = pad_code(problem) == 1;
    check_layout(problem, tensors, splits(problem) || zero_padding);
    Compiler& compiler = compiler_of(context);
    const Tile t = Tile::read(config);
    const Geometry g(problem, t);
    const PackedLayout where = layout(problem, t);
    const PackedMemory memory(where, context);
    char* const weights = memory.packed + where.weight_offset();
    {
      const ContextScope scope(compiler.driver(), compiler.context(device.ordinal));
      const auto clear = [&](char* data, std::int64_t bytes) {
        compiler.driver().memset_d8_async(reinterpret_cast<CUdeviceptr>(data), 0, static_cast<std::size_t>(bytes),
                                          static_cast<CUstream>(context.stream));
      };
      if (memory.must_pack) clear(memory.packed, PackedLayout::kFlagBytes);
      if (splits(problem)) clear(memory.state, where.redo_bytes());
    }
    if (memory.must_pack) {
      struct {
        const void* w;
        void *packed, *flags;
        std::int64_t w_out, w_in, w_tap;
      } p{tensors.w.data, weights, memory.packed, tensors.w.strides[0], tensors.w.strides[1], tensors.w.strides[2]};
      LaunchShape shape;
      shape.blocks = problem.groups * g.padded_rows() / 16;
      shape.threads = static_cast<int>(kThreads);
      cuda::launch(compiler.driver(), compiler.get_function(device.ordinal, pack_spec(problem, t), &problem), shape,
                   context.stream, p);
    }
    struct Sm80Params : FpropParams {
      void* redo;
    };
    Sm80Params p{{make_params(problem, tensors)}, memory.state};
    p.weights = weights;
    const KernelSpec spec = main_spec(problem, t);
    const std::int64_t tiles_per_row = ceil_div(problem.out_length(), g.step);
    LaunchShape shape;
    shape.blocks = std::min<std::int64_t>(problem.batch * problem.groups * tiles_per_row * g.passes,
                                          std::int64_t{device.sm_count} * (splits(problem) ? 1 : 2));
    shape.threads = static_cast<int>(kThreads);
    shape.dynamic_shared_bytes = spec.dynamic_shared_bytes;
    cuda::launch(compiler.driver(), compiler.get_function(device.ordinal, spec, &problem), shape, context.stream, p);
    if (splits(problem))
      launch_direct(compiler, problem, device, tensors, context.stream,
                    {1, memory.state, memory.packed, g.step, g.step, tiles_per_row});
    if (zero_padding) launch_direct(compiler, problem, device, tensors, context.stream, {2, nullptr, memory.packed});
  }

  LayerLaunch layer_launch(const ConvProblem& problem, const Config& config, const Device&) const override {
    const Tile t = Tile::read(config);
    const Geometry g(problem, t);
    LayerLaunch layer;
    layer.pack = LayerStep{pack_spec(problem, t), kThreads, problem.groups * g.padded_rows() / 16};
    layer.main = {main_spec(problem, t), kThreads, 0, g.step, g.passes, 1, splits(problem) ? 1 : 2};
    if (splits(problem)) layer.repair = direct_step(problem, 1);
    layer.packed = layout(problem, t);
    layer.redo_span = g.step;
    return layer;
  }

 private:
  static PackedLayout layout(const ConvProblem& problem, const Tile& t) {
    const Geometry g(problem, t);
    PackedLayout layout;
    layout.weight_bytes = problem.groups * g.padded_rows() / 16 * g.channel_blocks * problem.kernel_size *
                          (t.stage_chunks / 2) * (splits(problem) ? 1024 : 512);
    layout.redo_tiles = splits(problem) ? problem.batch * problem.groups * ceil_div(problem.out_length(), g.step) : 0;
    return layout;
  }
  static KernelSpec pack_spec(const ConvProblem& problem, const Tile& t) {
    KernelSpec spec;
    spec.file = "conv/pack_fragments.cuh";
    spec.entry = "longconv_pack_fragments";
    spec.allow_local_memory = true;  // ptxas holds it at 32 registers for occupancy and may spill a word: it runs once
    spec.defines = {{"LC_FORMAT", element_code(problem)},
                    {"LC_IN_CHANNELS", problem.in_channels_per_group()},
                    {"LC_OUT_CHANNELS", problem.out_channels_per_group()},
                    {"LC_KERNEL_SIZE", problem.kernel_size},
                    {"LC_STAGE_CHUNKS", t.stage_chunks},
                    {"LC_PADDED_OUT_CHANNELS", Geometry(problem, t).padded_rows()}};
    return spec;
  }
  static KernelSpec main_spec(const ConvProblem& problem, const Tile& t) {
    KernelSpec spec;
    spec.file = "conv/dense_fprop_sm80.cuh";
    spec.entry = "longconv_dense_fprop_sm80";
    spec.defines = problem_defines(problem);
    for (const Define& define : {Define{"LC_ELEMENT", element_code(problem)}, Define{"LC_WARPS_OUT", t.warps_out},
                                 Define{"LC_STAGE_CHUNKS", t.stage_chunks}, Define{"LC_TAPS", t.taps}}) {
      spec.defines.push_back(define);
    }
    spec.dynamic_shared_bytes = Geometry(problem, t).shared_bytes;
    spec.allow_local_memory = true;  // epilogues with activations may spill a few words outside the main loop
    return spec;
  }
};

}  // namespace
}  // namespace cuda

const Kernel& dense_fprop_sm80() {
  static const cuda::DenseFpropSm80 kernel;
  return kernel;
}

}  // namespace longconv
