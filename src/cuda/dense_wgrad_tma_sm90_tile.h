// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// The configuration of kernels/conv/dense_wgrad_tma_sm90.cuh, and what follows from it, a problem and its tensors.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/wgrad_common.h"

namespace longconv::cuda::wgrad_tma_sm90 {

constexpr std::int64_t kThreads = 384, kRowBytes = 128;

/// The kernel's LC_ configuration.
struct Tile {
  std::int64_t channels, taps, m_blocks, columns, slots, share_x, share_y, splits;

  static Tile read(const Config& config) {
    ConfigReader c(config);
    return {c.get("channels"), c.get("taps"),    c.get("m"),       c.get("n"),
            c.get("slots"),    c.get("share_x"), c.get("share_y"), c.get("splits")};
  }
  Config config() const {
    return Config{{{"channels", channels},
                   {"taps", taps},
                   {"m", m_blocks},
                   {"n", columns},
                   {"slots", slots},
                   {"share_x", share_x},
                   {"share_y", share_y},
                   {"splits", splits}}};
  }
  std::int64_t rows() const { return 128 * m_blocks; }
  std::int64_t cluster() const { return share_x * share_y; }
};

/// Whether a tensor map describes the tensor: rows begin on 16 bytes, one after the other in time.
inline bool is_mapped(const ConvProblem& p, const TensorView& v) {
  const auto fits = [&](int d) {  // the stride of a dimension of one element means nothing
    const std::int64_t bytes = v.strides[d] * size_bytes(p.dtype);
    return v.sizes[d] == 1 || (bytes > 0 && bytes % 16 == 0 && bytes < std::int64_t{1} << 40);
  };
  return (v.strides[2] == 1 || v.sizes[2] == 1) && fits(0) && fits(1) &&
         reinterpret_cast<std::uintptr_t>(v.data) % 16 == 0;
}
/// Of dense tensors, both.
inline bool is_mapped(const ConvProblem& p) {
  return is_mapped(p, TensorView::contiguous(nullptr, p.dtype, {p.batch, p.in_channels, p.length_samples})) &&
         is_mapped(p, TensorView::contiguous(nullptr, p.dtype, {p.batch, p.out_channels, p.out_length()}));
}
/// Boxes begin on multiples of 16 bytes.
inline bool taps_are_aligned(const ConvProblem& p) {
  const std::int64_t unit = 16 / size_bytes(p.dtype);
  return p.pad_left % unit == 0 && (p.kernel_size == 1 || p.dilation % unit == 0);
}

/// Rows of a box: at most 64, and as many boxes for each block that shares them, if they can be dealt so. 0: none.
inline std::int64_t box_rows(std::int64_t rows, std::int64_t taps, std::int64_t shared_by) {
  for (const bool evenly : {true, false})
    for (std::int64_t box = 64; box >= 8; box -= 8)
      if (rows % box == 0 && (!evenly || rows * taps / box % shared_by == 0)) return box;
  return 0;
}

/// What follows from a problem and a tile; mirrors the constants of the kernel.
struct Geometry {
  std::int64_t bytes, steps, accumulators, row_tiles, out_tiles, tiles, slot_bytes, shared_bytes, carry_chunks,
      most_carries, block_carry_bytes;
  bool fits = false;

  Geometry(const ConvProblem& p, const Tile& t)
      : bytes(size_bytes(p.dtype)),
        steps(kRowBytes / bytes),
        accumulators(t.m_blocks * t.columns / 2),
        row_tiles(ceil_div(p.in_channels_per_group(), t.channels) * ceil_div(p.kernel_size, t.taps)),
        out_tiles(ceil_div(p.out_channels_per_group(), t.columns)),
        tiles(p.groups * out_tiles * row_tiles),
        slot_bytes((t.rows() + t.columns) * kRowBytes),
        shared_bytes(t.slots * slot_bytes + (p.has_bias ? t.columns * 8 : 0) + 8 * 3 * t.slots),
        // Of a chain, and chains of a run, as the kernel's; carries that docs/design/numerics.md allows. 4 k-steps a
        // chunk. Where chains go to memory, a sum of more products may have longer ones; from 1536 k-steps on a chain's
        // own error would be more than a tenth of what rounding to TF32 costs.
        carry_chunks(accumulators <= 96 ? 32 * 64 : std::min<std::int64_t>(384, 48 + p.batch * p.out_length() / 512)),
        most_carries(accumulators <= 96 ? 180 : 119),
        block_carry_bytes(256 * accumulators * 4) {
    fits = shared_bytes <= kHopperSharedBytes && t.channels * t.taps <= t.rows() && t.channels % 8 == 0 &&
           t.columns % 32 == 0 && t.columns <= 256 && accumulators <= 128 && t.slots >= 2 &&
           out_tiles % t.share_x == 0 && row_tiles % t.share_y == 0;
  }
  std::int64_t carry_bytes(const WgradRanges& ranges) const {
    const bool needed = ceil_div(ranges.chunks, ranges.splits) > carry_chunks;
    return needed ? tiles * ranges.splits * block_carry_bytes : 0;
  }
};

/// The workspace: what every weight gradient has, and the sums that blocks carry.
struct Workspace {
  WgradRanges ranges;
  WgradLayout layout;
  std::int64_t carry_offset, bytes;
  Workspace(const ConvProblem& p, const Tile& t)
      : ranges(p, kRowBytes / size_bytes(p.dtype), t.splits),
        layout(p, ranges.splits),
        carry_offset(layout.workspace_bytes()),
        bytes(carry_offset + round_up(Geometry(p, t).carry_bytes(ranges), 256)) {}
};

}  // namespace longconv::cuda::wgrad_tma_sm90
