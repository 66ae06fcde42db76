// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// The weight gradient of dense and grouped convolutions,
//   dw[o,i,k] = sum_{n,t} dy[n,o,t] * xpad[n, i, t*stride + k*dilation - pad_left],   dbias[o] = sum_{n,t} dy[n,o,t],
// as outer products: a tile of dy is transposed to [time][width output channels], the tile of x is read into rows at
// unit stride (polyphase, tap_rows.h), and a register block of width x taps sums runs over time (wgrad_loops.h).
//
//   task = (chunk of tiles of (batch, time)) x (block of dw: outputs x inputs x taps)
//     for each tile: read x rows, transpose dy, for each width of outputs, each group of taps: one call
//
// Sums: at most a tile (256 samples) in the accumulation type, then double, over tiles and over chunks in their order.
// Zero padding: a tap skips the samples of dy that meet padding, instead of multiplying them by zero.
#include "cpu/dense_wgrad.h"

#include <algorithm>
#include <array>
#include <string>

#include "cpu/isa_table.h"
#include "cpu/pad_index.h"
#include "cpu/parallel_for.h"
#include "cpu/tap_rows.h"
#include "plan/registry.h"
#include "problem/checked.h"

namespace longconv {
namespace cpu {
namespace {

template <class T>
inline constexpr std::int64_t kTileSamples = 768 / sizeof(T);

template <class T>
constexpr std::array<T, kTileSamples<T>> ones() {
  std::array<T, kTileSamples<T>> values{};
  for (T& value : values) value = T(1);
  return values;
}
template <class T>
constexpr std::array<T, kTileSamples<T>> kOnes = ones<T>();

template <class T>
const OuterShape<T>& shape_of_width(const WgradTable<T>& table, std::int64_t width) {
  return table.wide.width == width ? table.wide : table.narrow;
}

/// One worker's memory.
template <class T>
struct Scratch {
  T* x;                     ///< [rows][inputs][channel pitch]
  T* dy_rows;               ///< [width][tile], dy as read, where it cannot be transposed in place
  T* dy;                    ///< [outputs / width][tile][width]
  double* sums;             ///< DenseWgradBlocks::sums_per_block()
  std::int64_t* x_offsets;  ///< [inputs * taps]
  Interval* tap_outputs;    ///< [taps]: the outputs whose window has a sample there
  TimeSegment* whole;       ///< [rows]
  TimeSegment* part;        ///< [rows]
  T* result;                ///< [inputs * taps] of one output channel
  void* rounded;            ///< the same in the tensor's dtype

  Scratch(const ConvProblem& p, const DenseWgradBlocks& b, ScratchArena& arena) {
    const std::int64_t rows = b.tiles.rows, products = b.inputs * b.taps, tile = rows * b.tiles.time_samples;
    const std::int64_t results = std::max(products, b.outputs) + 64 / sizeof(T);
    x = arena.take<T>(rows * b.inputs * dense_wgrad_rows<T>(p, b, b.taps).channel_pitch);
    dy_rows = arena.take<T>(b.width * odd_line_pitch(tile, sizeof(T)));
    dy = arena.take<T>(b.outputs * tile);
    sums = arena.take<double>(b.sums_per_block());
    x_offsets = arena.take<std::int64_t>(products);
    tap_outputs = arena.take<Interval>(b.taps);
    whole = arena.take<TimeSegment>(rows);
    part = arena.take<TimeSegment>(rows);
    result = arena.take<T>(results);
    rounded = arena.take<T>(results);
  }
};

template <class T>
std::int64_t scratch_bytes(const ConvProblem& p, const DenseWgradBlocks& b) {
  ScratchArena counter(nullptr);
  Scratch<T>(p, b, counter);
  return counter.used_bytes();
}

std::int64_t partial_bytes(const ConvProblem& p, const DenseWgradBlocks& b) {
  if (b.chunks == 1) return 0;
  return b.chunks * p.groups * b.blocks_per_group() * b.sums_per_block() * static_cast<std::int64_t>(sizeof(double));
}

/// Which part of dw a block is.
struct Block {
  std::int64_t group, first_output, outputs, first_input, inputs, first_tap, taps;  ///< channels within the group
};

Block block_at(const ConvProblem& p, const DenseWgradBlocks& b, std::int64_t index) {
  const auto part = [](std::int64_t at, std::int64_t size, std::int64_t total) {
    return Interval{at * size, std::min((at + 1) * size, total)};
  };
  const Interval k = part(index % b.tap_blocks, b.taps, p.kernel_size);
  index /= b.tap_blocks;
  const Interval i = part(index % b.input_blocks, b.inputs, p.in_channels_per_group());
  index /= b.input_blocks;
  const Interval o = part(index % b.output_blocks, b.outputs, p.out_channels_per_group());
  return {index / b.output_blocks, o.begin, o.end - o.begin, i.begin, i.end - i.begin, k.begin, k.end - k.begin};
}

template <class T>
class DenseWgradLaunch {
 public:
  DenseWgradLaunch(const ConvProblem& problem, const DenseWgradBlocks& blocks, const IsaTable& table,
                   const ConvTensors& tensors, void* workspace)
      : p_(problem),
        b_(blocks),
        isa_(table),
        real_(real_table<T>(table)),
        shape_(shape_of_width(real_.wgrad, blocks.width)),
        t_(tensors),
        partials_(static_cast<double*>(workspace)),
        scratch_base_(static_cast<char*>(workspace) + (partial_bytes(problem, blocks) + 63) / 64 * 64),
        scratch_bytes_(scratch_bytes<T>(problem, blocks)) {}

