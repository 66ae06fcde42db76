// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Launcher of kernels/conv/dense_fprop_sm90.cuh, as dense_fprop_sm90 and dense_dgrad_sm90: TF32, bf16 and f16 on
// Hopper.
#include <algorithm>

#include "cuda/dense_fprop_common.h"
#include "cuda/dense_fprop_sm90_tile.h"
#include "cuda/dgrad_padding.h"
#include "cuda/hopper_estimate.h"
#include "cuda/layer_launch.h"
#include "cuda/packed_weights.h"
#include "plan/registry.h"

namespace longconv {
namespace cuda {
namespace {

enum Pack : std::int64_t { kAny = 0, kTransposed = 1, kGather = 2 };

using fprop_sm90::Geometry;
using fprop_sm90::Tile;

class DenseSm90 final : public CudaKernel {
 public:
  explicit DenseSm90(Pass pass) : pass_(pass) {}
  std::string_view name() const override { return pass_ == Pass::dgrad ? "dense_dgrad_sm90" : "dense_fprop_sm90"; }

  Support supports(const ConvProblem& problem, const Device& device) const override {
    Support support = supports_dense(problem, pass_, device);
    if (!support.ok) return support;
    if (device.compute_capability != 90) return Support::no("needs compute capability 9.0 (Hopper)");
    const bool tf32 = problem.dtype == DType::f32 && problem.precision == Precision::tf32;
    if (!tf32 && problem.dtype != DType::bf16 && problem.dtype != DType::f16)
      return Support::no("multiplies TF32, bf16 and f16 only");
    if (configs(problem, device).empty()) return Support::no("no tile of this problem fits shared memory");
    return Support::yes();
  }

  std::vector<Config> configs(const ConvProblem& asked, const Device& device) const override {
    const PolyphaseProblem problem(asked);
    std::vector<std::pair<double, Config>> found;
    const std::int64_t bytes = size_bytes(problem.dtype), chunk = 16 / bytes, out = problem.out_channels_per_group();
    const std::int64_t all_chunks = round_up(ceil_div(problem.in_channels_per_group(), chunk), 2);
    const bool gather = gathers(problem), aligned = problem.phases == 1 && problem.out_length() * bytes % 16 == 0;
    using Pair = std::pair<std::int64_t, std::int64_t>;
    for (const auto& [m, n] : {Pair{1, phase_columns(problem, 256)},
                               {1, phase_columns(problem, 128)},
                               {2, products_bind(problem) ? 160 / problem.phases : 0},
                               {2, phase_columns(problem, 128)}}) {
      if ((m == 2 && out <= 128) || n == 0) continue;
      for (const std::int64_t taps : tap_groups(problem, {32, 16, 8, 6, 4, 3, 2, 1})) {
        for (const auto& [chunks, w_steps] : {Pair{8, 4}, {8, 2}, {4, 2}, {2, 1}}) {
          if (chunks > all_chunks && chunks != 2) continue;
          for (const std::int64_t resident : {0, 1})
            for (const auto& [full, rows] : stores(problem, aligned))
              for (const std::int64_t cluster : cluster_sizes(problem, resident))
                for (const auto& [stationary, packers] : {Pair{0, 3}, {0, 7}, {1, 3}, {1, 4}, {1, 7}, {2, 4}, {2, 7}}) {
                  if (packers == 7 && chunks > 4) continue;  // they would finish a slot in two unequal rounds
                  if (stationary == 2 && (!holds_weights(problem) || 2 * w_steps != chunks)) continue;
                  const Tile t{m,       n,          out <= 64 ? 1 : 2, chunks, 2,    1,       taps,   2,
                               w_steps, stationary, resident,          full,   rows, packers, cluster};
                  add_best_fit(problem, device, t, gather, found);
                }
        }
      }
    }
    return quickest(std::move(found), 12);
  }

  Estimate estimate(const ConvProblem& asked, const Config& config, const Device& device) const override {
    const PolyphaseProblem problem(asked);
    const Tile t = Tile::read(config);
    const bool gather = gathers(problem);
    const Geometry g(problem, t, gather);
    return estimate(problem, t, g, gather, device);
  }

