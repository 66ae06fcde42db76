// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// The weight gradient with one input channel per group (depthwise, with any depth multiplier):
//   dw[o,k] = sum_{n,t} dy[n,o,t] * xpad[n, c(o), t*stride + k*dilation - pad_left],   dbias[o] = sum_{n,t} dy[n,o,t],
// as dot products along time, eight taps at a time against one load of dy (wgrad_loops.h). dy and, at unit stride, x
// are read where they lie; else a tile of them is read into rows first (tap_rows.h).
//
//   task = (chunk of tiles of (batch, time)) x (output channel) x (block of taps)
//
// Sums: a lane adds at most a tile's samples / lanes in the accumulation type; lanes, tiles and chunks are added in
// double in their order. Zero padding: a tap skips the samples of dy that meet padding.
#include <algorithm>
#include <string>

#include "cpu/isa_table.h"
#include "cpu/pad_index.h"
#include "cpu/parallel_for.h"
#include "cpu/tap_rows.h"
#include "cpu/wgrad_blocking.h"
#include "plan/registry.h"
#include "problem/checked.h"

namespace longconv {
namespace cpu {
namespace {

constexpr std::int64_t kMaxTaps = 256;  // of a task
constexpr std::int64_t kXRowBytes = 64 << 10;
constexpr std::int64_t kTileBytes = 8192;
constexpr std::int64_t kMinTilesPerChunk = 4;

struct Blocks {
  std::int64_t taps = 0, tap_blocks = 1;
  TimeTiles tiles;
  std::int64_t chunks = 1;
};

std::int64_t element_bytes(const ConvProblem& p) { return p.dtype == DType::f64 ? 8 : 4; }

TapRows x_rows(const ConvProblem& p, std::int64_t taps, const TimeTiles& tiles) {
  constexpr std::int64_t kVector = 16;
  return make_tap_rows(taps, p.stride, p.dilation, ceil_div(tiles.time_samples, kVector) * kVector, element_bytes(p));
}

Blocks blocks_from(const ConvProblem& p, const Config& config) {
  Blocks b;
  b.taps = config.get("taps");
  b.tap_blocks = ceil_div(p.kernel_size, b.taps);
  b.tiles = make_time_tiles(p.batch, p.out_length(), config.get("time"), 1);
  b.chunks = choose_chunks(p.out_channels * b.tap_blocks, b.tiles.count, kMinTilesPerChunk,
                           p.out_channels * (p.kernel_size + 1) * static_cast<std::int64_t>(sizeof(double)));
  return b;
}

std::int64_t partial_bytes(const ConvProblem& p, const Blocks& b) {
  if (b.chunks == 1) return 0;
  return ceil_div(b.chunks * p.out_channels * (p.kernel_size + 1) * static_cast<std::int64_t>(sizeof(double)), 64) * 64;
}

/// One worker's memory.
template <class T>
struct Scratch {
  T* x;                     ///< rows of one channel
  T* dy;                    ///< a tile
  T* ones;                  ///< a tile, for the bias
  double* sums;             ///< [taps], then the bias
  std::int64_t* x_offsets;  ///< [taps]
  Interval* tap_outputs;    ///< [taps]: the outputs whose window has a sample there
  T* result;
  void* rounded;

  Scratch(const ConvProblem& p, const Blocks& b, ScratchArena& arena) {
    constexpr std::int64_t kSlack = 64 / sizeof(T);
    x = arena.take<T>(x_rows(p, b.taps, b.tiles).channel_pitch);
    dy = arena.take<T>(b.tiles.time_samples);
    ones = arena.take<T>(p.has_bias ? b.tiles.time_samples : 0);
    sums = arena.take<double>(b.taps + 1);
    x_offsets = arena.take<std::int64_t>(b.taps);
    tap_outputs = arena.take<Interval>(b.taps);
    result = arena.take<T>(b.taps + kSlack);
    rounded = arena.take<T>(b.taps + kSlack);
  }
};

template <class T>
std::int64_t scratch_bytes(const ConvProblem& p, const Blocks& b) {
  ScratchArena counter(nullptr);
  Scratch<T>(p, b, counter);
  return counter.used_bytes();
}

template <class T>
class DepthwiseWgradLaunch {
 public:
  DepthwiseWgradLaunch(const ConvProblem& problem, const Blocks& blocks, const IsaTable& table,
                       const ConvTensors& tensors, void* workspace)
      : p_(problem),
        b_(blocks),
        isa_(table),
        real_(real_table<T>(table)),
        t_(tensors),
        partials_(static_cast<double*>(workspace)),
        scratch_base_(static_cast<char*>(workspace) + partial_bytes(problem, blocks)),
        scratch_bytes_(scratch_bytes<T>(problem, blocks)) {}

