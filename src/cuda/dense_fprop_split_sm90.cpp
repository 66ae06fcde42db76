// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Launcher of kernels/conv/dense_fprop_split_sm90.cuh, as dense_fprop_split_sm90 and dense_dgrad_split_sm90: fp32 on
// Hopper's f16 tensor cores.
#include <algorithm>

#include "cuda/dense_fprop_common.h"
#include "cuda/dgrad_padding.h"
#include "cuda/hopper_estimate.h"
#include "cuda/layer_launch.h"
#include "cuda/packed_weights.h"
#include "plan/registry.h"

namespace longconv {
namespace cuda {
namespace {

constexpr std::int64_t kThreads = 384, kMostColumns = 128, kTapBytes = 4096;

struct Tile {
  std::int64_t channel_ways, slots, raw_stages, taps, interval, chain, w_stages, stationary, resident, full, packers,
      cluster, team, stage_rows;  ///< chain: intervals that are promoted together

  static Tile read(const Config& config) {
    ConfigReader c(config);
    return {c.get("ways"),    c.get("slots"),   c.get("raw"),        c.get("taps"),     c.get("interval"),
            c.get("chain"),   c.get("w"),       c.get("stationary"), c.get("resident"), c.get("full"),
            c.get("packers"), c.get("cluster"), c.get("team"),       c.get("rows")};
  }
  Config config() const {
    return Config{{{"ways", channel_ways},
                   {"slots", slots},
                   {"raw", raw_stages},
                   {"taps", taps},
                   {"interval", interval},
                   {"chain", chain},
                   {"w", w_stages},
                   {"stationary", stationary},
                   {"resident", resident},
                   {"full", full},
                   {"packers", packers},
                   {"cluster", cluster},
                   {"team", team},
                   {"rows", stage_rows}}};
  }
};

/// Mirrors struct C of the kernel.
struct Geometry {
  std::int64_t columns, row_step, span, out_span, step, channel_blocks, tap_groups, passes, pass_stages, raw_bytes,
      shared_bytes;
  PackGeometry pack;
  bool fits = false;

  Geometry(const PolyphaseProblem& p, const Tile& t, bool gather)
      : columns(phase_columns(p, kMostColumns)),
        row_step(phase_step(p, columns, t.full)),
        span(row_step * (2 / t.channel_ways - 1) + columns),
        out_span(p.phases * span),
        step(p.phases * row_step * (2 / t.channel_ways)),
        channel_blocks(ceil_div(p.in_channels_per_group(), 16)),
        tap_groups(ceil_div(p.kernel_size, t.taps)),
        passes(ceil_div(p.out_channels_per_group(), 64 * t.channel_ways)),
        pack(span, t.taps, p) {
    const std::int64_t last_taps = p.kernel_size - (tap_groups - 1) * t.taps;
    pass_stages = channel_blocks * ((tap_groups - 1) * ceil_div(t.taps, t.interval) + ceil_div(last_taps, t.interval));
    const std::int64_t pitch = (ceil_div((pack.raw_needed + 3) * 4, 16) | 1) * 16;
    raw_bytes = gather ? 0 : p.signals() * 16 * pitch;
    const std::int64_t raw_buffers = t.raw_stages * (t.team ? 1 : t.packers);
    const std::int64_t expected = std::min<std::int64_t>(channel_blocks * tap_groups, 64);
    shared_bytes = t.slots * pack.chunk_rows() * 64 + t.channel_ways * t.w_stages * t.interval * kTapBytes +
                   raw_buffers * raw_bytes + 8 * t.stage_rows * stage_pitch_bytes(p.phases, columns, 4) +
                   round_up(t.slots * 4, 16) + round_up((t.team ? 16 * t.packers : 0) + 4 * t.packers * expected, 8) +
                   8 * (2 * t.slots + (t.team ? 2 : 1) * raw_buffers + 2 * t.channel_ways * t.w_stages) +
                   drawn_items_bytes((t.raw_stages + 1) * (t.team ? 1 : t.packers), channel_blocks * tap_groups,
                                     t.stationary ? 0 : t.w_stages, pass_stages * (t.resident ? passes : 1), t.slots,
                                     channel_blocks * tap_groups) +
                   4 * (t.packers + 1);
    fits = columns > 0 && t.interval % p.period() == 0 && (t.stage_rows > 0 || p.phases == 1) &&
           shared_bytes <= kHopperSharedBytes && pack.chunk_rows() < (1 << 14) && t.slots >= (t.team ? 2 : t.packers) &&
           (t.packers == 3 || (t.packers == 4 && t.stationary && !t.team)) &&
           (t.cluster == 1 || (!t.stationary && p.groups == 1)) &&
           (!t.stationary || (t.w_stages == pass_stages && passes == 1 && p.groups == 1)) &&
           (!t.resident || t.slots == channel_blocks * tap_groups);
  }
  std::int64_t ring_rows(const Tile&) const { return 64; }
  std::int64_t padded_rows(const Tile& t) const { return passes * ring_rows(t) * t.channel_ways; }
};

class DenseSplitSm90 final : public CudaKernel {
 public:
  explicit DenseSplitSm90(Pass pass) : pass_(pass) {}
  std::string_view name() const override {
    return pass_ == Pass::dgrad ? "dense_dgrad_split_sm90" : "dense_fprop_split_sm90";
  }

