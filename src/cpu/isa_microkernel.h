// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The microkernel (for ISA units only): a register block of O output channels x V vectors of time, and one flat loop
/// over rows. Each row costs V loads of samples, O broadcasts of weights and O * V multiply-adds.
#pragma once

#include "cpu/isa_table.h"
#include "cpu/simd.h"

namespace longconv::cpu::LONGCONV_ISA {

/// Vectors of time beside O channels, such that accumulators and operands fit the register file: 16 registers (24 of 32
/// as accumulators with AVX-512). 6x2, 5x2, 4x3, 3x4, 2x6, 1x12.
template <int O>
inline constexpr int kStepVectors = LONGCONV_VECTOR_BYTES == 64 ? (O == 7        ? 3
                                                                   : 24 / O > 12 ? 12
                                                                                 : 24 / O)
                                                                : (O == 5 ? 2 : 12 / O);
inline constexpr int kMaxBlock = LONGCONV_VECTOR_BYTES == 64 ? 8 : 6;

template <class T, int O, int V>
inline __attribute__((always_inline)) void register_block(const TileProduct<T>& tile, std::int64_t t) {
  constexpr int L = kLanes<T>;
  Vector<T> sum[O][V] = {};
  const T* samples = tile.samples + t;
  const T* weights = tile.weights;
  const std::int32_t* offsets = tile.row_offsets;
  const std::int32_t* const end = offsets + tile.row_count;
  for (; offsets != end; ++offsets, weights += O) {
    const T* row = samples + *offsets;
    if constexpr (O >= V) {  // keep the samples in registers, broadcast one weight at a time
      Vector<T> x[V];
      unroll<V>([&](auto v) { x[v] = load(row + v * L); });
      unroll<O>([&](auto o) {
        const Vector<T> w = splat(weights[o]);
        unroll<V>([&](auto v) { sum[o][v] += w * x[v]; });
      });
    } else {
      Vector<T> w[O];
      unroll<O>([&](auto o) { w[o] = splat(weights[o]); });
      unroll<V>([&](auto v) {
        const Vector<T> x = load(row + v * L);
        unroll<O>([&](auto o) { sum[o][v] += w[o] * x; });
      });
    }
  }
  T* sums = tile.sums + t;
  const std::int64_t pitch = tile.sums_pitch;  // read once: as far as the compiler knows, a store may change `tile`
  if (tile.subtotals != nullptr) {
    const T* subtotals = tile.subtotals + t;
    unroll<O>([&](auto o) { unroll<V>([&](auto v) { sum[o][v] = load(subtotals + o * pitch + v * L) + sum[o][v]; }); });
  }
  if (tile.accumulate) {
    unroll<O>([&](auto o) {
      unroll<V>([&](auto v) { store(sums + o * pitch + v * L, load(sums + o * pitch + v * L) + sum[o][v]); });
    });
  } else {
    unroll<O>([&](auto o) { unroll<V>([&](auto v) { store(sums + o * pitch + v * L, sum[o][v]); }); });
  }
}

template <class T, int O>
void tile_product(const TileProduct<T>& tile) {
  constexpr int V = kStepVectors<O>;
  std::int64_t vectors = tile.time_vectors, t = 0;
  for (; vectors >= V; vectors -= V, t += V * kLanes<T>) register_block<T, O, V>(tile, t);
  if constexpr (V > 3) {  // few channels: one block of half the width keeps enough chains in flight
    if (vectors >= V / 2) {
      register_block<T, O, V / 2>(tile, t);
      vectors -= V / 2;
      t += V / 2 * kLanes<T>;
    }
  }
  for (; vectors > 0; --vectors, t += kLanes<T>) register_block<T, O, 1>(tile, t);
}

template <class T>
constexpr void fill_microkernels(IsaTable::Real<T>& real) {
  real.lanes = kLanes<T>;
  real.max_block_channels = kMaxBlock;
  unroll<kMaxBlock>([&](auto i) {
    real.tile_product[i] = tile_product<T, i + 1>;
    real.step_vectors[i] = kStepVectors<i + 1>;
  });
}

}  // namespace longconv::cpu::LONGCONV_ISA
