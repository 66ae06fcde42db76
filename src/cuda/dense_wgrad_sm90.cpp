// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Launcher of kernels/conv/dense_wgrad_sm90.cuh: weight gradients on Hopper in TF32, bf16, f16 and fp32.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "cuda/dense_wgrad_sm90_tile.h"
#include "plan/registry.h"

namespace longconv {
namespace cuda {
namespace {

using namespace wgrad_sm90;

constexpr std::int64_t kFewestProducts = 32;  // in fp32: docs/design/numerics.md

class DenseWgradSm90 final : public CudaKernel {
 public:
  std::string_view name() const override { return "dense_wgrad_sm90"; }

  Support supports(const ConvProblem& problem, const Device& device) const override {
    Support support = supports_wgrad(problem, device);
    if (!support.ok) return support;
    if (device.compute_capability != 90) return Support::no("needs compute capability 9.0 (Hopper)");
    if (problem.dtype == DType::f64) return Support::no("has no kernel for f64");
    if (is_split(problem) && fewest_products(problem) < kFewestProducts)
      return Support::no("a gradient of fewer than 32 products is not exact enough in pairs of TF32 numbers");
    if (problem.batch * ceil_div(problem.out_length(), 16) > 0x7fffffff)
      return Support::no("more than 2^31 chunks of time");
    if (WgradLayout::most_splits(problem) == 0)
      return Support::no("partial sums of one split do not fit the workspace");
    if (configs(problem, device).empty()) return Support::no("no tile of this problem fits shared memory");
    return Support::yes();
  }

  std::vector<Config> configs(const ConvProblem& problem, const Device& device) const override {
    std::vector<std::pair<double, Config>> found;
    const std::int64_t in = problem.in_channels_per_group(), out = problem.out_channels_per_group();
    for (const auto& [warpgroups, ways] : {std::pair<std::int64_t, std::int64_t>{2, 1}, {2, 2}, {3, 1}}) {
      for (const std::int64_t n : {32, 64, 96, 128, 192, 256}) {
        if (n * ways > round_up(out, 32) && n * ways > 32) continue;
        for (const std::int64_t m : {1, 2, 3, 4}) {
          std::int64_t before = 0;
          const std::int64_t rows = 64 * m * (warpgroups / ways);
          for (std::int64_t taps = 1; taps <= std::min(problem.kernel_size, rows); ++taps) {
            Tile t{};
            t.m_blocks = m, t.columns = n, t.warpgroups = warpgroups, t.column_ways = ways;
            t.taps = ceil_div(problem.kernel_size, ceil_div(problem.kernel_size, taps));  // tiles of equal size
            if (t.taps == before) continue;
            before = t.taps;
            t.channels = ceil_div(in, ceil_div(in, rows / t.taps));
            if (m > 1 && t.channels * t.taps <= 64 * (m - 1) * t.row_ways()) continue;
            for (const bool separate : {false, true}) {
              t.windows = separate ? t.taps : 1;
              if (separate && (t.taps == 1 || problem.dilation < problem.stride * 16)) continue;
              add_best_fit(problem, device, t, found);
            }
          }
        }
      }
    }
    return quickest(std::move(found), 12);
  }

  Estimate estimate(const ConvProblem& problem, const Config& config, const Device& device) const override {
    return estimate(problem, Tile::read(config), device);
  }

  std::int64_t workspace_bytes(const ConvProblem& problem, const Config& config, const Device&) const override {
    return Workspace(problem, Tile::read(config)).bytes;
  }

  std::vector<KernelSpec> specs(const ConvProblem& problem, const Config& config, const Device&) const override {
    return specs(problem, Tile::read(config), access(problem));
  }

