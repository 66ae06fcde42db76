// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Sums in memory of a block's own, where registers hold only the chain under way.
#pragma once
#include "tile/common.cuh"

// `sums` (of each of the first kThreads threads) += what was carried, or with `store` the other way round. first: nothing was
// carried yet. kAtOnce loads are under way together, where there are so many: one after the other takes a microsecond each.
//   carry: [block][kM * kHalfColumns / 4][thread] x 16 B
template <int kThreads, int kAtOnce, int kM, int kHalfColumns>
LC_DEVICE void add_carried_sums(float4* carry, float (&sums)[kM][kHalfColumns], bool store, bool first) {
  constexpr int kQuads = kHalfColumns / 4, kTogether = kQuads % kAtOnce == 0 ? kAtOnce : kQuads % 4 == 0 ? 4 : 2;
  static_assert(kHalfColumns % 4 == 0 && kQuads % kTogether == 0, "columns come in eights");
  const auto at = [&](int m, int quad) { return carry + (static_cast<int64_t>(blockIdx.x) * (kM * kQuads) + m * kQuads + quad) * kThreads + threadIdx.x; };
#pragma unroll
  for (int m = 0; m < kM; ++m) {
    float(&s)[kHalfColumns] = sums[m];
#pragma unroll
    for (int from = 0; from < kQuads; from += kTogether) {
      float4 carried[kTogether];
#pragma unroll
      for (int i = 0; i < kTogether; ++i) carried[i] = first ? make_float4(0.f, 0.f, 0.f, 0.f) : *at(m, from + i);
#pragma unroll
      for (int i = 0; i < kTogether; ++i) {
        const int j = from + i;
        float4& v = carried[i];
        v = make_float4(v.x + s[4 * j], v.y + s[4 * j + 1], v.z + s[4 * j + 2], v.w + s[4 * j + 3]);
        if (store) *at(m, j) = v;
        else s[4 * j] = v.x, s[4 * j + 1] = v.y, s[4 * j + 2] = v.z, s[4 * j + 3] = v.w;
      }
    }
  }
}

// Sums of finished chains, of kM blocks of kHalfColumns accumulators: in registers of their own, else they stay in the chain's.
template <bool kInRegisters, int kM, int kHalfColumns> struct FinishedChains {
  float sum[kInRegisters ? kM : 1][kHalfColumns];
  LC_DEVICE void clear() {
    if constexpr (kInRegisters) {
#pragma unroll
      for (int m = 0; m < kM; ++m)
#pragma unroll
        for (int i = 0; i < kHalfColumns; ++i) sum[m][i] = 0.f;
    }
  }
  LC_DEVICE void add(const float (&chain)[kM][kHalfColumns]) {
    if constexpr (kInRegisters) {
#pragma unroll
      for (int m = 0; m < kM; ++m)
#pragma unroll
        for (int i = 0; i < kHalfColumns; ++i) sum[m][i] += chain[m][i];
    }
  }
  // With the chain that has just ended.
  LC_DEVICE float (&of(float (&chain)[kM][kHalfColumns]))[kM][kHalfColumns] {
    if constexpr (kInRegisters) return sum;
    else return chain;
  }
};
