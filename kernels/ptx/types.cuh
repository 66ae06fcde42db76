// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Integer types, 16-bit floating-point types and (ptx/conversions.cuh) conversions for device code. No system header: the
/// names and types are those that <cstdint> has on 64-bit Linux, so that a file may also be compiled after one that
/// includes it.
#pragma once

typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long int64_t;
typedef unsigned long uint64_t;
static_assert(sizeof(int64_t) == 8, "a 64-bit system is expected");

namespace longconv {

/// Storage types: bits in memory, values in float.
struct bf16 {
  uint16_t bits;
};
struct f16 {
  uint16_t bits;
};
/// A float whose low 13 bits the tensor core ignores. A tag: it is stored as float or uint32_t.
struct tf32 {};

}  // namespace longconv

#include "ptx/conversions.cuh"

namespace longconv {
namespace ptx {

/// Exact.
__device__ __forceinline__ float to_float(bf16 value) { return __uint_as_float((uint32_t)value.bits << 16); }
__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ void unpack_bf16(uint32_t packed, float& low, float& high) {
  low = __uint_as_float(packed << 16);
  high = __uint_as_float(packed & 0xffff0000u);
}

/// The TF32 operand for a float's bits: rounded to 10 explicit bits, to nearest, ties away from zero. The tensor core
/// drops the low 13 bits, so adding half a unit is the rounding (cvt.rna.tf32 is several instructions on sm_90).
/// Finite values that would round to Inf keep their largest TF32 neighbour; Inf stays Inf; a NaN stays a NaN, whichever
/// bits say so.
__device__ __forceinline__ uint32_t round_tf32(uint32_t bits) {
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t rounded = magnitude < 0x7f7ff000u ? bits + 0x1000u : bits;
  return magnitude > 0x7f800000u ? bits | 0x00400000u : rounded;
}
__device__ __forceinline__ uint32_t round_tf32(float value) { return round_tf32(__float_as_uint(value)); }

}  // namespace ptx
}  // namespace longconv
