// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// f32 for the TF32 tensor core, which drops the low 13 bits of its operands: rounded (ties away), or as two numbers,
//
//   v = hi + lo + r,   hi = tf32(v),  lo = tf32(v - hi),  |r| <= 2^-22 |v|.
//
// Not for Inf, NaN and what rounds to Inf; nor, in pairs, for nonzero |v| < 2^-100, whose lo may be subnormal. Kernels note
// the range of all values that they used and have the direct kernel compute again where it was left.
#pragma once
#include "tile/common.cuh"

constexpr uint32_t kTf32Half = 0x1000u;

// The operands' bits.
LC_DEVICE void split_tf32(uint32_t v, uint32_t& hi, uint32_t& lo) {
  const uint32_t rounded = (v + kTf32Half) & ~0x1fffu;
  lo = __float_as_uint(__uint_as_float(v) - __uint_as_float(rounded)) + kTf32Half;
  hi = rounded;
}

// Extremes of |v|: the largest (NaN if there is one) and the smallest that is not zero, as 2 * bits - 1: zero wraps around.
struct Tf32Range {
  float largest = 0.f;
  uint32_t smallest = 0xffffffffu;
  template <int kPlanes> LC_DEVICE void add(uint32_t bits) {
    largest = max_nan(largest, fabsf(__uint_as_float(bits)));
    if (kPlanes == 2) smallest = min(smallest, bits + bits - 1u);
  }
  LC_DEVICE bool left() const {
    return !(largest < __uint_as_float(0x7f7ff000u)) || smallest < (static_cast<uint32_t>(127 - 100) << 24) - 1u;
  }
};
