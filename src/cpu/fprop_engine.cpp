// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// The forward pass: y[o][t] = act(bias[o] + residual[o][t] + sum over rows (c, k) of w[o][c][k] * x[c][t * stride + k *
// dilation - pad_left]).
//
// A task is one tile of time of one batch sample, one group, one slice of output channels. For each packed block of
// rows it copies the samples that the block's taps read into scratch (tap_rows.h), then for each block of output
// channels runs the microkernel chain by chain over them, adding each chain's sum into the tile's sums; after the last
// packed block the sums are finished and stored (output_rows.h).
#include <algorithm>

#include "cpu/fprop_schedule.h"
#include "cpu/output_rows.h"
#include "cpu/parallel_for.h"
#include "cpu/weight_panels.h"
#include "problem/checked.h"

namespace longconv::cpu {
namespace {

template <class T>
struct Scratch {
  std::int32_t* offsets;
  T* pack;
  T* sums;
  T* residual_row;
  void* out_rows;

  Scratch(const FpropSchedule& s, char* at)
      : offsets(reinterpret_cast<std::int32_t*>(at)),
        pack(reinterpret_cast<T*>(at += s.offset_bytes)),
        sums(reinterpret_cast<T*>(at += s.pack_bytes)),
        residual_row(reinterpret_cast<T*>(at += s.sum_bytes)),
        out_rows(at + s.residual_bytes) {}
};

/// Which task is being done.
struct Tile {
  std::int64_t batch, group;
  std::int64_t first_panel, panel_end;  // blocks of the group's output channels
  std::int64_t time, count;             // outputs [time, time + count)
  std::int64_t vectors;                 // the same in whole vectors
};

/// Rows that are packed at once: taps of `piece`s for the channels of `chunk`s.
struct RowBlock {
  std::int64_t first_chunk, chunk_end, first_piece, piece_end;
};

template <class T>
class Fprop {
 public:
  Fprop(const ConvProblem& problem, const FpropSchedule& schedule, const IsaTable& table, const ConvTensors& tensors,
        const WeightPanels<T>& panels, bool non_temporal)
      : problem_(problem),
        s_(schedule),
        table_(table),
        real_(real_table<T>(table)),
        tensors_(tensors),
        panels_(panels),
        out_(table, problem, tensors.y, tensors.residual, non_temporal) {}

  void task(std::int64_t index, const Scratch<T>& scratch) const {
    Tile tile;
    tile.first_panel = index % s_.out_slices * s_.panels_per_slice;
    tile.panel_end = std::min(tile.first_panel + s_.panels_per_slice, s_.panels);
    index /= s_.out_slices;
    tile.time = index % s_.tiles * s_.time_samples;
    tile.count = std::min(s_.time_samples, problem_.out_length() - tile.time);
    tile.vectors = ceil_div(tile.count, real_.lanes);
    index /= s_.tiles;
    tile.group = index % problem_.groups;
    tile.batch = index / problem_.groups;
    for (std::int64_t block = 0; block < s_.blocks; ++block) packed_block(tile, block, scratch);
  }

 private:
  RowBlock row_block(std::int64_t block) const {
    const ChainSplit& chains = s_.chains;
    if (s_.all_taps()) {
      const std::int64_t first = block * s_.chunks_per_block;
      return {first, std::min(first + s_.chunks_per_block, chains.channel_chunks), 0, chains.tap_pieces};
    }
    const std::int64_t per_chunk = ceil_div(chains.tap_pieces, s_.pieces_per_block);
    const std::int64_t chunk = block / per_chunk, first = block % per_chunk * s_.pieces_per_block;
    return {chunk, chunk + 1, first, std::min(first + s_.pieces_per_block, chains.tap_pieces)};
  }

