// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Launcher of kernels/conv/dense_wgrad_sm80.cuh: bf16, f16, TF32 and fp32 on every tensor-core GPU from sm_80 on.
#include <algorithm>
#include <cmath>
#include <utility>

#include "cuda/wgrad_common.h"
#include "plan/registry.h"

namespace longconv {
namespace cuda {
namespace {

/// Output steps of a stage, which is a chunk of WgradRanges.
constexpr std::int64_t kStep = 32;
/// f32 additions in a row, and how many such rows a split may have: docs/design/numerics.md.
constexpr std::int64_t kRunAdditions = 440, kMostRuns = 40;
/// Fewer products than this cannot promise the bound of fp32 with two f16 planes.
constexpr std::int64_t kFewestProducts = 16;
constexpr std::int64_t kMostRegisters = 255;

/// The kernel's LC_ definitions of the same names.
struct Tile {
  std::int64_t warp_m, warp_in, warps_out, warps_in, taps;  ///< taps 0: LC_FLAT
  std::int64_t blocks_per_sm = 1, splits = 1;
  static Tile read(const Config& config) {
    ConfigReader c(config);
    return {c.get("m"), c.get("in"), c.get("wout"), c.get("win"), c.get("taps"), c.get("blocks"), c.get("splits")};
  }
  Config config() const {
    return Config{{{"m", warp_m},
                   {"in", warp_in},
                   {"wout", warps_out},
                   {"win", warps_in},
                   {"taps", taps},
                   {"blocks", blocks_per_sm},
                   {"splits", splits}}};
  }
  std::int64_t threads() const { return 32 * warps_out * warps_in; }
};

bool splits_f16(const ConvProblem& p) { return p.dtype == DType::f32 && p.precision == Precision::fp32; }
bool is_tf32(const ConvProblem& p) { return p.dtype == DType::f32 && p.precision == Precision::tf32; }

/// Mirrors struct C of the kernel, and the units of WgradStage.
struct Geometry {
  bool flat;
  std::int64_t taps, columns, tap_columns;

  std::int64_t out_tile, in_tile, chunk, chunks, planes_of_split, pack_steps, x_units, dy_units, tiles, intervals;
  std::int64_t stage_bytes, shared_bytes, registers;
  PackGeometry pack;
  Geometry(const ConvProblem& p, const Tile& t)
      : flat(t.taps == 0),
        taps(flat ? 1 : t.taps),
        columns(p.in_channels_per_group() * (flat ? p.kernel_size : 1)),
        tap_columns(flat ? 1 : p.kernel_size),
        out_tile(16 * t.warp_m * t.warps_out),
        in_tile(16 * t.warp_in * t.warps_in),
        chunk(is_tf32(p) ? 4 : 8),
        chunks(in_tile / chunk),
        planes_of_split(splits_f16(p) ? 2 : 1),
        pack(kStep, taps, p.stride, p.dilation) {
    const std::int64_t warps = t.warps_out * t.warps_in;
    pack_steps = p.stride > 1 && pack.planes == p.stride ? ceil_div(pack.raw_needed, 32)
                                                         : ceil_div(pack.plane_rows, 32) * pack.planes;
    x_units = ceil_div(chunks * pack_steps, warps);
    dy_units = ceil_div(out_tile, t.threads() * 2 / kStep);
    const std::int64_t chunk_rows = is_tf32(p) ? (pack.chunk_rows() + 3) / 8 * 8 + 4 : pack.chunk_rows();
    stage_bytes = planes_of_split * (chunks * chunk_rows * 16 + out_tile * (kStep * (is_tf32(p) ? 4 : 2) + 16));
    shared_bytes = splits_f16(p) ? stage_bytes + warps * 16 : 2 * stage_bytes;
    tiles = p.groups * ceil_div(p.out_channels_per_group(), out_tile) * ceil_div(columns, in_tile) *
            ceil_div(tap_columns, taps);
    intervals = is_tf32(p) ? kStep / 16 : kStep / 32;
    const std::int64_t pass_m = splits_f16(p) ? std::min<std::int64_t>(t.warp_m, 2) : t.warp_m;
    // Sums, a slice's parts, fragments of dy and x, what is in flight, addresses.
    registers = 8 * t.warp_m * t.warp_in * taps + 8 * pass_m * planes_of_split + 8 * pass_m * planes_of_split +
                4 * planes_of_split + x_units * chunk + dy_units * (p.has_forward_y() ? 4 : 2) +
                (p.has_bias ? dy_units : 0) + 36;
  }
};

class DenseWgradSm80 final : public CudaKernel {
 public:
  std::string_view name() const override { return "dense_wgrad_sm80"; }