  void run(Parallel& team) const {
    FewerWorkers parallel(team, workers_with_scratch(team.num_threads(), scratch_bytes_));
    const std::int64_t blocks = p_.out_channels * b_.tap_blocks, results = p_.out_channels * (p_.kernel_size + 1);
    for_each_task(parallel, b_.chunks * blocks, [&](std::int64_t task, int worker) {
      const Scratch<T> scratch = scratch_of(worker);
      const std::int64_t chunk = task / blocks;
      const Block block = block_at(task % blocks);
      sum_chunk(block, chunk, scratch);
      if (b_.chunks == 1) return store(block, scratch);
      double* const partial = partials_ + chunk * results + block.output * (p_.kernel_size + 1);
      std::copy_n(scratch.sums, block.taps, partial + block.first_tap);
      if (block.first_tap == 0) partial[p_.kernel_size] = scratch.sums[block.taps];
    });
    if (b_.chunks == 1) return;
    for_each_task(parallel, blocks, [&](std::int64_t index, int worker) {
      const Scratch<T> scratch = scratch_of(worker);
      const Block block = block_at(index);
      std::fill_n(scratch.sums, block.taps + 1, 0.0);
      for (std::int64_t chunk = 0; chunk < b_.chunks; ++chunk) {
        const double* const partial = partials_ + chunk * results + block.output * (p_.kernel_size + 1);
        for (std::int64_t k = 0; k < block.taps; ++k) scratch.sums[k] += partial[block.first_tap + k];
        scratch.sums[block.taps] += partial[p_.kernel_size];
      }
      store(block, scratch);
    });
  }

 private:
  struct Block {
    std::int64_t output, first_tap, taps;
  };
  struct Tile {
    std::int64_t batch_index;
    Interval outputs;
  };

  Block block_at(std::int64_t index) const {
    const std::int64_t first = index % b_.tap_blocks * b_.taps;
    return {index / b_.tap_blocks, first, std::min(b_.taps, p_.kernel_size - first)};
  }
  Scratch<T> scratch_of(int worker) const {
    ScratchArena arena(scratch_base_ + worker * scratch_bytes_);
    return Scratch<T>(p_, b_, arena);
  }
  std::int64_t tap_position(const Block& block, std::int64_t k) const {
    return (block.first_tap + k) * p_.dilation - p_.pad_left;
  }

  void sum_chunk(const Block& block, std::int64_t chunk, const Scratch<T>& scratch) const {
    std::fill_n(scratch.sums, block.taps + 1, 0.0);
    if (p_.has_bias) std::fill_n(scratch.ones, b_.tiles.time_samples, T(1));
    const Interval signal = p_.pad_mode == PadMode::zeros ? Interval{0, p_.length_samples}
                                                          : Interval{-p_.pad_left, p_.length_samples + p_.pad_right};
    for (std::int64_t k = 0; k < block.taps; ++k) {
      scratch.tap_outputs[k] = outputs_reading(signal, tap_position(block, k), p_.stride, p_.out_length());
    }
    const std::int64_t end = block_begin(b_.tiles.count, b_.chunks, chunk + 1);
    for (std::int64_t tile = block_begin(b_.tiles.count, b_.chunks, chunk); tile < end; ++tile) {
      const std::int64_t first = tile % b_.tiles.tiles_per_row * b_.tiles.time_samples;
      const Interval outputs{first, std::min(first + b_.tiles.time_samples, p_.out_length())};
      sum_tile(block, {tile / b_.tiles.tiles_per_row, outputs}, scratch);
    }
  }

