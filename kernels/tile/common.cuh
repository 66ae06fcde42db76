// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// What every tile mover and kernel uses: short names, constant arithmetic, conversions by element type.
#pragma once

#include "ptx/types.cuh"

using namespace longconv;
using namespace longconv::ptx;

#define LC_DEVICE __device__ __forceinline__
#define LC_CONSTEXPR __host__ __device__ constexpr

LC_CONSTEXPR int ceil_div(int a, int b) { return (a + b - 1) / b; }
LC_CONSTEXPR int round_up(int a, int b) { return ceil_div(a, b) * b; }
LC_CONSTEXPR int max_of(int a, int b) { return a > b ? a : b; }
LC_CONSTEXPR int min_of(int a, int b) { return a < b ? a : b; }
LC_CONSTEXPR int gcd_of(int a, int b) { return b ? gcd_of(b, a % b) : a; }

// One rounding, to nearest even.
LC_DEVICE void from_float(float v, float& out) { out = v; }
LC_DEVICE void from_float(float v, bf16& out) { out = to_bf16(v); }
LC_DEVICE void from_float(float v, f16& out) { out = to_f16(v); }

// Two values in one register, `low` at the lower address.
template <class E> LC_DEVICE uint32_t pack2(float low, float high);
template <> LC_DEVICE uint32_t pack2<bf16>(float low, float high) { return pack_bf16(low, high); }
template <> LC_DEVICE uint32_t pack2<f16>(float low, float high) { return pack_f16(low, high); }

// Two neighbours at an address that is a multiple of their size.
LC_DEVICE void store_pair(float* p, float a, float b) { *reinterpret_cast<float2*>(p) = make_float2(a, b); }
template <class E> LC_DEVICE void store_pair(E* p, float a, float b) { *reinterpret_cast<uint32_t*>(p) = pack2<E>(a, b); }

// A word of elements, of which the first `exist` are stored. aligned: p is a multiple of 4.
LC_DEVICE void store_word(float* p, uint32_t word, int exist, bool aligned) {
  if (exist > 0) *p = __uint_as_float(word);
}
template <class E> LC_DEVICE void store_word(E* p, uint32_t word, int exist, bool aligned) {
  if (aligned && exist > 1) *reinterpret_cast<uint32_t*>(p) = word;
  if ((!aligned || exist == 1) && exist > 0) p[0].bits = static_cast<uint16_t>(word);
  if (!aligned && exist > 1) p[1].bits = static_cast<uint16_t>(word >> 16);
}

LC_DEVICE uint32_t bits_of(float v) { return __float_as_uint(v); }
LC_DEVICE uint32_t bits_of(bf16 v) { return v.bits; }
LC_DEVICE uint32_t bits_of(f16 v) { return v.bits; }

// The compiler no longer knows how `v` came about: what is computed from it is computed here, not kept from before a loop.
LC_DEVICE void forget_origin(int& v) { asm volatile("" : "+r"(v)); }

// What an element waits in between its load and its use: widening 16 bits would wait for the load.
template <class E> struct BitsOf { using Type = uint16_t; };
template <> struct BitsOf<float> { using Type = uint32_t; };
