// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// Packing: one 16-byte channel chunk of raw NCW rows becomes packed time rows of 16 bytes,
//
//   raw    [channel j of the chunk][time e]            packed [plane p][row r] = 16 bytes: channels 0..CE-1
//   at     raw + j*kRawPitch + (shift[j] + e)*kBytes   at     dst + (p*kPlaneRows + r)*16,   e = r*kStride + residue(p)
//
// so that a tap is a row offset inside a plane (polyphase for strides). Every lane owns rows; a warp packs a chunk.
#pragma once
#include "ptx/ldmatrix.cuh"
#include "ptx/shared_memory.cuh"
#include "tile/pack_order.cuh"
#include "tile/signal.cuh"

// TF32 rounding (ptx/conversions.cuh: round_tf32) in two halves: store_packed adds half a unit; before, values for which that is
// not the rounding (NaN, and finite ones that would become Inf) are changed so that it is. One warp vote for a batch.
template <int kCount> LC_DEVICE void prepare_tf32(uint32_t (&v)[kCount]) {
  float largest = 0.f;
#pragma unroll
  for (int i = 0; i < kCount; ++i) largest = max_nan(largest, fabsf(__uint_as_float(v[i])));
  if (__any_sync(~0u, !(largest < __uint_as_float(0x7f7ff000u)))) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) v[i] = round_tf32(v[i]) - 0x1000u;
  }
}

// Geometry G: Element, kBytes, kChunk (elements of 16 bytes), kStride, kPlanes, kPlaneRows, residue(p), kRawPitch, kFewRegisters.
template <class G> LC_DEVICE void store_packed(uint32_t dst, const uint32_t (&v)[G::kChunk]) {
  if constexpr (G::kBytes == 2)
    store_shared_v4(dst, v[0] | v[1] << 16, v[2] | v[3] << 16, v[4] | v[5] << 16, v[6] | v[7] << 16);
  else
    store_shared_v4(dst, v[0] + 0x1000u, v[1] + 0x1000u, v[2] + 0x1000u, v[3] + 0x1000u);
}

// Any stride and any alignment: the row of channel j starts `offset[j]` bytes into `raw`. With kMask, elements
// outside [valid_begin, valid_end) become zero (zero padding); without, they are whatever lies there. kUniform: all rows
// start as the first does, so that their distances are constants.
template <class G, bool kMask, bool kUniform>
LC_DEVICE void pack_any(uint32_t raw, const uint32_t (&offset)[G::kChunk], uint32_t dst, int lane, int valid_begin, int valid_end) {
  using Order = PackOrder<G>;
  constexpr int kSteps = Order::kSteps;
  constexpr int kBatch = kMask ? 2 : G::kBytes == 2 ? (G::kFewRegisters ? 2 : 3) : G::kFewRegisters ? 3 : 5;  // loads of a batch before its stores: the latency is paid once a batch
#pragma unroll
  for (int s0 = 0; s0 < kSteps; s0 += kBatch) {
    uint32_t v[kBatch * G::kChunk];
#pragma unroll
    for (int s = 0; s < kBatch; ++s) {
      const Order at(min(s0 + s, kSteps - 1), lane);
      const uint32_t a = raw + at.element * G::kBytes + (kUniform ? offset[0] : 0);
#pragma unroll
      for (int j = 0; j < G::kChunk; ++j) {
        uint32_t& value = v[s * G::kChunk + j];
        const uint32_t from = a + (kUniform ? j * G::kRawPitch : offset[j]);
        if (s0 + s < kSteps) value = G::kBytes == 2 ? load_shared_u16(from) : load_shared_u32(from);
        if (s0 + s >= kSteps || (kMask && (at.element < valid_begin || at.element >= valid_end))) value = 0;
      }
    }
    if constexpr (G::kBytes == 4) prepare_tf32(v);
#pragma unroll
    for (int s = 0; s < kBatch; ++s) {
      if (s0 + s < kSteps) {
        uint32_t row[G::kChunk];
#pragma unroll
        for (int j = 0; j < G::kChunk; ++j) row[j] = v[s * G::kChunk + j];
        store_packed<G>(dst + Order(s0 + s, lane).row * 16, row);
      }
    }
  }
}

