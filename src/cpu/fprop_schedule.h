// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// How the forward pass is cut: chains of products (numerics), packed blocks (caches), tiles of time (threads).
///
/// A weight row is a pair (input channel, tap). Rows are ordered chunk of channels, then piece of taps, then channel,
/// then tap; the rows of one (chunk, piece) form a chain. The chains of a problem, their order, and so every bit of the
/// result depend on in_channels / groups and kernel_size alone: not on tiles, threads, ISA lanes or caches.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/tap_rows.h"
#include "longconv/plan.h"

namespace longconv::cpu {

/// A chain has the terms of 16 channels but 32 to 64 of them at most, or about the square root of their number n where
/// that is more, but at most 512. The error constant is the longest chain + the number of chains.
struct ChainSplit {
  std::int64_t channels = 1, taps = 1;  ///< per group
  std::int64_t channels_per_chunk = 1;  ///< of all chunks but perhaps the last
  std::int64_t channel_chunks = 1, tap_pieces = 1;

  std::int64_t chunk_begin(std::int64_t chunk) const { return std::min(chunk * channels_per_chunk, channels); }
  std::int64_t piece_begin(std::int64_t piece) const { return block_begin(taps, tap_pieces, piece); }
  /// Index of the first row of chain (chunk, piece); piece may be tap_pieces.
  std::int64_t row(std::int64_t chunk, std::int64_t piece) const {
    const std::int64_t begin = chunk_begin(chunk);
    return begin * taps + (chunk_begin(chunk + 1) - begin) * piece_begin(piece);
  }
  std::int64_t rows() const { return channels * taps; }
};
ChainSplit make_chain_split(std::int64_t channels, std::int64_t taps);

/// Tuning parameters; values in a Config.
struct FpropTuning {
  std::int64_t time_samples = 480;      ///< "time": wanted outputs of a tile
  std::int64_t pack_bytes = 256 << 10;  ///< "pack_kib": wanted size of the packed samples
  std::int64_t sum_bytes = 512 << 10;   ///< "sum_kib": wanted size of sums that wait for further blocks
  bool non_temporal = false;            ///< "stream": stores bypass the caches

  Config config() const;
  static FpropTuning from(const Config& config);
};

struct FpropSchedule {
  ChainSplit chains;
  /// Packed blocks: either all taps of several chunks, or several pieces of one chunk.
  std::int64_t chunks_per_block = 1, pieces_per_block = 1;
  std::int64_t blocks = 1;
  std::int64_t time_samples = 0;      ///< outputs of a tile, a multiple of the vector length
  std::int64_t tiles = 1;             ///< of out_length
  std::int64_t panels = 1;            ///< blocks of output channels in a group
  std::int64_t panels_per_slice = 1;  ///< of a task
  std::int64_t out_slices = 1;        ///< tasks that share a group's output channels
  std::int64_t tasks = 1;
  int workers = 1;  ///< at most so many use scratch

  // Bytes, all multiples of 64.
  std::int64_t weight_bytes = 0;  ///< packed weights, then bias; shared
  std::int64_t bias_bytes = 0;    ///< of these, the bias
  std::int64_t offset_bytes = 0, pack_bytes = 0, sum_bytes = 0, residual_bytes = 0, out_bytes = 0;  ///< per worker
  std::int64_t sum_pitch = 0;                                                                       ///< elements

  std::int64_t worker_bytes() const { return offset_bytes + pack_bytes + sum_bytes + residual_bytes + out_bytes; }
  std::int64_t workspace_bytes() const { return weight_bytes + workers * worker_bytes(); }
  bool all_taps() const { return pieces_per_block == chains.tap_pieces; }
};

/// For dtype f32, bf16, f16 (float) or f64 (double).
FpropSchedule make_fprop_schedule(const ConvProblem& problem, const Device& device, const FpropTuning& tuning);

/// What fprop keeps per worker in all, beside the packed weights.
inline constexpr std::int64_t kMaxScratchBytes = std::int64_t{32} << 20;

/// Time, bytes and FLOPs of a schedule on a device.
Estimate estimate_fprop(const ConvProblem& problem, const Device& device, const FpropTuning& tuning);

/// Runs the schedule. T: the accumulation type of problem.dtype.
void run_fprop(const ConvProblem& problem, const Device& device, const FpropTuning& tuning, const ConvTensors& tensors,
               const LaunchContext& context);

}  // namespace longconv::cpu