  void run(Parallel& team) const {
    FewerWorkers parallel(team, workers_with_scratch(team.num_threads(), scratch_bytes_));
    const std::int64_t blocks = p_.groups * b_.blocks_per_group();
    // Chunks outermost: tasks that run at the same time read the same samples.
    for_each_task(parallel, b_.chunks * blocks, [&](std::int64_t task, int worker) {
      const Scratch<T> scratch = scratch_of(worker);
      const Block block = block_at(p_, b_, task % blocks);
      double* const sums = b_.chunks == 1 ? scratch.sums : partials_ + task * b_.sums_per_block();
      sum_chunk(block, task / blocks, scratch, sums);
      if (b_.chunks == 1) store(block, scratch, sums);
    });
    if (b_.chunks == 1) return;
    for_each_task(parallel, blocks, [&](std::int64_t index, int worker) {
      const std::int64_t count = b_.sums_per_block();
      double* const sums = partials_ + index * count;
      for (std::int64_t chunk = 1; chunk < b_.chunks; ++chunk) {
        const double* const more = sums + chunk * blocks * count;
        for (std::int64_t j = 0; j < count; ++j) sums[j] += more[j];
      }
      store(block_at(p_, b_, index), scratch_of(worker), sums);
    });
  }

 private:
  /// The part of a tile that lies in one batch sample.
  struct TileRow {
    std::int64_t batch_index, first_output, count;
  };

  Scratch<T> scratch_of(int worker) const {
    ScratchArena arena(scratch_base_ + worker * scratch_bytes_);
    return Scratch<T>(p_, b_, arena);
  }

  bool has_bias_sums(const Block& block) const { return p_.has_bias && block.first_input == 0 && block.first_tap == 0; }
  double* bias_sums(double* sums) const { return sums + b_.outputs * b_.inputs * b_.taps; }

  void sum_chunk(const Block& block, std::int64_t chunk, const Scratch<T>& scratch, double* sums) const {
    std::fill_n(sums, b_.sums_per_block(), 0.0);
    const TapRows rows = dense_wgrad_rows<T>(p_, b_, block.taps);
    for (std::int64_t i = 0; i < block.inputs; ++i) {
      for (std::int64_t k = 0; k < block.taps; ++k) {
        scratch.x_offsets[i * block.taps + k] = i * rows.channel_pitch + rows.offset(k);
      }
    }
    const Interval signal = p_.pad_mode == PadMode::zeros ? Interval{0, p_.length_samples}
                                                          : Interval{-p_.pad_left, p_.length_samples + p_.pad_right};
    for (std::int64_t k = 0; k < block.taps; ++k) {
      const std::int64_t tap_position = (block.first_tap + k) * p_.dilation - p_.pad_left;
      scratch.tap_outputs[k] = outputs_reading(signal, tap_position, p_.stride, p_.out_length());
    }
    const Interval tiles{block_begin(b_.tiles.count, b_.chunks, chunk),
                         block_begin(b_.tiles.count, b_.chunks, chunk + 1)};
    for (std::int64_t tile = tiles.begin; tile < tiles.end; ++tile) sum_tile(block, tile, rows, scratch, sums);
  }