  void packed_block(const Tile& tile, std::int64_t block, const Scratch<T>& scratch) const {
    const RowBlock rows = row_block(block);
    const std::int64_t first_tap = s_.chains.piece_begin(rows.first_piece);
    TapRows taps = make_tap_rows(s_.chains.piece_begin(rows.piece_end) - first_tap, problem_.stride, problem_.dilation,
                                 s_.time_samples, sizeof(T));
    const T* samples = samples_in_place(tile, first_tap, taps);
    if (samples == nullptr) {
      pack(tile, rows, first_tap, taps, scratch.pack);
      samples = scratch.pack;
    }
    fill_offsets(rows, first_tap, taps, scratch.offsets);
    const std::int64_t outputs = problem_.out_channels_per_group();
    for (std::int64_t panel = tile.first_panel; panel < tile.panel_end; ++panel) {
      const std::int64_t begin = block_begin(outputs, s_.panels, panel);
      const std::int64_t channels = block_begin(outputs, s_.panels, panel + 1) - begin;
      const std::int64_t channel = tile.group * outputs + begin;
      const std::int64_t waiting = s_.blocks == 1 ? 0 : begin - block_begin(outputs, s_.panels, tile.first_panel);
      T* const sums = scratch.sums + waiting * s_.sum_pitch;
      multiply(rows, samples, scratch.offsets, channel, channels, tile.vectors, block > 0, sums);
      if (block + 1 < s_.blocks) continue;
      if (panels_.non_finite && problem_.pad_mode == PadMode::zeros) redo_at_padding(tile, channel, channels, sums);
      out_.write(tile.batch, channel, channels, tile.time, 1, tile.count, sums, s_.sum_pitch, panels_.bias + channel,
                 scratch.residual_row, scratch.out_rows);
    }
  }

  /// x itself where one channel's taps can be read from it: unit stride, T's own dtype, all whole vectors inside the
  /// signal. Else null. Sets `taps` to the offsets to use.
  const T* samples_in_place(const Tile& tile, std::int64_t first_tap, TapRows& taps) const {
    const TensorView& x = tensors_.x;
    if (s_.chains.channels != 1 || problem_.stride != 1 || x.strides[2] != 1 || size_bytes(x.dtype) != sizeof(T)) {
      return nullptr;
    }
    const std::int64_t span = (taps.taps - 1) * problem_.dilation;
    const std::int64_t position = tile.time + first_tap * problem_.dilation - problem_.pad_left;
    if (position < 0 || span >= INT32_MAX || position + span + tile.vectors * real_.lanes > problem_.length_samples) {
      return nullptr;
    }
    taps.shared = true;
    taps.classes = 1;
    taps.gap_samples = problem_.dilation;
    return static_cast<const T*>(x.data) + tile.batch * x.strides[0] + tile.group * x.strides[1] + position;
  }

  void pack(const Tile& tile, const RowBlock& rows, std::int64_t first_tap, const TapRows& taps, T* to) const {
    const PaddedSignal signal = padded_signal(tensors_.x, tile.batch, problem_.pad_mode);
    const std::int64_t first = s_.chains.chunk_begin(rows.first_chunk);
    const std::int64_t channels = s_.chains.chunk_begin(rows.chunk_end) - first;
    const std::int64_t position = tile.time * problem_.stride + first_tap * problem_.dilation - problem_.pad_left;
    for (std::int64_t segment = 0; segment < taps.segments; ++segment) {
      read_padded_rows<T>(table_, signal, tile.group * s_.chains.channels + first, channels,
                          position + segment * problem_.dilation, problem_.stride,
                          taps.segment_samples(segment, tile.count),
                          taps.segment_samples(segment, tile.vectors * real_.lanes), to + segment * taps.segment_pitch,
                          taps.channel_pitch);
    }
  }

  void fill_offsets(const RowBlock& rows, std::int64_t first_tap, const TapRows& taps, std::int32_t* offset) const {
    const ChainSplit& chains = s_.chains;
    const std::int64_t wrap = taps.shared ? taps.classes : taps.taps;  // segments of consecutive taps
    for (std::int64_t chunk = rows.first_chunk; chunk < rows.chunk_end; ++chunk) {
      for (std::int64_t piece = rows.first_piece; piece < rows.piece_end; ++piece) {
        const std::int64_t begin = chains.piece_begin(piece) - first_tap,
                           end = chains.piece_begin(piece + 1) - first_tap;
        for (std::int64_t c = chains.chunk_begin(chunk); c < chains.chunk_begin(chunk + 1); ++c) {
          const std::int64_t base = (c - chains.chunk_begin(rows.first_chunk)) * taps.channel_pitch;
          std::int64_t segment = begin % wrap, in_segment = begin / wrap * taps.gap_samples;
          for (std::int64_t tap = begin; tap < end; ++tap) {
            *offset++ = static_cast<std::int32_t>(base + segment * taps.segment_pitch + in_segment);
            if (++segment == wrap) {
              segment = 0;
              in_segment += taps.gap_samples;
            }
          }
        }
      }
    }
  }

