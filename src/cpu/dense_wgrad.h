// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Blocks of the dense weight gradient (see dense_wgrad.cpp for what is computed).
#pragma once

#include <cstdint>

#include "cpu/tap_rows.h"
#include "cpu/wgrad_blocking.h"
#include "longconv/plan.h"

namespace longconv::cpu {

/// A block of dw: outputs x inputs x taps of one group; the last ones of each kind may be smaller.
struct DenseWgradBlocks {
  std::int64_t outputs = 0, inputs = 0, taps = 0;                    ///< of a block
  std::int64_t output_blocks = 1, input_blocks = 1, tap_blocks = 1;  ///< of a group
  std::int64_t width = 0;  ///< output channels side by side in a register block; outputs is a multiple of it
  TimeTiles tiles;
  std::int64_t chunks = 1;

  std::int64_t blocks_per_group() const { return output_blocks * input_blocks * tap_blocks; }
  /// Sums of a block: [outputs / width][inputs * taps][width], then [outputs] for the bias.
  std::int64_t sums_per_block() const { return outputs * (inputs * taps + 1); }
};

/// `lanes`: elements of a vector of the accumulation type.
Config dense_wgrad_config(const ConvProblem& problem, std::int64_t lanes);
DenseWgradBlocks dense_wgrad_blocks(const ConvProblem& problem, const Config& config);

/// The rows that x is read into for a block with `taps` taps.
template <class T>
TapRows dense_wgrad_rows(const ConvProblem& problem, const DenseWgradBlocks& blocks, std::int64_t taps) {
  constexpr std::int64_t kVector = 64 / sizeof(T);
  const std::int64_t time = (blocks.tiles.time_samples + kVector - 1) / kVector * kVector;
  return make_tap_rows(taps, problem.stride, problem.dilation, time, sizeof(T));
}

}  // namespace longconv::cpu
