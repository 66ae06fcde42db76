// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Rows of a gradient as a K-major operand whose K is time: a lane has a row,
//
//   raw    row r at r*kPitch + its address in memory mod 16         packed   [plane][16 bytes of steps][row] x 16 B
//
// and moves 16 bytes of steps at a time. f32 becomes TF32 (one plane) or a pair of TF32 numbers, v = hi + lo (two planes).
#pragma once
#include "tile/row_loads.cuh"
#include "tile/row_sum.cuh"
#include "tile/tf32_pair.cuh"

// 32 bytes from `shift` elements on -> the first 16 of them.
template <class E> LC_DEVICE void align_words(uint32_t (&out)[4], const uint32_t (&w)[8], uint32_t shift) {
  const uint32_t words = sizeof(E) == 4 ? shift : shift >> 1;
  uint32_t a[6], b[5];
#pragma unroll
  for (int i = 0; i < 6; ++i) a[i] = words & 2 ? w[i + 2] : w[i];
#pragma unroll
  for (int i = 0; i < 5; ++i) b[i] = words & 1 ? a[i + 1] : a[i];
#pragma unroll
  for (int i = 0; i < 4; ++i) out[i] = sizeof(E) == 4 ? b[i] : __byte_perm(b[i], b[i + 1], shift & 1 ? 0x5432 : 0x3210);
}

// E, kStepsOfRow: a multiple of 16 bytes; kRows: of the packed operand; kPlanes: 1, or 2 (f32 only); kPlaneBytes.
template <class E, int kStepsOfRow, int kRows, int kPlanes, int kPlaneBytes> struct StepPacker {
  static constexpr int kChunk = 16 / sizeof(E), kChunks = kStepsOfRow / kChunk;
  Tf32Range range;       // f32: of all values
  bool special = false;  // Inf or NaN among the values of masked rows

  // raw: 16-byte boundary at or before the row's first step; shift: elements from there, 0 if kAligned. valid: steps that exist;
  // the others become 0. kMasked: some do not, and Inf and NaN are looked for. Returns the sum, if `add`.
  template <bool kAligned, bool kMasked> LC_DEVICE float pack(uint32_t raw, uint32_t shift, int valid, uint32_t dst, bool add) {
    constexpr int kTogether = kChunks % 4 == 0 && kPlanes == 1 ? 4 : kChunks % 2 == 0 ? 2 : 1;  // loads in flight
    float chain = 0.f;
    uint4 last = kAligned ? uint4{} : load_shared_v4(raw);
#pragma unroll 1
    for (int c = 0; c < kChunks; c += kTogether, raw += 16 * kTogether, dst += kTogether * (kRows * 16)) {
      uint4 chunks[kTogether + 1] = {last};  // 16 bytes each, from the first on; where it is aligned, from the second
#pragma unroll
      for (int i = 0; i < kTogether; ++i) chunks[i + 1] = load_shared_v4(raw + 16 * (kAligned ? i : i + 1));
#pragma unroll
      for (int i = 0; i < kTogether; ++i) {
        const uint4 &first = chunks[i], &next = chunks[i + 1];
        uint32_t v[4] = {next.x, next.y, next.z, next.w};
        if (!kAligned) {
          const uint32_t w[8] = {first.x, first.y, first.z, first.w, next.x, next.y, next.z, next.w};
          align_words<E>(v, w, shift);
        }
        if (kMasked) mask(v, valid - (c + i) * kChunk);
        store(v, dst + i * (kRows * 16), chain, add);
      }
      last = chunks[kTogether];
    }
    return chain;
  }
  // Of rows that were copied to where they belong.
  template <bool kMasked> LC_DEVICE float finish(int valid, uint32_t dst, bool add) {
    float chain = 0.f;
    if (!kMasked && !add) return chain;
#pragma unroll 2
    for (int c = 0; c < kChunks; ++c, dst += kRows * 16) {
      const uint4 now = load_shared_v4(dst);
      uint32_t v[4] = {now.x, now.y, now.z, now.w};
      if (kMasked) mask(v, valid - c * kChunk);
      if (kMasked) store_shared_v4(dst, v[0], v[1], v[2], v[3]);
      if (add) sum(v, chain);
    }
    return chain;
  }
  // The same from memory, element by element. row: step 0.
  LC_DEVICE float gather(const E* row, int64_t time_stride, int valid, uint32_t dst, bool add) {
    float chain = 0.f;
#pragma unroll 1
    for (int c = 0; c < kChunks; ++c) {
      uint32_t v[4] = {};
#pragma unroll
      for (int i = 0; i < kChunk; ++i)
        if (c * kChunk + i < valid) v[i * 4 / kChunk] |= bits_of(row[(c * kChunk + i) * time_stride]) << (sizeof(E) == 2 ? 16 * (i & 1) : 0);
      if (valid < kStepsOfRow) mask(v, valid - c * kChunk);
      store(v, dst + c * (kRows * 16), chain, add);
    }
    return chain;
  }

 private:
  LC_DEVICE void mask(uint32_t (&v)[4], int valid) {
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      uint32_t& word = v[i * 4 / kChunk];
      const uint32_t of_element = sizeof(E) == 4 ? ~0u : i & 1 ? 0xffff0000u : 0xffffu;
      if (i >= valid) word &= ~of_element;
      else special |= not_finite<E>(sizeof(E) == 4 ? word : word >> (16 * (i & 1)) & 0xffff);
    }
  }
  static LC_DEVICE void sum(const uint32_t (&v)[4], float& chain) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (sizeof(E) == 4) {
        chain += __uint_as_float(v[i]);
      } else {
        chain += to_float(E{static_cast<uint16_t>(v[i])});
        chain += to_float(E{static_cast<uint16_t>(v[i] >> 16)});
      }
    }
  }
  LC_DEVICE void store(uint32_t (&v)[4], uint32_t dst, float& chain, bool add) {
    if (add) sum(v, chain);
    if constexpr (sizeof(E) == 4) {
      uint32_t lo[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        range.add<kPlanes>(v[i]);
        if (kPlanes == 2) split_tf32(v[i], v[i], lo[i]);
        else v[i] += kTf32Half;
      }
      if (kPlanes == 2) store_shared_v4(dst + kPlaneBytes, lo[0], lo[1], lo[2], lo[3]);
    }
    store_shared_v4(dst, v[0], v[1], v[2], v[3]);
  }
};
