// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// The weight warp: packed weights stream from L2 through rings of shared-memory stages, one ring for each group of
// MMA warpgroups that share output channels. One lane serves all rings in turn, so that none holds up another. In a cluster
// of two, each block reads half of every stage from L2 and the copy engine writes it into both.
#pragma once
#include "ptx/bulk_copy.cuh"
#include "tile/block_barriers.cuh"
#include "tile/drawn_items.cuh"

// C: kRings, kWStages, kWStageBytes, kPassStages (stages of one 64-channel block), kPasses, kResident, kStationary
// (everything fits: loaded once), kSharedW, stage_bytes(position), kPassBytes, kCluster.
// `raw`: the loads of a team of packers, served by the same lane; they need not wait for the kernel that packs the weights.
template <class C, class P, class Raw>
LC_DEVICE void weight_role(const P& p, const DrawnSchedule<C>& schedule, uint32_t shared, const BlockBarriers<C>& barriers, Raw& raw) {
  const uint32_t w_full = barriers.w_full, w_empty = barriers.w_empty;
  constexpr int kRings = C::kRings, kStages = C::kWStages;
  auto source = [&](int ring, const Item& item, int pass) {
    const int block = (C::kResident ? pass : item.pass) * kRings + ring;
    return p.weights + (static_cast<int64_t>(item.group) * (C::kPasses * kRings) + block) * C::kPassBytes;
  };
  for (int i = 0; C::kTeam > 1 && i < C::kRawStages; ++i) raw.poll();
  wait_for_previous_kernel();
  if (C::kStationary) {  // one pass, one group
    for (int ring = 0; ring < kRings; ++ring) {
      const uint8_t* from = source(ring, {0, 0, 0, 0}, 0);
      for (int i = 0; i < C::kPassStages; ++i) {
        const uint32_t full = w_full + 8 * (ring * kStages + i);
        barrier_arrive_expect(full, C::stage_bytes(i));
        bulk_load(shared + C::kSharedW + (ring * kStages + i) * C::kWStageBytes, from, C::stage_bytes(i), full);
        from += C::stage_bytes(i);
      }
    }
    while (raw.poll()) {
    }
    return;
  }
  int stage[kRings] = {}, phase[kRings], pass[kRings] = {}, position[kRings] = {};
  ItemCursor<C> item[kRings];
  const uint8_t* from[kRings];
#pragma unroll
  for (int r = 0; r < kRings; ++r) {
    phase[r] = 1;
    item[r] = ItemCursor<C>(schedule);
    if (schedule.begin < schedule.end) from[r] = source(r, schedule.item(schedule.begin), 0);
  }
  for (bool busy = true; busy;) {
    busy = raw.poll();
#pragma unroll
    for (int r = 0; r < kRings; ++r) {
      if (item[r].index >= schedule.end) continue;
      busy = true;
      const uint32_t full = w_full + 8 * (r * kStages + stage[r]);
      if (!barrier_test_wait(w_empty + 8 * (r * kStages + stage[r]), phase[r])) continue;
      const int bytes = C::stage_bytes(position[r]);
      barrier_arrive_expect(full, bytes);
      const uint32_t to = shared + C::kSharedW + (r * kStages + stage[r]) * C::kWStageBytes;
      if constexpr (C::kCluster == 1) {
        bulk_load(to, from[r], bytes, full);
      } else {  // this block's half, to both
        const int half = bytes / 2, offset = static_cast<int>(cluster_block_rank()) * half;
        bulk_load_multicast(to + offset, from[r] + offset, half, full, 3);
      }
      from[r] += bytes;
      if (++stage[r] == kStages) { stage[r] = 0; phase[r] ^= 1; }
      if (++position[r] == C::kPassStages) {
        position[r] = 0;
        if (++pass[r] == Schedule<C>::kPassesPerItem) { pass[r] = 0; item[r].advance(schedule); }
        if (item[r].index < schedule.end) from[r] = source(r, schedule.item(item[r].index), pass[r]);
      }
    }
  }
}
