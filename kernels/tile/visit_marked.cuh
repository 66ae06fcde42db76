// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Deals the marked tiles of a bitmap to the blocks of a grid: with few marks, an even share for each and a quick end for all.
#pragma once
#include "tile/common.cuh"

// What the threads of a block tell each other of the words that they read.
template <int kThreads> struct MarkedWords {
  uint32_t words[kThreads], some[kThreads / 32];
};

// Calls use(tile, part) for this block's share of `parts` parts of every tile whose bit is set in marks[0, tiles), or of `all`
// tiles. By all kThreads (a multiple of 32) threads of a block, which then do the part together. Every block reads the whole bitmap.
template <int kThreads, class Use>
LC_DEVICE void visit_marked(MarkedWords<kThreads>& shared, const uint32_t* marks, bool all, int64_t tiles, int64_t parts, const Use& use) {
  constexpr int kAhead = 4, kWarps = kThreads / 32;
  const int64_t count = (tiles + 31) / 32;
  uint32_t turn = 0;  // of the next part, modulo the grid
  for (int64_t base = 0; base < count; base += kAhead * kThreads) {
    uint32_t ahead[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int64_t at = base + i * kThreads + threadIdx.x;
      ahead[i] = at >= count ? 0 : all ? ~0u : marks[at];
    }
#pragma unroll 1
    for (int i = 0; i < kAhead; ++i) {
      uint32_t word = ahead[0];
#pragma unroll
      for (int j = 1; j < kAhead; ++j)
        if (i == j) word = ahead[j];
      const uint32_t ballot = __ballot_sync(~0u, word != 0);
      __syncthreads();
      shared.words[threadIdx.x] = word;
      if (threadIdx.x % 32 == 0) shared.some[threadIdx.x / 32] = ballot;
      __syncthreads();
#pragma unroll 1
      for (int warp = 0; warp < kWarps; ++warp) {
        for (uint32_t lanes = shared.some[warp]; lanes; lanes &= lanes - 1) {
          const int at = warp * 32 + __ffs(lanes) - 1;
          for (uint32_t bits = shared.words[at]; bits; bits &= bits - 1) {
            const int64_t tile = (base + i * kThreads + at) * 32 + __ffs(bits) - 1;
            if (tile >= tiles) break;
            for (int64_t part = blockIdx.x >= turn ? blockIdx.x - turn : blockIdx.x + gridDim.x - turn; part < parts; part += gridDim.x) use(tile, part);
            turn = static_cast<uint32_t>((turn + parts) % gridDim.x);
          }
        }
      }
    }
  }
}
