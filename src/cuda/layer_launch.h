// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// What a launcher launches for one layer, as numbers that hold for every batch and length: for `longconv eject`, whose
/// file launches by itself. tests/unit/layer_launch_test.cpp holds them against what launch() does.
#pragma once

#include <cstdint>
#include <optional>

#include "cuda/packed_weights.h"

namespace longconv::cuda {

/// One kernel and its grid.
struct LayerStep {
  KernelSpec spec;
  std::int64_t threads = 0;
  std::int64_t fixed_blocks = 0;    ///< where the grid does not depend on the signal (weight packers); else:
  std::int64_t tile_steps = 0;      ///< outputs between two tiles of a row
  std::int64_t items_per_tile = 1;  ///< work items of a tile: passes over output channels
  std::int64_t cluster_blocks = 1;
  std::int64_t blocks_per_sm = 1;  ///< at most that many blocks; they walk the items

  /// The grid for `rows` (batch times groups) of `out_length` outputs.
  std::int64_t blocks(std::int64_t rows, std::int64_t out_length, std::int64_t sm_count) const;
};

/// A launch without padding and residual, of dense tensors.
struct LayerLaunch {
  std::optional<LayerStep> pack;  ///< weights into the main kernel's order
  LayerStep main;
  std::optional<LayerStep> repair;       ///< direct_fprop, LC_MODE 1: the tiles whose redo bit main set
  PackedLayout packed;                   ///< of one signal; the redo bits are one for each tile of `main`
  std::int64_t redo_span = 0;            ///< outputs that a tile of `main` computes
  std::int64_t out_length_multiple = 1;  ///< `main` is right where the output's length is a multiple of this
};

/// The direct kernel as a step: LC_MODE as in Repair.
LayerStep direct_step(const PolyphaseProblem& problem, int mode);

}  // namespace longconv::cuda