  Support supports(const ConvProblem& problem, const Device& device) const override {
    Support support = supports_wgrad(problem, device);
    if (!support.ok) return support;
    if (device.compute_capability < 80) return Support::no("needs compute capability 8.0 or newer");
    if (problem.dtype == DType::f64) return Support::no("multiplies fp32, TF32, bf16 and f16 only");
    if (splits_f16(problem) && fewest_products(problem) < kFewestProducts)
      return Support::no("a gradient of fewer than 16 products is not exact enough in two f16 planes");
    const std::int64_t chunks = problem.batch * ceil_div(problem.out_length(), kStep);
    if (ceil_div(problem.out_length(), kStep) > 0x7fffffff) return Support::no("more than 2^36 output samples");
    if (WgradLayout::most_splits(problem) < ceil_div(chunks * (is_tf32(problem) ? 2 : 1), kRunAdditions * kMostRuns))
      return Support::no("too many weights for so long a sum: partial sums do not fit into 64 MiB");
    const Tile narrowest{1, 1, 1, 4, 1};
    if (!fits(device, Geometry(problem, narrowest))) return Support::no("a window of one tap is too long");
    return Support::yes();
  }

  std::vector<Config> configs(const ConvProblem& problem, const Device& device) const override {
    std::vector<std::pair<double, Config>> found;
    const std::int64_t out = problem.out_channels_per_group(), in = problem.in_channels_per_group();
    constexpr std::pair<int, int> kWarps[] = {{1, 1}, {1, 2}, {2, 1}, {1, 4}, {2, 2},
                                              {4, 1}, {2, 4}, {4, 2}, {1, 8}, {8, 1}};
    const auto add = [&](Tile t) {
      const std::int64_t columns = in * (t.taps == 0 ? problem.kernel_size : 1);
      if (8 * t.warp_m * t.warp_in * std::max<std::int64_t>(t.taps, 1) > 96) return;
      // No tile twice as large as what it covers, the smallest excepted.
      if (t.warp_m * t.warps_out > 1 && 8 * t.warp_m * t.warps_out >= out) return;
      if (t.warp_in * t.warps_in > 1 && 8 * t.warp_in * t.warps_in >= columns) return;
      if (complete(problem, device, t)) found.emplace_back(estimate(problem, t.config(), device).seconds, t.config());
    };
    for (const std::int64_t warp_m : {1, 2, 4})
      for (const std::int64_t warp_in : {1, 2, 3, 4})
        for (const auto& [warps_out, warps_in] : kWarps) {
          if (in < 64 && problem.kernel_size > 1 && in * problem.kernel_size <= 4096)
            add({warp_m, warp_in, warps_out, warps_in, 0});
          std::int64_t before = 0;
          for (const std::int64_t most : {12, 8, 6, 5, 4, 3, 2, 1}) {
            const std::int64_t taps = ceil_div(problem.kernel_size, ceil_div(problem.kernel_size, most));
            if (taps != before) add({warp_m, warp_in, warps_out, warps_in, taps});
            before = taps;
          }
        }
    if (found.empty()) {
      Tile t{1, 1, 1, 4, 1};
      complete(problem, device, t);
      found.emplace_back(0.0, t.config());
    }
    return quickest(std::move(found), 8);
  }