  std::int64_t workspace_bytes(const ConvProblem& asked, const Config& config, const Device&) const override {
    return layout(PolyphaseProblem(asked), Tile::read(config)).workspace_bytes();
  }
  std::int64_t packed_weights_bytes(const ConvProblem& asked, const Config& config, const Device&) const override {
    return layout(PolyphaseProblem(asked), Tile::read(config)).packed_bytes();
  }

  std::vector<KernelSpec> specs(const ConvProblem& asked, const Config& config, const Device&) const override {
    const PolyphaseProblem problem(asked);
    const std::int64_t out_bytes = problem.out_length() * size_bytes(problem.dtype);
    return specs(problem, Tile::read(config), gathers(problem), out_bytes % 16 == 0);
  }

  void launch(const ConvProblem& asked, const Config& config, const Device& device, const ConvTensors& given,
              const LaunchContext& context) const override {
    const PolyphaseProblem problem(asked);
    const ConvTensors tensors = polyphase_tensors(problem, given);
    check_layout(problem, tensors, needs_repair(problem) || !PaddingGradient(asked).empty());
    const Tile asked_tile = Tile::read(config);
    const bool gather = gathers(problem, tensors.x);
    const bool aligned = has_aligned_rows(problem, tensors.y);
    const LaunchFunctions functions(*this, asked, config, device, context, (gather ? 2 : 0) + (aligned ? 1 : 0),
                                    [&] { return specs(problem, asked_tile, gather, aligned); });
    const Tile t = aligned ? asked_tile : with_staging<Geometry>(problem, asked_tile, gather);
    const Geometry g(problem, t, gather);
    PackedLayout where = layout(problem, t);
    const PackedMemory memory(where, context);
    const HopperItems items(problem, g.step, t.resident ? 1 : g.passes, t.cluster, device);
    if (!items.draws()) where.counters = 0;
    prepare_packed(functions.driver(), functions[0], tensors.w, where, memory, context.stream,
                   problem.groups * g.padded_rows(t), 128);
    struct Sm90Params : HopperParams {
      std::int64_t to_forward_y;
    };
    Sm90Params p{{{make_params(problem, tensors)}, memory.counter(where)},
                 distance_to_forward_y(tensors.x, tensors.forward_y)};
    p.weights = memory.packed + where.weight_offset();
    LaunchShape shape = items.shape;
    shape.threads = static_cast<int>(t.threads());
    shape.dynamic_shared_bytes = functions[1].dynamic_shared_bytes;
    shape.overlap_previous = memory.must_pack;
    cuda::launch(functions.driver(), functions[1], shape, context.stream, p);
    if (needs_repair(problem)) {
      Repair repair;
      repair.mode = 2;
      repair.flags = memory.packed;
      repair.flag_words = where.flag_words;
      launch_direct(functions.driver(), functions[2], problem, device, tensors, context.stream, repair);
    }
    launch_dgrad_padding(functions, needs_repair(problem) ? 3 : 2, problem, device, tensors, context.stream);
  }

  LayerLaunch layer_launch(const ConvProblem& asked, const Config& config, const Device&) const override {
    const PolyphaseProblem problem = of_any_length(asked);
    const Tile t = Tile::read(config);
    const Geometry g(problem, t, gathers(problem));
    const std::int64_t aligned = 16 / g.element_bytes;
    const bool direct_store = t.full && problem.out_length() % aligned == 0;
    LayerLaunch layer;
    layer.pack = LayerStep{pack_spec(problem, t), 128, problem.groups * g.padded_rows(t)};
    layer.main = {main_spec(problem, t, gathers(problem), direct_store),
                  t.threads(),
                  0,
                  g.step,
                  t.resident ? 1 : g.passes,
                  t.cluster};
    layer.packed = layout(problem, t);
    layer.out_length_multiple = direct_store ? aligned : 1;
    if (needs_repair(problem)) layer.edges = direct_step(problem, 2);
    return layer;
  }

