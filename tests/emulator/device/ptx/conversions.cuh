// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Emulates kernels/ptx/conversions.cuh.
#pragma once

#include "ptx/types.cuh"

namespace longconv {
namespace ptx {

inline float to_float(f16 value) {
  const uint32_t magnitude = value.bits & 0x7fffu, sign = (value.bits & 0x8000u) << 16;
  if (magnitude >= 0x7c00u) return __uint_as_float(sign | 0x7f800000u | magnitude << 13);
  // Moved into place, the exponent is 112 too small; multiplying makes subnormals right, too.
  return __uint_as_float(sign | __float_as_uint(__uint_as_float(magnitude << 13) * 0x1p112f));
}

inline bf16 to_bf16(float value) {
  const uint32_t bits = __float_as_uint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return bf16{0x7fff};
  return bf16{(uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16)};
}

inline f16 to_f16(float value) {
  const uint32_t bits = __float_as_uint(value), magnitude = bits & 0x7fffffffu, sign = bits >> 16 & 0x8000u;
  if (magnitude > 0x7f800000u) return f16{0x7fff};
  if (magnitude >= 0x47800000u) return f16{(uint16_t)(sign | 0x7c00u)};  // from 65536 on
  if (magnitude < 0x38800000u)  // below 2^-14: adding 2^-1 leaves multiples of 2^-24, rounded to nearest even
    return f16{(uint16_t)(sign | (__float_as_uint(__uint_as_float(magnitude) + 0.5f) - 0x3f000000u))};
  return f16{(uint16_t)(sign | (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1)) >> 13)};  // may carry to Inf
}

inline uint32_t pack_bf16(float low, float high) { return to_bf16(low).bits | (uint32_t)to_bf16(high).bits << 16; }
inline uint32_t pack_f16(float low, float high) { return to_f16(low).bits | (uint32_t)to_f16(high).bits << 16; }
inline void unpack_f16(uint32_t packed, float& low, float& high) {
  low = to_float(f16{(uint16_t)packed});
  high = to_float(f16{(uint16_t)(packed >> 16)});
}

inline float max_nan(float a, float b) { return a != a || b != b ? __uint_as_float(0x7fffffffu) : max(a, b); }

}  // namespace ptx
}  // namespace longconv
