// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "cuda/hopper_estimate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cuda/dense_fprop_common.h"

namespace longconv::cuda {
namespace {

// Cycles.
constexpr double kBlock = 2090;      // to finish 16 rows by N columns: waits, addresses, weights' scales
constexpr double kStagePiece = 484;  // until the copy engine has read a piece of a block and the next may be staged
constexpr double kStageByte = 0.45;  // of a row of the block
constexpr double kExchange = 6;      // of a column, where lanes exchange them into sectors
constexpr double kEnds = 493;        // the ragged ends of a block's rows
constexpr double kEdgeColumn = 15;   // of a block that plain stores write element by element
constexpr double kLoad = 1825;       // latency of a bulk load from memory that is busy
constexpr double kLoadByte = 0.119;  // a multiprocessor's share of its bandwidth
constexpr double kShared = 0.985;    // of the time of a pair of blocks that share weights, where that is offered

constexpr double kMemory = 0.923, kTogether = 0.787;  // of the time at the device's rate; of the sum of cubes

/// The part of a block's tiles at a row's edge, in the block that has most of them: it takes every `blocks`-th tile.
double edge_share(const HopperWork& w, double blocks) {
  if (w.store == HopperStore::direct || w.store == HopperStore::whole) return 0;
  const std::int64_t common = std::gcd(w.tiles_per_row, std::max<std::int64_t>(1, static_cast<std::int64_t>(blocks)));
  const auto period = static_cast<double>(w.tiles_per_row / common);
  const bool both = (w.store == HopperStore::windows || w.store == HopperStore::sectors) && common == 1 &&
                    w.tiles_per_row > 1;  // first and last
  return std::min(1.0, (both ? 2 : 1) / period);
}

}  // namespace

Estimate hopper_estimate(const HopperWork& w, const Device& device) {
  const Rates rates(device);
  const double clock = device.clock_hz > 0 ? device.clock_hz : 1.5e9;
  const auto passes = static_cast<double>(w.passes), slots = static_cast<double>(w.slots),
             raw_stages = static_cast<double>(w.raw_stages);
  const double items = w.tiles * (w.x_is_resident ? 1 : passes), blocks = std::min<double>(items, device.sm_count);
  // Of all tiles together, on one multiprocessor.
  const double share = w.tiles / (device.sm_count * clock);

  const bool scattered = w.store == HopperStore::sectors;  // 32 bytes of 8 rows at a time
  Estimate e;
  e.bytes = w.x_bytes + w.y_bytes * (scattered ? w.scattered_bytes : w.halved_bytes);
  e.flops = w.flops;
  // Weights come from L2, and so does what of x is loaded again; but by the same ways.
  const double loaded = w.tiles * (w.x_is_resident ? 1 : passes) * w.units * static_cast<double>(w.raw_bytes);
  const double again = w.tiles * passes * w.weight_bytes + std::max(0., loaded - w.x_bytes);
  const double memory = kMemory * (w.held_bytes * e.bytes + w.rings.l2_share * again) / rates.bytes_per_second;

  const auto columns = static_cast<double>(w.columns);
  double store = kBlock + kEdgeColumn * columns * edge_share(w, blocks);
  if (w.store == HopperStore::sectors) store += kExchange * columns;
  if (w.store == HopperStore::direct) store += w.direct_cycles;
  if (w.store != HopperStore::direct && w.store != HopperStore::sectors)
    store += 16 / static_cast<double>(w.stage_rows) * w.piece_share * kStagePiece +
             kStageByte * columns * static_cast<double>(w.element_bytes);
  if (w.store == HopperStore::ends) store += kEnds;
  // One warpgroup alone hides nothing of its groups' latency.
  const double after = w.promote_cycles + w.rings.group_wait, lone = w.product_cycles / 2 + w.group_latency + after;
  const double group = std::max(w.product_cycles + after, lone), idle = w.last_pass_idles ? 1 : 0;
  const double groups = w.groups * ((passes - idle) * group + idle * lone);
  const double multiply = share * (groups + passes * static_cast<double>(w.blocks) * store);

  const double units = share * (w.x_is_resident ? 1 : passes) * w.units / static_cast<double>(w.packers);
  double pack = units * w.unit_cycles;
  // Slots become free in the last pass only.
  if (w.x_is_resident) pack += 0.35 * (1 - 1 / passes) * multiply;
  const double load =
      units * (kLoad + kLoadByte * static_cast<double>(w.raw_bytes)) / std::min(raw_stages, w.rings.useful_raw_stages);
  if (w.raw_stages == 1) pack += w.rings.serial_load * load;
  const double weights = share * passes * w.weight_bytes * w.rings.weight_load / static_cast<double>(w.ring_bytes);

  // They overlap, but not perfectly: the second longest still shows. Tiles come in whole rounds.
  const auto cube = [](double v) { return v * v * v; };
  const double together = std::cbrt(cube(memory) + cube(multiply) + cube(pack) + cube(load) + cube(weights));
  const double coupling = 1 + (w.x_is_resident ? 0.08 : w.slot_wait) / std::max(1.0, slots - 1);
  const double rounds = std::ceil(items / device.sm_count) * device.sm_count / items;
  const double deep = w.deep_raw_costs ? std::max(0., raw_stages - w.rings.useful_raw_stages) : 0;
  const double shares = w.cluster > 1 ? kShared : 1;
  e.seconds = kTogether * together * coupling * rounds * shares * (1 + w.rings.deep_raw * deep) + kLaunchSeconds;
  return e;
}

}  // namespace longconv::cuda
