// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The weight gradient's inner loops, the part of IsaTable that its two kernels use. Plain data, as in isa_table.h.
#pragma once

#include <cstdint>

namespace longconv::cpu {

/// Most taps (pairs of input channel and kernel position) that any ISA's outer_product takes at once.
inline constexpr int kMaxOuterTaps = 16;
/// Most taps that dot_product takes at once.
inline constexpr int kMaxDotTaps = 8;

/// A stretch of time inside a tile: count rows of dy from dy_first on, meeting the samples from x_first on.
struct TimeSegment {
  std::int64_t dy_first = 0;  ///< row of the transposed dy tile
  std::int64_t x_first = 0;   ///< elements
  std::int64_t count = 0;
};

/// For taps j and channels o in [0, width):
///   sums[j * width + o] += sum over segments s, t < s.count of
///                          dy[(s.dy_first + t) * width + o] * x[x_offsets[j] + s.x_first + t]
/// The inner sum is one chain in the order of time, in T; it is added to `sums` in double. Nothing is aligned beyond T,
/// but dy tiles that start at a multiple of 64 bytes are faster.
template <class T>
struct OuterProduct {
  const T* dy = nullptr;
  const T* x = nullptr;
  const std::int64_t* x_offsets = nullptr;  ///< one per tap, elements
  const TimeSegment* segments = nullptr;
  std::int64_t segment_count = 0;
  double* sums = nullptr;
};

/// dst[t * width + o] = rows[o][t] for o < row_count, 0 for row_count <= o < width; t < count.
template <class T>
struct TransposeRows {
  const T* rows = nullptr;
  std::int64_t row_pitch = 0;  ///< elements
  std::int64_t row_count = 0;
  std::int64_t count = 0;
  T* dst = nullptr;
};

/// For taps j: sums[j] += sum over t < count of dy[t] * x[x_offsets[j] + t]. Each lane is a chain of its own in T;
/// lanes are added in double, in a fixed order.
template <class T>
struct DotProduct {
  const T* dy = nullptr;
  const T* x = nullptr;
  const std::int64_t* x_offsets = nullptr;  ///< one per tap, elements
  std::int64_t count = 0;
  double* sums = nullptr;
};

/// Output channels side by side in a register block (`width`) against the taps of one call.
template <class T>
struct OuterShape {
  int width = 0;
  int max_taps = 0;  ///< at most kMaxOuterTaps
  void (*transpose)(const TransposeRows<T>&) = nullptr;
  void (*outer_product[kMaxOuterTaps])(const OuterProduct<T>&) = {};  ///< [taps - 1]
};

template <class T>
struct WgradTable {
  OuterShape<T> wide;    ///< two vectors of output channels
  OuterShape<T> narrow;  ///< one vector of them, more taps: for groups with few output channels
  void (*dot_product[kMaxDotTaps])(const DotProduct<T>&) = {};  ///< [taps - 1]
};

}  // namespace longconv::cpu
