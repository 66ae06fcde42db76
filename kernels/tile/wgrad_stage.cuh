// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// A stage of a weight gradient (kStep output steps of one signal) on its way from global to shared memory, held in
// registers in between: loads of the next stage are issued as soon as a register's content is packed.
//
//   x   rows of 16 bytes of channels per time, by residue of the stride (pack_order.cuh): [plane of the split][chunk][row]
//       unit = 32 rows of one chunk: lane = row, its channels in kChunk registers
//   dy  [plane of the split][out channel][kStep], rows of kDyPitch bytes (kStep elements and 16 bytes: no bank conflicts)
//       unit = kThreads pairs of steps: a thread's pairs belong to rows kRowsOfUnit apart
//
// kFlat: few channels. A channel of a chunk is a pair (channel, tap), channel * kKernel + tap, and reads its tap's samples.
// What does not exist (channels, steps from `end` on, samples outside the signal) is zeros.
#pragma once
#include "ptx/global_memory.cuh"
#include "ptx/shared_memory.cuh"
#include "tile/activation_gradient.cuh"
#include "tile/pack_order.cuh"
#include "tile/signal.cuh"
#include "tile/split_f16.cuh"

LC_DEVICE bool is_finite_bits(uint32_t v, float) { return (v & 0x7f800000u) != 0x7f800000u; }
LC_DEVICE bool is_finite_bits(uint32_t v, bf16) { return (v & 0x7f80u) != 0x7f80u; }
LC_DEVICE bool is_finite_bits(uint32_t v, f16) { return (v & 0x7c00u) != 0x7c00u; }
LC_DEVICE float value_of_bits(uint32_t v, float) { return __uint_as_float(v); }
LC_DEVICE float value_of_bits(uint32_t v, bf16) { return to_float(bf16{static_cast<uint16_t>(v)}); }
LC_DEVICE float value_of_bits(uint32_t v, f16) { return to_float(f16{static_cast<uint16_t>(v)}); }

// Where a stage lies: element 0 of the block's first channel of each operand, for the stage's signal.
template <class Element> struct WgradWindow {
  const Element* x;  // kFlat: of the group's first channel
  const Element* dy;
  int64_t first;          // (padded) position of the window's first raw element
  int64_t t0;             // first output step
  int steps;              // output steps that exist, up to kStep
  int channels, outputs;  // that exist from the block's first on
  int channel0;           // kFlat: the block's first pair
  int begin, count;       // elements [begin, begin + count) of the window are samples
};

// Geometry G: as PackOrder's, and Element, kThreads, kStep, kOutTile, kChunks, kChunk, kChunkRows, kDyPitch, kSplit,
// kTf32, kXPlaneBytes and kDyPlaneBytes (from the hi to the lo plane), kPad, kFlat, kKernel, kUnitTime
// (both time strides are 1), kWholeIn and kWholeOut (no channel of a tile is missing), kGradientOf: an activation of whose result dy is
// the gradient.
template <class G> struct WgradRows {
  static constexpr int kRowsOfUnit = G::kThreads * 2 / G::kStep, kDyUnits = ceil_div(G::kOutTile, kRowsOfUnit);
};
template <class G>
struct WgradStage : ForwardBits<typename BitsOf<typename G::Element>::Type, G::kGradientOf != Activation::none ? WgradRows<G>::kDyUnits : 0, 2> {
  using Element = typename G::Element;
  using Order = PackOrder<G>;
  static constexpr int kWarps = G::kThreads / 32, kXUnits = ceil_div(G::kChunks * Order::kSteps, kWarps);
  static constexpr int kRowsOfUnit = WgradRows<G>::kRowsOfUnit, kDyUnits = WgradRows<G>::kDyUnits;
  using Bits = typename BitsOf<Element>::Type;
  static constexpr bool kGradient = G::kGradientOf != Activation::none;
  Bits x[kXUnits][G::kChunk], dy[kDyUnits][2];