  void launch(const ConvProblem& problem, const Config& config, const Device& device, const ConvTensors& tensors,
              const LaunchContext& context) const override {
    Tile t = Tile::read(config);
    const Access how = access(problem, tensors.x, tensors.y);
    make_room(problem, t, how);
    const int variant = (how.placed_y ? 8 : 0) + (how.gather_x ? 4 : 0) + (how.gather_y ? 2 : 0) + (how.pairs ? 1 : 0);
    const LaunchFunctions functions(*this, problem, config, device, context, variant,
                                    [&] { return specs(problem, t, how); });
    const Workspace where(problem, t);
    const WgradPartials partials(where.layout, context.workspace);
    struct {
      const void *x, *dy;
      std::int64_t x_batch, x_channel, x_time, dy_batch, dy_channel, dy_time, length, out_length, pad_left;
      WgradRanges ranges;
      WgradPartials partials;
      void* carry;
      std::int64_t to_forward_y;
      float negative_slope;
      WgradShares::Order order;
    } p{tensors.x.data,
        tensors.y.data,
        tensors.x.strides[0],
        tensors.x.strides[1],
        tensors.x.strides[2],
        tensors.y.strides[0],
        tensors.y.strides[1],
        tensors.y.strides[2],
        problem.length_samples,
        problem.out_length(),
        problem.pad_left,
        where.ranges,
        partials,
        static_cast<char*>(context.workspace) + where.carry_offset,
        distance_to_forward_y(tensors.y, tensors.forward_y),
        static_cast<float>(problem.negative_slope),
        where.shares.order};
    LaunchShape shape;
    shape.blocks = where.blocks;
    shape.threads = static_cast<int>(t.threads());
    shape.dynamic_shared_bytes = functions[0].dynamic_shared_bytes;
    launch_wgrad(functions, shape, p, wgrad_needs_repair(problem, t.steps), problem, device, tensors, where.ranges,
                 where.layout, context);
  }

  LayerLaunch layer_launch(const ConvProblem& problem, const Config& config, const Device& device) const override {
    Tile t = Tile::read(config);
    if (t.shares > 0) {  // of one length
      t.shares = 0;
      choose_splits(problem, device, t);
    }
    const Geometry g(problem, t);
    LayerLaunch layer;
    layer.main = {main_spec(problem, t, access(problem)), t.threads(), 0, 1, g.tiles, 1, 0};
    layer.repair = wgrad_repair_step(problem);
    layer.reduce = reduce_wgrad_step(problem);
    layer.length_multiple = access(problem).pairs ? 2 : 1;
    layer.out_length_multiple = access(problem).placed_y ? 8 : 1;
    layer.sums.chunk_steps = t.steps;
    layer.sums.splits = t.splits;
    layer.sums.most_chunks = g.most_carries * g.carry_chunks;
    layer.sums.carry_chunks = g.carry_chunks;
    layer.sums.carry_bytes = g.tiles * g.block_carry_bytes;
    layer.sums.fewest_products = is_split(problem) ? kFewestProducts : 0;
    layer.sums.repair = problem.dtype == DType::f32 ? LayerSums::Repair::always : LayerSums::Repair::ragged;
    return layer;
  }

 private:
  /// Rows of dy that turn out not to begin on 16 bytes take memory of their own, from the rings'.
  static void make_room(const ConvProblem& problem, Tile& t, const Access& access) {
    while (!Geometry(problem, t, access.placed_y).fits && t.slots > 2) {
      if (t.y_stages > 1)
        --t.y_stages;
      else
        --t.slots;
    }
  }

  static std::vector<KernelSpec> specs(const ConvProblem& problem, const Tile& t, const Access& access) {
    return wgrad_specs(main_spec(problem, t, access), problem, wgrad_needs_repair(problem, t.steps));
  }