  Support supports(const ConvProblem& problem, const Device& device) const override {
    Support support = supports_dense(problem, pass_, device);
    if (!support.ok) return support;
    if (device.compute_capability != 90) return Support::no("needs compute capability 9.0 (Hopper)");
    if (problem.dtype != DType::f32 || problem.precision != Precision::fp32) return Support::no("multiplies fp32 only");
    support = supports_split(PolyphaseProblem(problem));
    if (!support.ok) return support;
    if (configs(problem, device).empty()) return Support::no("no tile of this problem fits shared memory");
    return Support::yes();
  }

  std::vector<Config> configs(const ConvProblem& asked, const Device& device) const override {
    const PolyphaseProblem problem(asked);
    std::vector<std::pair<double, Config>> found;
    using Pair = std::pair<std::int64_t, std::int64_t>;
    const std::int64_t ways = problem.out_channels_per_group() <= 64 ? 1 : 2;
    const bool aligned = problem.phases == 1 && problem.out_length() % 4 == 0;
    std::vector<Pair> stores{{0, 4}, {1, 4}, {1, 8}};  // full, stage_rows
    if (problem.phases == 1) stores = {{0, 0}, {0, 4}, {0, 8}, {1, 4}, {1, 8}};
    if (aligned) stores.insert(stores.begin() + 3, {1, 0});
    for (const std::int64_t taps : tap_groups(problem, {32, 16, 8, 6, 4, 3, 2, 1})) {
      const std::int64_t interval = interval_of(problem, taps);
      const std::vector<std::int64_t> chain_lengths = chains(problem, taps);
      for (const std::int64_t resident : {0, 1})
        for (const auto& [full, rows] : stores)
          for (const std::int64_t team : {0, 1})
            for (const std::int64_t cluster : cluster_sizes(problem, resident))
              for (const auto& [stationary, packers] : {Pair{0, 3}, {1, 3}, {1, 4}})
                for (const std::int64_t chain : chain_lengths) {
                  const Tile t{ways,       3,        1,    taps,    interval, chain, 2,
                               stationary, resident, full, packers, cluster,  team,  rows};
                  add_best_fit(problem, device, t, found);
                }
    }
    return quickest(std::move(found), 8);
  }

  Estimate estimate(const ConvProblem& asked, const Config& config, const Device& device) const override {
    const PolyphaseProblem problem(asked);
    const Tile t = Tile::read(config);
    return estimate(problem, t, Geometry(problem, t, gathers(problem)), device);
  }
  std::int64_t workspace_bytes(const ConvProblem& asked, const Config& config, const Device&) const override {
    return layout(PolyphaseProblem(asked), Tile::read(config)).workspace_bytes();
  }
  std::int64_t packed_weights_bytes(const ConvProblem& asked, const Config& config, const Device&) const override {
    return layout(PolyphaseProblem(asked), Tile::read(config)).packed_bytes();
  }
  std::vector<KernelSpec> specs(const ConvProblem& asked, const Config& config, const Device& device) const override {
    const PolyphaseProblem problem(asked);
    const Tile t = Tile::read(config);
    const bool aligned = problem.out_length() % 4 == 0;
    const Tile main = aligned ? t : with_staging<Geometry>(problem, t, gathers(problem));
    return specs(problem, t, gathers(problem), aligned,
                 items_of(problem, main, Geometry(problem, main, gathers(problem)), device).repairs_itself());
  }