  struct XUnit {
    int chunk, step;
    bool exists;
    LC_DEVICE XUnit(int unit, int warp) {
      const int index = unit * kWarps + warp;
      chunk = index % G::kChunks;
      step = index / G::kChunks;
      exists = G::kChunks * Order::kSteps % kWarps == 0 || step < Order::kSteps;
    }
  };
  static LC_DEVICE int dy_row(int unit) { return unit * kRowsOfUnit + static_cast<int>(threadIdx.x) / (G::kStep / 2); }
  static LC_DEVICE int dy_step() { return static_cast<int>(threadIdx.x) % (G::kStep / 2) * 2; }

  template <class P> LC_DEVICE void load_x(const P& p, const WgradWindow<Element>& from, int unit, int warp, int lane) {
    const XUnit u(unit, warp);
    const int element = Order(u.step, lane).element, channel = u.chunk * G::kChunk;
    const int64_t x_time = G::kUnitTime ? 1 : p.x_time;
    if constexpr (G::kFlat) {
#pragma unroll
      for (int j = 0; j < G::kChunk; ++j) {
        const int pair = from.channel0 + channel + j;
        const int64_t sample = padded_index<G::kPad>(from.first + element + static_cast<int64_t>(pair % G::kKernel) * G::kDilation, p.length);
        x[unit][j] = (Bits)load_streamed_or_zero(from.x + pair / G::kKernel * p.x_channel + sample * x_time,
                                           u.exists && sample >= 0 && from.steps > 0 && channel + j < from.channels);
      }
    } else {
      bool exists = static_cast<uint32_t>(element - from.begin) < static_cast<uint32_t>(from.count);
      int64_t offset = (from.first + element) * x_time;
      if constexpr (G::kPad >= Pad::reflect) {
        const int64_t sample = padded_index<G::kPad>(from.first + element, p.length);
        exists = sample >= 0 && from.steps > 0;  // also where the whole window lies in the padding
        offset = sample * x_time;
      }
      exists = exists && u.exists;
      const Element* at = from.x + offset + channel * p.x_channel;
#pragma unroll
      for (int j = 0; j < G::kChunk; ++j)
        x[unit][j] = (Bits)load_streamed_or_zero(at + j * p.x_channel, exists && (G::kWholeIn || channel + j < from.channels));
    }
  }
  template <class P> LC_DEVICE void load_dy(const P& p, const WgradWindow<Element>& from, int unit) {
    const int row = dy_row(unit), step = dy_step();
    const int64_t dy_time = G::kUnitTime ? 1 : p.dy_time;
    const Element* at = from.dy + (row - unit * kRowsOfUnit) * p.dy_channel + (from.t0 + step) * dy_time + unit * (kRowsOfUnit * p.dy_channel);
    const bool exists = G::kWholeOut && G::kOutTile % kRowsOfUnit == 0 ? true : row < min_of(from.outputs, G::kOutTile);
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      dy[unit][j] = (Bits)load_streamed_or_zero(at + j * dy_time, exists && step + j < from.steps);
      if constexpr (kGradient) this->forward_y[unit][j] = (Bits)load_streamed_or_zero(beside(at + j * dy_time, p.to_forward_y), exists && step + j < from.steps);
    }
  }
  // Waits for dy, and makes of it the operand.
  template <class P> LC_DEVICE void finish(const P& p) {
    if constexpr (kGradient) {
#pragma unroll
      for (int u = 0; u < kDyUnits; ++u)
#pragma unroll
        for (int j = 0; j < 2; ++j) dy[u][j] = (Bits)gradient_bits<G::kGradientOf>(dy[u][j], this->forward_y[u][j], p.negative_slope, Element{});
    }
  }
  template <class P> LC_DEVICE void load(const P& p, const WgradWindow<Element>& from, int warp, int lane) {
#pragma unroll
    for (int u = 0; u < kXUnits; ++u) load_x(p, from, u, warp, lane);
#pragma unroll
    for (int u = 0; u < kDyUnits; ++u) load_dy(p, from, u);
  }

  LC_DEVICE bool finite() const {
    bool all = true;
#pragma unroll
    for (int u = 0; u < kXUnits; ++u)
#pragma unroll
      for (int j = 0; j < G::kChunk; ++j) all = all && is_finite_bits(x[u][j], Element{});
#pragma unroll
    for (int u = 0; u < kDyUnits; ++u) all = all && is_finite_bits(dy[u][0], Element{}) && is_finite_bits(dy[u][1], Element{});
    return all;
  }
  LC_DEVICE void add_to(Extremes& of_x, Extremes& of_dy) const {
#pragma unroll
    for (int u = 0; u < kXUnits; ++u)
#pragma unroll
      for (int j = 0; j < G::kChunk; ++j) of_x.add(__uint_as_float(x[u][j]));
#pragma unroll
    for (int u = 0; u < kDyUnits; ++u) of_dy.add(__uint_as_float(dy[u][0])), of_dy.add(__uint_as_float(dy[u][1]));
  }

  // to: shared address of the operand's first plane. For kSplit: scale; or, with `exact`, the numbers as they are in the
  // places of the two planes: channels 0-3 and 4-7 of a chunk, even and odd steps.
  LC_DEVICE void pack_x(uint32_t to, float scale, bool exact, int unit, int warp, int lane) const {
    const XUnit u(unit, warp);
    if (!u.exists) return;
    const uint32_t at = to + (u.chunk * G::kChunkRows + Order(u.step, lane).row) * 16;
    uint32_t v[G::kChunk];
#pragma unroll
    for (int j = 0; j < G::kChunk; ++j) v[j] = x[unit][j];
    if (G::kSplit && exact) {
      store_shared_v4(at, v[0], v[1], v[2], v[3]);
      store_shared_v4(at + G::kXPlaneBytes, v[G::kChunk - 4], v[G::kChunk - 3], v[G::kChunk - 2], v[G::kChunk - 1]);
    } else if constexpr (G::kSplit) {
      uint32_t hi[4], lo[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) split2_f16(__uint_as_float(v[2 * j]) * scale, __uint_as_float(v[2 * j + 1]) * scale, hi[j], lo[j]);
      store_shared_v4(at, hi[0], hi[1], hi[2], hi[3]);
      store_shared_v4(at + G::kXPlaneBytes, lo[0], lo[1], lo[2], lo[3]);
    } else if constexpr (G::kTf32) {
      store_shared_v4(at, round_tf32(v[0]), round_tf32(v[1]), round_tf32(v[2]), round_tf32(v[3]));
    } else {
      store_shared_v4(at, v[0] | v[1] << 16, v[2] | v[3] << 16, v[4] | v[5] << 16, v[6] | v[7] << 16);
    }
  }
  LC_DEVICE void pack_dy(uint32_t to, float scale, bool exact, int unit) const {
    const int row = dy_row(unit);
    if (G::kOutTile % kRowsOfUnit != 0 && row >= G::kOutTile) return;
    const uint32_t v[2] = {dy[unit][0], dy[unit][1]};
    if constexpr (G::kSplit) {
      uint32_t hi = v[0], lo = v[1];
      if (!exact) split2_f16(__uint_as_float(v[0]) * scale, __uint_as_float(v[1]) * scale, hi, lo);
      store_shared_u32(to + row * G::kDyPitch + dy_step() * 2, hi);
      store_shared_u32(to + row * G::kDyPitch + dy_step() * 2 + G::kDyPlaneBytes, lo);
    } else if constexpr (G::kTf32) {
      store_shared_v2(to + row * G::kDyPitch + dy_step() * 4, __uint_as_float(round_tf32(v[0])), __uint_as_float(round_tf32(v[1])));
    } else {
      store_shared_u32(to + row * G::kDyPitch + dy_step() * 2, v[0] | v[1] << 16);
    }
  }
};
