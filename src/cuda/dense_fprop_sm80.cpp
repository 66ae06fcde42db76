// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Launcher of kernels/conv/dense_fprop_sm80.cuh, as dense_fprop_sm80 and dense_dgrad_sm80: bf16, f16, TF32 and fp32 on
// every tensor-core GPU from sm_80 on.
#include <algorithm>
#include <cmath>

#include "cuda/dense_fprop_common.h"
#include "cuda/dgrad_padding.h"
#include "cuda/layer_launch.h"
#include "cuda/packed_weights.h"
#include "plan/registry.h"

namespace longconv {
namespace cuda {
namespace {

constexpr int kPackThreads = 512;  ///< as kThreads of the weight packer

/// The kernel's LC_ definitions of the same names. What follows from the others is in the config all the same: it is
/// printed, and a tuner may change it.
struct Tile {
  std::int64_t warps, warps_out, stage_chunks, taps, interval = 1, prefetch = 1, buffers = 1, blocks_per_sm = 1;
  static Tile read(const Config& config) {
    ConfigReader c(config);
    return {c.get("warps"),    c.get("out"),      c.get("chunks"),  c.get("taps"),
            c.get("interval"), c.get("prefetch"), c.get("buffers"), c.get("blocks")};
  }
  Config config() const {
    return Config{{{"warps", warps},
                   {"out", warps_out},
                   {"chunks", stage_chunks},
                   {"taps", taps},
                   {"interval", interval},
                   {"prefetch", prefetch},
                   {"buffers", buffers},
                   {"blocks", blocks_per_sm}}};
  }
};

bool splits(const PolyphaseProblem& problem) {
  return problem.dtype == DType::f32 && problem.precision == Precision::fp32;
}

std::int64_t element_code(const PolyphaseProblem& problem) {
  return splits(problem) ? 4 : problem.dtype == DType::f32 ? 0 : problem.dtype == DType::bf16 ? 1 : 2;
}

/// What of a warp's tile follows from the phases. Accumulators are 16 registers for each slice of 16 steps of a phase
/// and 32 channels: one phase has 64.
struct WarpTile {
  std::int64_t row_blocks, slices;  ///< LC_ROW_BLOCKS, LC_SLICES; slices 0: too many phases
  explicit WarpTile(const PolyphaseProblem& p) : row_blocks(2), slices(std::max<std::int64_t>(1, 4 / p.phases)) {
    if (16 * p.phases * slices > 96) row_blocks = 1;
    if (8 * p.phases > (splits(p) ? 96 : 128)) slices = 0;
  }
};

/// Mirrors struct C of the kernel.
struct Geometry {
  WarpTile warp;
  std::int64_t planes_of_split, chunk, steps, step, out_tile, channel_blocks, tap_groups, passes, stage_bytes,
      shared_bytes;
  std::int64_t pack_steps, units;  ///< PackOrder::kSteps, StageRegisters::kUnits
  PackGeometry pack;
  Geometry(const PolyphaseProblem& p, const Tile& t)
      : warp(p),
        planes_of_split(splits(p) ? 2 : 1),
        chunk(element_code(p) == 0 ? 4 : 8),
        steps(16 * warp.slices * (t.warps / t.warps_out)),
        step(steps * p.phases),
        out_tile(16 * warp.row_blocks * t.warps_out),
        channel_blocks(ceil_div(p.in_channels_per_group(), t.stage_chunks * chunk)),
        tap_groups(ceil_div(p.kernel_size, t.taps)),
        passes(ceil_div(p.out_channels_per_group(), out_tile)),
        pack(steps, t.taps, p) {
    stage_bytes = t.stage_chunks * pack.chunk_rows() * 16 * planes_of_split;
    shared_bytes = t.buffers * stage_bytes + t.warps * ((splits(p) ? 8 : 0) + 8 * staging_pitch(p) * 4);
    pack_steps = pack.steps();
    units = ceil_div(pack_steps, t.warps / t.stage_chunks);
  }
  /// Words.
  std::int64_t staging_pitch(const PolyphaseProblem& p) const {
    return (4 * warp.slices * p.phases + 2) * size_bytes(p.dtype);
  }
  std::int64_t padded_rows() const { return passes * out_tile; }
  std::int64_t fragment_bytes() const { return 512 * planes_of_split; }
};

class DenseSm80 final : public CudaKernel {
 public:
  explicit DenseSm80(Pass pass) : pass_(pass) {}
  std::string_view name() const override { return pass_ == Pass::dgrad ? "dense_dgrad_sm80" : "dense_fprop_sm80"; }