  Estimate estimate(const ConvProblem& problem, const Config& config, const Device& device) const override {
    const Tile t = Tile::read(config);
    const Geometry g(problem, t);
    const Rates rates(device);
    const double cycles = device.clock_hz > 0 ? device.clock_hz : 1.5e9;  // of one multiprocessor, in a second
    const std::int64_t slots = std::max<std::int64_t>(1, device.sm_count * t.blocks_per_sm);
    const std::int64_t chunks = problem.batch * ceil_div(problem.out_length(), kStep);
    const double rounds = static_cast<double>(ceil_div(t.splits * g.tiles, slots) * ceil_div(chunks, t.splits));
    const double stages = static_cast<double>(g.tiles) * static_cast<double>(chunks);
    const double element = static_cast<double>(size_bytes(problem.dtype));
    const double loaded =
        static_cast<double>(std::min(g.in_tile, round_up(g.columns, g.chunk)) * (g.flat ? kStep : g.pack.raw_needed)) +
        static_cast<double>(std::min(g.out_tile, problem.out_channels_per_group()) * kStep *
                            (problem.has_forward_y() ? 2 : 1));
    const double partials = static_cast<double>(WgradLayout(problem, t.splits).workspace_bytes());
    Estimate e;
    // What a tile reads again comes from L2 for the most part.
    const double all = stages * loaded * element, once = problem.compulsory_bytes();
    e.bytes = once + std::max(0.0, all - once) * 0.15 + 2 * partials;
    e.flops = (splits_f16(problem) ? 6 : 2) * stages * static_cast<double>(g.out_tile * g.in_tile * g.taps * kStep);
    const double blocks = static_cast<double>(t.blocks_per_sm), warps = static_cast<double>(t.threads() / 32);
    const double split = static_cast<double>(g.planes_of_split);
    // Of a stage, in cycles of a multiprocessor that it shares with `blocks` - 1 others.
    const double memory = (loaded * element + (e.bytes - once) / stages * 0.5) /
                          (rates.bytes_per_second * (all > 1.5 * once ? 1.6 : 1.0) / device.sm_count) * cycles;
    const double rate = rates.tensor_flops_per_second * (is_tf32(problem) ? 0.5 : 1.0) *
                        (device.compute_capability >= 90 ? 0.6 : 0.85) / device.sm_count / cycles;
    const double multiply = e.flops / stages / rate;
    const double k_steps = static_cast<double>(is_tf32(problem) ? kStep / 8 : kStep / 16);
    const double passes = splits_f16(problem) && t.warp_m > 2 ? 2 : 1;
    const double fragments = k_steps * warps * split *
                             static_cast<double>(t.warp_m + t.warp_in * g.taps * static_cast<std::int64_t>(passes)) * 4;
    const double pack =
        warps *
        (static_cast<double>(g.x_units) *
             (static_cast<double>(g.chunk) * ((splits_f16(problem) ? 14 : 4) + (g.flat ? 10 : 0)) + 40) +
         static_cast<double>(g.dy_units) * ((splits_f16(problem) ? 40 : 24) + (problem.has_forward_y() ? 16 : 0))) /
        4;
    const double longest = std::max({memory, multiply, fragments, pack});
    const double apart = t.blocks_per_sm > 1 ? 0.3 : 0.6;  // of what does not overlap
    const double stage = longest + apart * (multiply + fragments + pack + memory - longest) + 400 / blocks;
    e.seconds = rounds * stage * blocks / cycles + 2 * partials / rates.bytes_per_second + 1.2e-5;
    return e;
  }

  std::int64_t workspace_bytes(const ConvProblem& problem, const Config& config, const Device&) const override {
    return WgradLayout(problem, config.get("splits")).workspace_bytes();
  }

  std::vector<KernelSpec> specs(const ConvProblem& problem, const Config& config, const Device&) const override {
    return specs(problem, Tile::read(config), true);
  }

