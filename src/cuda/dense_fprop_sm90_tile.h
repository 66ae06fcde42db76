// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The configuration of kernels/conv/dense_fprop_sm90.cuh, and what follows from it and a problem.
#pragma once

#include <cstdint>

#include "cuda/dense_fprop_common.h"

namespace longconv::cuda::fprop_sm90 {

/// The kernel's LC_ configuration; `full` chooses between tiles that advance by their whole width (ends; where rows
/// begin on 16 bytes whole, or with `stage_rows` 0 direct) and sector-aligned windows, which `stage_rows` 0 stores
/// straight from registers. `stationary`: all weights stay, 1 in shared memory, 2 in the multiplying warps' registers
/// (no ring: w_stages 0).
struct Tile {
  std::int64_t m_blocks, columns, channel_ways, chunks, slots, raw_stages, taps, w_stages, w_steps, stationary,
      resident, full, stage_rows, packers, cluster;

  std::int64_t threads() const { return packers == 7 ? 512 : 384; }
  bool held() const { return stationary == 2; }
  static Tile read(const Config& config) {
    ConfigReader c(config);
    return {c.get("m"),        c.get("n"),    c.get("ways"), c.get("chunks"),  c.get("slots"),
            c.get("raw"),      c.get("taps"), c.get("w"),    c.get("wstep"),   c.get("stationary"),
            c.get("resident"), c.get("full"), c.get("rows"), c.get("packers"), c.get("cluster")};
  }
  Config config() const {
    return Config{{{"m", m_blocks},
                   {"n", columns},
                   {"ways", channel_ways},
                   {"chunks", chunks},
                   {"slots", slots},
                   {"raw", raw_stages},
                   {"taps", taps},
                   {"w", w_stages},
                   {"wstep", w_steps},
                   {"stationary", stationary},
                   {"resident", resident},
                   {"full", full},
                   {"rows", stage_rows},
                   {"packers", packers},
                   {"cluster", cluster}}};
  }
};

/// What follows from a problem and a tile; mirrors struct C of the kernel.
struct Geometry {
  std::int64_t element_bytes, chunk, row_step;  ///< row_step: packed rows from one warpgroup's time to the other's
  std::int64_t span, step, channel_blocks, tap_groups, passes, pass_stages, raw_bytes,
      shared_bytes;          ///< span in packed rows
  std::int64_t sum_columns;  ///< two for each sum of a thread, of which it has 128 at most, or just 160
  PackGeometry pack;
  bool fits = false;

  Geometry(const PolyphaseProblem& p, const Tile& t, bool gather)
      : element_bytes(size_bytes(p.dtype)),
        chunk(16 / element_bytes),
        row_step(phase_step(p, t.columns, t.full)),
        span(row_step * (2 / t.channel_ways - 1) + t.columns),
        step(p.phases * row_step * (2 / t.channel_ways)),
        channel_blocks(ceil_div(p.in_channels_per_group(), t.chunks * chunk)),
        tap_groups(ceil_div(p.kernel_size, t.taps)),
        passes(ceil_div(p.out_channels_per_group(), 64 * t.m_blocks * t.channel_ways)),
        pass_stages(channel_blocks * p.kernel_size * (t.chunks / 2 / t.w_steps)),
        sum_columns(t.m_blocks * p.phases * t.columns),
        pack(span, t.taps, p) {
    const std::int64_t raw_needed = p.stride == 1 ? pack.plane_rows : pack.raw_needed;
    const std::int64_t pitch = (ceil_div((raw_needed + chunk - 1) * element_bytes, 16) | 1) * 16;
    raw_bytes = gather ? 0 : p.signals() * chunk * pitch;
    const std::int64_t stage_out = t.stage_rows * stage_pitch_bytes(p.phases, t.columns, element_bytes);
    shared_bytes = t.slots * pack.chunk_rows() * 16 * t.chunks +
                   t.channel_ways * t.w_stages * t.w_steps * 2048 * t.m_blocks + t.packers * t.raw_stages * raw_bytes +
                   8 * stage_out + 8 * (2 * t.slots + t.packers * t.raw_stages + 2 * t.channel_ways * t.w_stages) +
                   drawn_items_bytes((t.raw_stages + 1) * t.packers, channel_blocks * tap_groups * t.chunks,
                                     t.stationary ? 0 : t.w_stages, pass_stages * (t.resident ? passes : 1), t.slots,
                                     channel_blocks * tap_groups);
    // 14 bits of a descriptor's leading dimension, in units of 16 bytes.
    fits = shared_bytes <= kHopperSharedBytes && pack.chunk_rows() < (1 << 14) && t.chunks % (2 * t.w_steps) == 0 &&
           (t.stage_rows > 0 || (p.phases == 1 && (t.full || element_bytes == 4))) && t.slots >= 2 &&
           t.slots * t.chunks >= t.packers && t.columns > 0 &&
           (t.packers == 3 || (t.packers == 4 && t.stationary) || (t.packers == 7 && t.columns <= 160)) &&
           (sum_columns <= 256 || sum_columns == 320) && (t.cluster == 1 || (!t.stationary && p.groups == 1)) &&
           (!t.stationary || (t.w_stages == (t.held() ? 0 : pass_stages) && passes == 1 && p.groups == 1)) &&
           (!t.held() || (t.m_blocks == 1 && p.phases == 1 && held_registers(p, t) + t.columns / 2 <= 160)) &&
           (!t.resident || t.slots == channel_blocks * tap_groups);
  }
  /// Of a thread, for weights that stay there: a word for each fragment of 64 rows by 32 bytes of channels.
  std::int64_t held_registers(const PolyphaseProblem& p, const Tile& t) const {
    return 4 * channel_blocks * p.kernel_size * (t.chunks / 2);
  }
  std::int64_t ring_rows(const Tile& t) const { return 64 * t.m_blocks; }
  std::int64_t padded_rows(const Tile& t) const { return passes * ring_rows(t) * t.channel_ways; }
};

}  // namespace longconv::cuda::fprop_sm90