  Support supports(const ConvProblem& problem, const Device& device) const override {
    Support support = supports_dense(problem, pass_, device);
    if (!support.ok) return support;
    if (device.compute_capability < 80) return Support::no("needs compute capability 8.0 or newer");
    if (problem.dtype == DType::f64) return Support::no("multiplies fp32, TF32, bf16 and f16 only");
    if (splits(PolyphaseProblem(problem))) support = supports_split(PolyphaseProblem(problem));
    if (!support.ok) return support;
    if (WarpTile(PolyphaseProblem(problem)).slices == 0)
      return Support::no("holds accumulators for 16 phases of dx, in fp32 for 12: the stride is larger");
    if (configs(problem, device).empty()) return Support::no("no tile of this problem fits shared memory");
    return Support::yes();
  }

  std::vector<Config> configs(const ConvProblem& asked, const Device& device) const override {
    const PolyphaseProblem problem(asked);
    std::vector<std::pair<double, Config>> found;
    const std::int64_t k = problem.kernel_size, out = problem.out_channels_per_group();
    for (const std::int64_t warps : {4, 8})
      for (const std::int64_t warps_out : {1, 2, 4}) {
        if (warps_out > 1 && out <= 16 * warps_out) continue;
        for (const std::int64_t chunks : {2, 4}) {
          if (chunks > 2 && splits(problem)) continue;  // a scale is for 16 channels, as on Hopper
          for (const std::int64_t most : {k, std::int64_t{32}, std::int64_t{16}, std::int64_t{8}, std::int64_t{4},
                                          std::int64_t{2}, std::int64_t{1}}) {
            if (most > k) continue;
            // Groups of equal size, of whole periods.
            const std::int64_t taps = round_up(ceil_div(k, ceil_div(k, most)), problem.period());
            Tile t{warps, warps_out, chunks, std::min(taps, k)};
            if (complete(problem, device, t))
              found.emplace_back(estimate(asked, t.config(), device).seconds, t.config());
          }
        }
      }
    return quickest(std::move(found), 8);
  }

