// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// A stage of x on its way from global memory to packed rows (pack_order.cuh), held in registers in between: a block
// issues the loads of its next stage, multiplies the present one, then packs what has arrived meanwhile.
//
//   unit = 32 rows of one chunk (kChunk channels, 16 bytes of a packed plane): lane = row, its channels in kChunk registers
//   warp w serves chunk w % kStageChunks; its units are every (kWarps / kStageChunks)-th one
//
// kPrefetch units of a warp wait in registers (piece 0). A stage with more has kPieces: the others are loaded when they are
// packed, kPrefetch at a time.
#pragma once
#include "ptx/global_memory.cuh"
#include "ptx/shared_memory.cuh"
#include "tile/activation_gradient.cuh"
#include "tile/pack_order.cuh"
#include "tile/signal.cuh"
#include "tile/split_f16.cuh"

// What one warp reads: sample 0 of the first channel of its chunk, the (padded) position of the stage's first raw element,
// how many channels from there on exist (beyond: zeros).
template <class Element> struct ChunkWindow {
  const Element* x;
  int64_t first;
  int channels;
};

// Geometry G: as PackOrder's, and Element, kWarps, kStageChunks, kChunk, kChunkRows, kPrefetch, kSplit, kSplitBytes (from the
// hi plane to the lo plane), kPad, kWholeStages (no channel is missing), kGradientOf: an activation of which x is the result's gradient.
template <class G>
struct StageRegisters : ForwardBits<typename BitsOf<typename G::Element>::Type, G::kGradientOf != Activation::none ? G::kPrefetch : 0, G::kChunk> {
  using Element = typename G::Element;
  using Order = PackOrder<G>;
  static constexpr int kWays = G::kWarps / G::kStageChunks, kUnits = ceil_div(Order::kSteps, kWays);
  static constexpr int kPieces = ceil_div(kUnits, G::kPrefetch);
  static_assert(G::kWarps % G::kStageChunks == 0, "a warp stays with one chunk");
  using Bits = typename BitsOf<Element>::Type;
  static constexpr bool kGradient = G::kGradientOf != Activation::none;
  Bits v[G::kPrefetch][G::kChunk];

  static LC_DEVICE int step_of(int piece, int i, int warp) { return (piece * G::kPrefetch + i) * kWays + warp / G::kStageChunks; }

  template <class P> LC_DEVICE void load(const P& p, const ChunkWindow<Element>& from, int piece, int warp, int lane) {
    // Elements [begin, begin + count) of the window exist. Unless others stand for those beyond, 32 bits say all.
    const int64_t limit = 1 << 30;
    const int begin = static_cast<int>(max(static_cast<int64_t>(0), min(-from.first, limit)));
    const int count = static_cast<int>(max(static_cast<int64_t>(0), min(p.length - from.first, limit) - begin));
    const Element* origin = from.x + from.first * p.x_time;
#pragma unroll
    for (int i = 0; i < G::kPrefetch; ++i) {
      const int step = step_of(piece, i, warp), element = Order(step, lane).element;
      bool exists = static_cast<uint32_t>(element - begin) < static_cast<uint32_t>(count);
      const Element* sample = origin + element * p.x_time;
      if constexpr (G::kPad >= Pad::reflect) {
        const int64_t t = padded_index<G::kPad>(from.first + element, p.length);
        exists = t >= 0;
        sample = from.x + t * p.x_time;
      }
      exists = exists && step < Order::kSteps;
#pragma unroll
      for (int j = 0; j < G::kChunk; ++j) {
        const bool wanted = exists && (G::kWholeStages || j < from.channels);
        v[i][j] = static_cast<Bits>(load_streamed_or_zero(sample + j * p.x_channel, wanted));
        if constexpr (kGradient) this->forward_y[i][j] = static_cast<Bits>(load_streamed_or_zero(beside(sample + j * p.x_channel, p.to_forward_y), wanted));
      }
    }
  }
  // Waits for what was loaded, and makes of it what is packed.
  template <class P> LC_DEVICE void finish(const P& p) {
    if constexpr (kGradient) {
#pragma unroll
      for (int i = 0; i < G::kPrefetch; ++i)
#pragma unroll
        for (int j = 0; j < G::kChunk; ++j)
          v[i][j] = static_cast<Bits>(gradient_bits<G::kGradientOf>(v[i][j], this->forward_y[i][j], p.negative_slope, Element{}));
    }
  }

  LC_DEVICE void add_to(Extremes& x) const {
#pragma unroll
    for (int i = 0; i < G::kPrefetch; ++i)
#pragma unroll
      for (int j = 0; j < G::kChunk; ++j) x.add(__uint_as_float(v[i][j]));
  }

  // chunk: shared address of row 0 of this warp's chunk. scale: for kSplit.
  LC_DEVICE void pack(uint32_t chunk, float scale, int piece, int warp, int lane) const {
#pragma unroll
    for (int i = 0; i < G::kPrefetch; ++i) {
      const int step = step_of(piece, i, warp);
      if (step >= Order::kSteps) break;
      uint32_t row[G::kChunk];
#pragma unroll
      for (int j = 0; j < G::kChunk; ++j) row[j] = v[i][j];
      store_row(row, chunk + Order(step, lane).row * 16, scale);
    }
  }

 private:
  static LC_DEVICE void store_row(const uint32_t (&u)[G::kChunk], uint32_t dst, float scale) {
    if constexpr (G::kSplit) {
      uint32_t hi[4], lo[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) split2_f16(__uint_as_float(u[2 * j]) * scale, __uint_as_float(u[2 * j + 1]) * scale, hi[j], lo[j]);
      store_shared_v4(dst, hi[0], hi[1], hi[2], hi[3]);
      store_shared_v4(dst + G::kSplitBytes, lo[0], lo[1], lo[2], lo[3]);
    } else if constexpr (G::kChunk == 8) {
      store_shared_v4(dst, u[0] | u[1] << 16, u[2] | u[3] << 16, u[4] | u[5] << 16, u[6] | u[7] << 16);
    } else {
      store_shared_v4(dst, round_tf32(u[0]), round_tf32(u[1]), round_tf32(u[2]), round_tf32(u[3]));
    }
  }
};
