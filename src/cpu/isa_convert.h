// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// bf16 and f16 to and from f32 (for ISA units only). Widening is exact; narrowing rounds to nearest, ties to even,
/// once; NaN stays NaN, subnormals are kept.
#pragma once

#if LONGCONV_VECTOR_BYTES >= 32
#include <immintrin.h>
#endif

#include "cpu/simd.h"

namespace longconv::cpu::LONGCONV_ISA {

struct Bf16 {
  std::uint16_t bits;
};
struct F16 {
  std::uint16_t bits;
};
using U16Half = typename VectorOf<std::uint16_t, kLanes<float>>::type;  ///< as many 16-bit elements as F32 has lanes
using U16HalfUnaligned = typename VectorOf<std::uint16_t, kLanes<float>>::unaligned;

inline U16Half load_u16(const void* from) { return *static_cast<const U16HalfUnaligned*>(from); }

inline F32 widen(const Bf16* from) { return bits<F32>(__builtin_convertvector(load_u16(from), U32) << 16); }

inline U16Half narrow(F32 x, Bf16) {
  const U32 u = bits<U32>(x);
  const U32 rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
  const U32 quiet_nan = (u >> 16) | 0x40;  // rounding up could carry a NaN's payload into its exponent
  const U32 is_nan = bits<U32>(x != x);
  return __builtin_convertvector((quiet_nan & is_nan) | (rounded & ~is_nan), U16Half);
}

#if LONGCONV_VECTOR_BYTES == 64
inline F32 widen(const F16* from) { return bits<F32>(_mm512_maskz_cvtph_ps(0xffff, bits<__m256i>(load_u16(from)))); }
inline U16Half narrow(F32 x, F16) {
  return bits<U16Half>(_mm512_maskz_cvtps_ph(0xffff, bits<__m512>(x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
#elif LONGCONV_VECTOR_BYTES == 32
inline F32 widen(const F16* from) { return bits<F32>(_mm256_cvtph_ps(bits<__m128i>(load_u16(from)))); }
inline U16Half narrow(F32 x, F16) {
  return bits<U16Half>(_mm256_cvtps_ph(bits<__m256>(x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
#else
inline F32 widen(const F16* from) {
  const U32 h = __builtin_convertvector(load_u16(from), U32);
  const U32 sign = (h & 0x8000) << 16, magnitude = h & 0x7fff;
  // As an f32 with the exponent of an f16, then scaled by 2^112: exact, subnormals included.
  const F32 scaled = bits<F32>(magnitude << 13) * 0x1p112f;
  const U32 special = bits<U32>(magnitude >= 0x7c00);  // Inf, NaN
  return bits<F32>(sign | (special & ((magnitude << 13) | 0x7f800000)) | (~special & bits<U32>(scaled)));
}
inline U16Half narrow(F32 x, F16) {
  const U32 u = bits<U32>(x), sign = (u >> 16) & 0x8000, magnitude = u & 0x7fffffff;
  // Normal results: add half a unit (ties to even) at bit 13 and rebias the exponent.
  const U32 normal = (magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  // Subnormal results (below 2^-14): adding 0.5 lines the f16's last bit up with the f32's, so the FPU rounds.
  const U32 subnormal = bits<U32>(bits<F32>(magnitude) + 0.5f) - 0x3f000000;
  const U32 is_subnormal = bits<U32>(magnitude < 0x38800000);
  const U32 is_overflow = bits<U32>(magnitude >= 0x477ff000);  // 65520 and above, Inf
  const U32 is_nan = bits<U32>(magnitude > 0x7f800000);
  U32 h = (is_subnormal & subnormal) | (~is_subnormal & normal);
  h = (is_overflow & 0x7c00) | (~is_overflow & h);
  h = (is_nan & (0x7e00 | ((magnitude >> 13) & 0x3ff))) | (~is_nan & h);
  return __builtin_convertvector(h | sign, U16Half);
}
#endif

/// One element, the same way.
inline float widen_one(float x) { return x; }
inline double widen_one(double x) { return x; }
inline float widen_one(Bf16 x) { return bits<float>(static_cast<std::uint32_t>(x.bits) << 16); }
inline float widen_one(F16 x) {
  F16 lanes[kLanes<float>] = {x};
  return widen(lanes)[0];
}

}  // namespace longconv::cpu::LONGCONV_ISA
