// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
// The barriers of a Hopper block: slots of packed rows (packers <-> MMA warps), raw stages (copy engine -> packer),
// weight stages (weight warp <-> MMA warps).
#pragma once
#include "ptx/control.cuh"
#include "ptx/mbarrier.cuh"
#include "tile/common.cuh"
#include "tile/drawn_items.cuh"
#include "tile/warp_arrival.cuh"

// In a cluster, blocks stream the same weights and each loads its part into all: a weight stage is empty when the MMA warps
// of all blocks have released it.
// C: kSharedBarriers, kSlots, kPackersPerSlot, kRawBuffers, kTeam (packers of a team; raw stages then have empty barriers), kRings, kWStages, kCluster.
LC_CONSTEXPR int barrier_count(int slots, int raw_buffers, int w_stages, int team) {
  return 2 * slots + (team > 1 ? 2 : 1) * raw_buffers + 2 * w_stages;
}

template <class C> struct BlockBarriers {
  uint32_t slot_full, slot_empty, raw_full, w_full, w_empty, raw_empty;

  LC_DEVICE explicit BlockBarriers(uint32_t shared)
      : slot_full(shared + C::kSharedBarriers), slot_empty(slot_full + 8 * C::kSlots), raw_full(slot_empty + 8 * C::kSlots),
        w_full(raw_full + 8 * C::kRawBuffers), w_empty(w_full + 8 * C::kRings * C::kWStages),
        raw_empty(w_empty + 8 * C::kRings * C::kWStages) {}

  // By all threads.
  LC_DEVICE void init(const DrawnSchedule<C>& schedule) const {
    if (threadIdx.x == 0) {
      schedule.init();
      for (int i = 0; i < C::kSlots; ++i) {
        barrier_init(slot_full + 8 * i, C::kPackersPerSlot * kWarpArrivals);
        barrier_init(slot_empty + 8 * i, 8 * kWarpArrivals);
      }
      for (int i = 0; i < C::kRawBuffers; ++i) {
        barrier_init(raw_full + 8 * i, 1);
        if (C::kTeam > 1) barrier_init(raw_empty + 8 * i, C::kTeam * kWarpArrivals);
      }
      for (int i = 0; i < C::kRings * C::kWStages; ++i) {
        barrier_init(w_full + 8 * i, 1);
        barrier_init(w_empty + 8 * i, 8 / C::kRings * C::kCluster * kWarpArrivals);
      }
      fence_barrier_init();
    }
    if (C::kCluster > 1) cluster_sync();
    else __syncthreads();
  }
  // By all threads, at their end: a block's shared memory outlives the copies and arrivals of the others.
  LC_DEVICE void leave() const {
    if (C::kCluster > 1) {
      __syncwarp();
      cluster_sync();
    }
  }
  // By the lanes of each MMA warp that arrive.
  LC_DEVICE void release_weights(int ring, int stage) const {
    const uint32_t barrier = w_empty + 8 * (ring * C::kWStages + stage);
    barrier_arrive(barrier);
    if (C::kCluster > 1) barrier_arrive_remote(barrier, cluster_block_rank() ^ 1);
  }
};

// Of the two warpgroups that share output channels, the second has none of the last pass.
LC_CONSTEXPR bool last_pass_idles(int rings, int passes, int ring_rows, int out_channels) {
  return rings == 2 && (2 * passes - 1) * ring_rows >= out_channels;
}
// What it does instead of multiplying: slots and weights go back as they come, once every lane has seen them come (no wgmma
// holds the lanes together here, and one that is late must not miss a phase). The places are those of its loop.
template <class C>
LC_DEVICE void idle_pass(const BlockBarriers<C>& barriers, int ring, int lane, int& slot, int& slot_phase, int& ws, int& w_phase) {
#pragma unroll 1
  for (int i = 0; i < C::kItemSlots; ++i) {
    if (!C::kResident) barrier_wait(barriers.slot_full + 8 * slot, slot_phase);
    __syncwarp();
    if (arrives(lane)) barrier_arrive(barriers.slot_empty + 8 * slot);
    if (++slot == C::kSlots) { slot = 0; slot_phase ^= 1; }
  }
#pragma unroll 1
  for (int i = 0; i < C::kPassStages; ++i) {
    barrier_wait(barriers.w_full + 8 * (ring * C::kWStages + ws), w_phase);
    __syncwarp();
    if (arrives(lane)) barriers.release_weights(ring, ws);
    if (++ws == C::kWStages) { ws = 0; w_phase ^= 1; }
  }
}
