// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The bodies of WgradTable's functions, for ISA units only (see simd.h).
///
/// outer_product keeps width x taps sums in registers, 2 vectors x 6 taps where there are 16 registers: per sample one
/// load of each dy vector and one broadcast per tap, no shuffles and no horizontal sums.
#pragma once

#include "cpu/simd.h"
#include "cpu/wgrad_table.h"

namespace longconv::cpu::LONGCONV_ISA {

/// to[i] += from[i] in double.
inline void add_to_doubles(double* to, Vector<double> from) { store<double>(to, load(to) + from); }
inline void add_to_doubles(double* to, Vector<float> from) {
  constexpr int half = kLanes<double>;
  using Half = typename VectorOf<float, half>::unaligned;
  Half parts[2];
  __builtin_memcpy(parts, &from, sizeof(parts));
  add_to_doubles(to, __builtin_convertvector(parts[0], Vector<double>));
  add_to_doubles(to + half, __builtin_convertvector(parts[1], Vector<double>));
}

template <class T, int kVectors, int kTaps>
void outer_product(const OuterProduct<T>& call) {
  constexpr int lanes = kLanes<T>;
  constexpr std::int64_t width = kVectors * lanes;
  Vector<T> sums[kTaps][kVectors];
  unroll<kTaps>([&](auto j) { unroll<kVectors>([&](auto v) { sums[j][v] = Vector<T>{}; }); });
  for (std::int64_t s = 0; s < call.segment_count; ++s) {
    const TimeSegment segment = call.segments[s];
    const T* dy = call.dy + segment.dy_first * width;
    const T* x[kTaps];
    unroll<kTaps>([&](auto j) { x[j] = call.x + (call.x_offsets[j] + segment.x_first); });
    for (std::int64_t t = 0; t < segment.count; ++t, dy += width) {
      Vector<T> d[kVectors];
      unroll<kVectors>([&](auto v) { d[v] = load(dy + v * lanes); });
      unroll<kTaps>([&](auto j) {
        const T sample = x[j][t];
        unroll<kVectors>([&](auto v) { sums[j][v] += d[v] * sample; });
      });
    }
  }
  unroll<kTaps>([&](auto j) {
    unroll<kVectors>([&](auto v) { add_to_doubles(call.sums + j * width + v * lanes, sums[j][v]); });
  });
}

/// Transposes lanes x lanes elements in registers: each stage swaps the off-diagonal halves of blocks twice its
/// distance.
template <class T>
struct TransposeBlock {
  using V = Vector<T>;
  static constexpr int lanes = kLanes<T>;

  template <int kDistance, int... kLane>
  [[gnu::always_inline]] static V low(V a, V b, std::integer_sequence<int, kLane...>) {
    return __builtin_shufflevector(a, b, ((kLane & kDistance) != 0 ? lanes + kLane - kDistance : kLane)...);
  }
  template <int kDistance, int... kLane>
  [[gnu::always_inline]] static V high(V a, V b, std::integer_sequence<int, kLane...>) {
    return __builtin_shufflevector(a, b, ((kLane & kDistance) != 0 ? lanes + kLane : kLane + kDistance)...);
  }
  template <int kDistance>
  [[gnu::always_inline]] static void stage(V (&rows)[lanes]) {
    unroll<lanes>([&](auto i) {
      constexpr int at = i;
      if constexpr ((at & kDistance) == 0) {
        constexpr auto all = std::make_integer_sequence<int, lanes>{};
        const V a = rows[at], b = rows[at + kDistance];
        rows[at] = low<kDistance>(a, b, all);
        rows[at + kDistance] = high<kDistance>(a, b, all);
      }
    });
    if constexpr (kDistance > 1) stage<kDistance / 2>(rows);
  }
};

template <class T, int kVectors>
void transpose_rows(const TransposeRows<T>& call) {
  constexpr int lanes = kLanes<T>;
  constexpr std::int64_t width = kVectors * lanes;
  for (std::int64_t first = 0; first < width; first += lanes) {
    const std::int64_t rows = call.row_count - first < lanes ? call.row_count - first : lanes;
    std::int64_t t = 0;
    if (rows == lanes) {
      for (; t + lanes <= call.count; t += lanes) {
        Vector<T> block[lanes];
        const T* from = call.rows + first * call.row_pitch + t;
        unroll<lanes>([&](auto i) { block[i] = load(from + i * call.row_pitch); });
        TransposeBlock<T>::template stage<lanes / 2>(block);
        T* to = call.dst + t * width + first;
        unroll<lanes>([&](auto i) { store<T>(to + i * width, block[i]); });
      }
    }
    for (; t < call.count; ++t) {
      for (std::int64_t o = 0; o < lanes; ++o) {
        call.dst[t * width + first + o] = o < rows ? call.rows[(first + o) * call.row_pitch + t] : T(0);
      }
    }
  }
}

/// Several vectors of time in flight for few taps, to cover the latency of the multiply-add.
template <int kTaps>
inline constexpr int kDotVectors = kTaps == 1   ? 4
                                   : kTaps <= 4 ? 2
                                                : 1;

template <class T, int kTaps>
void dot_product(const DotProduct<T>& call) {
  constexpr int lanes = kLanes<T>, vectors = kDotVectors<kTaps>;
  Vector<T> sums[kTaps][vectors];
  unroll<kTaps>([&](auto j) { unroll<vectors>([&](auto v) { sums[j][v] = Vector<T>{}; }); });
  const T* const dy = call.dy;
  const T* x[kTaps];
  unroll<kTaps>([&](auto j) { x[j] = call.x + call.x_offsets[j]; });
  std::int64_t t = 0;
  for (; t + vectors * lanes <= call.count; t += vectors * lanes) {
    unroll<vectors>([&](auto v) {
      const Vector<T> d = load(dy + t + v * lanes);
      unroll<kTaps>([&](auto j) { sums[j][v] += d * load(x[j] + t + v * lanes); });
    });
  }
  for (; t + lanes <= call.count; t += lanes) {
    const Vector<T> d = load(dy + t);
    unroll<kTaps>([&](auto j) { sums[j][0] += d * load(x[j] + t); });
  }
  T tail[kTaps] = {};
  for (; t < call.count; ++t) {
    unroll<kTaps>([&](auto j) { tail[j] += dy[t] * x[j][t]; });
  }
  unroll<kTaps>([&](auto j) {
    double total = tail[j];
    unroll<vectors>([&](auto v) {
      for (int lane = 0; lane < lanes; ++lane) total += static_cast<double>(sums[j][v][lane]);
    });
    call.sums[j] += total;
  });
}

template <class T, int kVectors, int kTaps>
constexpr OuterShape<T> outer_shape() {
  OuterShape<T> shape;
  shape.width = kVectors * kLanes<T>;
  shape.max_taps = kTaps;
  shape.transpose = transpose_rows<T, kVectors>;
  unroll<kTaps>([&](auto j) { shape.outer_product[j] = outer_product<T, kVectors, j + 1>; });
  return shape;
}

template <class T>
constexpr WgradTable<T> wgrad_table() {
  constexpr int taps = LONGCONV_VECTOR_BYTES == 64 ? 12 : 6;
  WgradTable<T> table;
  table.wide = outer_shape<T, 2, taps>();
  table.narrow = outer_shape<T, 1, LONGCONV_VECTOR_BYTES == 64 ? 16 : 8>();
  unroll<kMaxDotTaps>([&](auto j) { table.dot_product[j] = dot_product<T, j + 1>; });
  return table;
}

}  // namespace longconv::cpu::LONGCONV_ISA