 private:
  const Pass pass_;

  /// Zero padding is multiplied as zeros; where a weight is Inf or NaN, edges are done again without.
  static bool needs_repair(const PolyphaseProblem& problem) { return problem.pad_code == 1; }

  /// aligned: the output's rows begin on 16 bytes.
  static std::vector<KernelSpec> specs(const PolyphaseProblem& problem, const Tile& t, bool gather, bool aligned) {
    const Tile main = aligned ? t : with_staging<Geometry>(problem, t, gather);
    std::vector<KernelSpec> specs{pack_spec(problem, t), main_spec(problem, main, gather, aligned)};
    if (needs_repair(problem)) specs.push_back(direct_spec(problem, 2));
    add_dgrad_padding_spec(problem, specs);
    return specs;
  }
  /// The same for t and what with_staging makes of it.
  static PackedLayout layout(const PolyphaseProblem& problem, const Tile& t) {
    const Geometry g(problem, t, false);
    PackedLayout layout;
    layout.flag_words = problem.out_channels;
    layout.counters = t.cluster == 1 ? 1 : 0;
    layout.weight_bytes = problem.groups * g.padded_rows(t) * g.channel_blocks * t.chunks * problem.kernel_size * 16;
    return layout;
  }

  static std::int64_t element_code(const PolyphaseProblem& problem) {
    return problem.dtype == DType::f32 ? 0 : problem.dtype == DType::bf16 ? 1 : 2;
  }

  static KernelSpec pack_spec(const PolyphaseProblem& problem, const Tile& t) {
    const Geometry g(problem, t, false);
    KernelSpec spec;
    spec.file = "conv/pack_weights.cuh";
    spec.entry = "longconv_pack_weights";
    spec.keep_carveout = true;
    spec.allow_local_memory = true;  // ptxas holds it at 32 registers for occupancy and may spill a word: it runs once
    spec.defines = {{"LC_FORMAT", element_code(problem)},
                    {"LC_IN_CHANNELS", problem.in_channels_per_group()},
                    {"LC_OUT_CHANNELS", problem.out_channels_per_group()},
                    {"LC_KERNEL_SIZE", problem.kernel_size},
                    {"LC_TRANSPOSED", std::int64_t{problem.is_dgrad}},
                    {"LC_RING_ROWS", g.ring_rows(t)},
                    {"LC_BLOCK_CHUNKS", t.chunks},
                    {"LC_PADDED_OUT_CHANNELS", g.padded_rows(t)}};
    return spec;
  }

  static KernelSpec main_spec(const PolyphaseProblem& problem, const Tile& t, bool gather, bool aligned_output) {
    KernelSpec spec;
    spec.file = "conv/dense_fprop_sm90.cuh";
    spec.entry = "longconv_dense_fprop_sm90";
    spec.defines = problem_defines(problem);
    const std::int64_t pack = gather                                                  ? kGather
                              : problem.stride == 1 && size_bytes(problem.dtype) == 2 ? kTransposed
                                                                                      : kAny;
    const std::int64_t store = store_code(problem, t.full, aligned_output, t.stage_rows);
    for (const Define& define :
         {Define{"LC_ELEMENT", element_code(problem)}, Define{"LC_M_BLOCKS", t.m_blocks},
          Define{"LC_COLUMNS", t.columns}, Define{"LC_CHANNEL_WAYS", t.channel_ways}, Define{"LC_CHUNKS", t.chunks},
          Define{"LC_SLOTS", t.slots}, Define{"LC_RAW_STAGES", t.raw_stages}, Define{"LC_TAPS", t.taps},
          Define{"LC_W_STAGES", t.w_stages}, Define{"LC_W_STEPS", t.w_steps}, Define{"LC_W_STATIONARY", t.stationary},
          Define{"LC_X_RESIDENT", t.resident}, Define{"LC_PACKERS", t.packers}, Define{"LC_CLUSTER", t.cluster},
          Define{"LC_STORE", store}, Define{"LC_PACK", pack}, Define{"LC_STAGE_ROWS", t.stage_rows}}) {
      spec.defines.push_back(define);
    }
    spec.dynamic_shared_bytes = Geometry(problem, t, gather).shared_bytes;
    spec.defines.push_back({"LC_SHARED_BYTES", spec.dynamic_shared_bytes});
    spec.allow_local_memory = true;  // epilogues with activations may spill a few words outside the main loop
    return spec;
  }