  Estimate estimate(const ConvProblem& asked, const Config& config, const Device& device) const override {
    const PolyphaseProblem problem(asked);
    const Tile t = Tile::read(config);
    const Geometry g(problem, t);
    const Rates rates(device);
    const double cycles = (device.clock_hz > 0 ? device.clock_hz : 1.5e9) * device.sm_count;  // of all, in a second
    const double tiles = static_cast<double>(problem.batch * problem.groups) *
                         static_cast<double>(ceil_div(problem.out_length(), g.step));
    const double passes = static_cast<double>(g.passes), items = tiles * passes;
    const double rounds = items / static_cast<double>(device.sm_count * t.blocks_per_sm);
    Estimate e;
    const double x_tile = static_cast<double>(problem.in_channels_per_group() * g.tap_groups) *
                          static_cast<double>(g.pack.raw_needed * size_bytes(problem.dtype) * problem.signals());
    e.bytes = tiles * x_tile * (1 + (passes - 1) / 3) +
              static_cast<double>(problem.batch * problem.out_channels) *
                  static_cast<double>(problem.out_length() * size_bytes(problem.dtype));
    e.flops = (splits(problem) ? 6 : 2) * tiles * static_cast<double>(g.steps * g.padded_rows()) *
              static_cast<double>(g.channel_blocks * t.stage_chunks * g.chunk * problem.kernel_size);
    const double memory = e.bytes / rates.bytes_per_second;
    // Hopper's and newer tensor cores give mma.sync about 0.6 of what their own instructions reach.
    const double multiply = e.flops / (rates.tensor_flops_per_second * (element_code(problem) == 0 ? 0.5 : 1.0) *
                                       (device.compute_capability >= 90 ? 0.6 : 0.85));
    // Wavefronts of the first-level cache and shared memory: fragments of x and w, packing, y.
    const double stages = items * static_cast<double>(g.channel_blocks * g.tap_groups);
    const double units = static_cast<double>(t.stage_chunks * g.pack_steps);
    const double k_steps =
        items * static_cast<double>(g.channel_blocks * problem.kernel_size * (t.stage_chunks / 2) * t.warps);
    const double split = static_cast<double>(g.planes_of_split), chunk = static_cast<double>(g.chunk);
    const auto signals = static_cast<double>(problem.signals());
    const double traffic = (k_steps * 24 * split + stages * units * (chunk * 1.5 * signals + 4 * split) +
                            items * static_cast<double>(t.warps) * 320) /
                           cycles;
    // Instructions that pack, four a cycle; a stage's barriers and latencies.
    const double pack = stages *
                        (units * (chunk * ((splits(problem) ? 16 : 5) + 4 * (signals - 1)) + 50) / 4 +
                         300.0 / static_cast<double>(t.blocks_per_sm)) /
                        cycles;
    const double exposed = memory * (1 - static_cast<double>(t.prefetch) / static_cast<double>(g.units));
    const double longest = std::max({memory, multiply, traffic, pack});
    const double apart = t.blocks_per_sm > 1 ? 0.2 : 0.4;  // of what does not overlap
    e.seconds = (longest + apart * (memory + multiply + traffic + pack - longest) + exposed / 2) *
                    (std::ceil(rounds) / rounds) +
                kLaunchSeconds;
    // On an H100 the parts overlap less than that, and weights an interval ahead come too late if it is one k-step.
    if (device.compute_capability == 90) e.seconds *= t.interval == 1 ? 1.8 : 1.3;
    return e;
  }

  std::int64_t workspace_bytes(const ConvProblem& asked, const Config& config, const Device&) const override {
    return layout(PolyphaseProblem(asked), Tile::read(config)).workspace_bytes();
  }
  std::int64_t packed_weights_bytes(const ConvProblem& asked, const Config& config, const Device&) const override {
    return layout(PolyphaseProblem(asked), Tile::read(config)).packed_bytes();
  }
  std::vector<KernelSpec> specs(const ConvProblem& asked, const Config& config, const Device&) const override {
    return specs(PolyphaseProblem(asked), Tile::read(config));
  }

  void launch(const ConvProblem& asked, const Config& config, const Device& device, const ConvTensors& given,
              const LaunchContext& context) const override {
    const PolyphaseProblem problem(asked);
    const ConvTensors tensors = polyphase_tensors(problem, given);
    const int repair = repair_mode(problem);
    check_layout(problem, tensors, repair != 0 || !PaddingGradient(asked).empty());
    const Tile t = Tile::read(config);
    const LaunchFunctions functions(*this, asked, config, device, context, 0, [&] { return specs(problem, t); });
    const Geometry g(problem, t);
    const PackedLayout where = layout(problem, t);
    const PackedMemory memory(where, context);
    prepare_packed(functions.driver(), functions[0], tensors.w, where, memory, context.stream,
                   problem.groups * g.padded_rows() / 16, kPackThreads);
    struct Sm80Params : FpropParams {
      const void* inverse;
      void* redo;
      std::int64_t to_forward_y;
    };
    Sm80Params p{{make_params(problem, tensors)},
                 memory.packed + where.inverse_offset(),
                 memory.state,
                 distance_to_forward_y(tensors.x, tensors.forward_y)};
    p.weights = memory.packed + where.weight_offset();
    const std::int64_t tiles_per_row = ceil_div(problem.out_length(), g.step);
    LaunchShape shape;
    shape.blocks = std::min<std::int64_t>(problem.batch * problem.groups * tiles_per_row * g.passes,
                                          device.sm_count * t.blocks_per_sm);
    shape.threads = static_cast<int>(32 * t.warps);
    shape.dynamic_shared_bytes = functions[1].dynamic_shared_bytes;
    shape.overlap_previous = memory.must_pack;
    cuda::launch(functions.driver(), functions[1], shape, context.stream, p);
    if (repair != 0)
      launch_direct(functions.driver(), functions[2], problem, device, tensors, context.stream,
                    {repair, memory.state, memory.packed, where.flag_words, g.step, g.step, tiles_per_row});
    launch_dgrad_padding(functions, repair != 0 ? 3 : 2, problem, device, tensors, context.stream);
  }