  void launch(const ConvProblem& asked, const Config& config, const Device& device, const ConvTensors& given,
              const LaunchContext& context) const override {
    const PolyphaseProblem problem(asked);
    const ConvTensors tensors = polyphase_tensors(problem, given);
    check_layout(problem, tensors, true);
    const Tile asked_tile = Tile::read(config);
    const bool gather = gathers(problem, tensors.x);
    const bool aligned = has_aligned_rows(problem, tensors.y);
    const Tile t = aligned ? asked_tile : with_staging<Geometry>(problem, asked_tile, gather);
    const Geometry g(problem, t, gather);
    const HopperItems items = items_of(problem, t, g, device);
    const bool itself = items.repairs_itself();
    const LaunchFunctions functions(*this, asked, config, device, context,
                                    (gather ? 2 : 0) + (aligned ? 1 : 0) + (itself ? 4 : 0),
                                    [&] { return specs(problem, asked_tile, gather, aligned, itself); });
    PackedLayout where = layout(problem, t);
    const PackedMemory memory(where, context);
    if (!items.draws()) where.counters = 0;
    if (itself) where.redo_tiles = 0;
    prepare_packed(functions.driver(), functions[0], tensors.w, where, memory, context.stream,
                   problem.groups * g.padded_rows(t), 128);
    LaunchShape shape = items.shape;
    shape.threads = static_cast<int>(kThreads);
    shape.dynamic_shared_bytes = functions[1].dynamic_shared_bytes;
    shape.overlap_previous = memory.must_pack;
    HopperParams common{make_params(problem, tensors), memory.counter(where)};
    common.weights = memory.packed + where.weight_offset();
    const void* const inverse = memory.packed + where.inverse_offset();
    const std::int64_t to_forward_y = distance_to_forward_y(tensors.x, tensors.forward_y);
    if (itself) {
      struct : HopperParams {
        const void *inverse, *w, *flags;
        std::int64_t flag_words, w_out, w_in, w_tap, to_forward_y;
      } p{{common},
          inverse,
          tensors.w.data,
          memory.packed,
          where.flag_words,
          tensors.w.strides[0],
          tensors.w.strides[1],
          tensors.w.strides[2],
          to_forward_y};
      cuda::launch(functions.driver(), functions[1], shape, context.stream, p);
    } else {
      struct : HopperParams {
        const void* inverse;
        void* redo;
        std::int64_t to_forward_y;
      } p{{common}, inverse, memory.state, to_forward_y};
      cuda::launch(functions.driver(), functions[1], shape, context.stream, p);
      launch_direct(functions.driver(), functions[2], problem, device, tensors, context.stream,
                    {1, memory.state, memory.packed, where.flag_words, g.step, g.out_span, items.tiles_per_row});
    }
    launch_dgrad_padding(functions, itself ? 2 : 3, problem, device, tensors, context.stream);
  }

  LayerLaunch layer_launch(const ConvProblem& asked, const Config& config, const Device&) const override {
    const PolyphaseProblem problem = of_any_length(asked);
    const Tile t = Tile::read(config);
    const Geometry g(problem, t, gathers(problem));
    const bool direct_store = t.full && problem.out_length() % 4 == 0;
    LayerLaunch layer;
    layer.pack = LayerStep{pack_spec(problem, t), 128, problem.groups * g.padded_rows(t)};
    layer.main = {main_spec(problem, t, gathers(problem), direct_store, false),
                  kThreads,
                  0,
                  g.step,
                  t.resident ? 1 : g.passes,
                  t.cluster};
    layer.repair = direct_step(problem, 1);
    layer.packed = layout(problem, t);
    layer.redo_span = g.out_span;
    layer.out_length_multiple = direct_store ? 4 : 1;
    return layer;
  }

 private:
  const Pass pass_;

  static HopperItems items_of(const PolyphaseProblem& problem, const Tile& t, const Geometry& g, const Device& device) {
    return {problem, g.step, t.resident ? 1 : g.passes, t.cluster, device};
  }

  /// Taps of an interval: a chain of products has at most 3 of one phase.
  static std::int64_t interval_of(const PolyphaseProblem& problem, std::int64_t taps) {
    const std::int64_t period = problem.period();
    return period * std::max<std::int64_t>(1, std::min({taps / period, std::int64_t{3}, 6 / period}));
  }

  /// Whether a tap group is whole intervals, the last one too.
  static bool has_whole_intervals(const PolyphaseProblem& problem, std::int64_t taps) {
    const std::int64_t interval = interval_of(problem, taps), last_taps = (problem.kernel_size - 1) % taps + 1;
    return taps % interval == 0 && last_taps % interval == 0;
  }
  /// Whether intervals are of one tap of each phase, and none is shorter.
  static bool has_short_intervals(const PolyphaseProblem& problem, std::int64_t taps) {
    return interval_of(problem, taps) == problem.period() && has_whole_intervals(problem, taps);
  }
  /// Intervals that may be promoted together: 48 products of an output in a row. Longer ones are allowed where sums are
  /// (docs/design/numerics.md) but not measured yet, so they are listed with LONGCONV_CUDA_CANDIDATES only.
  static std::vector<std::int64_t> chains(const PolyphaseProblem& problem, std::int64_t taps) {
    const std::int64_t usual = has_short_intervals(problem, taps) ? 3 : 1;
    const std::int64_t products = problem.in_channels_per_group() * (problem.kernel_size / problem.period());
    const bool may_be_longer = products >= 768 && (problem.period() == 1 || has_whole_intervals(problem, taps));
    if (!may_be_longer || !lists_more_candidates()) return {usual};
    return {usual, 2 * usual};
  }

