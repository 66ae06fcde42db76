// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Launcher of kernels/conv/dense_wgrad_tma_sm90.cuh: weight gradients of stride 1 on Hopper in TF32, bf16 and f16.
#include "cuda/dense_wgrad_tma_sm90_tile.h"

#include <cmath>
#include <string>
#include <unordered_map>

#include "plan/registry.h"

namespace longconv {
namespace cuda {
namespace {

using namespace wgrad_tma_sm90;

/// The kernel's Params.
struct Params {
  Params(const Workspace& where, const Geometry& g, void* workspace)
      : ranges(where.ranges),
        partials(where.layout, workspace),
        carry(static_cast<char*>(workspace) + where.carry_offset),
        chain_chunks(static_cast<std::int32_t>(g.carry_chunks)) {}
  CUtensorMap x_map = {}, y_map = {};
  std::int64_t pad_left = 0;
  WgradRanges ranges;
  WgradPartials partials;
  void* carry;
  std::int32_t chain_chunks;
};

/// False where the driver has none for this tensor.
bool encode_map(const Driver& driver, const TensorView& v, std::int64_t bytes, std::int64_t rows, CUtensorMap* map) {
  const auto type = bytes == 4 ? CU_TENSOR_MAP_DATA_TYPE_UINT32 : CU_TENSOR_MAP_DATA_TYPE_UINT16;
  const auto size = [&](int d) { return static_cast<std::uint64_t>(v.sizes[d]); };
  const auto stride = [&](int d) { return static_cast<std::uint64_t>(v.sizes[d] == 1 ? 16 : v.strides[d] * bytes); };
  const std::uint64_t sizes[3] = {size(2), size(1), size(0)}, strides[2] = {stride(1), stride(0)};
  const std::uint32_t box[3] = {static_cast<std::uint32_t>(kRowBytes / bytes), static_cast<std::uint32_t>(rows), 1},
                      every[3] = {1, 1, 1};
  return driver.tensor_map_encode_tiled.raw(map, type, 3, v.data, sizes, strides, box, every,
                                            CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                            CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                            CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

class DenseWgradTmaSm90 final : public CudaKernel {
 public:
  std::string_view name() const override { return "dense_wgrad_tma_sm90"; }

  Support supports(const ConvProblem& problem, const Device& device) const override {
    Support support = supports_wgrad(problem, device);
    if (!support.ok) return support;
    if (device.compute_capability != 90) return Support::no("needs compute capability 9.0 (Hopper)");
    if (problem.dtype == DType::f64) return Support::no("has no kernel for f64");
    if (problem.dtype == DType::f32 && problem.precision == Precision::fp32)
      return Support::no("has no kernel for fp32: its numbers are copied as they are, not in pairs");
    if (problem.stride != 1) return Support::no("has no kernel for strides: steps are copied as they lie");
    if (problem.has_forward_y()) return Support::no("does not form gradients through activations");
    if (problem.pad_mode != PadMode::zeros && (problem.pad_left != 0 || problem.pad_right != 0))
      return Support::no("pads with zeros only");
    if (problem.length_samples + problem.pad_left + problem.kernel_size * problem.dilation > 0x7fff0000)
      return Support::no("signals of 2^31 samples and more");
    if (!is_mapped(problem)) return Support::no("needs rows of x and y that begin on 16 bytes");
    if (!taps_are_aligned(problem)) return Support::no("needs dilation and padding of multiples of 16 bytes");
    if (WgradLayout::most_splits(problem) == 0)
      return Support::no("partial sums of one split do not fit the workspace");
    if (configs(problem, device).empty()) return Support::no("no tile of this problem fits");
    return dense_wgrad_sm90().supports(problem, device);  // of tensors that no map describes
  }

  std::vector<Config> configs(const ConvProblem& problem, const Device& device) const override {
    std::vector<std::pair<double, Config>> found;
    const std::int64_t in = problem.in_channels_per_group(), out = problem.out_channels_per_group();
    constexpr std::int64_t unit = 8;  // channels of a box
    for (const std::int64_t n : {64, 128, 256}) {
      if (n > round_up(out, 64)) continue;
      for (const std::int64_t m : {1, 2}) {
        std::int64_t before = 0;
        for (std::int64_t taps = 1; taps <= std::min(problem.kernel_size, 128 * m / unit); ++taps) {
          Tile t{};
          t.m_blocks = m, t.columns = n;
          t.taps = ceil_div(problem.kernel_size, ceil_div(problem.kernel_size, taps));  // tiles of equal size
          if (t.taps == before) continue;
          before = t.taps;
          const std::int64_t most = t.rows() / t.taps / unit * unit;
          t.channels = round_up(ceil_div(in, ceil_div(in, most)), unit);
          if (m > 1 && t.channels * t.taps <= 128) continue;
          for (const auto& [share_x, share_y] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {2, 1}, {1, 2}}) {
            t.share_x = share_x, t.share_y = share_y;
            t.slots = 8;
            while (t.slots > 2 && Geometry(problem, t).shared_bytes > kHopperSharedBytes) --t.slots;
            if (Geometry(problem, t).fits && choose_splits(problem, device, t))
              found.emplace_back(estimate(problem, t, device).seconds, t.config());
          }
        }
      }
    }
    return quickest(std::move(found), 8);
  }

  Estimate estimate(const ConvProblem& problem, const Config& config, const Device& device) const override {
    return estimate(problem, Tile::read(config), device);
  }

  std::int64_t workspace_bytes(const ConvProblem& problem, const Config& config, const Device& device) const override {
    return std::max(Workspace(problem, Tile::read(config)).bytes,
                    dense_wgrad_sm90().workspace_bytes(problem, of_other_tensors(problem, device), device));
  }

  std::vector<KernelSpec> specs(const ConvProblem& problem, const Config& config, const Device&) const override {
    return wgrad_specs(main_spec(problem, Tile::read(config)), problem, needs_repair(problem));
  }

  bool is_layer() const override { return false; }  // the host encodes tensor maps

  void launch(const ConvProblem& problem, const Config& config, const Device& device, const ConvTensors& tensors,
              const LaunchContext& context) const override {
    const Tile t = Tile::read(config);
    const Workspace where(problem, t);
    Compiler& compiler = context.compiler != nullptr ? *context.compiler : Compiler::instance();
    const Geometry g(problem, t);
    Params p(where, g, context.workspace);
    if (!encode(problem, t, tensors, compiler.driver(), p)) {
      dense_wgrad_sm90().launch(problem, of_other_tensors(problem, device), device, tensors, context);
      return;
    }
    p.pad_left = problem.pad_left;
    const LaunchFunctions functions(*this, problem, config, device, context, 0,
                                    [&] { return specs(problem, config, device); });
    LaunchShape shape;
    shape.blocks = g.tiles * where.ranges.splits;
    shape.threads = static_cast<int>(kThreads);
    shape.cluster_blocks = static_cast<int>(t.cluster());
    shape.dynamic_shared_bytes = functions[0].dynamic_shared_bytes;
    launch_wgrad(functions, shape, p, needs_repair(problem), problem, device, tensors, where.ranges, where.layout,
                 context);
  }

 private:
  static bool needs_repair(const ConvProblem& p) { return wgrad_needs_repair(p, kRowBytes / size_bytes(p.dtype)); }

  static KernelSpec main_spec(const ConvProblem& problem, const Tile& t) {
    KernelSpec spec;
    spec.file = "conv/dense_wgrad_tma_sm90.cuh";
    spec.entry = "longconv_dense_wgrad_tma_sm90";
    const Geometry g(problem, t);
    spec.dynamic_shared_bytes = g.shared_bytes;
    spec.defines = {{"LC_ELEMENT", problem.dtype == DType::f32    ? 0
                                   : problem.dtype == DType::bf16 ? 1
                                                                  : 2},
                    {"LC_GROUPS", problem.groups},
                    {"LC_IN_CHANNELS", problem.in_channels_per_group()},
                    {"LC_OUT_CHANNELS", problem.out_channels_per_group()},
                    {"LC_KERNEL_SIZE", problem.kernel_size},
                    {"LC_DILATION", problem.dilation},
                    {"LC_BIAS", std::int64_t{problem.has_bias}},
                    {"LC_TILE_CHANNELS", t.channels},
                    {"LC_TAPS", t.taps},
                    {"LC_M_BLOCKS", t.m_blocks},
                    {"LC_COLUMNS", t.columns},
                    {"LC_SLOTS", t.slots},
                    {"LC_SHARE_X", t.share_x},
                    {"LC_SHARE_Y", t.share_y},
                    {"LC_X_BOX_ROWS", box_rows(t.channels, t.taps, t.share_x)},
                    {"LC_Y_BOX_ROWS", box_rows(t.columns, 1, t.share_y)},
                    {"LC_SHARED_BYTES", spec.dynamic_shared_bytes}};
    return spec;
  }

  /// Writes the maps of the tensors. False where there are none: rows that do not begin on 16 bytes, other time
  /// strides, drivers before CUDA 12.
  static bool encode(const ConvProblem& problem, const Tile& t, const ConvTensors& tensors, const Driver& driver,
                     Params& p) {
    const std::int64_t bytes = size_bytes(problem.dtype);
    return is_mapped(problem, tensors.x) && is_mapped(problem, tensors.y) && driver.tensor_map_encode_tiled.exists() &&
           encode_map(driver, tensors.x, bytes, box_rows(t.channels, t.taps, t.share_x), &p.x_map) &&
           encode_map(driver, tensors.y, bytes, box_rows(t.columns, 1, t.share_y), &p.y_map);
  }

  /// dense_wgrad_sm90's config for tensors that no map describes: slices that begin anywhere, channels-last. It takes
  /// rows of any alignment. Remembered, as planning takes longer than a call; good
  /// until this thread asks for another.
  static const Config& of_other_tensors(const ConvProblem& problem, const Device& device) {
    constexpr std::size_t kMost = 256;
    thread_local std::unordered_map<std::string, Config> known;
    const std::string key = problem.to_string() + " " + device.to_string();
    const auto found = known.find(key);
    if (found != known.end()) return found->second;
    if (known.size() == kMost) known.clear();
    return known[key] = dense_wgrad_sm90().configs(problem, device).front();
  }

  /// One wave of blocks or a few, as full as they get. False if not even one split fits the workspace.
  static bool choose_splits(const ConvProblem& problem, const Device& device, Tile& t) {
    const Geometry g(problem, t);
    const std::int64_t chunks = problem.batch * ceil_div(problem.out_length(), g.steps);
    return choose_wgrad_splits(g.tiles, device, ceil_div(chunks, g.most_carries * g.carry_chunks), t.splits,
                               [&] { return Workspace(problem, t).bytes <= kMaxWgradWorkspaceBytes; });
  }

  /// Cost model, fitted to 30 configs of three problems on an H100 (8 % in the mean square): what bounds a chunk is
  /// memory, the second-level cache, the tensor cores, shared memory, or the warps that round.
  static Estimate estimate(const ConvProblem& p, const Tile& t, const Device& device) {
    const Geometry g(p, t);
    const Rates rates(device);
    const Workspace where(p, t);
    const auto real = [](std::int64_t value) { return static_cast<double>(value); };
    const double clock = 0.9 * (device.clock_hz > 0 ? device.clock_hz : 1.5e9), sms = std::max(device.sm_count, 1);
    const bool rounds = p.dtype == DType::f32;
    const double used = real(t.channels * t.taps), n = real(t.columns), m = real(t.m_blocks);
    // Cycles of a multiprocessor for one chunk of a block: four k-steps.
    const double multiply = 6.4 * m * n + 20;
    const double landing = (used + n) * kRowBytes;
    const double shared = 1.1 * (landing * (rounds ? 3 : 1) + 8 * m * (2048 + 32 * n)) / 128;
    const double dress = rounds ? 390 * real(ceil_div(t.channels * t.taps + t.columns, 96)) : 0;
    const double chunks = real(ceil_div(where.ranges.chunks, where.ranges.splits));
    const double waves = std::ceil(real(g.tiles * where.ranges.splits) / sms), blocks = waves * sms;
    const double seconds_of_cycle = waves * chunks / clock;  // that each chunk takes
    Estimate e;
    e.flops = 2 * real(where.ranges.chunks * g.steps) * real(g.tiles) * real(t.rows()) * n;
    const double x_bytes = real(p.batch * p.in_channels) * real(p.length_samples) * real(g.bytes);
    const double dy_bytes = real(p.batch * p.out_channels) * real(p.out_length()) * real(g.bytes);
    const double sums = real(where.layout.workspace_bytes());
    e.bytes = x_bytes + dy_bytes + sums;
    // Of 16-bit types only chains of 48 chunks were measured.
    const double chain = rounds ? real(g.carry_chunks) : 48;
    const double carried = g.accumulators <= 96 ? 0 : 2 * real(g.block_carry_bytes) / chain;
    const double delivered = (used / real(t.share_x) + n / real(t.share_y)) * kRowBytes;  // by the second-level cache
    const double bounds[] = {(x_bytes + dy_bytes + 0.9 * blocks * chunks * carried) / rates.bytes_per_second,
                             blocks * chunks * (delivered + carried) / (38 * sms * clock), seconds_of_cycle * multiply,
                             seconds_of_cycle * shared, seconds_of_cycle * dress};
    double sum = 0;
    for (const double seconds : bounds) sum += std::pow(seconds, 4.6);
    // Blocks that read the same signals are not always in step: what a cluster does not load twice is worth more.
    const double spared = used * (1 - 1 / real(t.share_x)) + n * (1 - 1 / real(t.share_y));
    const double shares =
        g.tiles == 1 ? rounds ? 1.15 : 1 : (t.share_y > 1 ? 1.02 : 1) + 0.2 * (1.0 / 3 - spared / (used + n));
    e.seconds = std::pow(sum, 1 / 4.6) * shares + 2 * sums / rates.bytes_per_second + 10e-6;
    return e;
  }
};

}  // namespace
}  // namespace cuda

const Kernel& dense_wgrad_tma_sm90() {
  static const cuda::DenseWgradTmaSm90 kernel;
  return kernel;
}

}  // namespace longconv
