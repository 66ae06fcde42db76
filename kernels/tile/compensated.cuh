// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Sums of many numbers, as exact as if they were added in twice the precision and rounded once.
#pragma once
#include "tile/common.cuh"

// Knuth's two-sum: each addition's rounding error is exact, and added up beside. |value - exact| <= u |exact| + O(n u^2) S.
template <class Sum> struct Compensated {
  Sum sum, error;
  LC_DEVICE void clear() { sum = error = Sum(0); }
  LC_DEVICE void add(Sum v) {
    const Sum s = sum + v, from_v = s - sum;
    error += (sum - (s - from_v)) + (v - from_v);
    sum = s;
  }
  LC_DEVICE void add(Sum other_sum, Sum other_error) {
    add(other_sum);
    error += other_error;
  }
  // Where the sum is Inf or NaN, the error is NaN and means nothing.
  LC_DEVICE Sum value() const { return sum - sum == Sum(0) ? sum + error : sum; }
};
