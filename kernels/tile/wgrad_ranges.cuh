// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// What the splits of a weight gradient sum over, and where their partial sums lie (src/cuda/wgrad_common.h).
#pragma once
#include "tile/common.cuh"

// Each signal's output steps are cut into chunks of `chunk_steps`; chunk c is chunk c % chunks_per_signal of signal
// c / chunks_per_signal. Split s sums over chunks [begin(s), begin(s + 1)).
struct WgradRanges {
  int64_t chunk_steps, chunks_per_signal, chunks, splits;
  LC_DEVICE int64_t begin(int64_t split) const { return split * chunks / splits; }
};

// Walks chunks, from `first` on.
struct ChunkCursor {
  int signal, chunk;
  LC_DEVICE ChunkCursor(const WgradRanges& ranges, int64_t first) {
    signal = static_cast<int>(first / ranges.chunks_per_signal);
    chunk = static_cast<int>(first - signal * ranges.chunks_per_signal);
  }
  LC_DEVICE void advance(const WgradRanges& ranges) {
    if (++chunk == static_cast<int>(ranges.chunks_per_signal)) { chunk = 0; ++signal; }
  }
};

// Sum: float, or double for f64.
template <class Sum> struct WgradPartials {
  Sum* weight;      // [split][group][o][i][k]
  Sum* bias;        // [split][out channel], null without a bias gradient
  uint32_t* flags;  // [split]: not 0 where the direct kernel must compute the split's partial sums again
};
