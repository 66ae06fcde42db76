// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// fp32 as two f16 planes for the tensor core, exactly enough of it:
//
//   v * 2^e = hi + lo * 2^-11,   hi = f16(v * 2^e),  lo = f16((v * 2^e - hi) * 2^11)
//
// With |v| * 2^e < 2^15, hi and lo are finite and |v*2^e - (hi + lo*2^-11)| <= max(2^-23 |v*2^e|, 2^-36): 22 bits and a
// sign for every |v| * 2^e >= 2^-14. e is one number for each packed slot (16 channels of one tile), a multiple of 4 so
// that neighbouring slots mostly share it. Slots that hold what this cannot carry (Inf, NaN, |v| >= 2^112, a nonzero
// |v| * 2^e below the least that is allowed, or |v| < 2^-100) are reported, and their tiles are done again by the direct
// f32 kernel.
#pragma once
#include "ptx/shared_memory.cuh"
#include "tile/common.cuh"

// Two values, already scaled -> one word of the hi plane, one of the lo plane.
LC_DEVICE void split2_f16(float a, float b, uint32_t& hi, uint32_t& lo) {
  hi = pack2<f16>(a, b);
  float ha, hb;
  unpack_f16(hi, ha, hb);
  lo = pack2<f16>((a - ha) * 2048.f, (b - hb) * 2048.f);
}

// Running extremes of |v| over a slot: the largest (NaN if there is one), and the smallest that is not zero, as
// 2 * bits - 1: zero wraps around to the largest number.
struct Extremes {
  float largest = 0.f;
  uint32_t smallest = 0xffffffffu;
  LC_DEVICE void add(float v) {
    largest = max_nan(largest, fabsf(v));
    const uint32_t bits = __float_as_uint(v);
    smallest = min(smallest, bits + bits - 1u);
  }
  LC_DEVICE void merge(const Extremes& x) {
    largest = __uint_as_float(max(__float_as_uint(largest), __float_as_uint(x.largest)));
    smallest = min(smallest, x.smallest);
  }
  LC_DEVICE void reduce_warp() {
    // NaN has the largest bits of all: the integer maximum keeps it.
    largest = __uint_as_float(__reduce_max_sync(~0u, __float_as_uint(largest)));
    smallest = __reduce_min_sync(~0u, smallest);
  }
};

// The least |v| * 2^e of sums of `products`, as an exponent. A value of 2^(-14-b) is off by up to 2^(-22+b) of itself, which is
// 2^(b+2) u: within c(n) u S beside the sum's own errors where there are enough products (docs/design/numerics.md). Among
// normally distributed samples, one in 2^24 to 2^28 is below 2^-14, and each would have a tile done twice.
LC_CONSTEXPR int least_exponent(int64_t products) { return products >= 128 ? -18 : products >= 64 ? -16 : -14; }

// The slot's scale: exponent e, multiple of 4, with largest * 2^e in [2^11, 2^15). representable: see above.
struct SlotScale {
  float scale, inverse;
  bool representable;
  SlotScale() = default;
  LC_DEVICE explicit SlotScale(const Extremes& x, int least = -14) {
    const bool zero = x.largest == 0.f;
    const int exponent = static_cast<int>(__float_as_uint(x.largest) >> 23) - 127;  // floor(log2(largest)); 128: Inf, NaN
    const int e = zero ? 0 : ((14 + 1024 - exponent) & ~3) - 1024;                  // rounded down to a multiple of 4
    const bool in_range = zero || (exponent < 112 && exponent >= -100);
    representable = in_range && (zero || x.smallest >= (static_cast<uint32_t>(max(least - e, -100) + 127) << 24) - 1u);
    scale = __uint_as_float(static_cast<uint32_t>((in_range ? e : 0) + 127) << 23);
    inverse = __uint_as_float(static_cast<uint32_t>((in_range ? -e : 0) + 127) << 23);
  }
};

// A weight channel's scale: exponent e with largest * 2^e in [2^13, 2^14).
struct ChannelScale {
  float scale, inverse;
  bool representable;
  LC_DEVICE explicit ChannelScale(const Extremes& x) {
    const bool zero = x.largest == 0.f;
    const int exponent = static_cast<int>(__float_as_uint(x.largest) >> 23) - 127;
    const int e = zero ? 0 : 13 - exponent;
    // Both 2^e and 2^-e must be normal numbers, and so must the weights that matter.
    const bool in_range = zero || (exponent <= 126 && exponent >= -100);
    representable = in_range && (zero || x.smallest >= (static_cast<uint32_t>(max(-14 - e, -126) + 127) << 24) - 1u);
    scale = __uint_as_float(static_cast<uint32_t>((in_range ? e : 0) + 127) << 23);
    inverse = __uint_as_float(static_cast<uint32_t>((in_range ? -e : 0) + 127) << 23);
  }
};
