// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// From a warp's finished sums to rows of y: where they go, epilogue, store.
#pragma once
#include "tile/schedule.cuh"
#include "tile/store_rows.cuh"

// After the last wgmma has ended: accumulators of phases that have taps hold their sums, the others zero.
template <class C, int kPhases, int kCount> LC_DEVICE void settle_phases(float (&acc)[kPhases][kCount]) {
#pragma unroll
  for (int phase = 0; phase < kPhases; ++phase) {
    if (C::has_taps(phase)) {
      keep_registers(acc[phase]);
    } else {
#pragma unroll
      for (int i = 0; i < kCount; ++i) acc[phase][i] = 0.f;
    }
  }
}

// C: kStep, kOutChannels, kBias, kResidual, kActivation. `channel0`: the warp's first output channel of the item's group;
// `way`: which of the block's stretches of time.
template <class C, class Rows, class P, int kPhases, int kCount>
LC_DEVICE void finish_rows(float (&acc)[kPhases][kCount], const P& p, const Item& item, int channel0, int way, uint32_t stage, int lane) {
  using Element = typename C::Element;
  const int64_t row0 = static_cast<int64_t>(item.group) * C::kOutChannels + channel0;
  const int64_t t0 = static_cast<int64_t>(item.tile) * C::kStep + way * Rows::kStep;
  RowsOut<Element> out;
  out.y = p.y + item.batch * p.y_batch + row0 * p.y_channel + t0;
  out.pitch = p.y_channel;
  out.rows = C::kOutChannels - channel0;
  out.columns = static_cast<int>(min(p.out_length - t0, static_cast<int64_t>(1 << 30)));
  out.first = t0 == 0;
  out.last = out.columns <= Rows::kStep;
  if (C::kBias || C::kResidual || C::kActivation != Activation::none) {
#pragma unroll
    for (int phase = 0; phase < kPhases; ++phase)
      apply_epilogue<Element, C::kActivation, 2 * kCount, kPhases>(
          acc[phase], phase, out, C::kBias ? p.bias + row0 : nullptr,
          C::kResidual ? p.residual + item.batch * p.residual_batch + row0 * p.residual_channel + t0 : nullptr, p.residual_channel,
          p.negative_slope, lane);
  }
  if (out.columns > 0) Rows::store(acc, out, stage, lane);
}