  static KernelSpec main_spec(const ConvProblem& problem, const Tile& t, const Access& access) {
    KernelSpec spec;
    spec.file = "conv/dense_wgrad_sm90.cuh";
    spec.entry = "longconv_dense_wgrad_sm90";
    const std::int64_t element = is_split(problem)              ? 3
                                 : problem.dtype == DType::f32  ? 0
                                 : problem.dtype == DType::bf16 ? 1
                                                                : 2;
    // Packers, of 40 to 72 registers, may spill some words between chunks; who multiplies must not: ptxas would say so
    // of wgmma.
    const Geometry g(problem, t, access.placed_y);
    spec.dynamic_shared_bytes = g.shared_bytes;
    spec.allow_local_memory = true;
    spec.defines = {{"LC_ELEMENT", element},
                    {"LC_GROUPS", problem.groups},
                    {"LC_IN_CHANNELS", problem.in_channels_per_group()},
                    {"LC_OUT_CHANNELS", problem.out_channels_per_group()},
                    {"LC_KERNEL_SIZE", problem.kernel_size},
                    {"LC_STRIDE", problem.stride},
                    {"LC_DILATION", problem.dilation},
                    {"LC_PAD", std::int64_t{pad_code(problem)}},
                    {"LC_BIAS", std::int64_t{problem.has_bias}},
                    {"LC_ACTIVATION_GRADIENT", static_cast<std::int64_t>(problem.activation)},
                    {"LC_GATHER_X", std::int64_t{access.gather_x}},
                    {"LC_GATHER_Y", std::int64_t{access.gather_y}},
                    {"LC_PLACED_Y", std::int64_t{access.placed_y}},
                    {"LC_PAIRS", std::int64_t{access.pairs}},
                    {"LC_TILE_CHANNELS", t.channels},
                    {"LC_TAPS", t.taps},
                    {"LC_M_BLOCKS", t.m_blocks},
                    {"LC_COLUMNS", t.columns},
                    {"LC_WARPGROUPS", t.warpgroups},
                    {"LC_COLUMN_WAYS", t.column_ways},
                    {"LC_STEPS", t.steps},
                    {"LC_WINDOWS", t.windows},
                    {"LC_SLOTS", t.slots},
                    {"LC_Y_STAGES", t.y_stages},
                    {"LC_PACKERS", t.packers},
                    {"LC_SHARES", std::int64_t{t.shares > 0}},
                    {"LC_SHARED_BYTES", spec.dynamic_shared_bytes}};
    return spec;
  }