  /// Whether tiles of 160 columns may be better: not where memory binds (measured: 256 channels, kernel size 1), nor
  /// where planes of f32 leave little memory to weights (stride 2).
  static bool products_bind(const PolyphaseProblem& problem) {
    return (problem.stride == 1 || size_bytes(problem.dtype) == 2) &&
           (problem.phases == 1 || problem.phases == 2 || problem.phases == 4) &&
           problem.out_channels_per_group() * problem.in_channels_per_group() * problem.kernel_size >= 128 * 1024;
  }

  /// Whether registers may be the better place for weights that stay: where in shared memory they would leave too
  /// little for long windows and for rows on their way out (measured: 64 to 128 channels in TF32, three taps, stride
  /// 3). Wider tiles are better where those fit.
  static bool holds_weights(const PolyphaseProblem& problem) {
    return size_bytes(problem.dtype) == 4 && problem.stride > 1 &&
           problem.out_channels_per_group() * problem.in_channels_per_group() * problem.kernel_size >= 16 * 1024;
  }

  /// How rows may leave: (full, stage_rows). aligned: rows of one phase, which begin on 16 bytes.
  static std::vector<std::pair<std::int64_t, std::int64_t>> stores(const PolyphaseProblem& problem, bool aligned) {
    const std::int64_t rows = size_bytes(problem.dtype) == 2 ? 8 : 4;
    if (rows == 8 && aligned) return {{0, rows}, {1, 0}, {1, rows}};
    if (rows == 8) return {{0, rows}, {1, rows}};
    if (problem.phases > 1) return {{0, rows}, {1, rows}, {1, 8}};
    if (aligned) return {{0, rows}, {0, 8}, {0, 0}, {1, 0}, {1, rows}, {1, 8}};
    return {{0, rows}, {0, 8}, {0, 0}, {1, rows}, {1, 8}};
  }

  /// Adds the tile with the two depths of rings that cost least: deeper ones than the first gain nothing.
  static void add_best_fit(const PolyphaseProblem& problem, const Device& device, Tile t, bool gather,
                           std::vector<std::pair<double, Config>>& found) {
    const Geometry base(problem, t, gather);
    if (t.resident) {
      t.slots = base.channel_blocks * base.tap_groups;
      if (base.passes == 1 || t.slots > 16) return;
    }
    if (t.held()) {
      t.w_stages = 0;
    } else if (t.stationary) {
      t.w_stages = base.pass_stages;
      if (t.w_stages * t.w_steps * t.m_blocks > 48) return;
    }
    const std::int64_t w_unit = t.w_steps * t.m_blocks;  // 2 KB each
    std::vector<std::pair<double, Config>> tried;
    using Depths = std::pair<std::int64_t, std::int64_t>;
    for (const auto& [slots, raw] :
         {Depths{6, 3}, {4, 3}, {3, 3}, {6, 2}, {5, 2}, {4, 2}, {3, 2}, {2, 2}, {4, 1}, {3, 1}, {2, 1}}) {
      if (slots > 4 && t.chunks > 2) continue;
      for (const std::int64_t w_depth : {24, 16, 12, 8, 6, 4}) {
        Tile fit = t;
        if (!t.resident) fit.slots = slots;
        fit.raw_stages = raw;
        if (!t.stationary) fit.w_stages = std::max<std::int64_t>(2, w_depth / w_unit);
        const Geometry g(problem, fit, gather);
        if (!g.fits || !Geometry(problem, with_staging<Geometry>(problem, fit, gather), gather).fits) continue;
        tried.emplace_back(estimate(problem, fit, g, gather, device).seconds, fit.config());
        break;
      }
    }
    keep_quickest(tried, 2, found);
  }

