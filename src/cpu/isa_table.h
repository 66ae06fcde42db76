// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The vectorised inner loops of the CPU engine, as one table of function pointers per instruction set.
///
/// Each table is filled by a translation unit of its own (isa_portable.cpp, isa_avx2.cpp, isa_avx512.cpp), compiled
/// with that ISA's flags. This header is shared by all of them and by the drivers, so it declares plain data and no
/// inline function: nothing compiled for a newer ISA may be what the linker keeps for everyone.
#pragma once

#include <cstdint>

#include "cpu/wgrad_table.h"
#include "longconv/plan.h"
#include "longconv/types.h"

namespace longconv::cpu {

/// Most output channels that any ISA's microkernel takes at once; IsaTable::Real::max_block_channels is the actual one.
inline constexpr int kMaxBlockChannels = 8;

/// Bytes that every scratch row starts at a multiple of.
inline constexpr std::int64_t kRowAlignBytes = 64;

/// One call of the microkernel, the product of a block of weights with shifted rows of samples:
///   sums[o][t] = (accumulate ? sums[o][t] : 0)
///                + ((subtotals ? subtotals[o][t] : 0)
///                   + sum_{r < row_count} weights[r * channels + o] * samples[row_offsets[r] + t])
/// for o in [0, channels) and t in [0, time_vectors * lanes). Each sum over r is one chain in the order of r that
/// starts from zero and is added to `subtotals` and `sums` at the end, so a chain should be short (ChainSplit in
/// fprop_schedule.h, ChainTree in dgrad_schedule.h). The order does not depend on t, time_vectors or channels. `sums`,
/// `subtotals` and sums_pitch * sizeof(T) are multiples of 64 bytes; `samples`, the offsets and the weights have no
/// alignment beyond T's. Offsets may be negative. All time_vectors * lanes samples from each offset are read.
template <class T>
struct TileProduct {
  const T* samples = nullptr;
  const std::int32_t* row_offsets = nullptr;  ///< elements
  const T* weights = nullptr;                 ///< [row_count][channels]
  std::int64_t row_count = 0;
  T* sums = nullptr;
  const T* subtotals = nullptr;  ///< same pitch as sums; or none
  std::int64_t sums_pitch = 0;   ///< elements from one channel's sums to the next
  std::int64_t time_vectors = 0;
  bool accumulate = false;
};

/// Samples to read from a tensor into rows of the accumulation type: sample (c, j) lies at
/// source + c * channel_stride + j * sample_stride (elements of `dtype`, strides of any sign, 0 repeats).
struct SampleRun {
  const void* source = nullptr;
  DType dtype = DType::f32;  ///< f32, bf16, f16 for float rows, f64 for double rows
  std::int64_t channels = 1;
  std::int64_t channel_stride = 0;
  std::int64_t count = 0;
  std::int64_t sample_stride = 1;
  /// Elements of the tensor's own that lie contiguously from each channel's first sample on (0: not contiguous). Lets
  /// strided reads load whole vectors; elements beyond the tensor are never touched.
  std::int64_t readable = 0;
};

/// A run's sample_stride where samples `step` apart are `stride` elements apart each. One sample has no next: the
/// product of a huge step, which may not fit 64 bits, is never formed.
inline std::int64_t run_stride(std::int64_t count, std::int64_t step, std::int64_t stride) {
  return count > 1 ? step * stride : 0;
}

/// The last step of a row of outputs: out[t] = round(act(sums[t] + bias + residual[t])).
/// One rounding to `dtype` (nearest, ties to even; NaN stays NaN).
template <class T>
struct FinishRow {
  const T* sums = nullptr;      ///< count rounded up to whole vectors is readable
  const T* residual = nullptr;  ///< count elements, or null; may be `out` itself
  T bias = 0;
  Activation activation = Activation::none;
  T negative_slope = 0;
  void* out = nullptr;  ///< count elements of `dtype`, contiguous
  DType dtype = DType::f32;
  std::int64_t count = 0;
  bool non_temporal = false;  ///< bypass the caches where `out` allows it
};

/// Finished rows of one dtype to scatter into a tensor with any strides (elements).
struct ScatterRows {
  const void* rows = nullptr;
  std::int64_t row_pitch = 0;  ///< elements
  DType dtype = DType::f32;
  std::int64_t channels = 1;
  std::int64_t count = 0;
  void* out = nullptr;
  std::int64_t channel_stride = 0;
  std::int64_t sample_stride = 1;
};

struct IsaTable {
  /// For float (f32, bf16, f16 tensors) and double (f64 tensors).
  template <class T>
  struct Real {
    int lanes = 0;               ///< elements of a vector
    int max_block_channels = 0;  ///< at most kMaxBlockChannels
    /// [channels - 1], for 1 <= channels <= max_block_channels.
    void (*tile_product[kMaxBlockChannels])(const TileProduct<T>&) = {};
    /// Vectors of time that tile_product[channels - 1] takes per step: tiles of a multiple of it waste nothing.
    int step_vectors[kMaxBlockChannels] = {};
    /// rows[c * row_pitch + j] = sample (c, j), converted exactly.
    void (*read_samples)(const SampleRun&, T* rows, std::int64_t row_pitch) = nullptr;
    void (*finish_row)(const FinishRow<T>&) = nullptr;
    WgradTable<T> wgrad;
  };
  Isa isa = Isa::portable;
  Real<float> f32;
  Real<double> f64;
  void (*scatter_rows)(const ScatterRows&) = nullptr;
};

/// The table for an ISA; falls back to the best lower one that this build has.
const IsaTable& isa_table(Isa isa);

/// One per unit; null where the build has no such unit.
const IsaTable* isa_table_portable();
const IsaTable* isa_table_avx2();
const IsaTable* isa_table_avx512();

}  // namespace longconv::cpu