  LayerLaunch layer_launch(const ConvProblem& asked, const Config& config, const Device&) const override {
    const PolyphaseProblem problem = of_any_length(asked);
    const Tile t = Tile::read(config);
    const Geometry g(problem, t);
    LayerLaunch layer;
    layer.pack = LayerStep{pack_spec(problem, t), kPackThreads, problem.groups * g.padded_rows() / 16};
    layer.main = {main_spec(problem, t), 32 * t.warps, 0, g.step, g.passes, 1, t.blocks_per_sm};
    if (splits(problem))
      layer.repair = direct_step(problem, 1);
    else if (problem.pad_code == 1)
      layer.edges = direct_step(problem, 2);
    layer.packed = layout(problem, t);
    layer.redo_span = g.step;
    return layer;
  }

 private:
  const Pass pass_;

  /// Fills in what follows from a tile's shape. False: it does not fit.
  static bool complete(const PolyphaseProblem& problem, const Device& device, Tile& t) {
    const std::int64_t limit =
        std::min<std::int64_t>(device.shared_bytes_per_block > 0 ? device.shared_bytes_per_block : 98304, 98304);
    // What all blocks of a multiprocessor take; the rest is left to the first-level cache, for the weights.
    const std::int64_t budget = std::max(limit, device.shared_bytes_per_sm / 2);
    const Geometry g(problem, t);
    if (g.pack.raw_needed > (1 << 30) || g.shared_bytes + 1024 > limit) return false;
    const std::int64_t k_steps = t.taps * t.stage_chunks / 2;
    t.interval = splits(problem) && k_steps % 3 == 0 ? 3
                 : k_steps % 2 == 0                  ? 2
                 : splits(problem)                   ? std::min<std::int64_t>(k_steps, 3)
                                                     : std::min<std::int64_t>(k_steps, 2);
    // Registers for x while it is on its way. The split's accumulators leave 32; for the others 56 fit two blocks (255
    // registers a thread), 32 fit three (168).
    const std::int64_t most = (splits(problem) ? 32 : 56) / (g.chunk * problem.signals());
    t.prefetch = ceil_div(g.units, ceil_div(g.units, most));
    const bool three = !splits(problem) && t.prefetch == g.units && g.units * g.chunk * problem.signals() <= 32;
    t.blocks_per_sm = std::min<std::int64_t>(t.warps == 8 ? 1 : three ? 3 : 2, budget / (g.shared_bytes + 1024));
    t.buffers = !splits(problem) && t.blocks_per_sm * (g.shared_bytes + g.stage_bytes + 1024) <= budget ? 2 : 1;
    return true;
  }
  /// LC_MODE of the direct kernel's repair, 0: none.
  static int repair_mode(const PolyphaseProblem& problem) {
    return splits(problem) ? 1 : problem.pad_code == 1 ? 2 : 0;
  }
  static std::vector<KernelSpec> specs(const PolyphaseProblem& problem, const Tile& t) {
    std::vector<KernelSpec> specs{pack_spec(problem, t), main_spec(problem, t)};
    if (const int mode = repair_mode(problem); mode != 0) specs.push_back(direct_spec(problem, mode));
    add_dgrad_padding_spec(problem, specs);
    return specs;
  }
  static PackedLayout layout(const PolyphaseProblem& problem, const Tile& t) {
    const Geometry g(problem, t);
    PackedLayout layout;
    layout.flag_words = problem.groups * ceil_div(problem.out_channels_per_group(), 16);
    layout.inverse_bytes = splits(problem) ? problem.out_channels * 4 : 0;
    layout.weight_bytes = problem.groups * g.padded_rows() / 16 * g.channel_blocks * problem.kernel_size *
                          (t.stage_chunks / 2) * g.fragment_bytes();
    layout.weight_bytes += t.interval * g.fragment_bytes();  // a short interval prefetches as much as a whole one
    layout.redo_tiles = splits(problem) ? problem.batch * problem.groups * ceil_div(problem.out_length(), g.step) : 0;
    return layout;
  }
  static KernelSpec pack_spec(const PolyphaseProblem& problem, const Tile& t) {
    KernelSpec spec;
    spec.file = "conv/pack_fragments.cuh";
    spec.entry = "longconv_pack_fragments";
    spec.keep_carveout = true;
    spec.allow_local_memory = true;  // ptxas holds it at 32 registers for occupancy and may spill a word: it runs once
    spec.defines = {{"LC_FORMAT", element_code(problem)},
                    {"LC_IN_CHANNELS", problem.in_channels_per_group()},
                    {"LC_OUT_CHANNELS", problem.out_channels_per_group()},
                    {"LC_KERNEL_SIZE", problem.kernel_size},
                    {"LC_TRANSPOSED", std::int64_t{problem.is_dgrad}},
                    {"LC_STAGE_CHUNKS", t.stage_chunks},
                    {"LC_PADDED_OUT_CHANNELS", Geometry(problem, t).padded_rows()}};
    return spec;
  }
  static KernelSpec main_spec(const PolyphaseProblem& problem, const Tile& t) {
    KernelSpec spec;
    spec.file = "conv/dense_fprop_sm80.cuh";
    spec.entry = "longconv_dense_fprop_sm80";
    spec.defines = problem_defines(problem);
    for (const Define& define :
         {Define{"LC_ELEMENT", element_code(problem)}, Define{"LC_WARPS", t.warps}, Define{"LC_WARPS_OUT", t.warps_out},
          Define{"LC_ROW_BLOCKS", WarpTile(problem).row_blocks}, Define{"LC_SLICES", WarpTile(problem).slices},
          Define{"LC_STAGE_CHUNKS", t.stage_chunks}, Define{"LC_TAPS", t.taps}, Define{"LC_INTERVAL", t.interval},
          Define{"LC_PREFETCH", t.prefetch}, Define{"LC_BUFFERS", t.buffers},
          Define{"LC_BLOCKS_PER_SM", t.blocks_per_sm}}) {
      spec.defines.push_back(define);
    }
    spec.dynamic_shared_bytes = Geometry(problem, t).shared_bytes;
    spec.defines.push_back({"LC_SHARED_BYTES", spec.dynamic_shared_bytes});
    // 255 registers: ptxas keeps a few words of the position in the sequence in memory, outside the products; with many
    // phases also a few of their addresses.
    spec.allow_local_memory = splits(problem) || problem.phases > 1;
    return spec;
  }
};

}  // namespace
}  // namespace cuda

const Kernel& dense_fprop_sm80() {
  static const cuda::DenseSm80 kernel(Pass::fprop);
  return kernel;
}
const Kernel& dense_dgrad_sm80() {
  static const cuda::DenseSm80 kernel(Pass::dgrad);
  return kernel;
}

}  // namespace longconv
