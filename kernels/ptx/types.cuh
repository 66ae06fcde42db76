// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Fixed-width names without system headers: device code includes nothing from outside kernels/.
#pragma once

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i32 = int;
using i64 = long long;

// Raw bits of a 16-bit float. Arithmetic happens in f32.
struct bf16 { u16 bits; };
struct f16 { u16 bits; };

#define LC_DEVICE __device__ __forceinline__

#define LC_CONSTEXPR __host__ __device__ constexpr
LC_CONSTEXPR int ceil_div(int a, int b) { return (a + b - 1) / b; }
LC_CONSTEXPR int round_up(int a, int b) { return ceil_div(a, b) * b; }
LC_CONSTEXPR int min_of(int a, int b) { return a < b ? a : b; }
LC_CONSTEXPR int max_of(int a, int b) { return a > b ? a : b; }
LC_CONSTEXPR int gcd_of(int a, int b) { return b ? gcd_of(b, a % b) : a; }

LC_DEVICE float to_f32(float v) { return v; }
LC_DEVICE float to_f32(bf16 v) { return __uint_as_float(static_cast<u32>(v.bits) << 16); }
LC_DEVICE float to_f32(f16 v) {
  float r;
  asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(v.bits));
  return r;
}

// Round to nearest even; NaN stays NaN.
LC_DEVICE void from_f32(float v, float& out) { out = v; }
LC_DEVICE void from_f32(float v, bf16& out) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out.bits) : "f"(v)); }
LC_DEVICE void from_f32(float v, f16& out) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out.bits) : "f"(v)); }

// Two values in one register, `lo` at the lower address.
template <class E> LC_DEVICE u32 pack2(float lo, float hi);
template <> LC_DEVICE u32 pack2<bf16>(float lo, float hi) {
  u32 r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
  return r;
}
template <> LC_DEVICE u32 pack2<f16>(float lo, float hi) {
  u32 r;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
  return r;
}

// f32 -> TF32, nearest, ties away: the tensor core reads the upper 19 bits, so adding half of the last kept
// bit rounds. Inf must stay, NaN must not wrap into a number, and |x| near FLT_MAX rounds to Inf as cvt.rna does.
LC_DEVICE u32 round_tf32(u32 bits) { return (bits & 0x7fffffffu) < 0x7f800000u ? bits + 0x1000u : bits; }