  /// Chunks of several lengths in the deepest rings that fit, the three best of them, and as many splits as fill the
  /// GPU and fit the workspace.
  static void add_best_fit(const ConvProblem& problem, const Device& device, Tile t,
                           std::vector<std::pair<double, Config>>& found) {
    std::vector<std::pair<double, Config>> fitting;
    for (const std::int64_t packers : {4, 8}) {
      for (const std::int64_t row_bytes : {512, 384, 256, 192, 128, 64}) {
        t.packers = packers;
        t.steps = row_bytes / size_bytes(problem.dtype);
        for (const auto& [slots, stages] :
             {std::pair<std::int64_t, std::int64_t>{6, 4}, {4, 3}, {4, 2}, {3, 2}, {2, 1}}) {
          t.slots = slots, t.y_stages = stages;
          Tile shallow = t;
          shallow.slots = 2, shallow.y_stages = 1;
          if (!Geometry(problem, t).fits || !Geometry(problem, shallow, false).fits) continue;
          if (choose_splits(problem, device, t)) fitting.emplace_back(estimate(problem, t, device).seconds, t.config());
          Tile equal = t;
          if (choose_shares(problem, device, equal))
            fitting.emplace_back(estimate(problem, equal, device).seconds, equal.config());
          break;
        }
      }
    }
    std::stable_sort(fitting.begin(), fitting.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    for (std::size_t i = 0; i < std::min<std::size_t>(fitting.size(), 3); ++i) found.push_back(std::move(fitting[i]));
  }

  /// One wave of blocks or a few, as full as they get. False if not even one split fits the workspace.
  static bool choose_splits(const ConvProblem& problem, const Device& device, Tile& t) {
    const Geometry g(problem, t);
    // At most most_carries sums of a split are added up (docs/design/numerics.md).
    const std::int64_t chunks = problem.batch * ceil_div(problem.out_length(), t.steps);
    return choose_wgrad_splits(g.tiles, device, ceil_div(chunks, g.most_carries * g.carry_chunks), t.splits,
                               [&] { return Workspace(problem, t).bytes <= kMaxWgradWorkspaceBytes; });
  }

  /// A share for each multiprocessor. False where splits fill the GPU as well, or there are too many tiles or sums.
  /// fp32 has none: it flags parts whose values TF32 pairs cannot carry, and a flag here has everything computed again.
  static bool choose_shares(const ConvProblem& problem, const Device& device, Tile& t) {
    t.shares = std::max(device.sm_count, 1);
    const Geometry g(problem, t);
    if (is_split(problem) || !g.fits || g.tiles > std::min(t.shares, WgradShares::kMostTiles)) return false;
    const Workspace where(problem, t);
    if (where.bytes > kMaxWgradWorkspaceBytes || where.shares.splits > where.ranges.chunks / 2 ||
        where.most_chunks > g.most_carries * g.carry_chunks) {
      return false;
    }
    t.splits = where.ranges.splits;
    Tile uniform = t;
    uniform.shares = 0;
    if (!choose_splits(problem, device, uniform)) return false;
    const double waves = static_cast<double>(ceil_div(g.tiles * uniform.splits, t.shares));
    return static_cast<double>(g.tiles * uniform.splits) < 0.93 * waves * static_cast<double>(t.shares);
  }

  /// Cost model, fitted to 40 configs of each of 30 problems on an H200: the quickest config there is within 10 % of
  /// the chosen one's time but for one problem. What bounds a chunk: memory, the second-level cache, the tensor cores,
  /// one warpgroup's chain of loads and products, shared memory, instructions, a packer.
  static Estimate estimate(const ConvProblem& p, const Tile& t, const Device& device) {
    const Geometry g(p, t);
    const Rates rates(device);
    const Workspace where(p, t);
    const Access how = access(p);
    const double clock = 0.9 * (device.clock_hz > 0 ? device.clock_hz : 1.5e9), sms = std::max(device.sm_count, 1);
    const auto real = [](std::int64_t value) { return static_cast<double>(value); };
    const bool split = g.planes == 2;
    const double products = split ? 3 : 1;
    // Cycles of a multiprocessor for one k-step of a block.
    const double blocks_n = real(t.warpgroups * t.m_blocks);
    const double block_cycles = real(t.columns) / 2 * products *
                                (t.columns % 64 != 0 ? 1.8
                                 : t.columns == 64   ? 1.25
                                                     : 1);
    const double multiply = blocks_n * block_cycles * (split ? 1 : 1.2);
    const double serial = real(t.m_blocks) * (block_cycles + (split ? 210 : 87));
    const std::int64_t conflicts = std::gcd(p.stride, std::int64_t{4});
    // 16-bit samples in pairs where they begin on 4 bytes: of odd dilations every other tap's (the kernel's tap_of).
    const double paired = how.pairs                                    ? 1
                          : p.stride == 1 && p.length_samples % 2 == 0 ? real(ceil_div(t.taps, 2)) / real(t.taps)
                                                                       : 0;
    const double a_loads = (g.bytes == 4 ? 4 : 8 - 4 * paired) * real(g.bytes == 4 ? conflicts : 1);
    const double row_bytes =
        real(t.channels * t.windows) * real(g.window) * real(g.bytes) / real(t.steps) * real(g.step_k);
    const double y_bytes = real(t.out()) * 32;
    const double shared = blocks_n * (a_loads * 4 + real(t.columns) / 4 * products) +
                          (row_bytes + y_bytes * (how.placed_y ? 1 : 2 + real(g.planes))) / 128;
    const double a_instructions = split ? 40 : g.bytes == 4 ? 12 : 14 - 8 * paired;
    const double forms = p.has_forward_y() ? 1 : 0;  // dL/dz
    const double pack_instructions =
        how.placed_y ? 0 : (split ? 60 : 30) + (p.has_bias ? 10 : 0) + 30 * forms;  // of 16 bytes
    const double issue = 1.45 * (blocks_n * a_instructions + real(t.out()) * 2 / 32 * pack_instructions / 4);
    // A packer, for one chunk: instructions that copy, and 16 bytes of dy after the other where they are split.
    const auto copies_of = [&](std::int64_t rows, std::int64_t bytes) {
      const std::int64_t parts = ceil_div(bytes + 15, 16);
      return real(parts < 32 ? ceil_div(rows, 32 / parts) : rows * ceil_div(parts, 32));
    };
    const std::int64_t part_steps = t.steps / std::max<std::int64_t>(1, 32 * t.packers / t.out());
    const double rounds = real(ceil_div(t.out(), 32 * t.packers));
    const double packer = (725 +
                           20 * (real(t.windows) * copies_of(ceil_div(t.channels, t.packers), g.window * g.bytes) +
                                 rounds * (1 + forms) * copies_of(32, part_steps * g.bytes)) +
                           170 * forms * rounds * real(part_steps * g.bytes / 16) +
                           (split ? 153 * rounds * real(part_steps * g.bytes / 16) : 0) +
                           (p.has_bias ? 20 * rounds * real(part_steps * g.bytes / 16) : 0)) *
                          (t.packers == 8 ? 1.54 : 1);
    const double steps = real(t.steps) / real(g.step_k), chunks = real(where.most_chunks);
    const double waves = t.shares > 0 ? 1 : std::ceil(real(where.blocks) / sms), blocks = waves * sms;
    const double seconds_of_cycle = waves * chunks / clock;  // that each chunk takes
    Estimate e;
    e.flops = 2 * real(where.ranges.chunks * t.steps) * real(g.tiles) * real(64 * t.m_blocks * t.row_ways()) *
              real(t.out()) * products;
    const double x_bytes = real(p.batch * p.in_channels) * real(p.length_samples) * real(g.bytes);
    const double dy_bytes = real(p.batch * p.out_channels) * real(p.out_length()) * real(g.bytes) * (1 + forms);
    const double sums = real(where.layout.workspace_bytes());
    e.bytes = x_bytes + dy_bytes + sums;
    // Sums that go to memory after every chain, and how long that takes.
    const double carried = g.sums_in_registers(t) ? 0 : 2 * real(g.block_carry_bytes) / real(g.carry_chunks);
    const double l2_bytes = blocks * chunks * ((row_bytes + y_bytes * (1 + forms)) * steps + carried);
    const double bounds[] = {(x_bytes + dy_bytes) / rates.bytes_per_second,
                             l2_bytes / (20 * sms * clock),
                             seconds_of_cycle * (multiply * steps + 600),
                             seconds_of_cycle * serial * steps,
                             seconds_of_cycle * shared * steps,
                             seconds_of_cycle * issue * steps,
                             seconds_of_cycle * packer};
    double sum = 0;
    for (const double seconds : bounds) sum += std::pow(seconds, 3.3);
    const double waits = t.y_stages < 2 ? 1.02 : 1;  // loads, for packing
    const double large = t.m_blocks * t.columns < 384 ? 1
                         : g.bytes == 4               ? 0.85
                                                      : 0.93;  // 192 sums a thread: as measured
    e.seconds = waits * large * std::pow(sum, 1 / 3.3) + seconds_of_cycle * carried / 54 +
                2 * sums / rates.bytes_per_second + 10e-6;
    return e;
  }
};

}  // namespace
}  // namespace cuda

const Kernel& dense_wgrad_sm90() {
  static const cuda::DenseWgradSm90 kernel;
  return kernel;
}

}  // namespace longconv