  void sum_tile(const Block& block, const Tile& tile, const Scratch<T>& scratch) const {
    const T* const dy = read_dy(block, tile, scratch);
    const T* const x = read_x(block, tile, scratch);
    const std::int64_t groups = ceil_div(block.taps, kMaxDotTaps);
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::int64_t begin = block_begin(block.taps, groups, g), end = block_begin(block.taps, groups, g + 1);
      Interval common = tile.outputs;
      for (std::int64_t k = begin; k < end; ++k) common = intersect(common, scratch.tap_outputs[k]);
      if (common.empty()) common.begin = common.end = tile.outputs.begin;
      const auto add = [&](Interval outputs, std::int64_t first_tap, std::int64_t taps) {
        if (outputs.empty()) return;
        const std::int64_t skipped = outputs.begin - tile.outputs.begin;
        DotProduct<T> call;
        call.dy = dy + skipped;
        call.x = x + skipped;
        call.x_offsets = scratch.x_offsets + first_tap;
        call.count = outputs.end - outputs.begin;
        call.sums = scratch.sums + first_tap;
        real_.wgrad.dot_product[taps - 1](call);
      };
      add(common, begin, end - begin);
      for (std::int64_t k = begin; k < end; ++k) {  // where other taps of the group meet zero padding
        const Interval own = intersect(scratch.tap_outputs[k], tile.outputs);
        add(intersect(own, {tile.outputs.begin, common.begin}), k, 1);
        add(intersect(own, {common.end, tile.outputs.end}), k, 1);
      }
    }
    if (p_.has_bias && block.first_tap == 0) sum_bias(dy, tile, scratch, scratch.sums + block.taps);
  }

  void sum_bias(const T* dy, const Tile& tile, const Scratch<T>& scratch, double* sum) const {
    constexpr std::int64_t kAtOnes = 0;
    DotProduct<T> call;
    call.dy = dy;
    call.x = scratch.ones;
    call.x_offsets = &kAtOnes;
    call.count = tile.outputs.end - tile.outputs.begin;
    call.sums = sum;
    real_.wgrad.dot_product[0](call);
  }

  const T* read_dy(const Block& block, const Tile& tile, const Scratch<T>& scratch) const {
    const TensorView& dy = t_.y;
    const std::int64_t at =
        tile.batch_index * dy.strides[0] + block.output * dy.strides[1] + tile.outputs.begin * dy.strides[2];
    if (dy.strides[2] == 1 && size_bytes(dy.dtype) == sizeof(T)) return static_cast<const T*>(dy.data) + at;
    SampleRun run;
    run.source = static_cast<const char*>(dy.data) + at * size_bytes(dy.dtype);
    run.dtype = dy.dtype;
    run.count = tile.outputs.end - tile.outputs.begin;
    run.sample_stride = dy.strides[2];
    real_.read_samples(run, scratch.dy, run.count);
    return scratch.dy;
  }

  /// Sets x_offsets: tap k at the tile's output j reads result[x_offsets[k] + j].
  const T* read_x(const Block& block, const Tile& tile, const Scratch<T>& scratch) const {
    const std::int64_t channel = block.output / p_.out_channels_per_group();
    const std::int64_t count = tile.outputs.end - tile.outputs.begin;
    const std::int64_t position = tile.outputs.begin * p_.stride + tap_position(block, 0);
    const TensorView& x = t_.x;
    if (p_.stride == 1 && x.strides[2] == 1 && size_bytes(x.dtype) == sizeof(T) && reads_signal_only(position, count)) {
      for (std::int64_t k = 0; k < block.taps; ++k) scratch.x_offsets[k] = position + k * p_.dilation;
      return static_cast<const T*>(x.data) + tile.batch_index * x.strides[0] + channel * x.strides[1];
    }
    const TapRows rows = x_rows(p_, block.taps, b_.tiles);
    for (std::int64_t k = 0; k < block.taps; ++k) scratch.x_offsets[k] = rows.offset(k);
    const PaddedSignal signal = padded_signal(x, tile.batch_index, p_.pad_mode);
    for (std::int64_t s = 0; s < rows.segments; ++s) {
      const std::int64_t samples = rows.segment_samples(s, count);
      read_padded_rows<T>(isa_, signal, channel, 1, position + s * p_.dilation, p_.stride, samples, samples,
                          scratch.x + s * rows.segment_pitch, rows.channel_pitch);
    }
    return scratch.x;
  }

  /// No tap reads padding as if it were a sample: with zeros always so, since taps skip it.
  bool reads_signal_only(std::int64_t position, std::int64_t count) const {
    if (p_.pad_mode == PadMode::zeros) return true;
    return position >= 0 && position + (b_.taps - 1) * p_.dilation + count <= p_.length_samples;
  }