  void sum_tile(const Block& block, std::int64_t tile, const TapRows& rows, const Scratch<T>& scratch,
                double* sums) const {
    const std::int64_t out_length = p_.out_length();
    const std::int64_t first_row = b_.tiles.tiles_per_row == 1 ? tile * b_.tiles.rows : tile / b_.tiles.tiles_per_row;
    const std::int64_t row_count = std::min(b_.tiles.rows, p_.batch - first_row);
    const std::int64_t first_output = tile % b_.tiles.tiles_per_row * b_.tiles.time_samples;
    const std::int64_t count = std::min(b_.tiles.time_samples, out_length - first_output);
    const std::int64_t tile_samples = b_.tiles.rows * b_.tiles.time_samples;
    for (std::int64_t r = 0; r < row_count; ++r) {
      const TileRow row{first_row + r, first_output, count};
      read_x(block, row, rows, scratch.x + r * b_.inputs * rows.channel_pitch);
      for (std::int64_t o = 0; o < block.outputs; o += b_.width) {
        read_dy(block, o, row, scratch.dy_rows, scratch.dy + o * tile_samples + r * count * b_.width);
      }
      scratch.whole[r] = {r * count, r * b_.inputs * rows.channel_pitch, count};
    }
    bool all_inside = true;
    for (std::int64_t k = 0; k < block.taps; ++k) {
      const Interval inside = scratch.tap_outputs[k];
      all_inside = all_inside && inside.begin <= first_output && first_output + count <= inside.end;
    }
    const std::int64_t products = block.inputs * block.taps;
    const std::int64_t groups = ceil_div(products, shape_.max_taps);
    for (std::int64_t o = 0; o < block.outputs; o += b_.width) {
      OuterProduct<T> call;
      call.dy = scratch.dy + o * tile_samples;
      call.x = scratch.x;
      double* const block_sums = sums + o * b_.inputs * b_.taps;
      for (std::int64_t g = 0; g < groups; ++g) {
        const std::int64_t begin = block_begin(products, groups, g), end = block_begin(products, groups, g + 1);
        call.x_offsets = scratch.x_offsets + begin;
        call.sums = block_sums + begin * b_.width;
        if (all_inside) {
          call.segments = scratch.whole;
          call.segment_count = row_count;
          shape_.outer_product[end - begin - 1](call);
        } else {
          sum_edges(block, {begin, end}, {first_output, first_output + count}, row_count, scratch, call);
        }
      }
      if (has_bias_sums(block)) sum_bias(row_count, scratch, call, bias_sums(sums) + o);
    }
  }

  /// Where some taps meet zero padding: the outputs that all taps of the group have in common, then each tap's others.
  void sum_edges(const Block& block, Interval products, Interval tile_outputs, std::int64_t row_count,
                 const Scratch<T>& scratch, OuterProduct<T> call) const {
    const auto inside = [&](std::int64_t product) {
      return intersect(scratch.tap_outputs[product % block.taps], tile_outputs);
    };
    Interval common = tile_outputs;
    for (std::int64_t j = products.begin; j < products.end; ++j) common = intersect(common, inside(j));
    if (common.empty()) common.end = common.begin = tile_outputs.begin;
    const auto add = [&](Interval outputs, std::int64_t taps) {
      if (outputs.empty()) return;
      for (std::int64_t r = 0; r < row_count; ++r) {
        const std::int64_t skipped = outputs.begin - tile_outputs.begin;
        scratch.part[r] = {scratch.whole[r].dy_first + skipped, scratch.whole[r].x_first + skipped,
                           outputs.end - outputs.begin};
      }
      call.segments = scratch.part;
      call.segment_count = row_count;
      shape_.outer_product[taps - 1](call);
    };
    add(common, products.end - products.begin);
    for (std::int64_t j = products.begin; j < products.end; ++j, ++call.x_offsets, call.sums += b_.width) {
      const Interval own = inside(j);
      add(intersect(own, {tile_outputs.begin, common.begin}), 1);
      add(intersect(own, {common.end, tile_outputs.end}), 1);
    }
  }