  /// One microkernel call for each chain of the packed block.
  void multiply(const RowBlock& rows, const T* samples, const std::int32_t* offsets, std::int64_t channel,
                std::int64_t channels, std::int64_t vectors, bool accumulate, T* sums) const {
    const std::int64_t first_row = s_.chains.row(rows.first_chunk, rows.first_piece);
    TileProduct<T> product;
    product.samples = samples;
    product.sums = sums;
    product.sums_pitch = s_.sum_pitch;
    product.time_vectors = vectors;
    product.accumulate = accumulate;
    for (std::int64_t chunk = rows.first_chunk; chunk < rows.chunk_end; ++chunk) {
      for (std::int64_t piece = rows.first_piece; piece < rows.piece_end; ++piece) {
        const std::int64_t row = s_.chains.row(chunk, piece);
        product.row_offsets = offsets + (row - first_row);
        product.row_count = s_.chains.row(chunk, piece + 1) - row;
        product.weights = panels_.weights + channel * s_.chains.rows() + row * channels;
        real_.tile_product[channels - 1](product);
        product.accumulate = true;
      }
    }
  }

  /// With a weight that is Inf or NaN, a padding zero must not be multiplied: the sums of windows that touch padding,
  /// again, from real samples only.
  void redo_at_padding(const Tile& tile, std::int64_t channel, std::int64_t channels, T* sums) const {
    const std::int64_t first_real = ceil_div(problem_.pad_left, problem_.stride);  // first window without left padding
    const std::int64_t past = problem_.length_samples + problem_.pad_left - problem_.window_samples();
    const std::int64_t end_real = std::max(first_real, past < 0 ? 0 : past / problem_.stride + 1);
    for (std::int64_t j = 0; j < tile.count; ++j) {
      const std::int64_t t = tile.time + j;
      if (t >= first_real && t < end_real) continue;
      for (std::int64_t o = 0; o < channels; ++o) {
        sums[o * s_.sum_pitch + j] = sum_of_real_samples(tile, t, channel, channels, o);
      }
    }
  }

  T sum_of_real_samples(const Tile& tile, std::int64_t t, std::int64_t channel, std::int64_t channels,
                        std::int64_t o) const {
    const PaddedSignal signal = padded_signal(tensors_.x, tile.batch, problem_.pad_mode);
    const ChainSplit& chains = s_.chains;
    const T* weight = panels_.weights + channel * chains.rows() + o;
    T total{};
    for (std::int64_t chunk = 0; chunk < chains.channel_chunks; ++chunk) {
      for (std::int64_t piece = 0; piece < chains.tap_pieces; ++piece) {
        T sum{};
        for (std::int64_t c = chains.chunk_begin(chunk); c < chains.chunk_begin(chunk + 1); ++c) {
          for (std::int64_t k = chains.piece_begin(piece); k < chains.piece_begin(piece + 1); ++k, weight += channels) {
            const std::int64_t position = t * problem_.stride + k * problem_.dilation - problem_.pad_left;
            if (position < 0 || position >= problem_.length_samples) continue;
            T sample;
            read_padded_rows<T>(table_, signal, tile.group * chains.channels + c, 1, position, 1, 1, 1, &sample, 1);
            sum += *weight * sample;
          }
        }
        total += sum;
      }
    }
    return total;
  }

  const ConvProblem& problem_;
  const FpropSchedule& s_;
  const IsaTable& table_;
  const IsaTable::Real<T>& real_;
  const ConvTensors& tensors_;
  const WeightPanels<T>& panels_;
  OutputRows<T> out_;
};

template <class T>
void run(const ConvProblem& problem, const Device& device, const FpropTuning& tuning, const ConvTensors& tensors,
         const LaunchContext& context) {
  const FpropSchedule schedule = make_fprop_schedule(problem, device, tuning);
  const IsaTable& table = isa_table(device.isa);
  FewerWorkers team(context.parallel != nullptr ? *context.parallel : serial(), schedule.workers);
  char* const workspace = static_cast<char*>(context.workspace);
  WeightPanels<T> panels;
  panels.weights = reinterpret_cast<T*>(workspace);
  panels.bias = reinterpret_cast<T*>(workspace + schedule.weight_bytes - schedule.bias_bytes);
  pack_weights(problem, schedule.chains, table, tensors, team, panels);
  const Fprop<T> fprop(problem, schedule, table, tensors, panels, tuning.non_temporal);
  for_each_task(team, schedule.tasks, [&](std::int64_t task, int worker) {
    fprop.task(task, Scratch<T>(schedule, workspace + schedule.weight_bytes + worker * schedule.worker_bytes()));
  });
}

}  // namespace

void run_fprop(const ConvProblem& problem, const Device& device, const FpropTuning& tuning, const ConvTensors& tensors,
               const LaunchContext& context) {
  if (problem.dtype == DType::f64) return run<double>(problem, device, tuning, tensors, context);
  run<float>(problem, device, tuning, tensors, context);
}

}  // namespace longconv::cpu
