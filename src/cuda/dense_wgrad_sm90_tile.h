// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The configuration of kernels/conv/dense_wgrad_sm90.cuh, and what follows from it and a problem.
#pragma once

#include <cstdint>

#include "cuda/wgrad_common.h"
#include "cuda/wgrad_shares.h"

namespace longconv::cuda::wgrad_sm90 {

constexpr std::int64_t kMostProducts = 48;  // of a chunk, that a warpgroup unrolls

/// The kernel's LC_ configuration.
struct Tile {
  std::int64_t channels, taps, m_blocks, columns, warpgroups, column_ways, steps, windows, slots, y_stages, packers,
      splits, shares;

  static Tile read(const Config& config) {
    ConfigReader c(config);
    return {c.get("channels"), c.get("taps"),   c.get("m"),       c.get("n"),     c.get("wg"),
            c.get("ways"),     c.get("steps"),  c.get("windows"), c.get("slots"), c.get("y"),
            c.get("packers"),  c.get("splits"), c.get("shares")};
  }
  Config config() const {
    return Config{{{"channels", channels},
                   {"taps", taps},
                   {"m", m_blocks},
                   {"n", columns},
                   {"wg", warpgroups},
                   {"ways", column_ways},
                   {"steps", steps},
                   {"windows", windows},
                   {"slots", slots},
                   {"y", y_stages},
                   {"packers", packers},
                   {"splits", splits},
                   {"shares", shares}}};
  }
  std::int64_t row_ways() const { return warpgroups / column_ways; }
  std::int64_t mma_threads() const { return 128 * warpgroups; }
  std::int64_t threads() const { return mma_threads() + 32 * packers; }
  std::int64_t out() const { return columns * column_ways; }
};

inline bool is_split(const ConvProblem& p) { return p.dtype == DType::f32 && p.precision == Precision::fp32; }

/// How the kernel reads its operands.
struct Access {
  bool gather_x, gather_y, placed_y, pairs;
};
/// Of dense tensors.
inline Access access(const ConvProblem& p) {
  const bool even = p.length_samples % 2 == 0 && p.pad_left % 2 == 0 && (p.kernel_size == 1 || p.dilation % 2 == 0);
  const bool is_16_bit = size_bytes(p.dtype) == 2;
  return {false, false, is_16_bit && p.out_length() % 8 == 0 && !p.has_forward_y(), is_16_bit && p.stride == 1 && even};
}
inline Access access(const ConvProblem& p, const TensorView& x, const TensorView& y) {
  const auto strided = [](const TensorView& view) { return view.sizes[2] > 1 && view.strides[2] != 1; };
  const bool even = reinterpret_cast<std::uintptr_t>(x.data) % 4 == 0 && x.strides[0] % 2 == 0 &&
                    x.strides[1] % 2 == 0 && p.pad_left % 2 == 0 && (p.kernel_size == 1 || p.dilation % 2 == 0);
  const bool aligned = reinterpret_cast<std::uintptr_t>(y.data) % 16 == 0 && y.strides[0] % 8 == 0 &&
                       y.strides[1] % 8 == 0 && !strided(y);
  const bool is_16_bit = size_bytes(p.dtype) == 2;
  return {strided(x), strided(y), is_16_bit && aligned && !p.has_forward_y(), is_16_bit && p.stride == 1 && even};
}

/// What follows from a problem and a tile; mirrors the constants of the kernel.
struct Geometry {
  std::int64_t bytes, planes, step_k, accumulators, tiles, window, slot_bytes, shared_bytes, carry_chunks, most_carries,
      block_carry_bytes;
  bool fits = false;