  void sum_bias(std::int64_t row_count, const Scratch<T>& scratch, OuterProduct<T> call, double* sums) const {
    constexpr std::int64_t kAtOnes = 0;
    call.x = kOnes<T>.data();
    call.x_offsets = &kAtOnes;
    call.sums = sums;
    for (std::int64_t r = 0; r < row_count; ++r)
      scratch.part[r] = {scratch.whole[r].dy_first, 0, scratch.whole[r].count};
    call.segments = scratch.part;
    call.segment_count = row_count;
    shape_.outer_product[0](call);
  }

  void read_x(const Block& block, const TileRow& row, const TapRows& rows, T* to) const {
    const PaddedSignal x = padded_signal(t_.x, row.batch_index, p_.pad_mode);
    const std::int64_t position = row.first_output * p_.stride + block.first_tap * p_.dilation - p_.pad_left;
    for (std::int64_t s = 0; s < rows.segments; ++s) {
      const std::int64_t samples = rows.segment_samples(s, row.count);
      read_padded_rows<T>(isa_, x, block.group * p_.in_channels_per_group() + block.first_input, block.inputs,
                          position + s * p_.dilation, p_.stride, samples, samples, to + s * rows.segment_pitch,
                          rows.channel_pitch);
    }
  }

  /// width channels of dy from o on (of the block), transposed.
  void read_dy(const Block& block, std::int64_t o, const TileRow& row, T* rows, T* to) const {
    const TensorView& dy = t_.y;
    const std::int64_t channel = block.group * p_.out_channels_per_group() + block.first_output + o;
    const std::int64_t at =
        row.batch_index * dy.strides[0] + channel * dy.strides[1] + row.first_output * dy.strides[2];
    TransposeRows<T> call;
    call.row_count = std::min(b_.width, block.outputs - o);
    call.count = row.count;
    call.dst = to;
    if (size_bytes(p_.dtype) == sizeof(T) && dy.strides[2] == 1) {
      call.rows = static_cast<const T*>(dy.data) + at;
      call.row_pitch = dy.strides[1];
    } else {
      SampleRun run;
      run.source = static_cast<const char*>(dy.data) + at * size_bytes(p_.dtype);
      run.dtype = p_.dtype;
      run.channels = call.row_count;
      run.channel_stride = dy.strides[1];
      run.count = row.count;
      run.sample_stride = dy.strides[2];
      call.rows = rows;
      call.row_pitch = odd_line_pitch(b_.tiles.rows * b_.tiles.time_samples, sizeof(T));
      real_.read_samples(run, rows, call.row_pitch);
    }
    shape_.transpose(call);
  }

  void store(const Block& block, const Scratch<T>& scratch, double* sums) const {
    const std::int64_t products = block.inputs * block.taps;
    const std::int64_t first_channel = block.group * p_.out_channels_per_group() + block.first_output;
    FinishRow<T> finish;
    finish.sums = scratch.result;
    finish.out = scratch.rounded;
    finish.dtype = p_.result_dtype();
    ScatterRows scatter;
    scatter.rows = scratch.rounded;
    scatter.dtype = p_.result_dtype();
    for (std::int64_t o = 0; o < block.outputs; ++o) {
      const double* const from = sums + o / b_.width * b_.width * b_.inputs * b_.taps + o % b_.width;
      for (std::int64_t j = 0; j < products; ++j) scratch.result[j] = static_cast<T>(from[j * b_.width]);
      finish.count = products;
      real_.finish_row(finish);
      const TensorView& w = t_.w;
      const std::int64_t at =
          (first_channel + o) * w.strides[0] + block.first_input * w.strides[1] + block.first_tap * w.strides[2];
      scatter.row_pitch = block.taps;
      scatter.channels = block.inputs;
      scatter.count = block.taps;
      scatter.out = static_cast<char*>(w.data) + at * size_bytes(p_.result_dtype());
      scatter.channel_stride = w.strides[1];
      scatter.sample_stride = w.strides[2];
      isa_.scatter_rows(scatter);
    }
    if (!has_bias_sums(block)) return;
    for (std::int64_t o = 0; o < block.outputs; ++o) scratch.result[o] = static_cast<T>(bias_sums(sums)[o]);
    finish.count = block.outputs;
    real_.finish_row(finish);
    scatter.channels = 1;
    scatter.count = block.outputs;
    scatter.out = static_cast<char*>(t_.bias.data) + first_channel * t_.bias.strides[0] * size_bytes(p_.result_dtype());
    scatter.sample_stride = t_.bias.strides[0];
    isa_.scatter_rows(scatter);
  }