  void launch(const ConvProblem& problem, const Config& config, const Device& device, const ConvTensors& tensors,
              const LaunchContext& context) const override {
    const Tile t = Tile::read(config);
    const auto unit_time = [](const TensorView& view) { return view.sizes[2] == 1 || view.strides[2] == 1; };
    const bool dense = unit_time(tensors.x) && unit_time(tensors.y);
    const LaunchFunctions functions(*this, problem, config, device, context, dense ? 1 : 0,
                                    [&] { return specs(problem, t, dense); });
    const Geometry g(problem, t);
    const WgradRanges ranges(problem, kStep, t.splits);
    const WgradLayout layout(problem, ranges.splits);
    struct {
      const void *x, *dy;
      WgradPartials partials;
      std::int64_t x_batch, x_channel, x_time, dy_batch, dy_channel, dy_time, length, out_length, pad_left;
      WgradRanges ranges;
      std::int32_t groups;
      std::int64_t to_forward_y;
      float negative_slope;
    } p{tensors.x.data,
        tensors.y.data,
        WgradPartials(layout, context.workspace),
        tensors.x.strides[0],
        tensors.x.strides[1],
        tensors.x.strides[2],
        tensors.y.strides[0],
        tensors.y.strides[1],
        tensors.y.strides[2],
        problem.length_samples,
        problem.out_length(),
        problem.pad_left,
        ranges,
        static_cast<std::int32_t>(problem.groups),
        distance_to_forward_y(tensors.y, tensors.forward_y),
        static_cast<float>(problem.negative_slope)};
    LaunchShape shape;
    shape.blocks = std::min<std::int64_t>(ranges.splits * g.tiles, device.sm_count * t.blocks_per_sm);
    shape.threads = static_cast<int>(t.threads());
    shape.dynamic_shared_bytes = functions[0].dynamic_shared_bytes;
    launch_wgrad(functions, shape, p, may_flag(problem), problem, device, tensors, ranges, layout, context);
  }

  LayerLaunch layer_launch(const ConvProblem& problem, const Config& config, const Device&) const override {
    const Tile t = Tile::read(config);
    const Geometry g(problem, t);
    LayerLaunch layer;
    layer.main = {main_spec(problem, t, true), t.threads(), 0, 1, g.tiles, 1, t.blocks_per_sm};
    layer.repair = wgrad_repair_step(problem);
    layer.reduce = reduce_wgrad_step(problem);
    layer.sums.chunk_steps = kStep;
    layer.sums.splits = t.splits;
    layer.sums.most_chunks = kRunAdditions * kMostRuns / g.intervals;
    layer.sums.fewest_products = splits_f16(problem) ? kFewestProducts : 0;
    layer.sums.repair = splits_f16(problem) ? LayerSums::Repair::few : LayerSums::Repair::ragged;
    return layer;
  }