  Geometry(const ConvProblem& p, const Tile& t) : Geometry(p, t, access(p).placed_y) {}
  Geometry(const ConvProblem& p, const Tile& t, bool placed_y)
      : bytes(size_bytes(p.dtype)),
        planes(is_split(p) ? 2 : 1),
        step_k(32 / bytes),
        accumulators(t.m_blocks * t.columns / 2),
        tiles(p.groups * ceil_div(p.out_channels_per_group(), t.out()) *
              ceil_div(p.in_channels_per_group(), t.channels) * ceil_div(p.kernel_size, t.taps)),
        window((t.steps - 1) * p.stride + (t.taps / t.windows - 1) * p.dilation + 1),
        // Of a chain, and chains of a run, as the kernel's; carries that docs/design/numerics.md allows.
        carry_chunks(planes == 2            ? 128
                     : sums_in_registers(t) ? 128 * step_k / t.steps * 64
                                            : 192 * step_k / t.steps),
        most_carries(planes == 2            ? 200
                     : sums_in_registers(t) ? 180
                                            : 120),
        block_carry_bytes(t.mma_threads() * accumulators * 4) {
    const std::int64_t groups = t.out() / 32, parts = std::max<std::int64_t>(1, t.packers / groups);
    const std::int64_t rounds = ceil_div(groups, t.packers), part_steps = t.steps / parts;
    slot_bytes = t.channels * t.windows * pitch(window) + planes * t.out() * t.steps * bytes;
    shared_bytes =
        t.slots * slot_bytes +
        (placed_y ? 0 : t.packers * t.y_stages * rounds * 32 * pitch(part_steps) * (p.has_forward_y() ? 2 : 1)) +
        (p.has_bias ? parts * t.out() * 8 : 0) + 8 * 2 * t.slots;
    if (t.shares > 0) shared_bytes = round_up(shared_bytes, 16) + 16;
    fits = shared_bytes <= kHopperSharedBytes && t.m_blocks * 64 * t.row_ways() >= t.channels * t.taps &&
           t.out() % 32 == 0 && t.out() <= 256 && part_steps * bytes % 16 == 0 && t.steps % (2 * step_k) == 0 &&
           t.slots > t.y_stages && accumulators * planes <= (t.warpgroups == 3 ? 64 + 32 * planes : 192) &&
           (accumulators * planes <= 128 || t.out() <= 128) && (t.columns < 256 || t.threads() <= 384) &&
           (t.packers == 4 || (t.warpgroups == 2 && accumulators * planes <= 128)) &&
           (parts == 1 || t.packers % groups == 0) && t.m_blocks * t.steps <= kMostProducts * step_k &&
           carry_chunks > 0 && window * bytes < (std::int64_t{1} << 17);
  }
  bool sums_in_registers(const Tile& t) const { return planes == 2 || accumulators <= (t.warpgroups == 3 ? 64 : 96); }
  /// As RowWindow::kPitch.
  std::int64_t pitch(std::int64_t elements) const { return (round_up(elements * bytes + 15, 16) / 16 | 1) * 16; }
};

/// The workspace: what every weight gradient has, and the sums that blocks carry.
struct Workspace {
  WgradShares shares;  ///< where the config has some: equal parts of all tiles' chunks, a block for each segment
  WgradRanges ranges;
  WgradLayout layout;
  std::int64_t blocks, most_chunks;  ///< most_chunks: of a block
  std::int64_t carry_offset, bytes;
  Workspace(const ConvProblem& p, const Tile& t) : Workspace(p, t, Geometry(p, t)) {}

 private:
  static std::int64_t chunks_of(const ConvProblem& p, const Tile& t) { return WgradRanges(p, t.steps, 1).chunks; }
  Workspace(const ConvProblem& p, const Tile& t, const Geometry& g)
      : shares(t.shares > 0 ? WgradShares(g.tiles, chunks_of(p, t), t.shares) : WgradShares()),
        ranges(p, t.steps, t.shares > 0 ? shares.splits : t.splits),
        layout(p, ranges.splits),
        blocks(t.shares > 0 ? shares.segments : g.tiles * ranges.splits),
        most_chunks(t.shares > 0 ? shares.order.quota : ceil_div(ranges.chunks, ranges.splits)),
        carry_offset(layout.workspace_bytes()),
        bytes(carry_offset + round_up(most_chunks > g.carry_chunks ? blocks * g.block_carry_bytes : 0, 256)) {}
};

}  // namespace longconv::cuda::wgrad_sm90
