// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// What a weight packer leaves for the launches after it, whatever the memory held before: each word has one writer.
#pragma once
#include "tile/common.cuh"

// Flags: a word of each block of the packer, not 0 where the block's weights cannot be multiplied as they were packed. True
// when any word says so. By all kThreads threads of a block.
template <int kThreads> LC_DEVICE bool any_weight_flag(const uint32_t* flags, int64_t words) {
  uint32_t found = 0;
#pragma unroll 4  // loads ahead of their use
  for (int64_t i = threadIdx.x; i < words; i += kThreads) found |= flags[i];
  return __syncthreads_or(static_cast<int>(found)) != 0;
}

// The redo bits, of which main kernels only set some: this block clears its share. By all kThreads threads of each block.
template <int kThreads> LC_DEVICE void clear_redo(uint32_t* redo, int64_t words) {
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < words; i += static_cast<int64_t>(gridDim.x) * kThreads)
    redo[i] = 0;
}
