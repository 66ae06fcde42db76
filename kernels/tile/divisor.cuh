// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Division by a number that is the same in every round of a loop: one multiplication by its reciprocal, and a correction.
#pragma once
#include "tile/common.cuh"

// Exact for all 0 <= n < 2^31, 0 < d < 2^31. Let r = floor((2^32 - 1) / d) = (2^32 - c) / d with 1 <= c <= d. Then
// n r / 2^32 = n/d - (c/d) n / 2^32 is below n/d by less than one, so that its floor is the quotient or one less. What is left is
// then at least 0, at most n, and in the second case d or more.
struct Divisor {
  int divisor;
  uint32_t reciprocal;
  LC_DEVICE explicit Divisor(int d) : divisor(d), reciprocal(0xffffffffu / static_cast<uint32_t>(d)) {}
  LC_DEVICE int divide(int n, int& remainder) const {
    int quotient = static_cast<int>(static_cast<uint64_t>(static_cast<uint32_t>(n)) * reciprocal >> 32);
    remainder = n - quotient * divisor;
    if (remainder >= divisor) ++quotient, remainder -= divisor;
    return quotient;
  }
};
