// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// The repair of a block's own items by the block itself, in plain f32: where a launch is so small that another launch for the repair
// (direct_fprop.cuh, LC_MODE 1) would cost as much as itself. What is to be redone is told in shared memory: a word of each packer
// with a bit for each of the block's items, and one word that is not 0 where a weight is flagged (weight_flags.cuh).
//
// Sums are chains of at most 256 products, added to a total; products of samples that do not exist are left out.
#pragma once
#include "tile/activation.cuh"
#include "tile/activation_gradient.cuh"
#include "tile/drawn_items.cuh"
#include "tile/phases.cuh"
#include "tile/store_rows.cuh"

// The weights as they came; mirrored by the launcher.
struct RepairParams {
  const float* w;
  const uint32_t* flags;
  int64_t flag_words, w_out, w_in, w_tap;  // strides in elements
};

// One output: step `step` of phase `phase` of output channel `out` of the item's group. G: kInChannels, kOutChannels, kAllTaps, kSampleStep
// (samples of x between steps), kPhases, kPad, kGradientOf, kTransposed, Taps (Phases).
template <class G, class P> LC_DEVICE float repair_sum(const P& p, const Item& item, int out, int64_t step, int64_t phase) {
  using Taps = typename G::Taps;
  const int64_t first_tap = G::kPhases == 1 ? 0 : Taps::first_tap(phase);
  const int64_t first = step * G::kSampleStep - p.pad_left + (G::kPhases == 1 ? 0 : Taps::offset(first_tap));
  const float* x = p.x + item.batch * p.x_batch + item.group * static_cast<int64_t>(G::kInChannels) * p.x_channel;
  const float* w = p.repair.w + item.group * (G::kTransposed ? G::kInChannels * p.repair.w_in : G::kOutChannels * p.repair.w_out) +
                   out * p.repair.w_out;
  float total = 0.f, chain = 0.f;
  int chained = 0;
#pragma unroll 1
  for (int channel = 0; channel < G::kInChannels; ++channel, x += p.x_channel, w += p.repair.w_in) {
    int64_t at = first;
#pragma unroll 1
    for (int64_t tap = first_tap; tap < G::kAllTaps; tap += Taps::kPeriod, at += Taps::kRowStep) {
      const int64_t position = padded_index<G::kPad>(at, p.length);
      if (position < 0) continue;
      const float* from = x + position * p.x_time;
      float v = *from;
      if constexpr (G::kGradientOf != Activation::none) v = activation_gradient<G::kGradientOf>(v, *beside(from, p.to_forward_y), p.negative_slope);
      chain = fmaf(w[tap * p.repair.w_tap], v, chain);
      if (++chained == 256) total += chain, chain = 0.f, chained = 0;
    }
  }
  return total + chain;
}

// By all warps that have stored the block's items, when each has finished its stores: computes an item's rows again. G: also
// kStep, kItemWays (windows of a row), kItemChannels (output channels), kBias, kResidual, kActivation, Stores (RowStore).
template <class G, class P> LC_DEVICE void repair_item(const P& p, const Item& item, int warp, int warps, int lane) {
  using Rows = typename G::Stores;
  const int end = min(G::kOutChannels, (item.pass + 1) * G::kItemChannels);
#pragma unroll 1
  for (int out = item.pass * G::kItemChannels + warp; out < end; out += warps) {
    const int64_t row = static_cast<int64_t>(item.group) * G::kOutChannels + out;
#pragma unroll 1
    for (int way = 0; way < G::kItemWays; ++way) {
      const int64_t t0 = static_cast<int64_t>(item.tile) * G::kStep + way * Rows::kStep, left = p.out_length - t0;
      float* const y = p.y + item.batch * p.y_batch + row * p.y_channel + t0;
      const int columns = static_cast<int>(min(left, static_cast<int64_t>(Rows::kWidth)));
      const int last = Rows::end_column(y, columns, left <= Rows::kStep);
#pragma unroll 1
      for (int column = Rows::begin_column(y, t0 == 0) + lane; column < last; column += 32) {
        const int64_t t = t0 + column;
        float v = repair_sum<G>(p, item, out, t / G::kPhases, t % G::kPhases);
        if (G::kBias) v += p.bias[row];
        if (G::kResidual) v += p.residual[item.batch * p.residual_batch + row * p.residual_channel + t];
        y[column] = activate<G::kActivation>(v, p.negative_slope);
      }
    }
  }
}

// Shared memory of `packers` packers: their words, and the weights'.
LC_CONSTEXPR int redo_bytes(int packers) { return 4 * (packers + 1); }

// What a block is to do again. C: also kPackers, kSharedRedo. Items have numbers below 32 and are the schedule's fixed ones.
template <class C> struct BlockRepair {
  static constexpr uint32_t kBarrier = 2;
  static constexpr int kWarps = 8;  // that store
  uint32_t words;
  LC_DEVICE explicit BlockRepair(uint32_t shared) : words(shared + C::kSharedRedo) {}
  // By all threads, before the block's first barrier.
  LC_DEVICE void init() const {
    if (threadIdx.x <= C::kPackers) store_shared_u32(words + 4 * threadIdx.x, 0);
  }
  // By a packer's lane, before the slot that it has packed is full.
  LC_DEVICE void mark(int packer, int number) const { store_shared_u32(words + 4 * packer, load_shared_u32(words + 4 * packer) | 1u << number); }
  // By one of the warps that store, when the weights have been packed.
  template <class P> LC_DEVICE void look_at_weights(const P& p, int lane) const {
    bool flagged = false;
#pragma unroll 4  // loads ahead of their use
    for (int64_t i = lane; i < p.repair.flag_words; i += 32) flagged |= p.repair.flags[i] != 0;
    if (__any_sync(~0u, flagged) && lane == 0) store_shared_u32(words + 4 * C::kPackers, 1);
  }
  // By each of these warps at the end, when its own stores have arrived.
  template <class P> LC_DEVICE void run(const P& p, const DrawnSchedule<C>& schedule, int warp, int lane) const {
    named_barrier_sync(kBarrier, 32 * kWarps);
    const bool all = load_shared_u32(words + 4 * C::kPackers) != 0;
    uint32_t redo = 0;
    for (int i = 0; i < C::kPackers; ++i) redo |= load_shared_u32(words + 4 * i);
    if (!all && redo == 0) return;
#pragma unroll 1
    for (int number = 0; schedule.fixed(number) < static_cast<uint32_t>(schedule.end); ++number)
      if (all || redo >> number & 1) repair_item<C>(p, schedule.item(static_cast<int>(schedule.fixed(number))), warp, kWarps, lane);
  }
};