// 16-bit elements, strides 2, 4 and 8 with all residues, rows that start alike, on 4-byte boundaries: a lane loads pairs of neighbours and
// writes them to their two planes. Loads and stores without bank conflicts, half the loads of pack_any.
template <class G> LC_DEVICE void pack_pairs(uint32_t raw, uint32_t dst, int lane) {
  constexpr int kPairs = ceil_div(G::kRawNeeded, 2), kSteps = ceil_div(kPairs, 32), kBatch = G::kFewRegisters ? 2 : 3;
#pragma unroll
  for (int s0 = 0; s0 < kSteps; s0 += kBatch) {
    uint32_t v[kBatch][8];
#pragma unroll
    for (int s = 0; s < kBatch; ++s) {
      const uint32_t a = raw + min((s0 + s) * 32 + lane, kPairs - 1) * 4;
#pragma unroll
      for (int j = 0; j < 8; ++j)
        if (s0 + s < kSteps) v[s][j] = load_shared_u32(a + j * G::kRawPitch);
    }
#pragma unroll
    for (int s = 0; s < kBatch; ++s) {
      if (s0 + s < kSteps) {
        const int element = 2 * min((s0 + s) * 32 + lane, kPairs - 1);  // even, as the stride: both in the same row
        const uint32_t to = dst + (element % G::kStride * G::kPlaneRows + element / G::kStride) * 16;
        uint32_t even[4], odd[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          even[j] = __byte_perm(v[s][2 * j], v[s][2 * j + 1], 0x5410);
          odd[j] = __byte_perm(v[s][2 * j], v[s][2 * j + 1], 0x7632);
        }
        store_shared_v4(to, even[0], even[1], even[2], even[3]);
        store_shared_v4(to + G::kPlaneRows * 16, odd[0], odd[1], odd[2], odd[3]);
      }
    }
  }
}

// A whole window, by the quickest way that its rows allow. `uniform`: all rows start as the first does.
template <class G>
LC_DEVICE void pack_window(uint32_t raw, const uint32_t (&offset)[G::kChunk], bool uniform, uint32_t dst, int lane) {
  if (!uniform) {
    pack_any<G, false, false>(raw, offset, dst, lane, 0, 0);
    return;
  }
  if constexpr (G::kBytes == 2 && PackOrder<G>::kAlongTime && (G::kStride == 2 || G::kStride == 4 || G::kStride == 8)) {
    if (!(offset[0] & 3)) {
      pack_pairs<G>(raw + offset[0], dst, lane);
      return;
    }
  }
  pack_any<G, false, true>(raw, offset, dst, lane, 0, 0);
}

// 16-bit elements, stride 1, rows on 16-byte boundaries: 8x8 transposes between ldmatrix and stmatrix, no bank conflict
// when the raw pitch is an odd multiple of 16 bytes.
template <class G> LC_DEVICE void pack_transposed(uint32_t raw, uint32_t dst, int lane) {
  constexpr int kBlocks = G::kPlaneRows / 8, kSteps = ceil_div(kBlocks, 4), kBatch = G::kFewRegisters ? 4 : 5;
#pragma unroll
  for (int s0 = 0; s0 < kSteps; s0 += kBatch) {
    uint32_t v[kBatch][4];
#pragma unroll
    for (int s = 0; s < kBatch; ++s)
      if (s0 + s < kSteps)
        load_matrix_x4_transposed(v[s], raw + (lane & 7) * G::kRawPitch + min((s0 + s) * 4 + (lane >> 3), kBlocks - 1) * 16);
#pragma unroll
    for (int s = 0; s < kBatch; ++s)
      if (s0 + s < kSteps) store_matrix_x4(dst + (min((s0 + s) * 4 + (lane >> 3), kBlocks - 1) * 8 + (lane & 7)) * 16, v[s]);
  }
}

// Straight from global memory, element by element: any time stride, any padding mode. x points at sample 0 of the
// chunk's first channel; `first` is the padded position of raw element 0; channels from `channels` on are zero.
template <class G, Pad kPad>
LC_DEVICE void pack_gather(const typename G::Element* x, int64_t channel_stride, int64_t time_stride, int channels, int64_t first,
                           int64_t length, uint32_t dst, int lane) {
#pragma unroll 2
  for (int step = 0; step < PackOrder<G>::kSteps; ++step) {
    const PackOrder<G> at(step, lane);
    const int64_t t = padded_index<kPad>(first + at.element, length);
    uint32_t v[G::kChunk];
#pragma unroll
    for (int j = 0; j < G::kChunk; ++j) {
      v[j] = 0;
      if (j < channels && t >= 0) {
        if constexpr (G::kBytes == 2) v[j] = reinterpret_cast<const uint16_t*>(x)[j * channel_stride + t * time_stride];
        else v[j] = reinterpret_cast<const uint32_t*>(x)[j * channel_stride + t * time_stride];
      }
    }
    if constexpr (G::kBytes == 4) prepare_tf32(v);
    store_packed<G>(dst + at.row * 16, v);
  }
}
