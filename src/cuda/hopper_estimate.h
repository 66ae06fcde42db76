// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The cost model of the two Hopper kernels: what one multiprocessor's roles (multiply and store, pack, load) do for a
/// tile, and from that the time of a launch. Constants: fitted to configs timed on an H100 (docs/design/gpu-engine.md).
#pragma once

#include <cstdint>

#include "longconv/plan.h"

namespace longconv::cuda {

/// How rows of y leave (kernels/tile/store_rows.cuh).
enum class HopperStore : std::uint8_t { windows, sectors, ends, direct, whole };

/// How well a kernel hides what its roles wait for; fitted, for each kernel.
struct HopperRings {
  double useful_raw_stages, deep_raw;  ///< the second raw stage hides part of a load, a third one costs
  double serial_load;                  ///< the part of a load that a packer with one raw stage waits for
  double weight_load;                  ///< cycles until weights come from L2
  double l2_share;                     ///< of a byte from memory, that a byte from L2 costs
  double group_wait;                   ///< cycles between a group of wgmma and the next
};

/// Cycles are of one multiprocessor's clock.
struct HopperWork {
  HopperRings rings;
  // The launch.
  double x_bytes = 0, y_bytes = 0, flops = 0;  ///< x: each sample once
  double tiles = 0;                            ///< of all (batch, group) rows
  std::int64_t tiles_per_row = 1;
  std::int64_t passes = 1;       ///< over output channels
  bool last_pass_idles = false;  ///< half of its channels do not exist: one of two warpgroups multiplies
  bool x_is_resident = false;    ///< packed once for all passes
  std::int64_t cluster = 1;      ///< blocks that share what they load of the weights

  // Multiplying, for one pass over one tile.
  double groups = 0;          ///< of wgmma, each waited for
  double product_cycles = 0;  ///< of a group in the tensor cores, for both warpgroups
  double group_latency = 0;   ///< from issue to release, beyond the products: hides behind the other warpgroup's
  double promote_cycles = 0;  ///< after each group

  // Storing, for one pass over one tile: blocks of 16 rows by `columns` that each warp finishes.
  HopperStore store = HopperStore::windows;
  std::int64_t blocks = 1, columns = 0, element_bytes = 4, stage_rows = 4;
  double direct_cycles = 0;        ///< of a block that leaves straight from registers
  double piece_share = 1;          ///< of the time that the copy engine takes for a staged piece: the rest hides
  double held_bytes = 1;           ///< as the memory's time of a byte of x or y: more where rows leave late
  double scattered_bytes = 1.375;  ///< memory traffic of a byte that leaves in sectors
  double halved_bytes = 1;         ///< the same where sectors are written in two halves, at different times

  // Packing, for one pass over one tile's x.
  double units = 0;             ///< what is packed at a time
  double unit_cycles = 0;       ///< of the packers that do it
  std::int64_t packers = 1;     ///< units in work at a time
  std::int64_t raw_stages = 1;  ///< loads under way for each of them
  std::int64_t raw_bytes = 0;   ///< of a load
  bool deep_raw_costs = true;   ///< more raw stages than help
  std::int64_t slots = 2;
  double slot_wait = 0.171;  ///< share of all time with two slots, less with more

  // Weights from L2.
  double weight_bytes = 0;      ///< for one pass over one tile; 0: they stay in shared memory
  std::int64_t ring_bytes = 1;  ///< shared memory that they stream through
};

/// What follows from a launcher's Tile and Geometry alike.
template <class Problem, class Tile, class Geometry>
HopperWork hopper_work(const Problem& problem, const Tile& t, const Geometry& g) {
  HopperWork w;
  w.element_bytes = size_bytes(problem.dtype);
  const auto bytes = static_cast<double>(w.element_bytes), batch = static_cast<double>(problem.batch);
  w.x_bytes = batch * static_cast<double>(problem.in_channels) *
              static_cast<double>(problem.length_samples * problem.signals()) * bytes;
  w.y_bytes = batch * static_cast<double>(problem.out_channels) * static_cast<double>(problem.out_length()) * bytes;
  w.tiles_per_row = (problem.out_length() + g.step - 1) / g.step;
  w.tiles = batch * static_cast<double>(problem.groups) * static_cast<double>(w.tiles_per_row);
  w.passes = g.passes;
  w.last_pass_idles = t.channel_ways == 2 && (2 * g.passes - 1) * g.ring_rows(t) >= problem.out_channels_per_group();
  w.x_is_resident = t.resident != 0;
  w.cluster = t.cluster;
  const bool aligned = problem.out_length() * w.element_bytes % 16 == 0;
  w.store = !t.full   ? t.stage_rows > 0 ? HopperStore::windows : HopperStore::sectors
            : aligned ? t.stage_rows > 0 ? HopperStore::whole : HopperStore::direct
                      : HopperStore::ends;
  // Of rows that begin on 16 bytes every other one may begin in the middle of a sector.
  if (w.store == HopperStore::ends) w.halved_bytes = 1.26;
  if (aligned && t.full && problem.out_length() * w.element_bytes % 32 != 0) w.halved_bytes = 1.16;
  w.stage_rows = t.stage_rows > 0 ? t.stage_rows : 4;
  if (w.store == HopperStore::whole && problem.phases == 1) w.piece_share = 0.5;
  w.raw_stages = t.raw_stages;
  w.slots = t.slots;
  return w;
}

Estimate hopper_estimate(const HopperWork& work, const Device& device);

}  // namespace longconv::cuda