  /// aligned: the output's rows begin on 16 bytes.
  static std::vector<KernelSpec> specs(const PolyphaseProblem& problem, const Tile& t, bool gather, bool aligned,
                                       bool repairs_itself) {
    const Tile main = aligned ? t : with_staging<Geometry>(problem, t, gather);
    std::vector<KernelSpec> specs{pack_spec(problem, t), main_spec(problem, main, gather, aligned, repairs_itself)};
    if (!repairs_itself) specs.push_back(direct_spec(problem, 1));
    add_dgrad_padding_spec(problem, specs);
    return specs;
  }
  /// The same for t and what with_staging makes of it.
  static PackedLayout layout(const PolyphaseProblem& problem, const Tile& t) {
    const Geometry g(problem, t, false);
    PackedLayout layout;
    layout.flag_words = problem.out_channels;
    layout.inverse_bytes = problem.out_channels * 4;
    layout.weight_bytes = problem.groups * g.padded_rows(t) * g.channel_blocks * problem.kernel_size * 64;
    layout.redo_tiles = problem.batch * problem.groups * ceil_div(problem.out_length(), g.step);
    layout.counters = t.cluster == 1 ? 1 : 0;
    return layout;
  }
  static KernelSpec pack_spec(const PolyphaseProblem& problem, const Tile& t) {
    KernelSpec spec;
    spec.file = "conv/pack_weights.cuh";
    spec.entry = "longconv_pack_weights";
    spec.keep_carveout = true;
    spec.allow_local_memory = true;  // ptxas holds it at 32 registers for occupancy and may spill a word: it runs once
    spec.defines = {{"LC_FORMAT", std::int64_t{3}},
                    {"LC_IN_CHANNELS", problem.in_channels_per_group()},
                    {"LC_OUT_CHANNELS", problem.out_channels_per_group()},
                    {"LC_KERNEL_SIZE", problem.kernel_size},
                    {"LC_TRANSPOSED", std::int64_t{problem.is_dgrad}},
                    {"LC_RING_ROWS", std::int64_t{64}},
                    {"LC_BLOCK_CHUNKS", std::int64_t{2}},
                    {"LC_PADDED_OUT_CHANNELS", Geometry(problem, t, false).padded_rows(t)}};
    return spec;
  }
  static KernelSpec main_spec(const PolyphaseProblem& problem, const Tile& t, bool gather, bool aligned_output,
                              bool repairs_itself) {
    KernelSpec spec;
    spec.file = "conv/dense_fprop_split_sm90.cuh";
    spec.entry = "longconv_dense_fprop_split_sm90";
    spec.defines = problem_defines(problem);
    for (const Define& define :
         {Define{"LC_CHANNEL_WAYS", t.channel_ways}, Define{"LC_SLOTS", t.slots}, Define{"LC_RAW_STAGES", t.raw_stages},
          Define{"LC_TAPS", t.taps}, Define{"LC_INTERVAL", t.interval}, Define{"LC_CHAIN", t.chain},
          Define{"LC_W_STAGES", t.w_stages}, Define{"LC_W_STATIONARY", t.stationary},
          Define{"LC_X_RESIDENT", t.resident}, Define{"LC_PACKERS", t.packers}, Define{"LC_CLUSTER", t.cluster},
          Define{"LC_TEAM", t.team}, Define{"LC_COLUMNS", Geometry(problem, t, gather).columns},
          Define{"LC_STORE", store_code(problem, t.full, aligned_output, t.stage_rows)},
          Define{"LC_PACK", std::int64_t{gather ? 2 : 0}}, Define{"LC_STAGE_ROWS", t.stage_rows},
          Define{"LC_SELF_REPAIR", std::int64_t{repairs_itself}}}) {
      spec.defines.push_back(define);
    }
    spec.dynamic_shared_bytes = Geometry(problem, t, gather).shared_bytes;
    spec.defines.push_back({"LC_SHARED_BYTES", spec.dynamic_shared_bytes});
    spec.allow_local_memory = true;  // 192 accumulator registers of 208: some shapes spill a few words in the packers
    return spec;
  }

