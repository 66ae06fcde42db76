// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// What a weight packer leaves for the launches after it, whatever the memory held before: each word has one writer.
#pragma once
#include "tile/common.cuh"

// Flags: a word of each block of the packer, not 0 where the block's weights cannot be multiplied as they were packed. Whether any
// of them, or of other words, is not 0: by all kThreads threads of a block.
template <int kThreads>
LC_DEVICE bool any_word(const uint32_t* flags, int64_t words, const uint32_t* others = nullptr, int64_t other_words = 0) {
  uint32_t found = 0;
#pragma unroll 4  // loads ahead of their use
  for (int64_t i = threadIdx.x; i < words; i += kThreads) found |= flags[i];
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < other_words; i += kThreads) found |= others[i];
  return __syncthreads_or(static_cast<int>(found)) != 0;
}

// Redo bits, of which main kernels only set some, and the counter of items that their blocks draw: this block clears its share. By all
// kThreads threads of each block.
template <int kThreads> LC_DEVICE void clear_state(uint32_t* state, int64_t words) {
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < words; i += static_cast<int64_t>(gridDim.x) * kThreads)
    state[i] = 0;
}