  static Estimate estimate(const PolyphaseProblem& problem, const Tile& t, const Geometry& g, bool gather,
                           const Device& device) {
    HopperWork w = hopper_work(problem, t, g);
    w.rings = {1.465, 0.0125, 0.577, 2900, 0.331, 131};
    // Long windows: enough is under way, but slots fill late.
    if (size_bytes(problem.dtype) == 4 && g.raw_bytes > (problem.stride > 1 ? 4096 : 8192)) {
      w.rings.serial_load = 0.1;
      w.slot_wait = 0.35;
    }
    const std::int64_t groups = t.held() ? g.channel_blocks * g.tap_groups : g.pass_stages;
    w.groups = static_cast<double>(groups);
    if (t.held()) {  // memory binds, and what is under way suffices
      w.rings.serial_load = 0;
      w.rings.useful_raw_stages = 1;
    }
    w.product_cycles = static_cast<double>(g.pass_stages * t.w_steps / groups * t.m_blocks * t.columns) * 0.97 /
                       narrow_rate(t.columns);
    w.group_latency = 321;
    const bool whole = w.store == HopperStore::whole && problem.phases == 1;
    if (problem.phases > 1) w.piece_share = 0.67;
    if (whole && t.packers == 7) w.piece_share = 0.315;
    if (t.packers == 7) w.direct_cycles = 840;
    // Eight columns of a row in the middle of a sector are three sectors, two of them in halves.
    if (w.store == HopperStore::direct && w.element_bytes == 4 && w.halved_bytes > 1) w.halved_bytes = 1.56;
    // Four packers wait for memory, seven do not; of several phases only where loads are small.
    const bool deep_raw_helps = t.packers == 4 && t.raw_stages > 2 && (problem.phases == 1 || g.raw_bytes < 3072);
    w.deep_raw_costs = !deep_raw_helps && (!whole || t.packers != 7);
    if (whole && t.packers == 7 && t.stage_rows * w.element_bytes > 16) w.held_bytes = 1.015;
    w.flops = 2 * w.tiles * static_cast<double>(g.span * g.padded_rows(t)) *
              static_cast<double>(g.channel_blocks * t.chunks * g.chunk * problem.kernel_size);
    w.blocks = t.m_blocks;
    w.columns = problem.phases * t.columns;
    w.units = static_cast<double>(g.channel_blocks * g.tap_groups * t.chunks);
    // One packer, one unit.
    const double rows = gather ? 400 : problem.signals() == 2 ? 135 : 95;  // the gradient's: not measured
    w.unit_cycles = (825 + static_cast<double>(g.pack.steps()) * rows) * (t.packers == 7 ? 0.84 : 1);
    if (t.packers == 7 && (t.held() || g.sum_columns > 256)) w.unit_cycles *= 1.35;  // of few registers
    if (g.sum_columns > 256) {                                                       // 160 sums a thread
      if (size_bytes(problem.dtype) == 4) w.product_cycles *= 0.75;
      if (whole && t.stage_rows * w.element_bytes <= 16) w.piece_share *= 1.57;
    }
    w.packers = t.packers;
    w.raw_stages = t.raw_stages;
    w.raw_bytes = g.raw_bytes;
    if (!t.stationary)
      w.weight_bytes = static_cast<double>(g.pass_stages * t.channel_ways * t.w_steps * t.m_blocks) * 2048;
    w.ring_bytes = std::max<std::int64_t>(1, t.channel_ways * t.w_stages * t.w_steps * t.m_blocks * 2048);
    return hopper_estimate(w, device);
  }
};

}  // namespace
}  // namespace cuda

const Kernel& dense_fprop_sm90() {
  static const cuda::DenseSm90 kernel(Pass::fprop);
  return kernel;
}
const Kernel& dense_dgrad_sm90() {
  static const cuda::DenseSm90 kernel(Pass::dgrad);
  return kernel;
}

}  // namespace longconv