  static void add_best_fit(const PolyphaseProblem& problem, const Device& device, Tile t,
                           std::vector<std::pair<double, Config>>& found) {
    const bool gather = gathers(problem);
    const Geometry base(problem, t, gather);
    if (t.resident) {
      t.slots = base.channel_blocks * base.tap_groups;
      if (base.passes == 1 || t.slots > 32) return;
    }
    if (t.stationary) t.w_stages = base.pass_stages;
    std::vector<std::pair<double, Config>> tried;
    using Depths = std::pair<std::int64_t, std::int64_t>;
    for (const auto& [slots, raw] : {Depths{10, 1},
                                     {6, 3},
                                     {4, 4},
                                     {4, 3},
                                     {3, 3},
                                     {6, 2},
                                     {5, 2},
                                     {4, 2},
                                     {3, 2},
                                     {2, 4},
                                     {2, 3},
                                     {2, 2},
                                     {6, 1},
                                     {5, 1},
                                     {4, 1},
                                     {3, 1},
                                     {2, 1}}) {
      for (const std::int64_t w : {4, 3, 2}) {
        Tile fit = t;
        if (!t.resident) fit.slots = slots;
        fit.raw_stages = raw;
        if (!t.stationary) fit.w_stages = w * std::max<std::int64_t>(1, 3 / t.interval);
        const Geometry g(problem, fit, gather);
        if (!g.fits || !Geometry(problem, with_staging<Geometry>(problem, fit, gather), gather).fits) continue;
        tried.emplace_back(estimate(problem, fit, g, device).seconds, fit.config());
        break;
      }
    }
    keep_quickest(tried, 2, found);
  }

  static Estimate estimate(const PolyphaseProblem& problem, const Tile& t, const Geometry& g, const Device& device) {
    // Of a packer, for 32 steps of a slot's 16 channels. A team's packers do a third each, in halves of the channels.
    constexpr double kPackSlot = 1862, kTeamSlot = 2400;
    const double pack_rows = problem.signals() == 2 ? 460 : 353;  // the gradient's: not measured
    HopperWork w = hopper_work(problem, t, g);
    w.rings = {1.392, 0.0197, 0.214, 2069, 0.615, 90};
    w.groups = static_cast<double>(g.pass_stages);
    const double taps = static_cast<double>(g.channel_blocks * problem.kernel_size) / w.groups;  // of an interval
    w.product_cycles = taps * 3 * static_cast<double>(g.columns) * 1.253 / narrow_rate(g.columns);
    // Three intervals of one tap of each phase are started together and promoted once.
    const bool merged = has_short_intervals(problem, t.taps);
    w.group_latency = merged ? 230 : 718;
    w.promote_cycles = merged ? 22 : 65;
    w.flops = 6 * w.tiles * static_cast<double>(g.span * g.padded_rows(t)) *
              static_cast<double>(g.channel_blocks * 16 * problem.kernel_size);
    w.columns = problem.phases * g.columns;
    w.units = static_cast<double>(g.channel_blocks * g.tap_groups);
    const std::int64_t steps = g.pack.steps();
    w.unit_cycles = t.team ? kTeamSlot + static_cast<double>(ceil_div(2 * steps, 3)) / 2 * pack_rows
                           : kPackSlot + static_cast<double>(steps) * pack_rows;
    if (!t.team && !t.resident) {  // a packer waits for its own slots
      w.unit_cycles *= 1 + 0.25 * static_cast<double>(t.packers) / static_cast<double>(t.slots);
      w.slot_wait = 0.06;
    }
    if (t.stationary) w.direct_cycles = 2000;
    w.scattered_bytes = 0.983;
    if (w.store == HopperStore::ends) w.piece_share = 3.2;
    w.packers = t.team ? 1 : t.packers;
    w.raw_bytes = g.raw_bytes;
    if (!t.stationary)
      w.weight_bytes = static_cast<double>(g.channel_blocks * problem.kernel_size * t.channel_ways * kTapBytes);
    w.ring_bytes = t.channel_ways * t.w_stages * t.interval * kTapBytes;
    return hopper_estimate(w, device);
  }
};

}  // namespace
}  // namespace cuda

const Kernel& dense_fprop_split_sm90() {
  static const cuda::DenseSplitSm90 kernel(Pass::fprop);
  return kernel;
}
const Kernel& dense_dgrad_split_sm90() {
  static const cuda::DenseSplitSm90 kernel(Pass::dgrad);
  return kernel;
}

}  // namespace longconv
