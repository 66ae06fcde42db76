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
  std::int64_t blocks_per_sm = 1;  ///< at most that many blocks, which walk the items; 0: a block for each item

  /// The grid for `rows` (batch times groups) of `out_length` outputs; of a sum, for so many splits of one.
  std::int64_t blocks(std::int64_t rows, std::int64_t out_length, std::int64_t sm_count) const;
};

/// How a weight gradient is summed over batch and time (wgrad_common.h).
struct LayerSums {
  /// The lengths and sums that LayerLaunch::repair has work for.
  enum class Repair : int {
    few,     ///< where a gradient sums fewer than fewest_products; then all splits are computed again
    ragged,  ///< and where the output's length is no multiple of chunk_steps
    always,
  };
  std::int64_t chunk_steps = 0;
  std::int64_t splits = 0;           ///< at most so many,
  std::int64_t most_chunks = 0;      ///< unless a split would have more chunks than this; 0: any number
  std::int64_t carry_chunks = 0;     ///< splits of more chunks have carry_bytes each, behind the partial sums; 0: none
  std::int64_t carry_bytes = 0;      ///< of a split
  std::int64_t fewest_products = 0;  ///< fewer than these are no sum for `main`
  Repair repair = Repair::few;
  std::int64_t splits_of(std::int64_t chunks) const;
};

/// A launch without padding and residual, of dense tensors. Steps are in the order of use.
struct LayerLaunch {
  std::optional<LayerStep> pack;  ///< weights into the main kernel's order
  LayerStep main;
  /// The direct kernel, LC_MODE 1: the tiles whose redo bit main set; in wgrad the splits whose flag it set.
  std::optional<LayerStep> repair;
  std::optional<LayerStep> edges;   ///< direct_fprop, LC_MODE 2: tiles that reach out of the signal
  std::optional<LayerStep> reduce;  ///< wgrad: adds the partial sums; without it `main` writes the gradient
  PackedLayout packed;              ///< of one signal; the redo bits are one for each tile of `main`
  std::int64_t redo_span = 0;       ///< outputs that a tile of `main` computes
  /// `main` is right where the length of what it writes is a multiple of this; in wgrad where the rows of y are so
  /// long.
  std::int64_t out_length_multiple = 1;
  std::int64_t length_multiple = 1;  ///< wgrad: where the rows of x are so long
  LayerSums sums;                    ///< wgrad only
};

/// The problem of a layer of any length: dgrad as if windows left the signal, which they do at some lengths only.
PolyphaseProblem of_any_length(const ConvProblem& problem);

/// The direct kernel as a step: LC_MODE as in Repair.
LayerStep direct_step(const PolyphaseProblem& problem, int mode);

}  // namespace longconv::cuda