 private:
  /// Zeros stand for samples or steps that do not exist. (fp32 deals with what f16 cannot carry itself.)
  static bool may_flag(const ConvProblem& p) {
    return !splits_f16(p) && (pad_code(p) == 1 || p.out_length() % kStep != 0);
  }
  /// dense: x and dy have time stride 1.
  static std::vector<KernelSpec> specs(const ConvProblem& problem, const Tile& t, bool dense) {
    return wgrad_specs(main_spec(problem, t, dense), problem, may_flag(problem));
  }
  static bool fits(const Device& device, const Geometry& g) {
    const std::int64_t limit = device.shared_bytes_per_block > 0 ? device.shared_bytes_per_block : 98304;
    return g.pack.raw_needed < (1 << 24) && g.shared_bytes + 1024 <= limit;
  }
  /// Fills in what follows from a tile's shape. False: it does not fit.
  static bool complete(const ConvProblem& problem, const Device& device, Tile& t) {
    const Geometry g(problem, t);
    if (!fits(device, g) || g.registers > kMostRegisters) return false;
    const std::int64_t per_sm = device.shared_bytes_per_sm > 0 ? device.shared_bytes_per_sm : 102400;
    const std::int64_t by_registers =
        65536 / (t.threads() * std::min(kMostRegisters + 1, round_up(g.registers + 8, 8)));
    t.blocks_per_sm =
        std::max<std::int64_t>(1, std::min({by_registers, per_sm / (g.shared_bytes + 1024), std::int64_t{16}}));
    t.splits = best_splits(problem, device, t, g);
    return true;
  }
  /// Whole waves of blocks whose splits are neither so short that partial sums cost much nor longer than sums may be.
  static std::int64_t best_splits(const ConvProblem& problem, const Device& device, const Tile& t, const Geometry& g) {
    const std::int64_t slots = std::max<std::int64_t>(1, device.sm_count * t.blocks_per_sm);
    const std::int64_t chunks = problem.batch * ceil_div(problem.out_length(), kStep);
    const std::int64_t additions = chunks * g.intervals;
    const std::int64_t fewest = ceil_div(additions, kRunAdditions * kMostRuns);
    const std::int64_t most = std::max<std::int64_t>(1, std::min(chunks, WgradLayout::most_splits(problem)));
    // In stages: a stage reads about stage_bytes, and partial sums are written, read, and spread over sectors.
    const double of_a_split = 6.0 * static_cast<double>(WgradLayout(problem, 1).weight_elements * 4) /
                              static_cast<double>(g.stage_bytes) / static_cast<double>(slots);
    std::int64_t best = std::min(most, fewest);
    double best_cost = -1;
    for (std::int64_t waves = 1; waves <= 24; ++waves) {
      const std::int64_t splits = std::clamp(waves * slots / g.tiles, fewest, most);
      if (splits < 1) continue;
      const double stages = static_cast<double>(ceil_div(splits * g.tiles, slots) * ceil_div(chunks, splits));
      const double runs = std::ceil(static_cast<double>(additions) / static_cast<double>(splits * kRunAdditions));
      const double cost = stages + static_cast<double>(splits) * of_a_split * std::max(1.0, 2 * runs - 1) +
                          2.0 * static_cast<double>(ceil_div(splits * g.tiles, slots));
      if (best_cost < 0 || cost < best_cost) best = splits, best_cost = cost;
    }
    return std::max<std::int64_t>(1, best);
  }
  /// unit_time: both signals' time strides are 1.
  static KernelSpec main_spec(const ConvProblem& problem, const Tile& t, bool unit_time) {
    const Geometry g(problem, t);
    KernelSpec spec;
    spec.file = "conv/dense_wgrad_sm80.cuh";
    spec.entry = "longconv_dense_wgrad_sm80";
    spec.dynamic_shared_bytes = g.shared_bytes;
    spec.allow_local_memory = true;  // a few words of addresses, touched once in a stage of some thousand instructions
    const std::int64_t element = splits_f16(problem) ? 4 : is_tf32(problem) ? 0 : problem.dtype == DType::bf16 ? 1 : 2;
    spec.defines = {{"LC_ELEMENT", element},
                    {"LC_IN_CHANNELS", problem.in_channels_per_group()},
                    {"LC_OUT_CHANNELS", problem.out_channels_per_group()},
                    {"LC_KERNEL_SIZE", problem.kernel_size},
                    {"LC_STRIDE", problem.stride},
                    {"LC_DILATION", problem.dilation},
                    {"LC_PAD", std::int64_t{pad_code(problem)}},
                    {"LC_BIAS", std::int64_t{problem.has_bias}},
                    {"LC_ACTIVATION_GRADIENT", static_cast<std::int64_t>(problem.activation)},
                    {"LC_WARP_M", t.warp_m},
                    {"LC_WARP_IN", t.warp_in},
                    {"LC_WARPS_OUT", t.warps_out},
                    {"LC_WARPS_IN", t.warps_in},
                    {"LC_TAPS", g.taps},
                    {"LC_FLAT", std::int64_t{g.flat}},
                    {"LC_UNIT_TIME", std::int64_t{unit_time}},
                    {"LC_STEP", kStep},
                    {"LC_RUN_STAGES", kRunAdditions / g.intervals},
                    {"LC_BLOCKS_PER_SM", t.blocks_per_sm},
                    {"LC_SHARED_BYTES", g.shared_bytes}};
    return spec;
  }
};

}  // namespace
}  // namespace cuda

const Kernel& dense_wgrad_sm80() {
  static const cuda::DenseWgradSm80 kernel;
  return kernel;
}

}  // namespace longconv
