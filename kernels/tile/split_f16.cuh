// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// fp32 as two f16 planes for the tensor core, exactly enough of it:
//
//   v * 2^e = hi + lo * 2^-11,   hi = f16(v * 2^e),  lo = f16((v * 2^e - hi) * 2^11)
//
// With |v| * 2^e < 2^15, hi and lo are finite and |v*2^e - (hi + lo*2^-11)| <= max(2^-23 |v*2^e|, 2^-36): 22 bits and a
// sign for every |v| * 2^e >= 2^-14. e is one number for each packed slot (16 channels of one tile), a multiple of 4 so
// that neighbouring slots mostly share it. Slots that hold what this cannot carry (Inf, NaN, |v| >= 2^112, a nonzero
// |v| * 2^e < 2^-14 or |v| < 2^-100) are reported, and their tiles are done again by the direct f32 kernel.
#pragma once
#include "ptx/shared.cuh"

LC_DEVICE void unpack2_f16(u32 v, float& lo, float& hi) {
  asm("{\n.reg .f16 a, b;\nmov.b32 {a, b}, %2;\ncvt.f32.f16 %0, a;\ncvt.f32.f16 %1, b;\n}" : "=f"(lo), "=f"(hi) : "r"(v));
}
// Two values, already scaled -> one word of the hi plane, one of the lo plane.
LC_DEVICE void split2_f16(float a, float b, u32& hi, u32& lo) {
  hi = pack2<f16>(a, b);
  float ha, hb;
  unpack2_f16(hi, ha, hb);
  lo = pack2<f16>((a - ha) * 2048.f, (b - hb) * 2048.f);
}

// Running extremes of |v| over a slot: the largest, and the smallest that is not zero, as bits.
struct Extremes {
  u32 largest = 0, smallest_minus_1 = 0xffffffffu;
  LC_DEVICE void add(u32 bits) {
    const u32 magnitude = bits & 0x7fffffffu;
    largest = max(largest, magnitude);
    smallest_minus_1 = min(smallest_minus_1, magnitude - 1u);  // zero wraps around: not the smallest
  }
  LC_DEVICE void reduce_warp() {
    largest = __reduce_max_sync(~0u, largest);
    smallest_minus_1 = __reduce_min_sync(~0u, smallest_minus_1);
  }
};

// The slot's scale: exponent e, multiple of 4, with largest * 2^e in [2^11, 2^15). representable: see above.
struct SlotScale {
  float scale, inverse;
  bool representable;
  LC_DEVICE explicit SlotScale(const Extremes& x) {
    const int exponent = static_cast<int>(x.largest >> 23) - 127;            // floor(log2(largest)) of a normal number
    const int e = x.largest == 0 ? 0 : ((14 + 1024 - exponent) & ~3) - 1024;  // round down to a multiple of 4
    const bool in_range = x.largest == 0 || (exponent < 112 && exponent >= -100);
    const int smallest_exponent = max(-14 - e, -100);
    representable = in_range && (x.largest == 0 || x.smallest_minus_1 >= (static_cast<u32>(smallest_exponent + 127) << 23) - 1u);
    scale = __uint_as_float(static_cast<u32>((in_range ? e : 0) + 127) << 23);
    inverse = __uint_as_float(static_cast<u32>((in_range ? -e : 0) + 127) << 23);
  }
};