  void store(const Block& block, const Scratch<T>& scratch) const {
    store_row(scratch.sums, block.taps, t_.w, block.output * t_.w.strides[0] + block.first_tap * t_.w.strides[2],
              t_.w.strides[2], scratch);
    if (p_.has_bias && block.first_tap == 0) {
      store_row(scratch.sums + block.taps, 1, t_.bias, block.output * t_.bias.strides[0], 1, scratch);
    }
  }

  void store_row(const double* sums, std::int64_t count, const TensorView& to, std::int64_t at, std::int64_t stride,
                 const Scratch<T>& scratch) const {
    for (std::int64_t j = 0; j < count; ++j) scratch.result[j] = static_cast<T>(sums[j]);
    FinishRow<T> finish;
    finish.sums = scratch.result;
    finish.out = scratch.rounded;
    finish.dtype = p_.result_dtype();
    finish.count = count;
    real_.finish_row(finish);
    ScatterRows scatter;
    scatter.rows = scratch.rounded;
    scatter.dtype = p_.result_dtype();
    scatter.count = count;
    scatter.out = static_cast<char*>(to.data) + at * size_bytes(p_.result_dtype());
    scatter.sample_stride = stride;
    isa_.scatter_rows(scatter);
  }

  const ConvProblem& p_;
  const Blocks& b_;
  const IsaTable& isa_;
  const IsaTable::Real<T>& real_;
  const ConvTensors& t_;
  double* const partials_;
  char* const scratch_base_;
  const std::int64_t scratch_bytes_;
};

class DepthwiseWgrad final : public Kernel {
 public:
  std::string_view name() const override { return "depthwise_wgrad"; }

  Support supports(const ConvProblem& p, const Device& device) const override {
    if (!p.is_depthwise()) {
      return Support::no("takes one input channel per group, not " + std::to_string(p.in_channels_per_group()));
    }
    return supports_real_pass(p, device, Pass::wgrad);
  }

  std::vector<Config> configs(const ConvProblem& p, const Device&) const override {
    const std::int64_t time = kTileBytes / element_bytes(p);
    const TimeTiles tiles = make_time_tiles(p.batch, p.out_length(), time, 1);
    std::int64_t taps = std::min(p.kernel_size, kMaxTaps);
    while (taps > 1 && x_rows(p, taps, tiles).channel_pitch * element_bytes(p) > kXRowBytes) taps = ceil_div(taps, 2);
    return {Config{{{"taps", taps}, {"time", time}}}};
  }

  Estimate estimate(const ConvProblem& p, const Config&, const Device& device) const override {
    // A dot product is bound by its loads: about 0.6 of what outer products reach, and reading dy costs another tap.
    const double flops = p.flops() * (1 + 1 / static_cast<double>(std::min<std::int64_t>(p.kernel_size, kMaxDotTaps)));
    return wgrad_estimate(p, device, flops / 0.6,
                          p.dtype == DType::f64 ? isa_table(device.isa).f64.lanes : isa_table(device.isa).f32.lanes);
  }

  std::int64_t workspace_bytes(const ConvProblem& p, const Config& config, const Device& device) const override {
    const Blocks b = blocks_from(p, config);
    const std::int64_t scratch = p.dtype == DType::f64 ? scratch_bytes<double>(p, b) : scratch_bytes<float>(p, b);
    return partial_bytes(p, b) + workers_with_scratch(device.threads, scratch) * scratch;
  }

  void launch(const ConvProblem& p, const Config& config, const Device& device, const ConvTensors& tensors,
              const LaunchContext& context) const override {
    const Blocks blocks = blocks_from(p, config);
    const IsaTable& table = isa_table(device.isa);
    if (p.dtype == DType::f64) {
      DepthwiseWgradLaunch<double>(p, blocks, table, tensors, context.workspace).run(*context.parallel);
    } else {
      DepthwiseWgradLaunch<float>(p, blocks, table, tensors, context.workspace).run(*context.parallel);
    }
  }
};

}  // namespace
}  // namespace cpu

const Kernel& depthwise_wgrad() {
  static const cpu::DepthwiseWgrad kernel;
  return kernel;
}

}  // namespace longconv
