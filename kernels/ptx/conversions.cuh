// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Conversions that are one instruction. Included by ptx/types.cuh, after the types.
#pragma once

#include "ptx/types.cuh"

namespace longconv {
namespace ptx {

/// Exact.
__device__ __forceinline__ float to_float(f16 value) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
}

/// Round to nearest, ties to even; overflow gives Inf, NaN stays NaN, subnormals are kept.
__device__ __forceinline__ bf16 to_bf16(float value) {
  bf16 result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
}
__device__ __forceinline__ f16 to_f16(float value) {
  f16 result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
}

/// Two values in one register, `low` in the low half; rounded as above.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  uint32_t result;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
}
__device__ __forceinline__ uint32_t pack_f16(float low, float high) {
  uint32_t result;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
}
/// Exact.
__device__ __forceinline__ void unpack_f16(uint32_t packed, float& low, float& high) {
  asm("{\n.reg .f16 a, b;\nmov.b32 {a, b}, %2;\ncvt.f32.f16 %0, a;\ncvt.f32.f16 %1, b;\n}"
      : "=f"(low), "=f"(high)
      : "r"(packed));
}

/// The larger number; NaN if either is one (fmaxf would drop it).
__device__ __forceinline__ float max_nan(float a, float b) {
  float result;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
}

}  // namespace ptx
}  // namespace longconv
