// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// The sum of a row of a gradient, for the bias.
#pragma once
#include "ptx/shared_memory.cuh"
#include "tile/common.cuh"

// Sums a row: chains of one slot, added up with their errors beside (two-sum), so that their number does not show.
struct RowSum {
  float sum = 0.f, error = 0.f;
  LC_DEVICE void add(float v) {
    const float s = sum + v, from_v = s - sum;
    error += (sum - (s - from_v)) + (v - from_v);
    sum = s;
  }
  // Where the sum is Inf or NaN, the error is NaN and means nothing.
  LC_DEVICE float value() const { return sum - sum == 0.f ? sum + error : sum; }
};
// Kept in shared memory, 8 bytes: a packer has no registers to spare.
LC_DEVICE RowSum load_row_sum(uint32_t at) { return {load_shared_f32(at), load_shared_f32(at + 4)}; }
LC_DEVICE void store_row_sum(uint32_t at, const RowSum& s) { store_shared_v2(at, s.sum, s.error); }