  const ConvProblem& p_;
  const DenseWgradBlocks& b_;
  const IsaTable& isa_;
  const IsaTable::Real<T>& real_;
  const OuterShape<T>& shape_;
  const ConvTensors& t_;
  double* const partials_;
  char* const scratch_base_;
  const std::int64_t scratch_bytes_;
};

class DenseWgrad final : public Kernel {
 public:
  std::string_view name() const override { return "dense_wgrad"; }

  Support supports(const ConvProblem& p, const Device& device) const override {
    return supports_real_pass(p, device, Pass::wgrad);
  }

  std::vector<Config> configs(const ConvProblem& p, const Device& device) const override {
    return {dense_wgrad_config(p, lanes(p, device))};
  }

  Estimate estimate(const ConvProblem& p, const Config& config, const Device& device) const override {
    const DenseWgradBlocks b = dense_wgrad_blocks(p, config);
    const auto product = [](auto... sizes) { return (static_cast<double>(sizes) * ...); };
    const double outputs = product(ceil_div(p.out_channels_per_group(), b.width), b.width);
    const double taps = product(p.in_channels_per_group(), p.kernel_size);
    const double samples = product(p.batch, p.out_length());
    const double groups = static_cast<double>(p.groups);
    // Reading a sample of dy or x into a tile costs about two multiply-adds of a vector.
    const double reads = 2.0 * static_cast<double>(lanes(p, device)) *
                         (outputs * product(b.input_blocks, b.tap_blocks) / 4 +
                          product(p.in_channels_per_group(), p.stride, b.output_blocks) / 4);
    const double flops = 2 * samples * groups * (outputs * taps + reads);
    return wgrad_estimate(p, device, flops, lanes(p, device));
  }

  std::int64_t workspace_bytes(const ConvProblem& p, const Config& config, const Device& device) const override {
    const DenseWgradBlocks b = dense_wgrad_blocks(p, config);
    const std::int64_t scratch = p.dtype == DType::f64 ? scratch_bytes<double>(p, b) : scratch_bytes<float>(p, b);
    return (partial_bytes(p, b) + 63) / 64 * 64 + workers_with_scratch(device.threads, scratch) * scratch;
  }

  void launch(const ConvProblem& p, const Config& config, const Device& device, const ConvTensors& tensors,
              const LaunchContext& context) const override {
    const DenseWgradBlocks blocks = dense_wgrad_blocks(p, config);
    const IsaTable& table = isa_table(device.isa);
    if (p.dtype == DType::f64) {
      DenseWgradLaunch<double>(p, blocks, table, tensors, context.workspace).run(*context.parallel);
    } else {
      DenseWgradLaunch<float>(p, blocks, table, tensors, context.workspace).run(*context.parallel);
    }
  }

 private:
  static std::int64_t lanes(const ConvProblem& p, const Device& device) {
    const IsaTable& table = isa_table(device.isa);
    return p.dtype == DType::f64 ? table.f64.lanes : table.f32.lanes;
  }
};

}  // namespace
}  // namespace cpu

const Kernel& dense_wgrad() {
  static const cpu::DenseWgrad kernel;
  return kernel;
}

}  // namespace longconv
